"""What the catalogue says of a scan, or of a reconstruction, as values.

Belongs here: entries and their parts, in our words; where their data lie, and what became of copies that are gone.
Does not: SciCat's names of fields (resources.catalogue.documents), or finding any of it out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""What JSON can say."""


@dataclass(frozen=True, slots=True)
class Found:
    """A value that a file holds, and its unit where the file states one."""

    value: object
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """What an ingester makes of a scan's file. Every text is clean, and the owner's group is never empty."""

    name: str
    description: str
    keywords: tuple[str, ...]
    owner: str
    contact_email: str
    owner_group: str
    access_groups: tuple[str, ...]
    investigator: str
    proposal: str | None
    metadata: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the data, relative to their folder."""

    path: str
    bytes: int
    sha256: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Lying:
    """A copy of the data that is there, or was."""

    what: str
    """``raw``, ``tiff`` or ``zarr``."""
    place: str
    path: str
    on_site: bool
    gone: str | None = None
    """Why it is not there any more, in words; None where it is."""
    gone_at: datetime | None = None

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0] or "/"


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where the data lie now."""

    copies: tuple[Lying, ...]
    """In the order in which people look for them: on site first."""

    @property
    def best(self) -> Lying:
        """The copy to read: the first that is there, or the first of all where none is."""
        return next((copy for copy in self.copies if copy.gone is None), self.copies[0])

    @property
    def is_on_site(self) -> bool:
        return any(copy.on_site and copy.gone is None for copy in self.copies)

    @property
    def is_elsewhere(self) -> bool:
        return any(not copy.on_site and copy.gone is None for copy in self.copies)

    @property
    def left_site(self) -> datetime | None:
        """When the last copy on site went; None while there is one, or where there never was."""
        times = [copy.gone_at for copy in self.copies if copy.on_site and copy.gone_at is not None]
        return None if self.is_on_site else max(times, default=None)

    @property
    def said(self) -> str:
        """The same in one sentence, for people."""
        there = ", ".join(f"{copy.what} at {copy.place}" for copy in self.copies if copy.gone is None)
        gone = "; ".join(f"{copy.what} at {copy.place} {copy.gone}" for copy in self.copies if copy.gone is not None)
        return "; ".join(part for part in (f"there: {there or 'nothing'}", gone) if part)


@dataclass(frozen=True, slots=True)
class Picture:
    """A thumbnail: a PNG file in base64."""

    caption: str
    png_base64: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What only a scan has."""

    principal_investigator: str
    instrument: str
    proposal: str | None
    data_format: str


@dataclass(frozen=True, slots=True)
class Made:
    """What only a reconstruction has."""

    investigator: str
    inputs: tuple[str, ...]
    """The pids of what it was made of."""
    software: tuple[str, ...]
    parameters: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Entry:
    """One dataset of the catalogue."""

    pid: str
    name: str
    description: str
    keywords: tuple[str, ...]
    owner: str
    contact_email: str
    owner_group: str
    access_groups: tuple[str, ...]
    created: datetime
    whereabouts: Whereabouts
    metadata: Mapping[str, Value]
    files: tuple[ListedFile, ...]
    origin: Taken | Made
    picture: Picture | None = None

    def __post_init__(self) -> None:
        if not self.owner_group.strip():
            raise ValueError("an entry without an owner's group would be nobody's, and SciCat takes it all the same")
        if self.created.tzinfo is None:
            raise ValueError(f"{self.created} has no time zone: nobody could tell when that was")

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def copies_said(copies: Sequence[Lying]) -> list[dict[str, Value]]:
    """Where each copy lies, or lay, as a catalogue shows it."""
    return [
        {"what": copy.what, "place": copy.place, "path": copy.path, "there": copy.gone is None, "gone": copy.gone or ""}
        for copy in copies
    ]
