"""Proof that a copy is what its manifest says, by reading it again; and making the manifest of a raw file.

Belongs here: reading and hashing files of places that are mounted here, manifests on disk, folders for them.
Does not: the form of a manifest (beamlines.manifest), or proof at a place that only a facility's jobs can read.
"""

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from beamlines.manifest import Manifest, ManifestFile, Program
from beamlines.places import Location, Place
from resources.clock import Clock
from resources.errors import CopyNotIntactError, SourceChangedError

BLOCK_BYTES = 4 << 20
LARGEST_MANIFEST_BYTES = 64 << 20
DIFFERENCES_SHOWN = 5
_NO_FILE = (errno.EINVAL, errno.ELOOP)
"""What opening says of a link, a folder or a pipe: there is something else in place of the file."""

Progress = Callable[[int], None]
"""Called with the bytes read so far, a few times a second at most; it may raise to stop."""


@dataclass(frozen=True, slots=True)
class FileHash:
    """What was read of one file."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Proof:
    """A copy was read again, whole, and equals its manifest."""

    location: str
    files: int
    bytes: int
    checked_at: datetime
    how: str

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "checked_at": self.checked_at.isoformat()}


def hash_file(path: Path, progress: Progress | None = None) -> FileHash:
    """SHA-256 and size of what is in a file, read in blocks of 4 MiB. Raises OSError.

    Of a file that grows meanwhile more than its first size is read, but not all: size and hash are those of no state.
    """
    digest = hashlib.sha256()
    block = bytearray(BLOCK_BYTES)
    view = memoryview(block)
    total = 0
    with os.fdopen(_open_regular(path), "rb", buffering=0) as file:
        # Up to where the file ended at first: one that grows as fast as it is read would never end.
        end = os.fstat(file.fileno()).st_size
        while total <= end and (count := file.readinto(block)):
            digest.update(view[:count])
            total += count
            if progress is not None:
                progress(total)
    return FileHash(digest.hexdigest(), total)


def make_raw_manifest(raw: Location, *, program: Program, progress: Progress | None = None) -> Manifest:
    """Read a raw file for the first time and list it. Raises SourceChangedError where it changes meanwhile."""
    before = _identity(raw.here)
    read = hash_file(raw.here, progress)
    after = _identity(raw.here)
    if before != after or read.bytes != after.bytes:
        raise SourceChangedError(
            seen=f"{raw} had {before.bytes} bytes, then {after.bytes}, while it was read",
            meaning="something still writes it, or replaced it",
            remedy="wait until nothing writes it any more, then run this again",
        )
    file = ManifestFile(path=raw.name, bytes=read.bytes, sha256=read.sha256)
    return Manifest(manifest=1, artifact="raw", program=program, files=(file,), total_files=1, total_bytes=read.bytes)


def read_manifest(location: Location) -> Manifest:
    """The manifest at a location. Raises ManifestError for one that cannot be believed, OSError where none is."""
    with location.here.open("rb") as file:
        return Manifest.parse(file.read(LARGEST_MANIFEST_BYTES), source=str(location))


def write_manifest(location: Location, manifest: Manifest) -> None:
    """Write a manifest so that a reader sees none or the whole of it, with the place's modes."""
    place, target = location.place, location.here
    make_folders(Location(place, location.path.parent))
    descriptor, name = tempfile.mkstemp(prefix=".manifest-", dir=target.parent)
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(manifest.to_json().encode())
            file.flush()
            _give_to(place, partial, place.file_mode)
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def make_folders(folder: Location) -> None:
    """Make a folder and those above it, below the place's root, with the place's mode and group.

    What exists is left as it is: only folders that are made here get mode and group.
    """
    root, place = Location(folder.place, PurePosixPath()), folder.place
    root.here.stat()  # a mount that is gone must not be filled
    path = root.here
    for part in folder.path.parts:
        path = path / part
        try:
            path.mkdir()
        except FileExistsError:
            continue
        _give_to(place, path, place.dir_mode)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What reading every file of a copy has shown."""

    differences: tuple[str, ...]
    """Of what the manifest lists and of what lies there: missing, not listed, size, checksum."""
    unread: tuple[str, ...]
    """What could not be read: whether it is right is not known."""


def compare_here(copy: Location, manifest: Manifest, *, progress: Progress | None = None) -> Comparison:
    """Read every file of a copy again and compare it with its manifest.

    ``copy`` is the file itself (raw) or the folder that the manifest's paths are relative to.
    """
    differences: list[str] = []
    unread: list[str] = []
    read_bytes = 0

    def progressed(in_file: int) -> None:
        if progress is not None:
            progress(read_bytes + in_file)

    for file in manifest.files:
        path = copy.here if manifest.artifact == "raw" else copy.here / file.path
        try:
            difference = _difference(path, file, progressed)
        except OSError as error:
            unread.append(f"{file.path}: cannot be read ({error.strerror})")
        else:
            differences += [] if difference is None else [f"{file.path}: {difference}"]
        read_bytes += file.bytes
    if manifest.artifact != "raw":
        unlisted, unlooked = _unlisted(copy.here, manifest)
        differences += [f"{path}: not in the manifest" for path in unlisted]
        unread += [f"{path}: cannot be looked into" for path in unlooked]
    return Comparison(tuple(differences), tuple(unread))


def prove_here(copy: Location, manifest: Manifest, *, clock: Clock, progress: Progress | None = None) -> Proof:
    """As ``compare_here``. Raises CopyNotIntactError with the first of what differs, or could not be read."""
    compared = compare_here(copy, manifest, progress=progress)
    if compared.differences or compared.unread:
        raise _not_intact(copy, manifest, [*compared.differences, *compared.unread])
    return Proof(str(copy), manifest.total_files, manifest.total_bytes, clock.now(), "read again here")


def _difference(path: Path, file: ManifestFile, progress: Progress) -> str | None:
    """What keeps a file from being the listed one; None where it is. Raises OSError where that cannot be told."""
    try:
        found = hash_file(path, progress)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        if error.errno in _NO_FILE:
            return f"cannot be read ({error.strerror})"
        raise
    if found.bytes != file.bytes:
        return f"{found.bytes} bytes, not {file.bytes}"
    if found.sha256 != file.sha256:
        return f"SHA-256 {found.sha256[:12]}..., not {file.sha256[:12]}..."
    return None


def _unlisted(folder: Path, manifest: Manifest) -> tuple[list[str], list[str]]:
    """What lies there and is not in the manifest, and folders of which that cannot be told."""
    listed = {file.path for file in manifest.files}
    errors: list[OSError] = []
    present = [
        Path(where, name).relative_to(folder).as_posix()
        for where, folders, names in os.walk(folder, onerror=errors.append)
        for name in [*names, *(name for name in folders if Path(where, name).is_symlink())]
    ]
    unlooked = [str(error.filename) for error in errors if not isinstance(error, FileNotFoundError)]
    return sorted(path for path in present if path not in listed), unlooked


def _not_intact(copy: Location, manifest: Manifest, differences: list[str]) -> CopyNotIntactError:
    shown = "; ".join(differences[:DIFFERENCES_SHOWN])
    more = f"; and {len(differences) - DIFFERENCES_SHOWN} more" if len(differences) > DIFFERENCES_SHOWN else ""
    return CopyNotIntactError(
        seen=f"{copy} differs from its manifest of {manifest.total_files} file(s): {shown}{more}",
        meaning="it is not the artifact that was made, or not the whole of it",
        remedy="do not delete any other copy; make this one again from one that is proven",
    )


@dataclass(frozen=True, slots=True)
class _Identity:
    bytes: int
    modified_ns: int
    inode: int


def _identity(path: Path) -> _Identity:
    status = path.lstat()
    return _Identity(status.st_size, status.st_mtime_ns, status.st_ino)


def _open_regular(path: Path) -> int:
    # A link in place of a copy is not the copy, and a pipe would never answer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return descriptor


def _give_to(place: Place, path: Path, mode: str) -> None:
    if place.group is not None:
        shutil.chown(path, group=place.group)
    path.chmod(int(mode, 8))  # after chown, which takes the set-group-id bit off


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
