"""Entries of the catalogue that, read again, were not what was sent: while one is, nothing of its data is deleted.

Belongs here: the table ``catalogue_disagreements``. Does not: comparing (catalogue), or deciding (beamlines.deletion).

It is a table of our own because retention asks for all of them at once, and must not be lifted by a wipe in the UI.
"""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from resources.database import Database, catalogue_disagreements, insert_new


class Disagreements:
    """Those whose check has failed last."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, entry: str, partition: str, why: str, at: datetime) -> None:
        """An entry is not what was sent. Said again, the first time stands."""
        row = {"entry": entry, "partition": partition, "since": at, "why": why}
        with self._database.writing() as connection:
            insert_new(connection, catalogue_disagreements, [row])

    def clear(self, entry: str, partition: str) -> None:
        """It is what was sent, or is not there any more."""
        table = catalogue_disagreements.c
        with self._database.writing() as connection:
            connection.execute(
                sa.delete(catalogue_disagreements).where(table.entry == entry, table.partition == partition)
            )

    def all(self) -> dict[str, str]:
        """By partition, in words."""
        return self._select()

    def of(self, partitions: Collection[str]) -> dict[str, str]:
        """Those of some partitions."""
        return self._select(catalogue_disagreements.c.partition.in_(partitions))

    def _select(self, *where: sa.ColumnElement[bool]) -> dict[str, str]:
        query = sa.select(catalogue_disagreements).where(*where).order_by(catalogue_disagreements.c.entry)
        with self._database.reading() as connection:
            return {row.partition: f"{row.entry}: {row.why}" for row in connection.execute(query)}
