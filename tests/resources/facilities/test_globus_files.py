"""Small files that only Globus reaches: by the real client, over real HTTP, out of the twin's ALCF."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.errors import ServiceRefusedError, ServiceUnavailableError
from resources.facilities import FileTooLargeError
from resources.facilities.globus_files import GlobusFiles
from resources.globus import NotFoundError
from resources.settings import Settings, identities_of
from resources.testing import HastyClock
from twin.faults import Fault
from twin.server import Twin

TRANSFER = "POST /transfer/v0.10/transfer"
HOSTILE = "a\n'b\" $(x) é ?#%.txt"


@dataclass
class Shelf:
    """A folder of this test's own at ALCF, and what reads it from here."""

    twin: Twin
    files: GlobusFiles
    folder: Path

    def put(self, name: str, content: bytes) -> str:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    @property
    def transfers(self) -> int:
        return len(self.twin.control.injector.requests(TRANSFER))

    @property
    def left_here(self) -> list[Path]:
        place = self.twin.world.beamline.places["data832"]
        return [path for path in Path(place.posix_root).rglob(".als-fetched/*") if path.is_dir()]


@pytest.fixture
def shelf(twin: Twin) -> Iterator[Shelf]:
    twin.control.reset()
    places = twin.world.beamline.places
    globus = identities_of(Settings(twin.world.deployment, twin.world.beamline)).transfers
    files = GlobusFiles(globus, places["alcf"], places["data832"], HastyClock())
    yield Shelf(twin, files, Path(places["alcf"].posix_root) / "logs" / f"test-{uuid.uuid4().hex}")
    globus.close()
    twin.control.reset()


def test_several_files_cost_one_transfer_and_nothing_of_them_stays_here(shelf: Shelf) -> None:
    paths = [shelf.put(name, name.encode()) for name in ("out", "err", HOSTILE)]
    found = shelf.files.read_all(paths, limit_bytes=100)
    assert [found[path] for path in paths] == [b"out", b"err", HOSTILE.encode()]
    assert shelf.transfers == 1
    assert shelf.left_here == []


def test_what_is_missing_and_what_is_too_large_is_told_by_file(shelf: Shelf) -> None:
    good, large, missing = shelf.put("good", b"1"), shelf.put("large", b"12345"), str(shelf.folder / "missing")
    found = shelf.files.read_all([good, large, missing], limit_bytes=4)
    assert found[good] == b"1"
    assert isinstance(found[large], FileTooLargeError)
    assert isinstance(found[missing], FileNotFoundError)


def test_where_nothing_is_there_nothing_is_transferred(shelf: Shelf) -> None:
    with pytest.raises(FileNotFoundError, match="alcf has no"):
        shelf.files.read(str(shelf.folder / "missing"), limit_bytes=4)
    assert shelf.transfers == 0


def test_a_listing_tells_sizes_folders_and_times(shelf: Shelf) -> None:
    path = shelf.put("out", b"123")
    (shelf.folder / "sub").mkdir()
    entries = {entry.name: (entry.size_bytes, entry.is_folder) for entry in shelf.files.list(str(shelf.folder))}
    assert entries["out"] == (3, False)
    assert entries["sub"][1]
    [one] = shelf.files.list(path)
    assert one.name == "out"
    assert one.modified is not None
    assert one.modified.tzinfo is not None


def test_a_path_outside_the_place_is_refused_with_what_to_mend(shelf: Shelf) -> None:
    with pytest.raises(ServiceRefusedError, match=r"is not below .*[Ll]et the folder of the jobs' logs lie below"):
        shelf.files.read("/etc/passwd", limit_bytes=4)


def test_a_file_that_cannot_be_given_now_is_asked_for_again_by_whoever_reads(shelf: Shelf) -> None:
    path = shelf.put("out", b"123")
    shelf.twin.control.board.change({"retry_delay_s": 0.02})
    shelf.twin.control.injector.add(Fault(match=TRANSFER, status=503, times=3))
    with pytest.raises(ServiceUnavailableError):
        shelf.files.read(path, limit_bytes=4)
    assert shelf.left_here == []
    assert shelf.files.read(path, limit_bytes=4) == b"123"


def test_where_this_machine_has_no_room_somebody_must_make_some(shelf: Shelf) -> None:
    path = shelf.put("out", b"out")
    collection = shelf.twin.world.beamline.places["data832"].collection
    shelf.twin.control.board.change({"quota_bytes": {collection: 1}})
    with pytest.raises(ServiceRefusedError, match=r"data832 has no room.*Make room on data832"):
        shelf.files.read(path, limit_bytes=100)
    assert shelf.left_here == []
    shelf.twin.control.board.change({"quota_bytes": {}})
    assert shelf.files.read(path, limit_bytes=100) == b"out"


def test_a_folder_is_made_at_once_and_may_be_there_already(shelf: Shelf) -> None:
    shelf.put("out", b"")
    for _ in range(2):
        shelf.files.make_folder(str(shelf.folder / "a.stop"))
    assert (shelf.folder / "a.stop").is_dir()
    with pytest.raises(NotFoundError):
        shelf.files.make_folder(str(shelf.folder / "no" / "parent"))
