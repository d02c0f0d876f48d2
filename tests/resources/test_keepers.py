"""Keepers read again, here and at facilities; and the copy that is to go, looked at once more."""

import os
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from beamlines.deletion import Found, judge
from beamlines.layout import Artifact, Copy
from beamlines.retention import RetentionRule
from beamlines.scans import PartitionKey, ScanId
from resources import candidates, proof
from resources.candidates import AsRecorded, TooManyFoldersError, VanishingError, changed_since, look
from resources.clock import SystemClock
from resources.errors import ServiceUnavailableError
from resources.facilities.factory import make_facility
from resources.keepers import KeeperReader
from resources.rereading import Asked, Reread
from resources.testing import Desk
from resources.transfer import Transfer
from tests.resources.facilities.shelf import DAMAGES, Shelf, damaged, here, put
from twin.faults import Fault
from twin.traps import Trap


@dataclass
class Room:
    """Someone who reads keepers, and shelves of copies at every place."""

    desk: Desk
    reader: KeeperReader
    folder: str

    def shelf(self, place: str, maker: str = "nersc") -> Shelf:
        return Shelf(self.desk.beamline.places[place], self.folder, maker)

    def read(self, *asked: Asked, occasion: str = "pass 1") -> list[Reread]:
        return self.reader.read(asked, occasion, self.desk.pulses)

    def look(self, asked: Asked) -> candidates.Seen | None:
        return look(self.desk.transfer, asked.copy, asked.key)


@pytest.fixture
def room(desk: Desk, twin, tmp_path: Path) -> Iterator[Room]:
    with ExitStack() as stack:
        facilities = {
            name: stack.enter_context(
                closing(
                    make_facility(
                        name, desk.beamline, twin.world.deployment, desk.remote, desk.gate, desk.clock, desk.globus
                    )
                )
            )
            for name in ("nersc", "alcf", "olcf")
        }
        yield Room(desk, KeeperReader(desk.beamline, facilities, SystemClock()), f"keepers/{tmp_path.name}")


def found(readings: list[Reread]) -> list[Found]:
    return [one.found for one in readings]


# -- where they are ----------------------------------------------------------------------------------------------


def test_every_keeper_has_a_verdict_wherever_it_is_in_the_order_in_which_it_was_asked_for(room: Room) -> None:
    asked = [
        room.shelf("nersc").raw(),
        room.shelf("data832").raw(),
        room.shelf("pscratch").zarr(),
        room.shelf("alcf", "alcf").zarr(),
        damaged(room.shelf("data832"), "tile, one bit"),
        damaged(room.shelf("nersc"), "raw, truncated"),
        room.shelf("data832").zarr(),
    ]
    readings = room.read(*asked)
    good, bad = Found.EQUAL, Found.DIFFERENT
    assert found(readings) == [good, good, good, good, bad, bad, good]
    assert [one.asked for one in readings] == asked
    assert readings[0].job_id == readings[2].job_id == readings[5].job_id
    assert [one.job_id for one in (readings[1], readings[4], readings[6])] == [None] * 3


def test_the_acquisition_machine_cannot_be_read_by_anybody_and_that_is_said(room: Room) -> None:
    [reading] = room.read(room.shelf("spot832").raw())
    assert reading.found is Found.UNREAD
    assert reading.detail == "spot832 is not mounted here, and no facility's jobs see it"


def test_a_facility_that_is_not_configured_leaves_its_copies_unread(room: Room) -> None:
    room.reader = replace(room.reader, facilities={})
    first, second = room.read(room.shelf("nersc").raw(), room.shelf("data832").raw())
    assert (first.found, second.found) == (Found.UNREAD, Found.EQUAL)
    assert "there is no facility nersc now" in first.detail


def test_a_facility_that_is_away_leaves_its_copies_unread_and_no_others(room: Room, twin) -> None:
    twin.control.injector.add(Fault(match="* /superfacility/*", status=503, times=10_000))
    asked = room.shelf("nersc").raw(), room.shelf("alcf", "alcf").raw(), room.shelf("data832").raw()
    assert found(room.read(*asked)) == [Found.UNREAD, Found.EQUAL, Found.EQUAL]


def test_a_verdict_is_what_the_decision_about_a_deletion_takes(room: Room) -> None:
    rule = RetentionRule(copies=("alcf/raw",), age=timedelta(days=1), keepers=("nersc/raw", "data832/raw"), proven=2)
    readings = [one.reading for one in room.read(room.shelf("nersc").raw(), room.shelf("data832").raw())]
    assert judge(rule, readings, candidate=None).allowed
    assert not judge(rule, readings[:1], candidate=None).allowed


def test_a_verdict_can_be_kept_as_json_whatever_the_name(room: Room) -> None:
    [reading] = room.read(room.shelf("data832").raw("line\nfeed \udcff"))
    document = reading.to_json()
    assert (document["found"], document["copy"], document["files"]) == ("equal to its manifest", "data832/raw", 1)
    assert "line\\nfeed \\udcff" in document["location"]


# -- read here ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_found_here_as_it_is_at_a_facility(room: Room, damage: str) -> None:
    _, _, verdict, words = DAMAGES[damage]
    [reading] = room.read(damaged(room.shelf("data832"), damage))
    assert reading.found is Found[verdict]
    assert re.search(words, reading.detail)


def test_a_raw_manifest_that_disagrees_with_what_is_on_record_is_a_difference(room: Room) -> None:
    [reading] = room.read(replace(room.shelf("data832").raw(), sha256="b" * 64))
    assert reading.found is Found.DIFFERENT


def test_a_mount_that_is_gone_condemns_nothing(room: Room, tmp_path: Path) -> None:
    asked = room.shelf("data832").raw()
    place = asked.copy.place.model_copy(update={"mount": tmp_path})
    [reading] = room.read(replace(asked, copy=replace(asked.copy, place=place)))
    assert reading.found is Found.UNREAD
    assert "No such file or directory" in reading.detail


def test_what_lies_behind_a_link_is_not_taken_for_the_copy(room: Room) -> None:
    places = "data832", "nersc"
    asked = [room.shelf(place).raw() for place in places]
    for one in asked:
        folder = here(one).parent
        folder.rename(folder.with_name(f"{folder.name}.elsewhere"))
        folder.symlink_to(folder.with_name(f"{folder.name}.elsewhere"))
    readings = room.read(*asked)
    assert found(readings) == [Found.UNREAD, Found.UNREAD]
    assert all("a folder that it lies in is a link" in one.detail for one in readings)


def test_a_file_that_cannot_be_read_is_not_read_and_not_condemned(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    real = proof.hash_file

    def failing(path: Path, progress: proof.Progress | None = None) -> proof.FileHash:
        if path.name == "zarr.json":
            raise OSError(5, "Input/output error", str(path))
        return real(path, progress)

    monkeypatch.setattr(proof, "hash_file", failing)
    bad, good = room.read(room.shelf("data832").zarr("bad"), room.shelf("data832").raw("good"))
    assert (bad.found, good.found) == (Found.UNREAD, Found.EQUAL)
    assert "zarr.json: cannot be read (Input/output error)" in bad.detail


def test_a_keeper_that_is_cut_short_while_it_is_read_is_different(room: Room) -> None:
    """A listing has shown all of it, and so has the first block."""
    asked = room.shelf("data832").raw("cut", bytes(3 * proof.BLOCK_BYTES))

    def progress(_: int, size: int) -> None:
        if size == proof.BLOCK_BYTES:
            os.truncate(here(asked), 2 * proof.BLOCK_BYTES)

    [reading] = room.reader.read([asked], "pass 1", room.desk.pulses, progress)
    assert reading.found is Found.DIFFERENT
    assert f"{2 * proof.BLOCK_BYTES} bytes, not {3 * proof.BLOCK_BYTES}" in reading.detail


def test_progress_counts_copies_and_bytes_and_no_more_threads_read_than_may(room: Room) -> None:
    told: list[tuple[int, int]] = []
    threads: set[str] = set()

    def progress(copies: int, size: int) -> None:
        told.append((copies, size))
        threads.add(threading.current_thread().name)

    asked = [room.shelf("data832").raw(f"many {number}") for number in range(20)]
    room.reader.read(asked, "pass 1", room.desk.pulses, progress)
    assert told[-1] == (20, 20 * len(b"a scan"))
    assert told == sorted(told)
    assert len(threads) <= 2


def test_a_pass_that_is_ended_reads_no_further(room: Room) -> None:
    class EndedError(Exception):
        pass

    told: list[int] = []

    def progress(copies: int, _: int) -> None:
        told.append(copies)
        raise EndedError

    asked = [room.shelf("data832").raw(f"many {number}") for number in range(50)]
    with pytest.raises(EndedError):
        room.reader.read(asked, "pass 1", room.desk.pulses, progress)
    assert len(told) < 50


def test_a_large_file_is_read_no_further_when_a_run_is_ended_while_a_job_is_waited_for(room: Room) -> None:
    class EndedError(Exception):
        pass

    ended, told = threading.Event(), []

    def progress(*_: int) -> None:
        ended.wait(60)
        told.append(1)

    def pulse(*_: object) -> None:
        ended.set()
        raise EndedError

    large = room.shelf("data832").raw("large")
    blocks = 400
    os.truncate(here(large), blocks * proof.BLOCK_BYTES)
    with pytest.raises(EndedError):
        room.reader.read([large, room.shelf("nersc").raw()], "pass 1", pulse, progress)
    assert len(told) < blocks


# -- the candidate -----------------------------------------------------------------------------------------------


def recorded(room: Room, asked: Asked) -> AsRecorded:
    seen = room.look(asked)
    assert seen is not None
    return AsRecorded(seen.files, seen.bytes, SystemClock().now())


def test_a_candidate_is_seen_whole_with_its_newest_time(room: Room) -> None:
    asked = room.shelf("pscratch").zarr()
    for path in here(asked).rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    os.utime(here(asked) / "0/c/0/1", (1_100_000_000, 1_100_000_000))
    seen = room.look(asked)
    assert seen is not None
    assert (seen.files, seen.bytes) == (4, 24)
    assert seen.newest is not None
    assert seen.newest.timestamp() == 1_100_000_000


def test_a_candidate_that_is_as_recorded_and_as_seen_before_has_not_changed(room: Room) -> None:
    for asked in (room.shelf("spot832").raw(), room.shelf("pscratch").zarr()):
        before, record = room.look(asked), recorded(room, asked)
        assert changed_since(before, room.look(asked), record) is None
        assert changed_since(None, room.look(asked), record) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: put(folder / "x/y/z", b""), "it has 5 files"),
        (lambda folder: (folder / "zarr.json").unlink(), "it has 3 files"),
        (lambda folder: put(folder / "zarr.json", b"{ }"), "of 25 bytes"),
        (lambda folder: os.utime(folder / "0/c/0/1", (1_000_000_000, 1_000_000_000)), "when it was looked at before"),
        (lambda folder: (folder / "0/c/0/1").rename(folder / "0/c/1"), "when it was looked at before"),
        (lambda folder: os.utime(folder / "0/c/0/1", (4_000_000_000, 4_000_000_000)), "recorded before that"),
        (lambda folder: folder.rename(folder.with_name("away")), "nothing lies there any more"),
    ],
    ids=["one more", "one less", "size", "older", "renamed", "newer", "gone"],
)
def test_a_candidate_that_is_otherwise_has_changed_in_words(room: Room, change, words: str) -> None:
    asked = room.shelf("pscratch").zarr()
    before, record = room.look(asked), recorded(room, asked)
    change(here(asked))
    said = changed_since(before, room.look(asked), record)
    assert said is not None
    assert words in said


def test_a_raw_candidate_that_was_written_again_has_changed(room: Room) -> None:
    asked = room.shelf("spot832").raw()
    before, record = room.look(asked), recorded(room, asked)
    os.utime(here(asked), (1_000_000_000, 1_000_000_000))
    assert changed_since(before, room.look(asked), record) is not None


def test_names_of_a_candidate_may_hold_anything(room: Room) -> None:
    asked = room.shelf("pscratch").zarr("a\n?*", {"line\nfeed/\udcff": b"1", "-x": b"2"})
    seen = room.look(asked)
    assert seen is not None
    assert (seen.files, seen.bytes) == (2, 2)


def test_one_listing_a_folder_is_enough(room: Room, twin) -> None:
    room.look(room.shelf("pscratch").zarr())
    assert len(twin.control.injector.requests("GET /transfer/*/ls")) == 7


def test_a_candidate_with_more_folders_than_anybody_looks_through_is_refused(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "MOST_FOLDERS", 6)
    with pytest.raises(TooManyFoldersError, match="more than 6 folders"):
        room.look(room.shelf("pscratch").zarr())


def test_a_folder_that_no_listing_can_hold_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Transfer.list
    monkeypatch.setattr(Transfer, "list", lambda self, folder: real(self, folder, limit=2))
    with pytest.raises(TooManyFoldersError, match="too many files in one"):
        room.look(room.shelf("pscratch").zarr())


def test_a_folder_that_vanishes_while_it_is_looked_through_is_no_smaller_copy(room: Room, twin) -> None:
    asked = room.shelf("pscratch").zarr()
    caught = twin.control.injector.traps.set(Trap(match="GET /transfer/*/ls", nth=2))
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(room.look, asked)
        assert caught.await_catch(30)
        shutil.rmtree(here(asked) / "0")
        shutil.rmtree(here(asked) / "1")
        caught.release()
        with pytest.raises(VanishingError, match="nothing is known of it"):
            looking.result()


def test_a_look_that_fails_is_no_empty_copy(room: Room, twin) -> None:
    twin.control.injector.add(Fault(match="GET /transfer/*/ls", status=503, times=100))
    with pytest.raises(ServiceUnavailableError):
        room.look(room.shelf("pscratch").zarr())


def test_a_candidate_that_was_never_there_is_none(room: Room) -> None:
    key = PartitionKey(ScanId(f"{room.folder}/never.h5"))
    copy = Copy(room.desk.beamline.places["spot832"], Artifact.RAW)
    assert look(room.desk.transfer, copy, key) is None
