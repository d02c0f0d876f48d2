"""Two results of a scan side by side, as an asset: what is said, where it lies, and what is left alone."""

import hashlib
import json
from pathlib import Path

import dagster as dg
import pytest

from als_assets.comparison import results_here
from als_assets.registry import build_graph
from beamlines.layout import Artifact
from beamlines.policy import ExportControl
from beamlines.scans import PartitionKey

COMPARISON = "bl832/data832/comparison"
PRODUCTS = ("bl832/pscratch/tiff", "bl832/pscratch/zarr", "bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")


def compared(platform, key, **config):
    """Compare a partition's result with another, as the job does."""
    job = platform.definitions.resolve_job_def("bl832_compare")
    return job.execute_in_process(
        instance=platform.instance,
        partition_key=key,
        run_config={"ops": {"data832_comparison": {"config": config}}},
        raise_on_error=False,
    )


def files(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def smooth(running, done):
    """A labelled reconstruction beside the first one."""
    running.twin.control.board.change({"retry_delay_s": 0.02})
    labelled = f"{done}@smooth"
    running.add_partition(labelled)
    assert running.run(labelled, *PRODUCTS, config={"filter": "butterworth"}).success
    return labelled


def test_a_comparison_shows_a_picture_the_settings_that_differ_and_the_figures(platform, smooth):
    assert compared(platform, smooth).success
    said = platform.metadata(COMPARISON, smooth)
    assert said["slice"].startswith("![")
    assert len(said["slice"]) < 100_000
    assert (said["first"], said["second"]) == (smooth.partition("@")[0], smooth)
    assert [record.data for record in said["settings_that_differ"].records] == [
        {"setting": "filter", "first": "ramp", "second": "butterworth"}
    ]
    assert [record.data["row"] for record in said["difference"].records] == ["4", "8", "12"]
    assert platform.evaluation(COMPARISON, "manifest", smooth).passed


def test_the_whole_picture_lies_beside_the_data_and_the_results_are_untouched(platform, done, smooth):
    results = [platform.file("data832", Artifact.TIFF, key).parent for key in (done, smooth)]
    before = [files(folder) for folder in results]
    assert compared(platform, smooth).success
    assert [files(folder) for folder in results] == before
    folder = Path(platform.metadata(COMPARISON, smooth)["path"])
    assert folder == platform.file("data832", Artifact.COMPARISON, smooth) / "nersc"
    assert {path.name for path in folder.iterdir()} == {"comparison.png", "comparison.json"}
    assert json.loads((folder.parent / "nersc.comparison.manifest.json").read_text())["artifact"] == "comparison"


def test_the_other_way_round_it_is_a_comparison_of_its_own(platform, done, smooth):
    assert compared(platform, done, first="smooth").success
    assert Path(platform.metadata(COMPARISON, done)["path"]).name == "nersc.smooth"
    turned = platform.metadata(COMPARISON, done)["settings_that_differ"].records[0].data
    assert (turned["first"], turned["second"]) == ("butterworth", "ramp")


def test_a_result_is_not_compared_with_itself_and_nothing_is_painted(platform, done):
    key = platform.measured("alone-compared/a.h5", b"x")
    assert compared(platform, key).success
    assert platform.materialized(key, [COMPARISON]) == set()


def test_a_label_that_was_never_made_is_named(platform, done):
    result = compared(platform, done, first="nobody")
    failure = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert ".nobody is not there" in failure.user_failure_data.description


def test_a_facility_that_keeps_nothing_on_site_is_refused_in_the_launchpad(platform, smooth):
    with pytest.raises(dg.DagsterInvalidConfigError, match="facility"):
        compared(platform, smooth, facility="moon")


def test_where_a_stack_is_gone_the_pyramids_are_compared(platform, done, smooth):
    results = build_graph(platform.settings.beamline).compare.results["nersc"]
    first, second = PartitionKey.parse(done), PartitionKey.parse(smooth)
    mounted = [copy.location(second).here for copy in results]
    manifest = results[0].manifest(second).here
    hidden = manifest.rename(manifest.with_suffix(".hidden"))
    try:
        found = results_here(results, first, second)
    finally:
        hidden.rename(manifest)
    assert found[1].here == mounted[1]
    assert all(location.here.suffix == ".zarr" for location in found)


def test_of_a_restricted_scan_no_picture_is_kept_in_the_event_log(platform, smooth):
    restricted = platform.but(export_control=ExportControl(default="unrestricted", restricted_folders=("bls-00564_*",)))
    assert compared(restricted, smooth).success
    said = restricted.metadata(COMPARISON, smooth)
    assert "slice" not in said
    assert (Path(said["path"]) / "comparison.png").exists()
