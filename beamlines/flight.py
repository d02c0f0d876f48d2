"""What is copied: a scan, or the file with which the way is tested.

Belongs here: TestFile, and the one type for both.
Does not: the check that uses it (als_assets.flight_check).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

from beamlines.places import Location, Place, Store
from beamlines.scans import ScanId

_UNIQUE = re.compile(r"(?P<kind>[a-z]+)_(?P<stamp>\d{8}T\d{6}Z)_(?P<whose>[0-9a-f]{8})\.txt")
_STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class TestFile:
    """A file in the folder that never holds scans. It is nobody's data, and no rule keeps it anywhere."""

    __test__ = False  # pytest collects what is called so

    folder: str
    """Below ``raw/``."""
    name: str
    store: Store = Store.RAW

    @classmethod
    def unique(cls, folder: str, kind: str, at: datetime, whose: str, store: Store = Store.RAW) -> "TestFile":
        """One that nobody else has: it tells when it was made (UTC), and by the end of ``whose``, hexadecimal."""
        return cls(folder, f"{kind}_{at.astimezone(UTC).strftime(_STAMP)}_{whose[-8:]}.txt", store)

    @property
    def made_at(self) -> datetime | None:
        """When it was made, by its name; None for a file that ``unique`` has not named."""
        match = _UNIQUE.fullmatch(self.name)
        return None if match is None else datetime.strptime(match["stamp"], _STAMP).replace(tzinfo=UTC)

    @property
    def key(self) -> str:
        """What stands for it in the ledger; no scan lies in this folder, so none is called so."""
        return f"{self.folder}/{self.name}"

    def at(self, place: Place) -> Location:
        """Where it lies at a place."""
        return place.at(self.store, f"{self.folder}/{self.name}")


Subject: TypeAlias = ScanId | TestFile
