"""A restricted scan: no byte leaves in whatever way it is asked for; and what has left can be found and taken back."""

import itertools
import json
import threading
from datetime import UTC, datetime

import dagster as dg
import pytest

from als_assets.bl832 import graph
from als_assets.operations.restrict import There, end_remote_work, off_site_copies, runs_of
from als_assets.operations.withdraw import WITHDRAWN, NotRestrictedError, prove_keeper, withdraw
from beamlines.decisions import Reason
from beamlines.layout import Artifact
from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.errors import CopyNotIntactError
from resources.ledger import Ledger
from resources.work import WorkState
from twin.faults import Fault

RAW = "bl832/data832/raw"
JOBS = ("bl832/pscratch/raw", "bl832/pscratch/tiff", "bl832/pscratch/zarr")
KEPT = ("bl832/nersc/tiff", "bl832/nersc/zarr")
OFF_SITE = ("bl832/nersc/raw", *JOBS, *KEPT)
TRANSFERS = "POST /transfer/v0.10/transfer"
DELETES = "POST /transfer/v0.10/delete"
JOB_SUBMITS = "POST /superfacility/compute/jobs/*"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def sent(platform):
    return platform.asked(TRANSFERS) + platform.asked(JOB_SUBMITS)


def by_announcement(platform, key):
    platform.standings.announced(key, export_control=True, withheld_from=frozenset(), author="spot832", at=NOW)


def by_sidecar(platform, key):
    raw = platform.file("spot832", Artifact.RAW, key)
    raw.with_name(f"{raw.name}.export-control").touch()


def by_operator(platform, key):
    platform.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="contract 7", at=NOW)


RESTRICTIONS = {"announcement": by_announcement, "sidecar": by_sidecar, "operator": by_operator}


@pytest.fixture(scope="module")
def scans(running):
    """A scan for each asset off site, of which everything before that asset was made, and nothing of it."""
    on_site, at_nersc, made = (running.ingested(f"restricted/{name}.h5") for name in ("on-site", "at-nersc", "made"))
    assert running.run(at_nersc, "bl832/nersc/raw").success
    assert running.run(made, "bl832/nersc/raw", *JOBS).success
    return {"bl832/nersc/raw": on_site} | dict.fromkeys(JOBS, at_nersc) | dict.fromkeys(KEPT, made)


@pytest.fixture(params=RESTRICTIONS)
def restrict(platform, scans, request):
    """Restrict a scan in one way; afterwards it is free again."""

    def act(key):
        RESTRICTIONS[request.param](platform, key)
        return key

    yield act
    for key in {*scans.values()}:
        raw = platform.file("spot832", Artifact.RAW, key)
        raw.with_name(f"{raw.name}.export-control").unlink(missing_ok=True)
        platform.standings.lift(key, author="dula", note="test", at=NOW)


@pytest.mark.parametrize("asset", OFF_SITE)
def test_it_leaves_by_no_click_on_an_asset(platform, scans, restrict, asset):
    key = restrict(scans[asset])
    assert "export controlled" in platform.failure(key, asset)
    assert sent(platform) == 0
    assert platform.materialized(key, [asset]) == set()


def test_it_leaves_by_no_run_of_the_branchs_job(platform, scans, restrict):
    key = restrict(scans["bl832/nersc/raw"])
    job = platform.definitions.resolve_job_def("bl832_nersc")
    result = job.execute_in_process(instance=platform.instance, partition_key=key, raise_on_error=False)
    assert not result.success
    assert sent(platform) == 0
    assert platform.materialized(key, OFF_SITE) == set()


def test_it_leaves_by_no_labelled_run(platform, scans, restrict, request):
    key = restrict(scans["bl832/pscratch/tiff"])
    labelled = f"{key}@again"
    platform.add_partition(labelled)
    said = platform.failure(labelled, *JOBS[1:], *KEPT, config={"filter": "butterworth"})
    assert "export controlled" in said
    assert sent(platform) == 0
    assert platform.materialized(labelled, OFF_SITE) == set()


def test_what_came_back_before_it_was_restricted_is_shown_without_a_picture_from_then_on(platform, scans):
    key, asset = scans["bl832/nersc/tiff"], "bl832/data832/nersc_tiff"
    assert platform.run(key, asset).success
    assert "slice" in platform.metadata(asset, key)
    by_operator(platform, key)
    assert platform.run(key, asset).success
    assert "slice" not in platform.metadata(asset, key)
    platform.standings.lift(key, author="dula", note="test", at=NOW)


# -- what is under way -------------------------------------------------------------------------------------------


@pytest.fixture
def parts(platform):
    """The clients as a command has them."""
    with dg.build_resources(platform.resources, instance=platform.instance) as made:
        yield made


def end(platform, parts, scan):
    return end_remote_work(platform.settings.beamline, ScanId.from_key(scan), parts.ending)


@pytest.mark.parametrize(
    ("assets", "hold"),
    [
        (("bl832/nersc/raw",), lambda platform: platform.twin.control.board.change({"start_delay_s": 600})),
        (JOBS, lambda platform: platform.hold_jobs()),
    ],
    ids=["a transfer", "a job"],
)
def test_what_is_on_its_way_is_ended_though_its_worker_lives(platform, parts, request, assets, hold):
    key = platform.ingested(f"on-its-way/{request.node.callspec.id}.h5")
    if assets == JOBS:
        assert platform.run(key, "bl832/nersc/raw").success
    hold(platform)
    outcomes = []
    worker = threading.Thread(target=lambda: outcomes.append(platform.failure(key, *assets)))
    worker.start()
    ledger = Ledger(platform.database)
    platform.eventually(lambda: [record for record in ledger.in_flight_of(key) if record.handle])
    by_operator(platform, key)
    ended = end(platform, parts, key)
    worker.join()
    assert len(ended.ended) == 1
    assert ended.failed == []
    assert "another worker has taken it over, or it has ended" in outcomes[0].lower()
    [record] = [
        record for record in ledger.attempts_of(key) if record.asset != RAW and record.state is WorkState.CANCELED
    ]
    assert record.evidence["detail"] == "canceled: its scan was restricted"
    assert platform.outside_has_ended(record)


def test_what_cannot_be_ended_is_named_and_can_be_tried_again(platform, parts):
    key = platform.ingested("cannot-be-ended/a.h5")
    platform.twin.control.board.change({"start_delay_s": 600})
    outcomes = []
    worker = threading.Thread(target=lambda: outcomes.append(platform.failure(key, "bl832/nersc/raw")))
    worker.start()
    ledger = Ledger(platform.database)
    platform.eventually(lambda: [record for record in ledger.in_flight_of(key) if record.handle])
    platform.twin.control.injector.add(Fault(match="POST */cancel", times=3, status=503))
    first = end(platform, parts, key)
    worker.join()
    assert len(first.failed) == 1
    assert "503" in first.failed[0]
    platform.twin.control.injector.clear()
    second = end(platform, parts, key)
    assert (len(second.ended), second.failed) == (1, [])


def test_the_copy_that_brings_it_on_site_goes_on(platform, parts):
    key = platform.measured("comes-in/a.h5")
    platform.twin.control.board.change({"start_delay_s": 1})
    outcomes = []
    worker = threading.Thread(target=lambda: outcomes.append(platform.run(key, RAW).success))
    worker.start()
    ledger = Ledger(platform.database)
    platform.eventually(lambda: ledger.in_flight_of(key))
    by_operator(platform, key)
    ended = end(platform, parts, key)
    worker.join()
    assert (ended.ended, ended.failed, outcomes) == ([], [], [True])


def test_runs_that_only_bring_it_on_site_are_left_alone(platform):
    beamline = platform.settings.beamline
    built = graph.build(beamline)
    scan = ScanId("runs/a.h5")
    for key in (scan.key, f"{scan.key}@wide", "runs/another"):
        platform.add_partition(key)

    def run(job, key, selection=None):
        definition = platform.definitions.resolve_job_def(job)
        created = platform.instance.create_run_for_job(
            definition, tags={"dagster/partition": key}, asset_selection=selection and frozenset(selection)
        )
        return created.run_id

    run("bl832_ingest", scan.key)
    run("__ASSET_JOB", scan.key, [built.ingested])
    run("bl832_nersc", "runs/another")
    expected = {
        run("bl832_nersc", scan.key),
        run("bl832_nersc_again", f"{scan.key}@wide"),
        run("__ASSET_JOB", scan.key, [built.ingested, dg.AssetKey(["bl832", "nersc", "raw"])]),
    }
    on_site = [built.ingested, dg.AssetKey(["bl832", "data832", "preview"])]
    assert set(runs_of(platform.instance, beamline, scan, on_site)) == expected


# -- what has left -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def labelled(running):
    """A scan with a labelled reconstruction, all of it off site too."""
    key = running.reconstructed("withdrawn/20260701_140000_seed.h5")
    other = f"{key}@butter"
    running.add_partition(other)
    assert running.run(other, *JOBS[1:], *KEPT, config={"filter": "butterworth"}).success
    return key


def left(platform, parts, key):
    beamline = platform.settings.beamline
    copies = graph.build(beamline).copies
    return off_site_copies(platform.instance, beamline, copies, ScanId.from_key(key), parts.transfer)


def test_everything_that_has_left_is_listed_with_its_labels_and_what_nobody_recorded(platform, parts, labelled):
    found = left(platform, parts, labelled)
    products = itertools.product(("nersc", "pscratch"), ("tiff", "zarr"), (None, "butter"))
    assert {(item.copy.place.name, str(item.copy.artifact), item.key.label) for item in found} == {
        ("nersc", "raw", None),
        ("pscratch", "raw", None),
        *products,
    }
    assert all(item.recorded for item in found)
    unrecorded = platform.ingested("unrecorded/a.h5")
    stray = platform.file("nersc", Artifact.RAW, unrecorded)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"nobody knows")
    [item] = left(platform, parts, unrecorded)
    assert (item.recorded, item.there) == (False, There.YES)


def test_a_place_that_cannot_be_seen_is_said_to_be_unseen(platform, parts, labelled):
    platform.twin.control.board.change({"down": [platform.settings.beamline.places["nersc"].collection]})
    found = left(platform, parts, labelled)
    assert {item.there for item in found} == {There.UNSEEN}
    assert all(item.why_unseen for item in found)


def test_an_unrestricted_scan_cannot_be_withdrawn(platform, labelled):
    with pytest.raises(NotRestrictedError):
        prove_keeper(platform.settings.beamline, ScanId.from_key(labelled), platform.standings, SystemClock())


def test_without_an_intact_raw_copy_on_site_nothing_is_withdrawn(platform):
    key = platform.ingested("keeper-lost/a.h5")
    by_operator(platform, key)
    scan, raw = ScanId.from_key(key), platform.file("data832", Artifact.RAW, key)
    content = bytearray(raw.read_bytes())
    content[len(content) // 2] ^= 1
    raw.write_bytes(content)
    with pytest.raises(CopyNotIntactError):
        prove_keeper(platform.settings.beamline, scan, platform.standings, SystemClock())
    raw.unlink()
    with pytest.raises(CopyNotIntactError, match="missing"):
        prove_keeper(platform.settings.beamline, scan, platform.standings, SystemClock())
    assert platform.asked(DELETES) == 0


def test_withdrawn_is_everything_off_site_and_nothing_else_and_each_with_its_record(platform, parts, labelled):
    by_operator(platform, labelled)
    beamline, scan, clock = platform.settings.beamline, ScanId.from_key(labelled), SystemClock()
    on_site = {place: platform.file(place, Artifact.RAW, labelled).read_bytes() for place in ("spot832", "data832")}
    keeper = prove_keeper(beamline, scan, platform.standings, clock)
    found = left(platform, parts, labelled)
    stores = (parts.transfer, platform.standings, platform.instance, clock)
    gone = list(withdraw(beamline, scan, found, keeper, *stores, author="dula", note="contract 7"))
    assert len(gone) == len(found) == 10
    for item in found:
        assert not platform.file(item.copy.place.name, item.copy.artifact, str(item.key)).exists()
        assert not platform.manifest(item.copy.place.name, item.copy.artifact, str(item.key)).exists()
    assert {place: platform.file(place, Artifact.RAW, labelled).read_bytes() for place in on_site} == on_site
    assert platform.file("data832", Artifact.TIFF, labelled).is_dir()
    certificates = [
        json.loads(entry.detail) for entry in platform.standings.history(labelled) if entry.what == WITHDRAWN
    ]
    assert [item["state"] for item in certificates] == ["begun", "done"] * len(found)
    assert all(item["keeper"]["bytes"] == len(on_site["data832"]) for item in certificates)
    assert [len(item["receipts"]) for item in certificates] == [0, 2] * len(found)
    again = left(platform, parts, labelled)
    assert {item.there for item in again} == {There.NO}
