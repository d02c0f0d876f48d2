"""Listings, looks and deletes through the real client, against the twin."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from beamlines.places import Location
from beamlines.scans import ScanId
from resources.errors import NotAllowedError, ServiceRefusedError, ServiceUnavailableError, WorkFailedError
from resources.testing import Desk
from resources.transfer import EntryType, NotFoundError
from resources.work import WorkKey
from twin.faults import Fault
from twin.globus.conditions import FaultCode, TaskFault
from twin.server import Twin

SUBJECT = ScanId("deleted/a.h5")
PROJECT = Path(__file__).parents[2]


def deletion(location: Location) -> WorkKey:
    return WorkKey("bl832/data832/raw/deletion", location.name, "", str(location))


def put_at(desk: Desk, path: str, seconds: float) -> Location:
    location = desk.raw("spot832", path)
    desk.put(location, b"x")
    os.utime(location.posix, (seconds, seconds))
    return location


def test_the_sdk_is_not_imported_before_it_is_used() -> None:
    script = "import sys, resources.transfer; sys.exit('globus_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=PROJECT, check=False).returncode == 0


# -- looking -----------------------------------------------------------------------------------------------------


def test_a_look_at_a_file_gives_size_and_time_in_whole_seconds(desk: Desk) -> None:
    entry = desk.transfer.stat(put_at(desk, "looks/a.h5", 1_700_000_000.9))
    assert (entry.name, entry.type, entry.size_bytes) == ("a.h5", EntryType.FILE, 1)
    assert entry.modified == datetime.fromtimestamp(1_700_000_000, UTC)


def test_a_look_at_nothing_is_an_error_that_says_so(desk: Desk) -> None:
    with pytest.raises(NotFoundError, match="Nothing lies there"):
        desk.transfer.stat(desk.raw("spot832", "looks/nothing.h5"))


def test_a_listing_shows_the_newest_first(desk: Desk) -> None:
    for number, name in enumerate(["b.h5", "c.h5", "a.h5"]):
        put_at(desk, f"newest/{name}", 1_700_000_000 + number)
    listing = desk.transfer.list(desk.raw("spot832", "newest"), newest_first=True)
    assert [entry.name for entry in listing.entries] == ["a.h5", "c.h5", "b.h5"]


def test_a_listing_can_be_of_folders_or_of_recent_files_only(desk: Desk) -> None:
    put_at(desk, "only/old.h5", 1_600_000_000)
    put_at(desk, "only/new.h5", 1_700_000_000)
    put_at(desk, "only/folder/inside.h5", 1_700_000_000)
    folder = desk.raw("spot832", "only")
    folders = desk.transfer.list(folder, only=EntryType.FOLDER)
    recent = desk.transfer.list(folder, only=EntryType.FILE, modified_since=datetime(2022, 1, 1, tzinfo=UTC))
    assert [entry.name for entry in folders.entries] == ["folder"]
    assert [entry.name for entry in recent.entries] == ["new.h5"]


def test_a_listing_is_bounded_and_says_that_there_may_be_more(desk: Desk) -> None:
    for number in range(5):
        put_at(desk, f"bounded/{number}.h5", 1_700_000_000)
    folder = desk.raw("spot832", "bounded")
    pages = [desk.transfer.list(folder, limit=3, offset=offset) for offset in (0, 3)]
    assert [entry.name for page in pages for entry in page.entries] == [f"{number}.h5" for number in range(5)]
    assert [page.more for page in pages] == [True, False]


def test_a_folder_that_is_not_there_is_no_empty_listing(desk: Desk) -> None:
    with pytest.raises(NotFoundError):
        desk.transfer.list(desk.raw("spot832", "no-such-folder"))


def test_a_collection_that_is_down_is_no_empty_listing(desk: Desk, twin: Twin) -> None:
    twin.control.board.change({"down": [desk.beamline.places["spot832"].collection]})
    with pytest.raises(ServiceUnavailableError):
        desk.transfer.list(desk.raw("spot832", ""))


def test_an_answer_without_entries_is_no_empty_listing(desk: Desk, twin: Twin) -> None:
    twin.control.injector.add(Fault(match="GET */ls", status=200, body={"DATA_TYPE": "file_list"}))
    with pytest.raises(ServiceUnavailableError, match="without 'DATA'"):
        desk.transfer.list(desk.raw("spot832", ""))


# -- deleting ----------------------------------------------------------------------------------------------------


def test_a_file_is_deleted_and_the_receipt_says_when(desk: Desk) -> None:
    location = put_at(desk, "deletes/a.h5", 1_700_000_000)
    receipt = desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    assert not Path(location.posix).exists()
    assert receipt.location == str(location)
    assert receipt.to_json()["completed"] >= receipt.to_json()["requested"]


def test_a_folder_is_deleted_with_what_is_in_it(desk: Desk) -> None:
    put_at(desk, "deletes/folder/x/a.h5", 1_700_000_000)
    folder = desk.raw("spot832", "deletes/folder")
    desk.transfer.delete(SUBJECT, folder, deletion(folder), desk.pulses, recursive=True)
    assert not Path(folder.posix).exists()


def test_a_folder_is_not_deleted_in_place_of_a_file(desk: Desk) -> None:
    inside = put_at(desk, "deletes/kept/a.h5", 1_700_000_000)
    folder = desk.raw("spot832", "deletes/kept")
    with pytest.raises(WorkFailedError, match="IS_A_DIRECTORY"):
        desk.transfer.delete(SUBJECT, folder, deletion(folder), desk.pulses, recursive=False)
    assert Path(inside.posix).exists()


def test_what_is_gone_already_counts_as_deleted(desk: Desk) -> None:
    location = desk.raw("spot832", "deletes/never-was.h5")
    assert desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False).task_id


def test_a_deletion_that_was_done_is_not_done_again(desk: Desk, twin: Twin) -> None:
    location = put_at(desk, "deletes/once.h5", 1_700_000_000)
    first = desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    count = len(twin.engine.tasks())
    assert desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False) == first
    assert len(twin.engine.tasks()) == count


def test_what_was_deleted_and_is_there_again_is_deleted_again(desk: Desk) -> None:
    location = put_at(desk, "deletes/again.h5", 1_700_000_000)
    desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    put_at(desk, "deletes/again.h5", 1_700_000_000)
    receipt = desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    assert not Path(location.posix).exists()
    assert receipt.label.endswith("-2")


def test_a_deletion_that_is_denied_is_a_named_error(desk: Desk, twin: Twin) -> None:
    location = put_at(desk, "deletes/denied.h5", 1_700_000_000)
    twin.control.board.add_fault(TaskFault(name="denied.h5", code=FaultCode.PERMISSION_DENIED, times=1000))
    with pytest.raises(WorkFailedError, match="PERMISSION_DENIED"):
        desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
    twin.control.board.clear_faults()


@pytest.mark.parametrize("path", ["", "raw", "scratch", "scratch/globus_share"])
def test_a_places_own_folders_are_never_deleted(desk: Desk, twin: Twin, path: str) -> None:
    location = Location(desk.beamline.places["data832"], PurePosixPath(path))
    twin.control.injector.clear_log()
    with pytest.raises(NotAllowedError):
        desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=True)
    assert twin.control.injector.requests() == []


def test_a_name_that_the_service_does_not_take_is_a_refusal(desk: Desk) -> None:
    location = desk.raw("spot832", "deletes/line\r\nbreak.h5")
    with pytest.raises(ServiceRefusedError, match="CR LF"):
        desk.transfer.delete(SUBJECT, location, deletion(location), desk.pulses, recursive=False)
