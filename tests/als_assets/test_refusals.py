"""What must not happen, and what people are told instead: nothing recorded, nothing overwritten, nothing sent."""

import hashlib

import dagster as dg
import h5py
import pytest

from beamlines.layout import Artifact
from beamlines.policy import ExportControl

RAW, PREVIEW = "bl832/data832/raw", "bl832/data832/preview"
JOBS = ("bl832/pscratch/raw", "bl832/pscratch/tiff", "bl832/pscratch/zarr")
RETURNED = ("bl832/nersc/tiff", "bl832/nersc/zarr", "bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")
OFF_SITE = ("bl832/nersc/raw", *JOBS, "bl832/nersc/tiff", "bl832/nersc/zarr")
TRANSFERS = "POST /transfer/v0.10/transfer"
JOB_SUBMITS = "POST /superfacility/compute/jobs/*"


def sent(platform):
    """How much of this test has left: transfers and jobs."""
    return platform.asked(TRANSFERS) + platform.asked(JOB_SUBMITS)


def damage(file):
    """Change one bit, and neither name nor size."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def test_a_scan_that_changed_after_its_announcement_is_not_copied(platform):
    key = platform.measured("changed/a.h5", b"as it was announced")
    with platform.file("spot832", Artifact.RAW, key).open("ab") as file:
        file.write(b", and more")
    said = platform.failure(key, RAW)
    assert "it has changed since it was taken for complete" in said
    assert "Nothing of it is copied or deleted until a person has looked at it" in said
    assert platform.materialized(key, [RAW]) == set()
    assert sent(platform) == 0


def test_a_scan_that_is_found_changed_is_touched_by_nothing_until_a_person_accepts_it(platform):
    key = platform.measured("found-changed/a.h5", b"as it was announced")
    file = platform.file("spot832", Artifact.RAW, key)
    file.write_bytes(b"as it is")
    platform.failure(key, RAW)
    assert platform.standings.of(key).changed is not None
    assert "changed since it was taken for complete" in platform.failure(key, RAW, "bl832/nersc/raw")
    platform.accept(key)
    assert platform.run(key, RAW).success
    assert platform.file("data832", Artifact.RAW, key).read_bytes() == b"as it is"


def test_a_refusal_is_final_and_not_tried_again(platform):
    key = platform.measured("final/a.h5", b"x")
    platform.file("spot832", Artifact.RAW, key).write_bytes(b"another")
    events = platform.run(key, RAW).all_events
    assert [event for event in events if event.event_type is dg.DagsterEventType.STEP_UP_FOR_RETRY] == []


def test_a_scan_that_nobody_announced_is_not_copied(platform):
    platform.add_partition("unannounced/a")
    assert "was never announced" in platform.failure("unannounced/a", RAW)
    assert sent(platform) == 0


def test_what_lies_at_the_destination_and_is_not_ours_stays_as_it_is(platform):
    key = platform.measured("occupied/a.h5", b"the scan")
    foreign = platform.file("data832", Artifact.RAW, key)
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's")
    said = platform.failure(key, RAW)
    assert "a file of 10 bytes lies there" in said
    assert "nothing was touched" in said
    assert foreign.read_bytes() == b"somebody's"
    assert platform.materialized(key, [RAW]) == set()
    assert sent(platform) == 0


def test_an_asset_whose_source_was_never_made_says_so(platform):
    key = platform.measured("too-early/a.h5", b"x")
    for asset in (PREVIEW, "bl832/nersc/raw", *JOBS, *RETURNED):
        assert "Materialize the assets before this one first" in platform.failure(key, asset), asset
    assert sent(platform) == 0


@pytest.mark.parametrize("asset", OFF_SITE)
def test_a_restricted_scan_leaves_by_no_asset(platform, done, asset):
    restricted = platform.but(export_control=ExportControl(default="unrestricted", restricted_folders=("bls-00564_*",)))
    said = restricted.failure(done, asset)
    assert "export controlled" in said
    assert sent(platform) == 0


def test_a_restricted_scan_is_copied_on_site(platform):
    restricted = platform.but(export_control=ExportControl(default="unrestricted", restricted_folders=("secret",)))
    key = restricted.ingested("secret/a.h5")
    assert restricted.materialized(key, [RAW]) == {RAW}


def test_a_scan_that_is_not_whole_is_kept_and_flagged_and_shows_nothing(platform):
    whole = platform.phantom.read_bytes()
    key = platform.measured("stopped/a.h5", whole[: len(whole) // 2])
    assert platform.run(key, RAW, PREVIEW).success
    assert platform.materialized(key, [RAW, PREVIEW]) == {RAW}
    found = platform.evaluation(RAW, "whole", key)
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "truncated" in found.metadata["detail"].value
    assert "truncated" in platform.standings.of(key).aborted


def test_what_a_whole_scan_says_of_itself_is_kept(platform, done):
    standing = platform.standings.of(done)
    assert (standing.aborted, standing.proposal) == (None, "BLS-00000")
    assert platform.evaluation(RAW, "whole", done).metadata["detail"].value == "61 projections, all there"


def test_of_a_restricted_scan_no_picture_is_kept_in_the_event_log(platform):
    restricted = platform.but(export_control=ExportControl(default="unrestricted", restricted_folders=("unseen",)))
    key = restricted.measured("unseen/a.h5")
    assert restricted.run(key, RAW, PREVIEW).success
    assert "first_look" not in restricted.metadata(PREVIEW, key)
    assert list(restricted.file("data832", Artifact.PREVIEW, key).glob("*.png"))


def test_what_a_first_look_finds_are_checks_that_fail_nothing(platform, tmp_path):
    changed = tmp_path / "scan.h5"
    changed.write_bytes(platform.phantom.read_bytes())
    with h5py.File(changed, "r+") as file:
        del file["exchange/data_white"], file["measurement/instrument/detector/pixel_size"]
    key = platform.measured("without/flats.h5", changed.read_bytes())
    assert platform.run(key, RAW, PREVIEW).success
    assert platform.materialized(key, [RAW, PREVIEW]) == {RAW, PREVIEW}
    found = {name: platform.evaluation(PREVIEW, name, key) for name in ("flats_and_darks", "metadata", "beam")}
    assert {name: (one.passed, one.severity) for name, one in found.items()} == {
        "flats_and_darks": (False, dg.AssetCheckSeverity.ERROR),
        "metadata": (False, dg.AssetCheckSeverity.WARN),
        "beam": (True, dg.AssetCheckSeverity.WARN),
    }
    assert found["flats_and_darks"].metadata["detail"].value.startswith("0 flat fields")


def test_a_scan_that_is_cut_off_fails_with_the_programs_own_message(platform):
    whole = platform.phantom.read_bytes()
    key = platform.measured("truncated/a.h5", whole[: len(whole) // 2])
    assert platform.run(key, RAW, "bl832/nersc/raw").success
    said = platform.failure(key, *JOBS)
    assert "ended as failed" in said
    assert "FAILED, exit code" in said
    assert "It is truncated or still being written" in said
    assert platform.materialized(key, JOBS) == set()


def test_a_damaged_product_and_an_occupied_destination_hold_up_no_other_copy(platform):
    key = platform.ingested("damaged/a.h5")
    assert platform.run(key, "bl832/nersc/raw", *JOBS).success
    damage(min(platform.file("pscratch", Artifact.TIFF, key).glob("*.tiff")))
    foreign = platform.file("data832", Artifact.ZARR, key)
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's")
    assert not platform.run(key, *RETURNED).success
    assert platform.materialized(key, RETURNED) == {"bl832/nersc/zarr"}
    assert "nothing was touched" in platform.failure(key, "bl832/data832/nersc_zarr")
    # What the failed attempts left equals the damaged source, and is not believed at the second attempt either.
    assert "EXTERNAL_CHECKSUM_MISMATCH" in platform.failure(key, "bl832/nersc/tiff")
    assert "EXTERNAL_CHECKSUM_MISMATCH" in platform.failure(key, "bl832/data832/nersc_tiff")
    assert platform.materialized(key, RETURNED) == {"bl832/nersc/zarr"}
    assert foreign.read_bytes() == b"somebody's"


def test_a_raw_copy_that_decayed_is_held_against_its_manifest_when_it_is_materialized_again(platform):
    key = platform.ingested("held-against/a.h5")
    raw = platform.file("data832", Artifact.RAW, key)
    manifest = raw.with_name(f"{raw.name}.manifest.json")
    before = manifest.read_bytes()
    damage(raw)
    assert "SHA-256" in platform.failure(key, RAW)
    assert manifest.read_bytes() == before


def test_a_raw_copy_that_decayed_on_site_is_not_passed_on_not_even_at_the_second_attempt(platform):
    key = platform.ingested("decayed/a.h5")
    damage(platform.file("data832", Artifact.RAW, key))
    assert "EXTERNAL_CHECKSUM_MISMATCH" in platform.failure(key, "bl832/nersc/raw")
    assert "EXTERNAL_CHECKSUM_MISMATCH" in platform.failure(key, "bl832/nersc/raw")
    assert platform.materialized(key, ["bl832/nersc/raw"]) == set()


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"center_px": -1.0}, "center_px"),
        ({"center_px": float("nan")}, "center_px"),
        ({"butterworth_cutoff_cycles_per_px": 0.6}, "butterworth_cutoff_cycles_per_px"),
        ({"butterworth_order": 0}, "butterworth_order"),
        ({"minimum_transmission": 1.0}, "minimum_transmission"),
    ],
)
def test_a_setting_outside_its_limits_is_refused_by_name_before_anything_is_sent(platform, done, config, names):
    assert names in platform.failure(done, *JOBS, config=config)
    assert sent(platform) == 0


def test_with_separate_jobs_the_reconstruction_and_the_pyramid_are_two(platform):
    nersc = platform.settings.beamline.facilities["nersc"].model_copy(update={"jobs": "separate"})
    separate = platform.but(facilities={"nersc": nersc})
    key = separate.ingested("separate/a.h5")
    assert separate.run(key, "bl832/nersc/raw", *JOBS).success
    assert platform.asked(JOB_SUBMITS) == 2
    jobs = {asset: separate.metadata(asset, key) for asset in JOBS}
    assert jobs[JOBS[0]]["job_id"] == jobs[JOBS[1]]["job_id"] != jobs[JOBS[2]]["job_id"]
    assert set(jobs[JOBS[2]]["stage_seconds"]) == {"pyramid"}


@pytest.mark.parametrize("name", ["it's; $(touch x)", "new\nline", "-rf", "\u202egpj", "\udcff\udc80", "x" * 190])
def test_a_name_that_a_person_typed_is_harmless_on_the_first_copy(platform, name):
    key = platform.measured(f"hostile/{name}.h5", b"x")
    assert platform.run(key, RAW).success
    landed = platform.file("data832", Artifact.RAW, key)
    assert landed.name == f"{name}.h5"
    said = platform.metadata(RAW, key)
    assert hashlib.sha256(landed.read_bytes()).hexdigest() == said["sha256"]
    assert all(value.isascii() or value.encode("utf-8") for value in said.values() if isinstance(value, str))


def test_the_most_hostile_name_goes_all_the_way(platform):
    key = platform.reconstructed("hostile rec$(id)/rec'\n;\U0001f9ea \u202ex.zarr.h5")
    assert platform.materialized(key, RETURNED) == {*RETURNED}
