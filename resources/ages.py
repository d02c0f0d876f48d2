"""Ages of retention that a person has set at run time, in place of the rule's own.

Belongs here: the table ``retention_ages``, to which rows are added and nothing else is done.
Does not: the rules (beamlines.retention), or deciding by them (beamlines.deletion).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from beamlines.retention import YOUNGEST, Retention
from resources.database import Database, retention_ages
from resources.errors import PlatformError, must_have_note


class AgeRefusedError(PlatformError):
    """An age that no rule may have, or of copies that no rule is about."""


@dataclass(frozen=True, slots=True)
class Age:
    """What a person has said about copies of one asset."""

    asset: str
    """``<place>/<asset>``."""
    age: timedelta | None
    """None: the rule's own, again."""
    author: str
    note: str
    at: datetime


class Ages:
    """Ages by asset."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> dict[str, timedelta]:
        """The ages that are in force, of those assets for which it is not the rule's own."""
        latest = {said.asset: said.age for said in self.history()}
        return {asset: age for asset, age in latest.items() if age is not None}

    def set(
        self, asset: str, age: timedelta | None, *, retention: Retention, author: str, note: str, at: datetime
    ) -> None:
        """Keep copies of an asset for another time; None: for that of its rule. Raises AgeRefusedError."""
        must_have_note(note, f"change how long {asset} is kept")
        if retention.rule_of(asset) is None:
            raise AgeRefusedError(
                seen=f"an age was to be set for {asset!r}",
                meaning="no rule is about it: its copies are never deleted",
                remedy=f"name one of {sorted(copy for rule in retention.rules for copy in rule.copies)}",
            )
        if age is not None and age < YOUNGEST:
            raise AgeRefusedError(
                seen=f"{asset} was to be kept for {age}",
                meaning=f"no copy goes that is younger than {YOUNGEST}",
                remedy="name a longer time",
            )
        row = {
            "asset": asset,
            "age_s": None if age is None else age.total_seconds(),
            "author": author,
            "note": note,
            "at": at,
        }
        with self._database.writing() as connection:
            connection.execute(sa.insert(retention_ages).values(row))

    def history(self) -> list[Age]:
        """All that was ever set, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(retention_ages).order_by(retention_ages.c.id)).mappings()
            return [
                Age(
                    row["asset"],
                    None if row["age_s"] is None else timedelta(seconds=row["age_s"]),
                    row["author"],
                    row["note"],
                    row["at"],
                )
                for row in rows
            ]
