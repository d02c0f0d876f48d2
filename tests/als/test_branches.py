"""Switching branches, as far as no running Dagster is needed for it: see tests/end_to_end/test_operators.py."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from als.branches import switches, wanted
from als.main import app
from als.stack import Stack
from beamlines.config import parse_beamline
from resources.settings import PROJECT

KNOWN = ("files", "nersc", "alcf")
CLOSED = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("words", "orders"),
    [
        ([], {}),
        (["--nersc", "off"], {"nersc": False}),
        (["--alcf=on", "--nersc", "off", "--files", "on"], {"alcf": True, "nersc": False, "files": True}),
        (["--nersc", "on", "--nersc", "on"], {"nersc": True}),
    ],
)
def test_each_facility_has_an_option_that_is_on_or_off(words: list[str], orders: dict[str, bool]) -> None:
    assert wanted(words, KNOWN) == orders


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--nesrc", "off"], "there are --alcf, --files, --nersc"),
        (["nersc", "off"], "'nersc'"),
        (["--nersc"], "--nersc is switched on or off, not ''"),
        (["--nersc", "of"], "not 'of'"),
        (["--nersc", "on", "--nersc=off"], "both on and off"),
    ],
)
def test_anything_else_is_refused_before_something_is_switched(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        wanted(words, KNOWN)


def test_another_facility_has_a_switch_by_configuration_alone() -> None:
    beamline = parse_beamline((PROJECT / "config" / "bl832.yaml").read_text(), source="bl832.yaml")
    more = {**beamline.facilities, "olcf": beamline.facilities["nersc"]}
    assert switches(beamline.model_copy(update={"facilities": more}))["olcf"] == "bl832_route_to_olcf"


def test_without_a_webserver_what_was_missed_is_shown_all_the_same_and_the_command_fails(tmp_path: Path) -> None:
    stack = Stack(tmp_path, CLOSED, CLOSED)
    stack.dagster_home.mkdir()
    shutil.copyfile(PROJECT / "deploy" / "dagster" / "local.yaml", stack.dagster_home / "dagster.yaml")
    (tmp_path / "environment.json").write_text(json.dumps(stack.added))
    shown = CliRunner().invoke(app, ["branches", "--nersc", "off", "--state", str(tmp_path)])
    assert shown.exit_code == 1, shown.output
    assert "nersc was not switched off: Dagster's webserver" in shown.stdout
    assert "arrived in 30 days" in shown.stdout
