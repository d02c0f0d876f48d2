"""What is not said of a place: of what nobody can tell, or what is only being made."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from als_assets.definitions import compose
from als_assets.reconciliation.looking import MOST_UNANSWERED, Look
from beamlines.places import Store
from beamlines.reconciliation import Compared, Kind
from beamlines.scans import ScanId
from resources.testing import HastyClock
from tests.als_assets.conftest import Platform, to_key
from tests.als_assets.reconciliation.holding import LATER, LISTINGS, Reconciliation, below, raw
from twin.faults import Fault


def test_below_a_folder_that_cannot_be_listed_nothing_is_lost(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    inside, beside = reconciliation.scan("closed/a"), reconciliation.scan("b")
    for key in (inside, beside):
        raw(platform, "data832", key).unlink()
    place = platform.settings.beamline.places["data832"]
    closed = place.at(Store.RAW, f"{reconciliation.folder}/closed").on_collection
    platform.twin.control.board.change({"denied": [{"collection": place.collection, "prefix": closed}]})
    report = reconciliation.look("data832")
    assert list(below(reconciliation.folder, report.findings)) == [(Kind.LOST, "b.h5")]
    assert "PermissionDenied" in report.unreachable[f"raw/{reconciliation.folder}/closed"]


def test_a_place_that_does_not_answer_has_nothing_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    raw(platform, "data832", reconciliation.scan("a")).unlink()
    collection = platform.settings.beamline.places["data832"].collection
    platform.twin.control.board.change({"down": [collection]})
    report = reconciliation.look("data832")
    assert report.findings == []
    assert set(report.unreachable) == {"raw", "scratch/globus_share"}


def test_a_store_that_shows_nothing_at_all_has_nothing_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    reconciliation.scan("a", "bl832/nersc/raw")
    store = Path(platform.settings.beamline.places["nersc"].at(Store.RAW, "").posix)
    away = store.with_name("raw-away")
    store.rename(away)
    try:
        assert [finding for finding in reconciliation.look("nersc").findings if "raw/" in finding.path] == []
        store.mkdir()
        report = reconciliation.look("nersc")
        assert [finding for finding in report.findings if finding.path.startswith("raw/")] == []
        assert "dying" in report.unreachable["raw"]
    finally:
        store.rmdir()
        away.rename(store)


def test_a_place_that_stops_answering_is_not_asked_for_every_folder(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    for number in range(12):
        raw(platform, "spot832", platform.measured(f"{reconciliation.folder}-{number}/a.h5")).unlink()
    collection = platform.settings.beamline.places["spot832"].collection
    platform.twin.control.injector.add(
        Fault(match=f"GET /transfer/v0.10/operation/endpoint/{collection}/ls", status=502, times=1000, skip=1)
    )
    before = platform.asked(LISTINGS)
    report = reconciliation.look("spot832")
    assert [finding for finding in report.findings if f"{reconciliation.folder}-" in finding.path] == []
    assert any("stopped answering" in why for why in report.unreachable.values())
    assert platform.asked(LISTINGS) - before == 1 + 3 * MOST_UNANSWERED, "each is asked three times by the client"


def test_a_deletion_with_a_certificate_is_not_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    key = reconciliation.scan("a", "bl832/nersc/raw")
    clock = dg.ResourceDefinition.hardcoded_resource(HastyClock(timedelta(minutes=2)))
    asked = {"partition": key, "one_minute": True, "author": "dula", "note": "a test"}
    job = compose(platform.settings, clock=clock).resolve_job_def("bl832_retention_data832")
    config = {"ops": {"look_through_data832": {"config": asked}}}
    assert job.execute_in_process(instance=platform.instance, run_config=config).success
    assert not raw(platform, "data832", key).exists()
    assert reconciliation.found("data832") == []
    raw(platform, "data832", key).write_bytes(b"again")
    assert reconciliation.found("data832") == [(Kind.DARK, "a.h5")]


def test_a_copy_that_is_being_made_is_neither_dark_nor_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    made, remade = reconciliation.folder + "/made.h5", reconciliation.scan("remade")
    reconciliation.lies("data832", "made.h5")
    raw(platform, "data832", remade).unlink()
    assert reconciliation.found("data832") == [(Kind.DARK, "made.h5"), (Kind.LOST, "remade.h5")]
    runs = [
        platform.instance.create_run_for_job(
            platform.definitions.resolve_job_def("bl832_ingest"),
            tags={"dagster/partition": key},
            status=dg.DagsterRunStatus.STARTED,
        )
        for key in (ScanId(made).key, remade)
    ]
    try:
        assert reconciliation.found("data832") == []
    finally:
        for run in runs:
            platform.instance.delete_run(run.run_id)


def test_what_comes_back_or_is_recorded_while_the_place_is_walked_through_is_not_found(
    platform: Platform, reconciliation: Reconciliation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, dark = reconciliation.scan("a"), ScanId(f"{reconciliation.folder}/dark.h5").key
    file, away = raw(platform, "data832", key), raw(platform, "data832", key).with_suffix(".away")
    file.rename(away)
    reconciliation.lies("data832", "dark.h5")
    walked = Look.through

    def through(look: Look) -> Iterator[Compared]:
        yield from walked(look)
        away.rename(file)
        event = dg.AssetMaterialization(to_key("bl832/data832/raw"), partition=dark)
        platform.instance.report_runless_asset_event(event)

    assert reconciliation.found("data832") == [(Kind.DARK, "dark.h5"), (Kind.LOST, "a.h5")]
    monkeypatch.setattr(Look, "through", through)
    assert reconciliation.found("data832") == []


def test_a_place_that_does_not_answer_the_second_time_has_nothing_lost(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    raw(platform, "data832", reconciliation.scan("a")).unlink()
    platform.twin.control.injector.add(Fault(match="GET */stat", status=502, times=1000))
    report = reconciliation.look("data832")
    assert list(below(reconciliation.folder, report.findings)) == []
    assert f"raw/{reconciliation.folder}" in report.unreachable or "stopped answering" in str(report.unreachable)


def test_what_was_written_within_the_hour_is_not_dark(reconciliation: Reconciliation) -> None:
    file = reconciliation.lies("data832", "new.h5")
    later = (datetime.now(UTC) + LATER).timestamp()
    os.utime(file, (later, later))
    assert reconciliation.found("data832") == []


def test_leftovers_of_our_own_are_counted_and_are_no_scans(reconciliation: Reconciliation) -> None:
    before = reconciliation.look("data832").leftovers
    reconciliation.lies("data832", "gone.h5.manifest.json")
    reconciliation.lies("data832", "recnever/slice.tiff", store=Store.RESULTS)
    reconciliation.lies("data832", "recnever.tiff.partial.jsonl", store=Store.RESULTS)
    reconciliation.lies("data832", "logs/als-x.stop/mark", store=Store.RESULTS)
    assert reconciliation.found("data832") == []
    assert reconciliation.look("data832").leftovers == before + 3


def test_two_thousand_files_in_twenty_folders_take_twenty_listings(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    reconciliation.look("data832")
    before = platform.asked(LISTINGS)
    reconciliation.look("data832")
    elsewhere = platform.asked(LISTINGS) - before
    for folder in range(20):
        for number in range(100):
            reconciliation.lies("data832", f"{folder}/{number}.h5")
    before = platform.asked(LISTINGS)
    assert len(reconciliation.found("data832")) == 2_000
    assert platform.asked(LISTINGS) - before == elsewhere + 21
