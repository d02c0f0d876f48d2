"""Reading copies again, making manifests, and the folders and modes of what is written."""

import grp
import hashlib
import os
import stat
import threading
import tracemalloc
from pathlib import Path, PurePosixPath

import pytest

from beamlines.manifest import Manifest, ManifestError, ManifestFile, Program
from beamlines.places import Location, NotAtPlaceError, Place, Role, Store
from resources.errors import CopyNotIntactError, SourceChangedError
from resources.proof import hash_file, make_folders, make_raw_manifest, prove_here, read_manifest, write_manifest
from resources.testing import SleptClock

PROGRAM = Program(name="als-data-platform", version="0.1.0")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = PurePosixPath(tmp_path / "data832")
    Path(root).mkdir()
    return Place(
        name="data832",
        collection="75b478b2-37af-46df-bfbd-71ed692c6506",
        collection_root=PurePosixPath("/data"),
        posix_root=root,
        mount=root,
        role=Role.DURABLE,
        off_site=False,
        stores={Store.RAW: PurePosixPath("raw"), Store.RESULTS: PurePosixPath("scratch")},
    )


def put(location: Location, content: bytes) -> Location:
    location.here.parent.mkdir(parents=True, exist_ok=True)
    location.here.write_bytes(content)
    return location


@pytest.fixture
def raw(place: Place) -> Location:
    return put(place.at(Store.RAW, "f/a.h5"), b"a scan")


@pytest.fixture
def stack(place: Place) -> Location:
    folder = place.at(Store.RESULTS, "f/reca")
    for number in range(3):
        put(folder / f"reca_{number}.tiff", f"slice {number}".encode())
    put(folder / "deep/er.tiff", b"deeper")
    return folder


def listed(folder: Location) -> Manifest:
    """The manifest of what is in a folder now."""
    files = tuple(
        ManifestFile(
            path=path.relative_to(folder.here).as_posix(),
            bytes=path.stat().st_size,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in sorted(folder.here.rglob("*"))
        if path.is_file()
    )
    total = sum(file.bytes for file in files)
    return Manifest(
        manifest=1, artifact="tiff", program=PROGRAM, files=files, total_files=len(files), total_bytes=total
    )


def proven(copy: Location, manifest: Manifest) -> None:
    prove_here(copy, manifest, clock=SleptClock())


# -- hashing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1])
def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "file").write_bytes(content)
    read = hash_file(tmp_path / "file")
    assert (read.sha256, read.bytes) == (hashlib.sha256(content).hexdigest(), size)


def test_a_large_file_is_read_in_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(200 << 20)
    tracemalloc.start()
    hash_file(tmp_path / "sparse")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20


def test_whoever_waits_for_a_hash_is_told_how_far_it_is_and_can_stop_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(10 << 20))
    told: list[int] = []
    hash_file(tmp_path / "file", told.append)
    assert told == [4 << 20, 8 << 20, 10 << 20]

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_file(tmp_path / "file", stop)


# -- the manifest of a raw file ----------------------------------------------------------------------------------


def test_the_manifest_of_a_raw_file_is_proven_by_that_file(raw: Location) -> None:
    manifest = make_raw_manifest(raw, program=PROGRAM)
    assert (manifest.artifact, manifest.files[0].path, manifest.total_bytes) == ("raw", "a.h5", 6)
    proof = prove_here(raw, manifest, clock=SleptClock())
    assert (proof.files, proof.bytes, proof.how) == (1, 6, "read again here")
    assert proof.to_json()["checked_at"] == "2026-01-01T00:00:00+00:00"


@pytest.mark.parametrize("change", ["grows", "is touched", "is replaced"])
def test_a_raw_file_that_changes_while_it_is_read_has_no_manifest(raw: Location, change: str) -> None:
    def interfere(_: int) -> None:
        match change:
            case "grows":
                with raw.here.open("ab") as file:
                    file.write(b"more")
            case "is touched":
                os.utime(raw.here, ns=(1, 1))
            case "is replaced":
                status = raw.here.stat()
                other = raw.here.with_name("other")
                other.write_bytes(b"b scan")
                os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
                other.replace(raw.here)

    with pytest.raises(SourceChangedError):
        make_raw_manifest(raw, program=PROGRAM, progress=interfere)


def test_a_place_that_is_not_mounted_cannot_be_read_from_here(raw: Location) -> None:
    elsewhere = Location(raw.place.model_copy(update={"mount": None}), raw.path)
    with pytest.raises(NotAtPlaceError):
        make_raw_manifest(elsewhere, program=PROGRAM)


# -- writing and reading manifests -------------------------------------------------------------------------------


def test_a_manifest_that_was_written_reads_as_the_same(raw: Location) -> None:
    manifest = make_raw_manifest(raw, program=PROGRAM)
    target = raw.beside("a.h5.manifest.json")
    write_manifest(target, manifest)
    write_manifest(target, manifest)
    assert read_manifest(target) == manifest
    assert sorted(path.name for path in raw.here.parent.iterdir()) == ["a.h5", "a.h5.manifest.json"]


def test_a_damaged_manifest_is_not_believed(raw: Location) -> None:
    with pytest.raises(ManifestError, match=r"raw/f/a\.h5"):
        read_manifest(raw)


def test_a_reader_never_sees_half_a_manifest(raw: Location) -> None:
    manifest = make_raw_manifest(raw, program=PROGRAM)
    target = raw.beside("a.h5.manifest.json")
    write_manifest(target, manifest)
    done = threading.Event()

    def write() -> None:
        try:
            for _ in range(20):
                write_manifest(target, manifest)
        finally:
            done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert read_manifest(target) == manifest
    writer.join()


def test_a_manifest_that_cannot_be_written_leaves_nothing_behind(raw: Location) -> None:
    manifest = make_raw_manifest(raw, program=PROGRAM)
    raw.beside("taken").here.mkdir()
    with pytest.raises(IsADirectoryError):
        write_manifest(raw.beside("taken"), manifest)
    assert sorted(path.name for path in raw.here.parent.iterdir()) == ["a.h5", "taken"]


# -- folders and modes -------------------------------------------------------------------------------------------


def mode(location: Location) -> str:
    return f"{stat.S_IMODE(location.here.stat().st_mode):o}"


def test_new_folders_get_the_places_mode_and_existing_ones_keep_theirs(place: Place) -> None:
    old = place.at(Store.RESULTS, "old")
    old.here.mkdir(parents=True)
    old.here.chmod(0o700)
    make_folders(old / "new" / "newer")
    assert [mode(folder) for folder in (old, old / "new", old / "new" / "newer")] == ["700", "2775", "2775"]
    make_folders(old / "new" / "newer")


def test_what_is_written_gets_the_places_mode_and_group(raw: Location) -> None:
    group = grp.getgrgid(os.getgroups()[-1] if os.getgroups() else os.getgid()).gr_name
    place = raw.place.model_copy(update={"group": group, "file_mode": "640", "dir_mode": "2750"})
    target = place.at(Store.RESULTS, "g/a.json")
    write_manifest(target, make_raw_manifest(raw, program=PROGRAM))
    assert (mode(target), mode(target.beside(""))) == ("640", "2750")
    assert target.here.group() == target.here.parent.group() == group


def test_a_mount_that_is_gone_is_not_filled(place: Place, tmp_path: Path) -> None:
    gone = place.model_copy(update={"mount": PurePosixPath(tmp_path / "unmounted")})
    with pytest.raises(FileNotFoundError):
        make_folders(gone.at(Store.RESULTS, "f"))
    assert not (tmp_path / "unmounted").exists()


# -- proofs ------------------------------------------------------------------------------------------------------


def test_a_copy_that_equals_its_manifest_is_proven(stack: Location) -> None:
    proof = prove_here(stack, listed(stack), clock=SleptClock())
    assert (proof.files, proof.location) == (4, str(stack))


def test_a_missing_file_is_named(stack: Location) -> None:
    manifest = listed(stack)
    (stack / "reca_1.tiff").here.unlink()
    with pytest.raises(CopyNotIntactError, match=r"reca_1\.tiff: missing"):
        proven(stack, manifest)


def test_a_file_of_another_size_is_named(stack: Location) -> None:
    manifest = listed(stack)
    put(stack / "reca_1.tiff", b"longer than before")
    with pytest.raises(CopyNotIntactError, match=r"reca_1\.tiff: 18 bytes, not 7"):
        proven(stack, manifest)


def test_a_file_with_one_other_bit_is_named(stack: Location) -> None:
    manifest = listed(stack)
    content = bytearray((stack / "reca_1.tiff").here.read_bytes())
    content[3] ^= 1
    put(stack / "reca_1.tiff", bytes(content))
    with pytest.raises(CopyNotIntactError, match=r"reca_1\.tiff: SHA-256"):
        proven(stack, manifest)


def test_a_file_that_the_manifest_does_not_list_is_named(stack: Location) -> None:
    manifest = listed(stack)
    put(stack / "deep/foreign.tiff", b"of another scan")
    with pytest.raises(CopyNotIntactError, match=r"deep/foreign\.tiff: not in the manifest"):
        proven(stack, manifest)


def test_a_copy_that_is_not_there_at_all_is_not_proven(stack: Location, place: Place) -> None:
    with pytest.raises(CopyNotIntactError, match="missing"):
        proven(place.at(Store.RESULTS, "f/elsewhere"), listed(stack))


def test_the_first_differences_are_shown_and_the_others_counted(place: Place) -> None:
    folder = place.at(Store.RESULTS, "f/many")
    for number in range(9):
        put(folder / f"{number}.tiff", b"x")
    manifest = listed(folder)
    for number in range(9):
        put(folder / f"{number}.tiff", b"y")
    with pytest.raises(CopyNotIntactError, match="and 4 more"):
        proven(folder, manifest)


def test_a_link_in_place_of_a_file_is_not_the_file(stack: Location) -> None:
    manifest = listed(stack)
    real = stack.here.parent / "real.tiff"
    (stack / "reca_1.tiff").here.rename(real)
    (stack / "reca_1.tiff").here.symlink_to(real)
    with pytest.raises(CopyNotIntactError, match=r"reca_1\.tiff: cannot be read"):
        proven(stack, manifest)


def test_a_pipe_in_place_of_a_file_does_not_hang_the_proof(stack: Location) -> None:
    manifest = listed(stack)
    (stack / "reca_1.tiff").here.unlink()
    os.mkfifo((stack / "reca_1.tiff").here)
    with pytest.raises(CopyNotIntactError, match="no regular file"):
        proven(stack, manifest)


def test_progress_goes_on_from_file_to_file(stack: Location) -> None:
    told: list[int] = []
    prove_here(stack, listed(stack), clock=SleptClock(), progress=told.append)
    assert told == [6, 13, 20, 27]
