"""``als retention reconcile``, as a person or a timer gives it: what it says, and how it ends."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from als.main import app
from beamlines.reconciliation import Kind
from beamlines.scans import ScanId
from resources.testing import HastyClock
from tests.als_assets.conftest import Platform, platform_on_disk, to_key
from tests.als_assets.reconciliation.holding import LATER, Reconciliation, raw

Reconcile = Callable[..., Result]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, phantom: Path, loaded_programs: Path) -> Iterator[Platform]:
    with platform_on_disk(tmp_path_factory.mktemp("commanded"), phantom, loaded_programs) as made:
        yield made


@pytest.fixture
def reconcile(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Reconcile:
    """The command, two hours from now: what was made just now has settled by then."""
    monkeypatch.delenv("ALS_DEPLOYMENT", raising=False)
    monkeypatch.setattr("als_assets.bindings.SystemClock", lambda: HastyClock(LATER))

    def reconciled(*places: str) -> Result:
        state = str(platform.twin.world.state_dir)
        return CliRunner().invoke(app, ["retention", "reconcile", *places, "--state", state])

    return reconciled


def test_what_is_as_recorded_ends_with_0(
    platform: Platform, reconcile: Reconcile, reconciliation: Reconciliation
) -> None:
    reconciliation.lies("alcf", "a.h5")
    event = dg.AssetMaterialization(to_key("bl832/alcf/raw"), partition=ScanId(f"{reconciliation.folder}/a.h5").key)
    platform.instance.report_runless_asset_event(event)
    said = reconcile("alcf")
    assert said.exit_code == 0, said.output
    assert "alcf: 0 lost, 0 changed, 0 dark" in said.output
    assert "1 copies as recorded" in said.output


def test_what_is_dark_only_is_shown_and_ends_with_0(reconcile: Reconcile, reconciliation: Reconciliation) -> None:
    reconciliation.lies("olcf", "dark.h5")
    said = reconcile("olcf")
    assert said.exit_code == 0, said.output
    assert f"raw/{reconciliation.folder}/dark.h5: no record of it" in said.output
    assert f"to register what is dark: als register --place olcf --folder {reconciliation.folder}" in said.output


def test_what_is_lost_ends_with_1_says_what_to_do_and_is_not_written_down(
    platform: Platform, reconcile: Reconcile, reconciliation: Reconciliation
) -> None:
    key = reconciliation.scan("a", "bl832/nersc/raw")
    raw(platform, "nersc", key).unlink()
    said = reconcile("nersc")
    assert said.exit_code == 1, said.output
    assert f"lost  nersc/raw  {key}" in said.output
    assert "what to do: materialize nersc/raw again; there are data832/raw, spot832/raw" in said.output
    assert [one for one in reconciliation.tables.suspects.all() if one.partition == key] == []


def test_what_is_changed_ends_with_1_also_at_one_of_many_places(
    platform: Platform, reconcile: Reconcile, reconciliation: Reconciliation
) -> None:
    key = reconciliation.scan("a")
    os.truncate(raw(platform, "data832", key), 7)
    said = reconcile()
    assert said.exit_code == 1, said.output
    assert f"{Kind.CHANGED}  data832/raw  {key}" in said.output


def test_a_place_that_does_not_answer_is_shown_and_ends_with_0(platform: Platform, reconcile: Reconcile) -> None:
    platform.twin.control.board.change({"down": [platform.settings.beamline.places["alcf"].collection]})
    said = reconcile("alcf")
    assert said.exit_code == 0, said.output
    assert "UNREACHABLE raw: " in said.output


def test_a_place_that_there_is_not_is_refused_with_those_that_there_are(reconcile: Reconcile) -> None:
    said = reconcile("nresc")
    assert isinstance(said.exception, ValueError)
    assert "'nresc'" in str(said.exception)
    assert "nersc" in str(said.exception)
