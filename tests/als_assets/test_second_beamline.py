"""Another beamline is a YAML file, and a line that says what builds its graph."""

import re
from pathlib import Path

import dagster as dg
import pytest

from als_assets.bl832 import graph as bl832
from als_assets.definitions import compose
from als_assets.registry import BUILDERS, build_graph
from beamlines.config import Beamline, ConfigurationError, parse_beamline
from resources.settings import PROJECT, Settings, load_settings

FILE = Path(__file__).with_name("second_beamline.yaml")


@pytest.fixture(scope="module")
def beamline() -> Beamline:
    return parse_beamline(FILE.read_text(), source=str(FILE))


@pytest.fixture
def definitions(beamline: Beamline, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    deployment = load_settings(PROJECT / "config" / "twin.yaml", {}).deployment
    monkeypatch.setitem(BUILDERS, "bl901", bl832.build)
    return compose(Settings(deployment, beamline))


def test_its_whole_graph_is_built_from_its_file(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys == {
        "bl901/hutch/raw",
        "bl901/shed/raw",
        "bl901/shed/preview",
        *(
            "bl901/north/raw",
            "bl901/ice/raw",
            "bl901/ice/tiff",
            "bl901/ice/zarr",
            "bl901/north/tiff",
            "bl901/north/zarr",
        ),
        *("bl901/shed/pole_tiff", "bl901/shed/pole_zarr", "bl901/shed/dunes_tiff", "bl901/shed/dunes_zarr"),
        *("bl901/pole/status", "bl901/dunes/status"),
        "bl901/shed/comparison",
        *("bl901/desert/raw", "bl901/sand/raw", "bl901/sand/tiff", "bl901/sand/zarr"),
    }


def test_it_has_jobs_routers_and_partitions_of_its_own(definitions: dg.Definitions) -> None:
    jobs = {job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    branches = {"bl901_pole", "bl901_dunes", "bl901_pole_again", "bl901_dunes_again"}
    of_all = {f"bl901_{name}" for name in ("ingest", "announce", "register", "compare", "prune", "tell")}
    assert jobs == of_all | branches
    sensors = {sensor.name for sensor in definitions.sensors or []}
    assert sensors == {
        *("bl901_new_scans", "bl901_route_to_pole", "bl901_route_to_dunes"),
        *("bl901_facility_status", "bl901_reconciler", "bl901_messages"),
    }
    assert [one.name for one in definitions.schedules or []] == ["bl901_prune_schedule"]  # and for no flight check
    graph = definitions.resolve_asset_graph()
    partitions = [graph.get(key).partitions_def for key in graph.get_all_asset_keys()]
    assert {one.name for one in partitions if isinstance(one, dg.DynamicPartitionsDefinition)} == {"bl901_scans"}


def test_nothing_of_the_first_beamline_is_in_it(definitions: dg.Definitions) -> None:
    said = [
        text
        for spec in definitions.resolve_all_asset_specs()
        for text in (spec.key.to_user_string(), spec.description or "", spec.group_name or "")
    ]
    said += [f"{job.name} {job.description}" for job in definitions.resolve_all_job_defs()]
    assert [text for text in said if re.search(r"832|nersc|alcf", text)] == []


def test_a_beamline_without_a_graph_is_told_where_it_is_registered(beamline: Beamline) -> None:
    with pytest.raises(ConfigurationError, match=r"no graph for beamline 'bl901'; als_assets/registry.py"):
        build_graph(beamline)
