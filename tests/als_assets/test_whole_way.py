"""One scan through the whole graph, against the twin: what is there in the end, and what is said of it."""

import base64
import hashlib
import json

import pytest

from als_assets.checks import QUALITY
from beamlines.layout import Artifact

ARRIVAL = "bl832/spot832/raw"
INGEST = ("bl832/data832/raw", "bl832/data832/preview")
JOBS = ("bl832/pscratch/raw", "bl832/pscratch/tiff", "bl832/pscratch/zarr")
RETURNED = ("bl832/nersc/tiff", "bl832/nersc/zarr", "bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")
BRANCH = ("bl832/nersc/raw", *JOBS, *RETURNED)
PRODUCTS = (*JOBS[1:], *RETURNED)
COPIES = ("bl832/data832/raw", "bl832/nersc/raw", *RETURNED)
CHECKS = {
    "bl832/data832/raw": {"files", "size", "checksum", "whole"},
    "bl832/data832/preview": {"manifest", *QUALITY},
    "bl832/nersc/raw": {"files", "size", "checksum"},
    "bl832/pscratch/raw": {"checksum"},
    "bl832/pscratch/tiff": {"manifest"},
    "bl832/pscratch/zarr": {"manifest"},
    "bl832/nersc/tiff": {"files", "size", "checksum"},
    "bl832/nersc/zarr": {"files", "size", "checksum"},
    "bl832/data832/nersc_tiff": {"files", "size", "checksum"},
    "bl832/data832/nersc_zarr": {"files", "size", "checksum", "readable"},
}
OTHERS = {
    "bl832/data832/comparison": {"manifest"},
    **{f"bl832/{facility}/status": {"credentials"} for facility in ("nersc", "olcf")},
    **{f"bl832/{facility}/raw": {"files", "size", "checksum"} for facility in ("alcf", "olcf")},
    **{f"bl832/{facility}/{product}": {"manifest"} for facility in ("alcf", "olcf") for product in ("tiff", "zarr")},
    **{f"bl832/data832/{facility}_tiff": {"files", "size", "checksum"} for facility in ("alcf", "olcf")},
    **{f"bl832/data832/{facility}_zarr": {"files", "size", "checksum", "readable"} for facility in ("alcf", "olcf")},
    **{f"bl832/data832/local_{product}": {"manifest"} for product in ("tiff", "zarr")},
    "bl832/scicat/raw": {"entry"},
    **{f"bl832/scicat/{facility}_reconstruction": {"entry"} for facility in ("nersc", "local", "alcf", "olcf")},
}
"""Not of the branch that takes new scans, and their checks."""
WITHOUT_CHECKS = {"bl832/alcf/status", "bl832/local/status"}
TRANSFERS = "POST /transfer/v0.10/transfer"
JOB_SUBMITS = "POST /superfacility/compute/jobs/*"


def test_every_asset_of_the_scan_is_there(platform, done):
    assert platform.materialized(done) == {ARRIVAL, *INGEST, *BRANCH}


def test_the_graph_has_these_assets_and_no_others(platform):
    graph = platform.definitions.resolve_asset_graph()
    places = platform.settings.beamline.retention.places
    of_places = {f"bl832/{place}/{what}" for place in places for what in ("retention", "reconciliation")}
    named = {ARRIVAL, *INGEST, *BRANCH, *OTHERS, *WITHOUT_CHECKS, *of_places}
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == named


def test_every_copy_has_its_checks_and_no_others(platform):
    graph = platform.definitions.resolve_asset_graph()
    found: dict[str, set[str]] = {}
    for check in graph.asset_check_keys:
        found.setdefault(check.asset_key.to_user_string(), set()).add(check.name)
    assert found == CHECKS | OTHERS


def test_every_check_passed_for_this_scan(platform, done):
    for asset, names in CHECKS.items():
        evaluations = {name: platform.evaluation(asset, name, done) for name in names}
        assert {name: found.passed for name, found in evaluations.items()} == dict.fromkeys(names, True), asset
        assert all(found.metadata["detail"].value for found in evaluations.values())


@pytest.mark.parametrize("asset", [*INGEST, *BRANCH])
def test_every_copy_says_where_it_is_how_large_and_how_long_it_took(platform, done, asset):
    said = platform.metadata(asset, done)
    assert said["path"].startswith("/")
    assert said["scan"] == "BLS-00564_dyparkinson/20260701_120000_rock.h5"
    assert said["files"] >= 1
    assert said["bytes"] > 0
    assert said["seconds"] >= 0


@pytest.mark.parametrize("asset", COPIES)
def test_a_copied_asset_names_its_globus_task_and_how_it_was_verified(platform, done, asset):
    said = platform.metadata(asset, done)
    assert said["globus_task"] in {task.id for task in platform.twin.engine.tasks()}
    assert said["checksum_evidence"] in ("globus checksum", "external sha256")
    assert said["remote_began"] <= said["remote_ended"]


@pytest.mark.parametrize("asset", JOBS)
def test_an_asset_of_a_job_names_the_job_its_state_and_the_end_of_its_log(platform, done, asset):
    said = platform.metadata(asset, done)
    assert int(said["job_id"]) in {job.job_id for job in platform.jobs}
    assert said["job_state"] == "COMPLETED"
    assert "als-step" in said["log_tail"]
    assert set(said["stage_seconds"]) == {"stage", "reconstruct"}  # which makes the pyramid too
    assert said["checksum_evidence"]


@pytest.mark.parametrize("asset", PRODUCTS)
def test_a_product_says_with_which_settings_and_program_it_was_made(platform, done, asset):
    said = platform.metadata(asset, done)
    assert said["program"].startswith("tomography ")
    assert said["settings"]


@pytest.mark.parametrize("asset", PRODUCTS)
def test_a_product_shows_a_slice_small_enough_for_the_event_log(platform, done, asset):
    picture = platform.metadata(asset, done)["slice"]
    assert len(picture) < 100_000
    encoded = picture.split("data:image/png;base64,")[1].rstrip(")")
    assert base64.b64decode(encoded, validate=True).startswith(b"\x89PNG")


def test_the_first_look_is_one_picture_with_a_page_beside_the_data(platform, done):
    said = platform.metadata("bl832/data832/preview", done)
    assert len(said["first_look"]) < 100_000
    encoded = said["first_look"].split("data:image/jpeg;base64,")[1].rstrip(")")
    assert base64.b64decode(encoded, validate=True).startswith(b"\xff\xd8")
    page = platform.file("data832", Artifact.PREVIEW, done) / "look.html"
    assert said["page"] == str(page)
    assert page.read_bytes().startswith(b"<!DOCTYPE html>")


def test_the_raw_copies_name_the_sha256_of_the_file_that_was_measured(platform, done):
    measured = hashlib.sha256(platform.phantom.read_bytes()).hexdigest()
    for asset, place in (("bl832/data832/raw", "data832"), ("bl832/nersc/raw", "nersc")):
        assert platform.metadata(asset, done)["sha256"] == measured
        assert hashlib.sha256(platform.file(place, Artifact.RAW, done).read_bytes()).hexdigest() == measured
        assert json.loads(platform.manifest(place, Artifact.RAW, done).read_text())["files"][0]["sha256"] == measured


@pytest.mark.parametrize("artifact", [Artifact.TIFF, Artifact.ZARR])
def test_what_came_back_is_byte_for_byte_what_the_job_wrote(platform, done, artifact):
    written = _contents(platform.file("pscratch", artifact, done))
    assert written
    assert _contents(platform.file("nersc", artifact, done)) == written
    assert _contents(platform.file("data832", artifact, done)) == written


def test_one_scan_needs_six_transfers_and_one_job(platform, done):
    assert platform.counted == {TRANSFERS: 6, JOB_SUBMITS: 1}


def test_made_again_with_the_same_settings_nothing_is_sent_and_no_job_is_started(platform, done):
    assert platform.run(done, *INGEST, *BRANCH).success
    assert platform.asked(TRANSFERS) == 0
    assert platform.asked(JOB_SUBMITS) == 0


def test_one_product_at_one_place_can_be_made_alone_and_the_others_later(platform):
    key = platform.ingested("alone/a.h5")
    assert platform.run(key, "bl832/nersc/raw", *JOBS, "bl832/nersc/zarr").success
    assert platform.materialized(key, BRANCH) == {"bl832/nersc/raw", *JOBS, "bl832/nersc/zarr"}
    assert not platform.file("nersc", Artifact.TIFF, key).exists()
    assert not platform.file("data832", Artifact.ZARR, key).exists()
    assert platform.run(key, *RETURNED).success
    assert platform.materialized(key, BRANCH) == {*BRANCH}


def test_one_product_can_be_asked_for_again_after_all_were_made(platform, done):
    assert platform.run(done, "bl832/nersc/zarr").success
    assert platform.asked(TRANSFERS) == 0


def _contents(folder):
    return {
        path.relative_to(folder).as_posix().replace(folder.name, ""): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
