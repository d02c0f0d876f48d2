"""A scan reconstructed again: beside the first result, never over it; a refusal leaves all that is there as it was."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.storage.partition_status_cache import (
    build_failed_and_in_progress_partition_subset,
    get_last_planned_storage_id,
)

from als_assets.naming import scan_partitions
from als_assets.operations.again import CannotReconstructError, refuse_to_forget, refuse_what_cannot_be
from als_assets.registry import build_graph
from beamlines.decisions import Reason
from beamlines.layout import Artifact
from beamlines.scans import PartitionKey
from resources.errors import NotAllowedError
from resources.owner import Owner
from resources.work import WorkKey, WorkState
from tomography.settings import Settings

INGEST = ("bl832/data832/raw", "bl832/data832/preview")
RAW = (*INGEST, "bl832/nersc/raw", "bl832/pscratch/raw")
MADE = ("bl832/pscratch/tiff", "bl832/pscratch/zarr")
KEPT = ("bl832/nersc/tiff", "bl832/nersc/zarr", "bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")
JOBS = ("bl832/pscratch/raw", *MADE)
BRANCH = ("bl832/nersc/raw", *JOBS, *KEPT)
TRANSFERS = "POST /transfer/v0.10/transfer"
JOB_SUBMITS = "POST /superfacility/compute/jobs/*"


def sent(platform):
    """Transfers and jobs of this test."""
    return platform.asked(TRANSFERS) + platform.asked(JOB_SUBMITS)


def red(platform, asset):
    """The partitions that the asset's page shows as failed, found as Dagster's webserver finds them."""
    instance, key = platform.instance, dg.AssetKey(asset.split("/"))
    partitions = scan_partitions(platform.settings.beamline)
    with partition_loading_context(dynamic_partitions_store=instance):
        planned = get_last_planned_storage_id(instance, key, instance.get_asset_records([key])[0])
        failed, _, _ = build_failed_and_in_progress_partition_subset(instance, key, partitions, planned)
        return set(failed.get_partition_keys())


def last_run(platform, key):
    return platform.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": key}), limit=1)[0]


def observed(platform, asset, key):
    """What was observed of a partition last."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset.split("/")), asset_partitions=[key])
    return platform.instance.fetch_observations(wanted, limit=1).records[0].asset_observation.description


def again(platform, key, label, **config):
    """A labelled reconstruction, as its job makes it; its partition."""
    labelled = f"{key}@{label}"
    platform.add_partition(labelled)
    assert platform.run(labelled, *MADE, *KEPT, config=config).success
    return labelled


@pytest.fixture(scope="module")
def fine(running, done):
    """A labelled reconstruction of the scan that has gone all the way."""
    running.twin.control.board.change({"retry_delay_s": 0.02})
    return again(running, done, "fine", filter="butterworth", butterworth_cutoff_cycles_per_px=0.4)


@pytest.mark.parametrize("assets", [JOBS, ("bl832/pscratch/tiff",)])
def test_other_settings_under_the_same_key_are_refused_and_what_is_there_stays(platform, done, assets):
    before = contents(platform, Artifact.TIFF, done)
    said = platform.failure(done, *assets, config={"filter": "butterworth"})
    assert "other settings" in said
    assert "run the partition <scan>@<another label>" in said
    assert contents(platform, Artifact.TIFF, done) == before
    assert sent(platform) == 0


def test_other_settings_under_the_same_label_are_refused_and_what_is_there_stays(platform, fine):
    before = contents(platform, Artifact.TIFF, fine)
    assert "other settings" in platform.failure(fine, *MADE, *KEPT, config={"rings": "none"})
    assert contents(platform, Artifact.TIFF, fine) == before
    assert sent(platform) == 0


def test_a_refused_run_ends_as_canceled_and_the_partition_stays_green(platform, fine):
    platform.failure(fine, *MADE, *KEPT, config={"rings": "none"})
    assert last_run(platform, fine).status is dg.DagsterRunStatus.CANCELED
    assert all(fine not in red(platform, asset) for asset in (*MADE, *KEPT))
    assert "other settings" in observed(platform, MADE[0], fine)


def test_a_run_that_fails_paints_its_partition_red(platform):
    whole = platform.phantom.read_bytes()
    key = platform.measured("again-red/a.h5", whole[: len(whole) // 2])
    assert platform.run(key, INGEST[0], "bl832/nersc/raw").success
    platform.failure(key, *JOBS)
    assert key in red(platform, MADE[0])


def test_the_same_settings_under_the_same_label_are_nothing_new(platform, fine):
    again(platform, *fine.split("@"), filter="butterworth", butterworth_cutoff_cycles_per_px=0.4)
    assert sent(platform) == 0


def test_a_product_that_was_lost_is_made_again_with_the_settings_of_its_label(platform, done):
    labelled = again(platform, done, "lost", minimum_transmission=0.02)
    before = contents(platform, Artifact.TIFF, labelled)
    min(platform.file("pscratch", Artifact.TIFF, labelled).glob("*.tiff")).unlink()
    jobs = platform.asked(JOB_SUBMITS)
    assert platform.run(labelled, *MADE, config={"minimum_transmission": 0.02}).success
    assert platform.asked(JOB_SUBMITS) == jobs + 1
    assert contents(platform, Artifact.TIFF, labelled) == before


def test_two_labels_lie_side_by_side_and_the_first_result_is_untouched(platform, done, fine):
    first = {a: contents(platform, a, done) for a in (Artifact.TIFF, Artifact.ZARR)}
    coarse = again(platform, done, "coarse", filter="butterworth", butterworth_cutoff_cycles_per_px=0.1)
    assert {a: contents(platform, a, done) for a in first} == first
    folders = {platform.file("data832", Artifact.TIFF, key).name for key in (done, fine, coarse)}
    name = platform.file("data832", Artifact.TIFF, done).name
    assert folders == {name, f"{name}.fine", f"{name}.coarse"}
    made = [set(contents(platform, Artifact.TIFF, key).values()) for key in (done, fine, coarse)]
    assert len(set.union(*made)) == sum(len(one) for one in made)


def test_what_was_made_under_a_label_are_its_products_and_nothing_else(platform, fine):
    assert platform.materialized(fine) == {*MADE, *KEPT}


@pytest.mark.parametrize("asset", [*MADE, *KEPT])
def test_a_labelled_result_says_with_which_settings_and_program_it_was_made(platform, fine, asset):
    said = platform.metadata(asset, fine)
    settings = said["settings"].get("reconstruction", said["settings"])
    assert (settings["filter"], settings["butterworth_cutoff_cycles_per_px"]) == ("butterworth", 0.4)
    assert said["program"].startswith("tomography ")


@pytest.mark.parametrize("asset", MADE)
def test_a_labelled_result_says_in_which_image_its_program_ran(platform, fine, asset):
    image = platform.settings.beamline.facilities["nersc"].program.image
    assert platform.metadata(asset, fine)["program_from"] == image


def test_its_manifest_says_so_too_beside_the_files(platform, fine):
    manifest = json.loads(platform.manifest("data832", Artifact.TIFF, fine).read_text())
    assert manifest["settings"]["butterworth_cutoff_cycles_per_px"] == 0.4


@pytest.mark.parametrize("asset", RAW)
def test_a_raw_asset_is_refused_under_a_label_and_nothing_is_recorded_or_painted(platform, done, asset):
    labelled = f"{done}@raw-again"
    platform.add_partition(labelled)
    assert "raw files have no labels" in platform.failure(labelled, asset)
    assert last_run(platform, labelled).status is dg.DagsterRunStatus.CANCELED
    assert "raw files have no labels" in observed(platform, asset, labelled)
    assert labelled not in red(platform, asset)
    assert platform.materialized(labelled) == set()
    assert sent(platform) == 0


def test_a_whole_branch_under_a_label_makes_nothing_and_paints_nothing(platform, fine):
    # "Missing" on the page of the branch's job runs exactly this.
    assert "the jobs called ..._again" in platform.failure(fine, *BRANCH)
    assert sent(platform) == 0
    assert all(fine not in red(platform, asset) for asset in BRANCH)


@pytest.mark.parametrize("label", ["zarr", "H5", "-".join("x" * 20), "a b", "", "../up", "x@y"])
def test_a_label_that_no_path_could_bear_is_refused_in_words(platform, done, label):
    labelled = f"{done}@{label}"
    platform.add_partition(labelled)
    assert "A partition is a scan's path" in platform.failure(labelled, *MADE)
    assert sent(platform) == 0


def contents(platform, artifact, key):
    folder = platform.file("data832", artifact, key)
    return {
        path.relative_to(folder).as_posix().replace(folder.name, ""): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


# -- before any run ----------------------------------------------------------------------------------------------


@dataclass
class Parts:
    """What `als reconstruct` asks before it starts a run."""

    platform: Any
    gate: Any
    ledger: Any

    @property
    def graph(self):
        return build_graph(self.platform.settings.beamline)

    def asked_for(self, partition, **settings):
        beamline, instance = self.platform.settings.beamline, self.platform.instance
        key, wanted = PartitionKey.parse(partition), Settings.model_validate(settings)
        return refuse_what_cannot_be(instance, beamline, self.gate, self.graph.again["nersc"], key, wanted)

    def forget(self, partition):
        beamline, instance = self.platform.settings.beamline, self.platform.instance
        refuse_to_forget(instance, beamline, self.graph, self.ledger, PartitionKey.parse(partition))


@pytest.fixture
def parts(platform):
    with dg.build_resources(platform.resources, instance=platform.instance) as made:
        yield Parts(platform, made.gate, made.ledger)


def test_a_new_label_can_be_begun(parts, done):
    assert parts.asked_for(f"{done}@new", center_px=31.0) is None


def test_the_same_settings_once_more_are_known_as_such(parts, fine):
    found = parts.asked_for(fine, filter="butterworth", butterworth_cutoff_cycles_per_px=0.4)
    assert found.where == "bl832/pscratch/tiff"


def test_other_settings_are_refused_with_those_that_it_had(parts, fine):
    with pytest.raises(CannotReconstructError) as refused:
        parts.asked_for(fine, filter="butterworth", center_px=31.0)
    said = str(refused.value)
    assert "center_px: not given there, 31.0 asked for" in said
    assert "butterworth_cutoff_cycles_per_px: 0.4 there, 0.25 asked for" in said
    assert "rings" not in said


def test_what_a_run_is_making_now_counts_as_there(parts, platform, done):
    partition = f"{done}@underway"
    again = parts.graph.again["nersc"]
    platform.instance.create_run_for_job(
        platform.definitions.resolve_job_def(again.job.name),
        run_config=again.config(Settings(rings="none")),
        tags={"dagster/partition": partition},
        status=dg.DagsterRunStatus.STARTED,
    )
    assert parts.asked_for(partition, rings="none").run_id is not None
    with pytest.raises(CannotReconstructError, match="rings: none there, mean-sinogram asked for"):
        parts.asked_for(partition)
    platform.add_partition(partition)
    with pytest.raises(CannotReconstructError, match="terminate it first"):
        parts.forget(partition)


def test_a_scan_without_a_raw_copy_at_the_facility_is_refused_at_once(parts, platform):
    key = platform.ingested("again-no-raw/a.h5")
    with pytest.raises(CannotReconstructError, match="materialize bl832/nersc/raw of the partition again-no-raw/a"):
        parts.asked_for(f"{key}@x")


def test_a_restricted_scan_is_refused_at_once(parts, platform):
    key = platform.ingested("again-restricted/a.h5")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    platform.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="contract 7", at=at)
    with pytest.raises(NotAllowedError, match="restricted-by-operator"):
        parts.asked_for(f"{key}@x")


def test_the_label_of_old_results_is_refused_at_once(parts, done):
    with pytest.raises(CannotReconstructError, match="take another"):
        parts.asked_for(f"{done}@legacy")


def test_a_mistyped_label_can_be_forgotten(parts, platform, done):
    platform.add_partition(f"{done}@typo")
    parts.forget(f"{done}@typo")


def test_a_label_under_which_something_was_made_is_not_forgotten(parts, fine):
    with pytest.raises(CannotReconstructError, match="while it lies there the label stays"):
        parts.forget(fine)


def test_a_label_under_which_a_job_has_run_is_not_forgotten_even_if_nothing_was_recorded(parts, platform, done):
    platform.add_partition(f"{done}@unrecorded")
    key = WorkKey("bl832/pscratch/raw+tiff+zarr", f"{done}@unrecorded", "s", "f")
    now = datetime.now(UTC)
    claimed = parts.ledger.claim(key, Owner.this_process("test"), now)
    parts.ledger.finish(claimed.record, WorkState.SUCCEEDED, {}, now)
    with pytest.raises(CannotReconstructError, match="lies there perhaps"):
        parts.forget(f"{done}@unrecorded")


@pytest.mark.parametrize(("label", "says"), [("", "is a scan itself"), ("@never", "nothing to forget")])
def test_a_scan_itself_and_a_label_that_is_not_there_are_not_forgotten(parts, done, label, says):
    with pytest.raises(CannotReconstructError, match=says):
        parts.forget(f"{done}{label}")
