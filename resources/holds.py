"""Holds: copies that no rule may delete until a person releases them.

Belongs here: the table ``holds``.
Does not: deciding about deletions, which asks here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from resources.database import Database, holds, insert_new


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a copy is held, by whom, since when."""

    asset: str
    partition: str
    since: datetime
    author: str
    note: str


class Holds:
    """Held copies, by asset and partition."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def hold(self, asset: str, partitions: Iterable[str], *, author: str, note: str, at: datetime) -> None:
        """Hold copies of one asset. What is held already stays as it is."""
        rows = [
            {"asset": asset, "partition": partition, "since": at, "author": author, "note": note}
            for partition in partitions
        ]
        with self._database.engine.begin() as connection:
            insert_new(connection, holds, rows)

    def of(self, partition: str) -> list[Hold]:
        """The holds on copies of one partition."""
        query = sa.select(holds).where(holds.c.partition == partition).order_by(holds.c.asset)
        with self._database.engine.connect() as connection:
            return [Hold(**row) for row in connection.execute(query).mappings()]

    def count(self) -> int:
        """How many copies are held."""
        with self._database.engine.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(holds)).scalar_one())
