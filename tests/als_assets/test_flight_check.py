"""The flight check: what arrives, what is removed, and who is told to act when a hop fails."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from beamlines.flight import TestFile
from beamlines.places import Location, Store
from resources.errors import ServiceRefusedError
from resources.transfer import Entry, Transfer
from resources.work import WorkKey
from tests.als_assets.conftest import Platform
from twin.faults import Fault

FOLDER = "transfer_tests"


def fly(platform: Platform) -> dg.ExecuteInProcessResult:
    job = platform.definitions.resolve_job_def("bl832_flight_check")
    return job.execute_in_process(instance=platform.instance, raise_on_error=False)


def said(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failed.user_failure_data is not None
    return str(failed.user_failure_data.description)


def there(platform: Platform, place: str) -> set[str]:
    folder = Path(platform.settings.beamline.places[place].at(Store.RAW, FOLDER).posix)
    # Other tests of this platform may have put a scan there, which is none in this folder.
    return {file.name for file in folder.iterdir() if file.suffix == ".txt"} if folder.exists() else set()


def break_collection(platform: Platform, place: str, **conditions: Any) -> None:
    collection = platform.settings.beamline.places[place].collection
    platform.twin.control.board.change({"down": [collection], **conditions})


def test_a_small_file_goes_the_whole_way_and_is_removed(platform: Platform) -> None:
    result = fly(platform)
    assert result.success
    (metadata,) = [e.step_output_data.metadata for e in result.all_events if e.is_successful_output]
    rows = [record.data for record in metadata["hops"].records]
    assert [row["hop"] for row in rows] == [
        *("spot832 to spot832", "spot832 to data832"),
        *("data832 to nersc", "data832 to alcf", "data832 to olcf"),
    ]
    assert all(row["bytes"] > 0 and row["task"] and row["seconds"] > 0 for row in rows)
    assert "external sha256" in rows[-1]["verified by"]
    assert there(platform, "spot832") == {"test.txt"}
    assert there(platform, "data832") == there(platform, "nersc") == set()


def test_the_first_hop_that_fails_is_named_with_who_must_act_and_ends_the_flight(platform: Platform) -> None:
    break_collection(platform, "data832")
    told = said(fly(platform))
    assert "the hop spot832 to data832" in told
    assert "the hop data832 to nersc" not in told
    assert "the computing staff of beamline 8.3.2" in told
    assert there(platform, "spot832") == {"test.txt"}


def test_a_facility_that_is_down_is_named_and_what_was_begun_is_removed(platform: Platform) -> None:
    break_collection(platform, "nersc")
    told = said(fly(platform))
    assert "the hop data832 to nersc" in told
    assert "NERSC, help.nersc.gov" in told
    assert there(platform, "spot832") == {"test.txt"}
    assert there(platform, "data832") == set()


def test_without_the_test_file_the_message_says_so(platform: Platform) -> None:
    file = Path(platform.settings.beamline.places["spot832"].at(Store.RAW, f"{FOLDER}/test.txt").posix)
    content = file.read_text()
    file.unlink()
    try:
        told = said(fly(platform))
    finally:
        file.write_text(content)
    assert "the hop spot832 to spot832" in told
    assert "transfer_tests/test.txt" in told


def test_credentials_that_are_refused_are_for_the_operators(platform: Platform) -> None:
    platform.twin.control.injector.add(Fault(match="POST /auth/v2/oauth2/token", status=401, times=100))
    told = said(fly(platform))
    assert "those who run this platform" in told


@pytest.mark.parametrize("place", ["spot832", "data832", "nersc"])
@pytest.mark.parametrize(("days", "stays"), [(2, False), (0, True)])
def test_what_a_check_that_was_cut_off_has_left_is_removed_a_day_later(
    platform: Platform, place: str, days: int, stays: bool
) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    left, strange = TestFile.unique(FOLDER, "flight", at, "0123456789abcdef").name, "flight_notes.txt"
    folder = Path(platform.settings.beamline.places[place].at(Store.RAW, FOLDER).posix)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (left, strange):
        (folder / name).write_text("x")
    assert fly(platform).success
    assert there(platform, place) - {"test.txt"} == {strange} | ({left} if stays else set())
    for name in (left, strange):
        (folder / name).unlink(missing_ok=True)


def test_what_lies_there_and_is_not_what_was_sent_is_no_arrival(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Transfer.stat

    def stale(self: Transfer, location: Location) -> Entry:
        entry = stat(self, location)
        return replace(entry, size_bytes=1) if location.place.name == "nersc" else entry

    monkeypatch.setattr(Transfer, "stat", stale)
    told = said(fly(platform))
    assert "the hop data832 to nersc" in told
    assert "1 bytes" in told


def test_a_file_that_cannot_be_removed_fails_the_check_and_is_named(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete = Transfer.delete

    def refuse(self: Transfer, subject: Any, location: Location, *arguments: Any, **options: Any) -> Any:
        if location.place.name == "nersc":
            raise ServiceRefusedError(seen="no", meaning="it may not be deleted", remedy="look")
        return delete(self, subject, location, *arguments, **options)

    monkeypatch.setattr(Transfer, "delete", refuse)
    told = said(fly(platform))
    assert "removing nersc:" in told
    monkeypatch.undo()
    for name in there(platform, "nersc"):
        Path(platform.settings.beamline.places["nersc"].at(Store.RAW, f"{FOLDER}/{name}").posix).unlink()


def test_a_mount_that_shows_another_folder_is_named_and_what_was_sent_is_removed(
    platform: Platform, tmp_path: Path
) -> None:
    places = platform.settings.beamline.places
    elsewhere = places["data832"].model_copy(update={"mount": PurePosixPath(tmp_path)})
    told = said(fly(platform.but(places={**places, "data832": elsewhere})))
    assert "the hop data832 to nersc" in told
    assert "cannot be read on this machine" in told
    assert there(platform, "spot832") == {"test.txt"}
    assert there(platform, "data832") == set()


def test_only_files_that_are_named_as_its_own_are_deleted_as_test_files(platform: Platform) -> None:
    place = platform.settings.beamline.places["spot832"]
    own = TestFile.unique(FOLDER, "flight", datetime.now(UTC), "0123456789abcdef")
    scan, strange = place.at(Store.RAW, "BLS-00564_x/a.h5"), TestFile(FOLDER, "test.txt")
    with dg.build_resources(platform.resources, instance=platform.instance) as parts:
        for subject, location in ((own, scan), (strange, strange.at(place))):
            with pytest.raises(ValueError, match="no test file of ours"):
                parts.transfer.begin_delete(subject, location, WorkKey("a", "b", "", ""), recursive=False)


def test_it_runs_every_twelve_hours_of_the_beamlines_day(platform: Platform) -> None:
    schedules = platform.definitions.schedules or []
    [schedule] = [one for one in schedules if getattr(one, "job_name", "") == "bl832_flight_check"]
    assert isinstance(schedule, dg.ScheduleDefinition)
    began = datetime(2026, 7, 1, tzinfo=UTC)
    times = schedule_execution_time_iterator(began.timestamp(), schedule.cron_schedule, schedule.execution_timezone)
    assert [next(times).astimezone(UTC).hour for _ in range(3)] == [7, 19, 7]


def test_a_hop_that_takes_too_long_is_given_up_and_named(platform: Platform) -> None:
    rules = platform.settings.beamline.flight_check
    assert rules is not None
    platform.twin.control.board.change({"bandwidth_bytes_per_s": 0.5})
    impatient = platform.but(flight_check=rules.model_copy(update={"deadline": timedelta(seconds=0.4)}))
    told = said(fly(impatient))
    assert "the hop spot832 to spot832" in told
    assert "deadline" in told.lower()
