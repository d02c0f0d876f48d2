"""A directory that is made file by file, and is complete when, and only when, its manifest lies beside it.

Belongs here: resumption, refusal to touch what is not ours, the order of things on disk.
Does not: what the files mean, or what a journal holds (tomography.journal).

On disk: ``NAME/`` (the product, built in place), ``NAME<kind>.partial.jsonl`` (the journal, while it is being made) and
``NAME<kind>.manifest.json`` (written last). Killed at any moment, the same command continues, with equal bytes. A part
of a product has a journal of its own, ``NAME<kind>.2-of-4.partial.jsonl``, which ends with the part's manifest and
stays until the parts are joined.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tomography import __version__, journal
from tomography.errors import LimitError, OutputError, TomographyError
from tomography.manifest import (
    Artifact,
    FileEntry,
    Input,
    Manifest,
    journal_path,
    journals_of_parts,
    manifest_path,
    read_manifest,
    sha256,
    sha256_of,
)
from tomography.parts import Part
from tomography.settings import Device

_TEMPORARY = re.compile(r"\.(\d+-of-\d+\.)?\d+\.\d+\.partial")
_LONGEST_NAME_BYTES = 255


@dataclass(frozen=True)
class Request:
    """A product that somebody wants, or a part of it.

    ``owns`` says of a relative path whether this kind of product could hold it; ``mine`` whether it is of the ``part``.
    ``device`` is what computes it: what was begun on one is not continued on another.
    """

    directory: Path
    artifact: Artifact
    input: Input
    settings: dict[str, Any]
    owns: Callable[[str], bool]
    part: Part | None = None
    mine: Callable[[str], bool] = lambda _: True
    device: Device = Device.CPU

    @property
    def key(self) -> str:
        """What must be equal for work to be continued: program version, input, settings and device."""
        identity = [__version__, self.artifact, *self.input.content, self.settings, self.device]
        return sha256(json.dumps(identity, sort_keys=True).encode())

    @property
    def journal(self) -> Path:
        """Where it keeps account of what is done."""
        return journal_path(self.directory, self.artifact, self.part)


@dataclass
class Build:
    """A product in the making. ``kept`` are the files of an earlier attempt that are still what they were.

    Without an ``account`` nothing is written down for another attempt.
    """

    request: Request
    account: IO[str] | None
    kept: dict[str, FileEntry]
    _entries: dict[str, FileEntry] = field(default_factory=dict)
    _counter: Iterator[int] = field(default_factory=itertools.count)

    def write(self, path: str, content: bytes) -> FileEntry:
        """Write one file, whole or not at all. Safe from several threads, for different files."""
        target = self.request.directory / path
        # Parts may run on machines whose process numbers are the same.
        part = "" if self.request.part is None else f"{self.request.part}."
        partial = self.request.directory / f".{part}{os.getpid()}.{next(self._counter)}.partial"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(target)
        return FileEntry(path=path, bytes=len(content), sha256=sha256(content))

    def record(self, entries: Iterable[FileEntry]) -> None:
        """Take files into the product's account. What is recorded is not made again after an interruption."""
        recorded = list(entries)
        self._entries.update((entry.path, entry) for entry in recorded)
        if self.account is not None:
            journal.record(self.account, recorded)

    def begin(self, leftover: dict[str, Path]) -> None:
        """Remove what is not kept, and begin the account."""
        if self.request.part is None:  # a part that was damaged becomes again what the manifest of all says
            manifest_path(self.request.directory, self.request.artifact).unlink(missing_ok=True)
        self.sweep(leftover, self.kept)
        self.request.directory.mkdir(parents=True, exist_ok=True)
        if self.account is not None:
            journal.begin(self.account, self.request.key)
        self.record(self.kept.values())

    def commit(self, results: dict[str, Any]) -> Manifest:
        """Declare the product complete. The manifest appears in one step, after everything else."""
        manifest = self._manifest(results)
        if self.request.part is not None and self.account is not None:
            journal.conclude(self.account, manifest)
            return manifest
        path = manifest_path(self.request.directory, self.request.artifact)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            file.write(manifest.encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        if self.account is not None:
            self.account.truncate(0)
        return manifest

    def abandon(self) -> None:
        """Remove what was begun: the request turned out to be impossible."""
        self.sweep(own_files(self.request), {})
        if self.request.directory.is_dir() and not any(self.request.directory.iterdir()):
            self.request.directory.rmdir()
        if self.account is not None:
            self.account.truncate(0)

    def sweep(self, files: dict[str, Path], kept: dict[str, FileEntry]) -> None:
        """Remove those files that are not kept, and the folders that become empty."""
        for name, path in files.items():
            if name not in kept:
                path.unlink()
        if self.request.part is not None or not self.request.directory.is_dir():
            return  # another part may have made a folder just now
        for folder in sorted((path for path in self.request.directory.rglob("*") if path.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _manifest(self, results: dict[str, Any]) -> Manifest:
        files = [self._entries[path] for path in sorted(self._entries)]
        return Manifest(
            artifact=self.request.artifact,
            input=self.request.input,
            settings=self.request.settings,
            results=results,
            files=files,
            total_files=len(files),
            total_bytes=sum(entry.bytes for entry in files),
        )


def make(request: Request, pool: Executor, work: Callable[[Build], dict[str, Any]]) -> tuple[Manifest, bool]:
    """The product's manifest, and whether it was made now; ``work`` writes the files and returns the results.

    An intact product of the same input and settings is left as it is. An interrupted attempt is continued.
    What was begun is removed when the request turns out to be impossible, and kept for the next attempt after any other
    failure. Raises OutputError where another process is at work, or the directory holds another result or other files.
    """

    def only(builds: Sequence[Build | None]) -> list[dict[str, Any]]:
        return [work(build) for build in builds if build is not None]

    return make_together([request], pool, only)[0]


def make_together(
    requests: Sequence[Request], pool: Executor, work: Callable[[Sequence[Build | None]], Sequence[dict[str, Any]]]
) -> list[tuple[Manifest, bool]]:
    """Several products that come of one work, as ``make`` makes one.

    ``work`` gets None for a product that is intact, and returns the results of the others, in order. Nothing is touched
    before it is known of all that they can be made.
    """
    with ExitStack() as held:
        claims = [_claim(request, pool, held) for request in requests]
        builds = [None if isinstance(claim, Manifest) else claim[0] for claim in claims]
        begun = [build for build in builds if build is not None]
        for claim in claims:
            if not isinstance(claim, Manifest):
                claim[0].begin(claim[1])
        try:
            results = iter(work(builds) if begun else ())
        except TomographyError as error:
            for build in begun:
                if not (isinstance(error, LimitError) and build.kept):
                    build.abandon()
            raise
        return [
            (claim, False) if isinstance(claim, Manifest) else (claim[0].commit(next(results)), True)
            for claim in claims
        ]


def _claim(request: Request, pool: Executor, held: ExitStack) -> Manifest | tuple[Build, dict[str, Path]]:
    """The manifest of the product where it is intact, else its build and the files that lie there; touches nothing."""
    _check_name(request)
    if manifest := _finished(request, pool):
        return manifest
    _refuse_other_division(request)
    account = held.enter_context(journal.locked(request.journal, request.directory))
    # The other process that held the lock may have made it.
    if manifest := _finished(request, pool):
        return manifest
    leftover = own_files(request)
    _refuse_unaccounted(request, account, leftover)
    kept = {entry.path: entry for entry in intact(request.directory, _accounted(request, account), pool)}
    return Build(request, account, kept), leftover


def _finished(request: Request, pool: Executor) -> Manifest | None:
    """The manifest of the product, or of the part, where it is intact; None where it has to be made, or files were lost
    or changed.
    """
    manifest = read_manifest(request.directory, request.artifact)
    if manifest is None and request.part is not None:
        manifest = journal.told_at(request.journal).manifest
    if manifest is None:
        return None
    where = str(request.directory)
    if not manifest.input.same_content(request.input):
        raise OutputError(f"{where!r} was made from another input ({manifest.input.said}): choose another output.")
    if manifest.settings != request.settings:
        names = sorted(
            name
            for name in manifest.settings.keys() | request.settings.keys()
            if manifest.settings.get(name) != request.settings.get(name)
        )
        raise OutputError(f"{where!r} was made with other settings ({', '.join(names)}): choose another output.")
    files = [entry for entry in manifest.files if request.mine(entry.path)]
    return manifest if len(intact(request.directory, files, pool)) == len(files) else None


def _check_name(request: Request) -> None:
    path = request.directory
    longest = max(manifest_path(path, request.artifact).name + ".partial", request.journal.name, key=len)
    if len(os.fsencode(longest)) > _LONGEST_NAME_BYTES:
        raise OutputError(
            f"{path.name!r} is too long a name for a product: file systems allow 255 bytes, suffixes included."
        )
    if path.exists() and not path.is_dir():
        raise OutputError(f"{str(path)!r} exists and is not a directory: choose another output.")
    if not path.parent.is_dir():
        raise OutputError(f"{str(path.parent)!r} is not a directory: make it first, or check the output's name.")


def _refuse_other_division(request: Request) -> None:
    """A product is made whole or in so many parts, and what was begun one way is not continued another way."""
    where = str(request.directory)
    for part in journals_of_parts(request.directory, request.artifact):
        if request.part is None or part.of != request.part.of:
            raise OutputError(
                f"{where!r} is being made in {part.of} parts: run them and merge, or remove it and its journals."
            )
    whole = journal_path(request.directory, request.artifact)
    if request.part is not None and whole.exists() and whole.stat().st_size > 0:
        raise OutputError(f"{where!r} was begun in one part: finish it so, or remove it and its journal.")


def _accounted(request: Request, account: IO[str]) -> Sequence[FileEntry]:
    """The files that an earlier attempt at this very product says it has made."""
    manifest = read_manifest(request.directory, request.artifact)
    if manifest is not None:
        files = manifest.files if manifest.program.version == __version__ else []
        return [entry for entry in files if request.mine(entry.path)]
    found = journal.told(account)
    return found.files if found.key == request.key else []


def intact(directory: Path, entries: Iterable[FileEntry], pool: Executor) -> list[FileEntry]:
    """Those files that are there and hold what they held, read again."""

    def check(entry: FileEntry) -> FileEntry | None:
        path = directory / entry.path
        try:
            same = path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256
        except FileNotFoundError:
            return None
        return entry if same else None

    return [entry for entry in pool.map(check, entries) if entry is not None]


def own_files(request: Request) -> dict[str, Path]:
    """The files in the product's directory, or those of the part. Raises OutputError where one is not of this product,
    touching nothing.
    """
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
    return {name: path for name, path in files.items() if _is_mine(request, name)}


def _is_mine(request: Request, name: str) -> bool:
    if temporary := _TEMPORARY.fullmatch(name):
        return request.part is None or temporary[1] == f"{request.part}."
    return request.mine(name)


def _refuse_unaccounted(request: Request, account: IO[str], files: dict[str, Path]) -> None:
    """Files with our names but neither manifest nor journal are another program's, and may be all there is of them."""
    told = os.fstat(account.fileno()).st_size > 0 or read_manifest(request.directory, request.artifact) is not None
    if files and not told:
        raise OutputError(
            f"{str(request.directory)!r} holds {len(files)} files with neither a manifest nor a journal beside them: "
            "another program may have made them. Nothing was touched: move them away, or choose another output."
        )
