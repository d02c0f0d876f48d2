"""Collections as a client reaches them: by id, with permissions, quotas, outages, and names that are not UTF-8.

Belongs here: from a collection and a path to a local path, or the reason why not; the document of a file.
Does not: listings and their filters (listing), or tasks (tasks, copying, deleting).
"""

import os
import posixpath
import stat
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from twin.globus.conditions import Access, ConditionsBoard
from twin.world import Collection, OutsideCollectionError, World

UNDECODABLE = "\N{REPLACEMENT CHARACTER}"


class AccessDeniedError(PermissionError):
    """A path that the client may not use in this way."""


class CollectionDownError(ConnectionError):
    """A collection that does not answer."""


class Storage:
    """Every collection of the world, under the conditions of now."""

    def __init__(self, world: World, board: ConditionsBoard) -> None:
        self._world = world
        self._board = board

    def collection(self, identifier: str) -> Collection:
        """Raises UnknownCollectionError."""
        return self._world.collection(identifier)

    def local(self, collection: str, path: str, access: Access, *, follow: bool = True) -> Path:
        """Where ``path`` lies. Raises UnknownCollectionError, CollectionDownError or AccessDeniedError."""
        found = self._world.collection(collection)
        conditions = self._board.now
        if collection in conditions.down:
            raise CollectionDownError(f"collection {collection} does not answer")
        try:
            local = found.local(from_wire(path), follow=follow)
        except OutsideCollectionError as error:
            raise AccessDeniedError(str(error)) from error
        if any(
            denied.covers(collection, PurePosixPath(posixpath.normpath(path)), access) for denied in conditions.denied
        ):
            raise AccessDeniedError(f"{path!r} may not be used to {access}")
        return local

    def has_room(self, collection: str, size_bytes: int) -> bool:
        """Whether so much more still fits in the quota."""
        quota = self._board.now.quota_bytes.get(collection)
        return quota is None or self._world.collection(collection).size_bytes() + size_bytes <= quota


def to_wire(name: str) -> str:
    """A file's name in JSON; bytes that are no UTF-8 are shown as Latin-1 after U+FFFD, as the service does."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return UNDECODABLE + os.fsencode(name).decode("latin-1")
    return name


def from_wire(path: str) -> str:
    """The inverse of ``to_wire``, part by part."""
    return "/".join(
        os.fsdecode(part[1:].encode("latin-1")) if part.startswith(UNDECODABLE) else part for part in path.split("/")
    )


def timestamp(moment: datetime) -> str:
    """Whole seconds: a file's time is never finer on the wire."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S+00:00")


def file_document(path: Path) -> dict[str, Any]:
    """The file document of what lies at ``path``; a link that leads nowhere is shown as itself."""
    own = path.lstat()
    is_link = stat.S_ISLNK(own.st_mode)
    try:
        status = path.stat()
    except FileNotFoundError:
        status = own
    return {
        "DATA_TYPE": "file",
        "name": to_wire(path.name),
        "type": _type(status.st_mode),
        "size": status.st_size,
        "user": "als",
        "group": "als",
        "permissions": f"{stat.S_IMODE(status.st_mode):04o}",
        "last_modified": _time(status.st_mtime),
        "link_target": to_wire(str(path.readlink())) if is_link else None,
        "link_size": own.st_size if is_link else None,
        "link_last_modified": _time(own.st_mtime) if is_link else None,
        "link_user": "als" if is_link else None,
        "link_group": "als" if is_link else None,
    }


def _time(seconds: float) -> str:
    return timestamp(datetime.fromtimestamp(int(seconds), UTC))


def _type(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "dir"
    if stat.S_ISREG(mode):
        return "file"
    return "invalid_symlink" if stat.S_ISLNK(mode) else "other"
