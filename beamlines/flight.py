"""What is copied: a scan, or the file with which the way is tested.

Belongs here: TestFile, and the one type for both.
Does not: the check that uses it (als_assets.flight_check).
"""

from dataclasses import dataclass
from typing import TypeAlias

from beamlines.places import Location, Place, Store
from beamlines.scans import ScanId


@dataclass(frozen=True, slots=True)
class TestFile:
    """A file in the folder that never holds scans. It is nobody's data, and no rule keeps it anywhere."""

    __test__ = False  # pytest collects what is called so

    folder: str
    """Below ``raw/``."""
    name: str

    @property
    def key(self) -> str:
        """What stands for it in the ledger; no scan lies in this folder, so none is called so."""
        return f"{self.folder}/{self.name}"

    def at(self, place: Place) -> Location:
        """Where it lies at a place."""
        return place.at(Store.RAW, f"{self.folder}/{self.name}")


Subject: TypeAlias = ScanId | TestFile
