"""The journal of a product in the making: what is done, for whoever continues it.

Belongs here: one writer at a time, what a journal tells. Does not: judging the files that it lists (product).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tomography.errors import OutputError
from tomography.manifest import FileEntry, Manifest


@dataclass(frozen=True)
class Told:
    """What a journal tells: of which product, which files, and the manifest of a part that is complete."""

    key: str | None
    files: tuple[FileEntry, ...]
    manifest: Manifest | None


@contextmanager
def locked(path: Path, product: Path) -> Iterator[IO[str]]:
    """The journal, held by this process alone. One that is left empty has nothing to tell and is removed."""
    while True:
        with path.open("a+", encoding="utf-8") as journal:
            try:
                fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(
                    f"{str(product)!r} is being written by another process. Wait for it, or choose another output."
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


def begin(journal: IO[str], key: str) -> None:
    """Begin the journal anew."""
    journal.truncate(0)
    _append(journal, {"key": key})


def record(journal: IO[str], entries: Iterable[FileEntry]) -> None:
    """Files that are made and will not be made again."""
    _append(journal, [entry.model_dump() for entry in entries])


def conclude(journal: IO[str], manifest: Manifest) -> None:
    """A part is complete; its manifest lists its files."""
    _append(journal, {"manifest": manifest.model_dump(mode="python")})
    os.fsync(journal.fileno())


def told(journal: IO[str]) -> Told:
    """What it tells, up to the line that was being written when a program was killed."""
    journal.seek(0)
    key, files, manifest = None, [], None
    for number, line in enumerate(journal):
        try:
            found: Any = json.loads(line)
        except ValueError:
            break
        if isinstance(found, list):
            files += [FileEntry.model_validate(entry) for entry in found]
        elif number == 0:
            key = found.get("key")
        else:
            manifest = Manifest.model_validate(found["manifest"])
    return Told(key, tuple(files), manifest)


def told_at(path: Path) -> Told:
    """What the journal at a path tells; nothing where there is none."""
    try:
        with path.open(encoding="utf-8") as journal:
            return told(journal)
    except FileNotFoundError:
        return Told(None, (), None)


def _append(journal: IO[str], line: Any) -> None:
    journal.write(json.dumps(line) + "\n")
    journal.flush()
