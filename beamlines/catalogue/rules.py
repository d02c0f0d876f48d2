"""The section ``catalogue`` of a beamline's file.

Belongs here: its model. Does not: addresses and accounts (deployment), or what an ingester does (its own module).
"""

from enum import StrEnum

from pydantic import Field, field_validator

from beamlines.catalogue.ingesters import INGESTERS
from beamlines.facilities import Strict


class Restricted(StrEnum):
    """What the catalogue has of a scan that must stay on site."""

    ABSENT = "absent"
    """Nothing."""
    UNPUBLISHED = "unpublished"
    """An entry that only its groups see, without any picture."""


class CatalogueRules(Strict):
    """How scans of a beamline are described in the catalogue."""

    ingester: str
    """What reads the file of a scan: one of ``ingesters.INGESTERS``."""
    group: str = Field(min_length=1, max_length=100, pattern=r"^\S+$")
    """Sees every entry, and owns those of scans that name no proposal: an entry without an owner is nobody's."""
    instrument: str = Field(min_length=1)
    """Where the data were taken, as the catalogue has it."""
    restricted: Restricted = Restricted.ABSENT

    @field_validator("ingester")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in INGESTERS:
            raise ValueError(f"there is no ingester {name!r}; there are {sorted(INGESTERS)}")
        return name
