"""A directory that is made file by file, and is complete when, and only when, its manifest lies beside it.

Belongs here: one writer at a time, resumption, refusal to touch what is not ours, the order of things on disk.
Does not: what the files mean.

On disk: ``NAME/`` (the product, built in place), ``NAME<kind>.partial.jsonl`` (the journal, while it is being made) and
``NAME<kind>.manifest.json`` (written last). Killed at any moment, the same command continues, with equal bytes.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tomography import __version__
from tomography.errors import OutputError, TomographyError
from tomography.manifest import (
    Artifact,
    FileEntry,
    Input,
    Manifest,
    journal_path,
    manifest_path,
    read_manifest,
    sha256,
    sha256_of,
)

_TEMPORARY = re.compile(r"\.\d+\.\d+\.partial")
_LONGEST_NAME_BYTES = 255


@dataclass(frozen=True)
class Request:
    """A product that somebody wants. ``owns`` says of a relative path whether this kind of product could hold it."""

    directory: Path
    artifact: Artifact
    input: Input
    settings: dict[str, Any]
    owns: Callable[[str], bool]

    @property
    def key(self) -> str:
        """What must be equal for work to be continued: program version, input and settings."""
        identity = [__version__, self.artifact, self.input.bytes, self.input.fingerprint, self.settings]
        return sha256(json.dumps(identity, sort_keys=True).encode())


@dataclass
class Build:
    """A product in the making. ``kept`` are the files of an earlier attempt that are still what they were."""

    request: Request
    journal: IO[str]
    kept: dict[str, FileEntry]
    _entries: dict[str, FileEntry] = field(default_factory=dict)
    _counter: Iterator[int] = field(default_factory=itertools.count)

    def write(self, path: str, content: bytes) -> FileEntry:
        """Write one file, whole or not at all. Safe from several threads, for different files."""
        target = self.request.directory / path
        partial = self.request.directory / f".{os.getpid()}.{next(self._counter)}.partial"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(target)
        return FileEntry(path=path, bytes=len(content), sha256=sha256(content))

    def record(self, entries: Iterable[FileEntry]) -> None:
        """Take files into the product's account. What is recorded is not made again after an interruption."""
        recorded = list(entries)
        self._entries.update((entry.path, entry) for entry in recorded)
        self.journal.write(json.dumps([entry.model_dump() for entry in recorded]) + "\n")
        self.journal.flush()

    def commit(self, results: dict[str, Any]) -> Manifest:
        """Declare the product complete. The manifest appears in one step, after everything else."""
        files = [self._entries[path] for path in sorted(self._entries)]
        manifest = Manifest(
            artifact=self.request.artifact,
            input=self.request.input,
            settings=self.request.settings,
            results=results,
            files=files,
            total_files=len(files),
            total_bytes=sum(entry.bytes for entry in files),
        )
        path = manifest_path(self.request.directory, self.request.artifact)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            file.write(manifest.encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        return manifest


def make(request: Request, pool: Executor, work: Callable[[Build], dict[str, Any]]) -> tuple[Manifest, bool]:
    """The product's manifest, and whether it was made now; ``work`` writes the files and returns the results.

    An intact product of the same input and settings is left as it is. An interrupted attempt is continued.
    What was begun is removed when the request turns out to be impossible, and kept for the next attempt after any other
    failure. Raises OutputError where another process is at work, or the directory holds another result or other files.
    """
    _check_name(request)
    if manifest := _finished(request, pool):
        return manifest, False
    with _locked_journal(request) as journal:
        # The other process that held the lock may have made it.
        if manifest := _finished(request, pool):
            return manifest, False
        leftover = _own_files(request)
        _refuse_unaccounted(request, journal, leftover)
        kept = {entry.path: entry for entry in _intact(request.directory, _accounted(request, journal), pool)}
        manifest_path(request.directory, request.artifact).unlink(missing_ok=True)
        _sweep(request.directory, leftover, kept)
        try:
            return _build(request, journal, kept, work), True
        except TomographyError:
            _sweep(request.directory, _own_files(request), {})
            request.directory.rmdir()
            journal.truncate(0)
            raise


def _build(
    request: Request, journal: IO[str], kept: dict[str, FileEntry], work: Callable[[Build], dict[str, Any]]
) -> Manifest:
    request.directory.mkdir(parents=True, exist_ok=True)
    build = Build(request, journal, kept)
    journal.truncate(0)
    journal.write(json.dumps({"key": request.key}) + "\n")
    build.record(kept.values())
    manifest = build.commit(work(build))
    journal.truncate(0)
    return manifest


def _finished(request: Request, pool: Executor) -> Manifest | None:
    """The manifest of the product where it is intact; None where it has to be made, or files were lost or changed."""
    manifest = read_manifest(request.directory, request.artifact)
    if manifest is None:
        return None
    where = str(request.directory)
    if not manifest.input.same_content(request.input):
        raise OutputError(
            f"{where!r} was made from another input ({manifest.input.name!r}, {manifest.input.bytes} bytes): "
            "choose another output."
        )
    if manifest.settings != request.settings:
        names = sorted(
            name
            for name in manifest.settings.keys() | request.settings.keys()
            if manifest.settings.get(name) != request.settings.get(name)
        )
        raise OutputError(f"{where!r} was made with other settings ({', '.join(names)}): choose another output.")
    intact = _intact(request.directory, manifest.files, pool)
    return manifest if len(intact) == manifest.total_files else None


def _check_name(request: Request) -> None:
    path = request.directory
    longest = manifest_path(path, request.artifact).name + ".partial"
    if len(os.fsencode(longest)) > _LONGEST_NAME_BYTES:
        raise OutputError(
            f"{path.name!r} is too long a name for a product: file systems allow 255 bytes, suffixes included."
        )
    if path.exists() and not path.is_dir():
        raise OutputError(f"{str(path)!r} exists and is not a directory: choose another output.")
    if not path.parent.is_dir():
        raise OutputError(f"{str(path.parent)!r} is not a directory: make it first, or check the output's name.")


@contextmanager
def _locked_journal(request: Request) -> Iterator[IO[str]]:
    """The journal, held by this process alone. One that is left empty has nothing to tell and is removed."""
    path = journal_path(request.directory, request.artifact)
    while True:
        with path.open("a+", encoding="utf-8") as journal:
            try:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(
                    f"{str(request.directory)!r} is being written by another process. "
                    "Wait for it, or choose another output."
                ) from error
            except OSError as error:
                # Some shared file systems have no locks; there, whoever starts the programs keeps them apart.
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                    raise
            if os.fstat(journal.fileno()).st_nlink == 0:
                continue  # the other process finished just now and took this one away
            try:
                yield journal
            finally:
                journal.flush()
                if os.fstat(journal.fileno()).st_size == 0:
                    path.unlink(missing_ok=True)
            return


def _accounted(request: Request, journal: IO[str]) -> list[FileEntry]:
    """The files that an earlier attempt at this very product says it has made."""
    manifest = read_manifest(request.directory, request.artifact)
    if manifest is not None:
        return manifest.files if manifest.program.version == __version__ else []
    journal.seek(0)
    lines = []
    for line in journal:
        try:
            lines.append(json.loads(line))
        except ValueError:
            break  # the line that was being written when the program was killed
    if not lines or lines[0] != {"key": request.key}:
        return []
    return [FileEntry.model_validate(entry) for line in lines[1:] for entry in line]


def _intact(directory: Path, entries: Iterable[FileEntry], pool: Executor) -> list[FileEntry]:
    """Those files that are there and hold what they held, read again."""

    def check(entry: FileEntry) -> FileEntry | None:
        path = directory / entry.path
        try:
            same = path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256
        except FileNotFoundError:
            return None
        return entry if same else None

    return [entry for entry in pool.map(check, entries) if entry is not None]


def _own_files(request: Request) -> dict[str, Path]:
    """Every file in the product's directory. Raises OutputError where one is not of this product, touching nothing."""
    if not request.directory.exists():
        return {}
    files = {
        path.relative_to(request.directory).as_posix(): path
        for path in request.directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    for name, path in files.items():
        if path.is_symlink() or not (_TEMPORARY.fullmatch(name) or request.owns(name)):
            raise OutputError(
                f"{str(request.directory)!r} holds files that are not of this product ({name!r}). "
                "Nothing was touched: choose another output."
            )
    return files


def _refuse_unaccounted(request: Request, journal: IO[str], files: dict[str, Path]) -> None:
    """Files with our names but neither manifest nor journal are another program's, and may be all there is of them."""
    told = os.fstat(journal.fileno()).st_size > 0 or read_manifest(request.directory, request.artifact) is not None
    if files and not told:
        raise OutputError(
            f"{str(request.directory)!r} holds {len(files)} files with neither a manifest nor a journal beside them: "
            "another program may have made them. Nothing was touched: move them away, or choose another output."
        )


def _sweep(directory: Path, files: dict[str, Path], kept: dict[str, FileEntry]) -> None:
    """Remove what an earlier attempt left and this one does not keep, and the folders that become empty."""
    for name, path in files.items():
        if name not in kept:
            path.unlink()
    for folder in sorted((path for path in directory.rglob("*") if path.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
