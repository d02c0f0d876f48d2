"""The copy that is to go: looked at once more, and held against what was recorded and seen before.

Belongs here: how many files it has, how large, how new, by listings alone; and how that has changed.
Does not: its contents, which no listing shows, or proof of the copies that stay (keepers).
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from beamlines.layout import Artifact, Copy
from beamlines.places import Location
from beamlines.reconciliation import CLOCKS_MAY_DIFFER
from beamlines.scans import PartitionKey
from resources.errors import PlatformError
from resources.transfer import Entry, EntryType, NotFoundError, Transfer

MOST_FOLDERS = 5_000
"""At about 20 listings a second, four minutes. The pyramid of a 2560-cubed volume has about 600."""


class TooManyFoldersError(PlatformError):
    """A product has more folders than anybody would look through: nothing is known of it."""


class VanishingError(PlatformError):
    """What was listed a moment ago is not there: it is being deleted, or its server is dying. Nothing is known."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A copy as its place lists it."""

    files: int
    bytes: int
    newest: datetime | None
    """When any of its files was last written, as the place tells; None where it has none."""
    listing: str
    """SHA-256 of all paths, sizes and times: two listings are equal where these are."""

    def __str__(self) -> str:
        newest = "" if self.newest is None else f", the newest of {self.newest.isoformat()}"
        return f"{self.files} files of {self.bytes} bytes{newest}"


@dataclass(frozen=True, slots=True)
class AsRecorded:
    """What our record of a copy says of it."""

    files: int
    bytes: int
    at: datetime
    """When the record was made: nothing of the copy was written later."""


def look(transfer: Transfer, copy: Copy, key: PartitionKey) -> Seen | None:
    """How a copy is now, by one look at a raw file or one listing of each folder of a product; None where none is.

    Raises TooManyFoldersError, VanishingError, and as Transfer's listings do: one that failed is never an empty one.
    """
    location = copy.location(key)
    try:
        if copy.artifact is Artifact.RAW:
            entries = [("", transfer.stat(location))]
        else:
            entries = sorted(_below(transfer, location), key=lambda found: os.fsencode(found[0]))
    except NotFoundError:
        return None
    records = "".join(f"{path}\0{e.type}\0{e.size_bytes}\0{e.modified.isoformat()}\0" for path, e in entries)
    return Seen(
        files=len(entries),
        bytes=sum(entry.size_bytes for _, entry in entries),
        newest=max((entry.modified for _, entry in entries), default=None),
        listing=hashlib.sha256(os.fsencode(records)).hexdigest(),
    )


def changed_since(before: Seen | None, now: Seen | None, recorded: AsRecorded) -> str | None:
    """How a copy is not what was recorded, or seen before in this pass (where it was); None where it is."""
    if now is None:
        return "nothing lies there any more"
    if (now.files, now.bytes) != (recorded.files, recorded.bytes):
        return f"it has {now}; recorded are {recorded.files} files of {recorded.bytes} bytes"
    if now.newest is not None and now.newest > recorded.at + CLOCKS_MAY_DIFFER:
        return f"it has {now}, and it was recorded before that, at {recorded.at.isoformat()}"
    if before is not None and now != before:
        return f"it has {now}, and it had {before} when it was looked at before"
    return None


def _below(transfer: Transfer, root: Location) -> Iterator[tuple[str, Entry]]:
    """Everything below a folder that is no folder, by its path."""
    folders, listed = [""], 0
    while folders:
        folder = folders.pop()
        listed += 1
        try:
            listing = transfer.list(root / folder if folder else root)
        except NotFoundError as error:
            if not folder:
                raise
            raise VanishingError(
                seen=f"{root / folder} was listed, and is not there",
                meaning="somebody is deleting it, or its server tells half of what it has: nothing is known of it",
                remedy="look again when that has ended",
            ) from error
        if listed + len(folders) > MOST_FOLDERS or listing.more:
            raise TooManyFoldersError(
                seen=f"{root} has more than {MOST_FOLDERS} folders, or too many files in one",
                meaning="whether it has changed cannot be told, so nothing of it is deleted",
                remedy="look at what was put there; a product of this platform has far fewer",
            )
        for entry in listing.entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.type is EntryType.FOLDER:
                folders.append(path)
            else:
                yield path, entry
