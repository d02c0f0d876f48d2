"""What Dagster has recorded of every copy, in a form in which all of it can be gone through at once.

Belongs here: the table ``recorded_copies``, which only repeats what the event log says; and ``suspects``, copies that
were found to be other than recorded. Does not: reading the event log (als_assets.retention.inventory).

The event log gives one asset's records a page at a time, each a document of its own: for 100,000 scans of 8 copies that
takes minutes, and all have to be looked at to see which one is old. The table can be dropped at any time: it is made
again from the log (docs/decisions/0018-retention.md).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from resources.database import Database, batches, insert_new, insert_or_replace, recorded_copies, suspects

_ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True, slots=True)
class RecordedCopy:
    """The newest record of one copy of one partition. ``asset`` is ``<place>/<asset>``, ``storage_id`` the log's."""

    scan: str
    partition: str
    asset: str
    storage_id: int
    recorded: datetime
    bytes: int
    files: int
    sha256: str | None
    """Of a raw file, where it was recorded."""
    gone: bool = False
    """A certificate says that the copy of this very record is gone, or about to go."""


@dataclass(frozen=True, slots=True)
class Sum:
    """How much it is together."""

    bytes: int = 0
    files: int = 0


class SeenBy(StrEnum):
    """What has shown that a copy is other than recorded."""

    PROOF = "proof"
    """It was read: only a newer record ends that."""
    LISTING = "listing"
    """It was not there, or looked different: a later listing may show that it is there again."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A copy that was found to be other than recorded. It is one until a newer record of it is there."""

    asset: str
    partition: str
    storage_id: int
    """Of the record that it did not fit."""
    since: datetime
    why: str
    seen_by: SeenBy = SeenBy.PROOF


class Recorded:
    """The records of all copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ids(self, asset: str) -> dict[str, int]:
        """The storage id of the record that is kept of each partition of one asset."""
        table = recorded_copies.c
        query = sa.select(table.partition, table.storage_id).where(table.asset == asset)
        with self._database.reading() as connection:
            return {str(row.partition): int(row.storage_id) for row in connection.execute(query)}

    def put(self, copies: Collection[RecordedCopy]) -> None:
        """Keep these records instead of earlier ones of the same copies; no two of one copy."""
        with self._database.writing() as connection:
            insert_or_replace(connection, recorded_copies, [_row(copy) for copy in copies], newer_by="storage_id")

    def drop(self, asset: str, partitions: Collection[str]) -> None:
        """Forget records that the event log has no more."""
        table = recorded_copies.c
        with self._database.writing() as connection:
            for some in batches(sorted(partitions)):
                connection.execute(sa.delete(recorded_copies).where(table.asset == asset, table.partition.in_(some)))

    def keep_only(self, assets: Collection[str]) -> None:
        """Forget the records of every other asset: the graph has it no more, and nothing of it can be looked at."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(recorded_copies).where(recorded_copies.c.asset.not_in(sorted(assets))))

    def mark_gone(self, asset: str, gone: Mapping[str, int], partitions: Collection[str] | None = None) -> None:
        """Mark which copies of an asset are gone, as certificates say: by partition, the id of the deleted record.

        Of all partitions, or of some.
        """
        table = recorded_copies.c
        query = sa.select(table.scan, table.partition, table.storage_id).where(table.asset == asset)
        if partitions is not None:
            query = query.where(table.partition.in_(partitions))
        with self._database.writing() as connection:
            # Of very many copies few change: those that are marked are read, and those that perhaps should be.
            marked = {row.partition: row for row in connection.execute(query.where(table.gone))}
            wrong = [row for row in marked.values() if gone.get(row.partition, -1) < row.storage_id]
            _mark(connection, asset, wrong, is_gone=False)
            for some in batches(sorted(gone.keys() - marked.keys())):
                rows = connection.execute(query.where(table.partition.in_(some), sa.not_(table.gone)))
                _mark(connection, asset, [row for row in rows if gone[row.partition] >= row.storage_id], is_gone=True)

    def sum_of(self, place: str) -> Sum:
        """Bytes and files of all that is recorded at a place and not gone."""
        table = recorded_copies.c
        query = sa.select(sa.func.sum(table.bytes), sa.func.sum(table.files))
        query = query.where(table.asset.startswith(f"{place}/", autoescape=True), table.gone.is_(False))
        with self._database.reading() as connection:
            size, files = connection.execute(query).one()
        return Sum(int(size or 0), int(files or 0))

    def by_scan(self) -> Iterator[list[RecordedCopy]]:
        """The records of each scan, of its own partition and of its labelled ones; a part of all is held at a time."""
        table = recorded_copies.c
        query = sa.select(recorded_copies).order_by(table.scan, table.partition, table.asset)
        with self._database.reading() as connection:
            rows = connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query)
            for _, records in groupby((RecordedCopy(*row) for row in rows), lambda copy: copy.scan):
                yield list(records)

    def at_place(self, place: str, *, after: int = -1) -> Iterator[RecordedCopy]:
        """The records of all copies at one place, of those newer than the storage id ``after``, in no order."""
        table = recorded_copies.c
        here = table.asset.startswith(f"{place}/", autoescape=True)
        with self._database.reading() as connection:
            query = sa.select(recorded_copies).where(here, table.storage_id > after)
            for row in connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query):
                yield RecordedCopy(*row)

    def of_scans(self, scans: Collection[str], assets: Collection[str] | None = None) -> Iterator[list[RecordedCopy]]:
        """The same of some scans; of all their copies, or of those of some assets."""
        table = recorded_copies.c
        with self._database.reading() as connection:
            for some in batches(sorted(scans)):
                query = sa.select(recorded_copies).where(table.scan.in_(some))
                if assets is not None:
                    query = query.where(table.asset.in_(assets))
                rows = connection.execute(query.order_by(table.scan, table.partition, table.asset))
                for _, records in groupby((RecordedCopy(*row) for row in rows), lambda copy: copy.scan):
                    yield list(records)


class Suspects:
    """Copies that are neither deleted nor keep others, until they are recorded anew."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, suspect: Suspect) -> None:
        """Keep one. Of what did not fit the same record the first reason stands; but a proof replaces a listing.

        Else what was read and is damaged would be believed again once a listing shows it with its size.
        """
        table, by_listing = suspects.c, suspects.c.seen_by == SeenBy.LISTING
        older = table.storage_id < suspect.storage_id
        weaker = by_listing & (table.storage_id == suspect.storage_id)
        replaced = older if suspect.seen_by is SeenBy.LISTING else older | weaker
        with self._database.writing() as connection:
            connection.execute(sa.delete(suspects).where(_same(suspect), replaced))
            insert_new(connection, suspects, [{name: getattr(suspect, name) for name in Suspect.__slots__}])

    def lift(self, suspect: Suspect) -> None:
        """It is there again, as recorded. What a proof has found stays."""
        table = suspects.c
        mine = (table.storage_id == suspect.storage_id) & (table.seen_by == SeenBy.LISTING)
        with self._database.writing() as connection:
            connection.execute(sa.delete(suspects).where(_same(suspect), mine))

    def all(self) -> list[Suspect]:
        """Every one that ever was, in order; ``storage_id`` tells whether it still is one."""
        return self._select()

    def of(self, partitions: Collection[str]) -> list[Suspect]:
        """Those of some partitions."""
        return self._select(suspects.c.partition.in_(partitions))

    def _select(self, *where: sa.ColumnElement[bool]) -> list[Suspect]:
        query = sa.select(suspects).where(*where).order_by(suspects.c.asset, suspects.c.partition)
        with self._database.reading() as connection:
            return [
                Suspect(row.asset, row.partition, row.storage_id, row.since, row.why, SeenBy(row.seen_by))
                for row in connection.execute(query)
            ]


def _same(suspect: Suspect) -> sa.ColumnElement[bool]:
    return (suspects.c.asset == suspect.asset) & (suspects.c.partition == suspect.partition)


def _mark(connection: sa.Connection, asset: str, rows: Sequence[sa.Row[Any]], *, is_gone: bool) -> None:
    if rows:
        table = recorded_copies.c
        which = (table.scan == sa.bindparam("its_scan")) & (table.partition == sa.bindparam("its_partition"))
        update = sa.update(recorded_copies).where(which, table.asset == asset).values(gone=is_gone)
        connection.execute(update, [{"its_scan": row.scan, "its_partition": row.partition} for row in rows])


def _row(copy: RecordedCopy) -> dict[str, object]:
    return {name: getattr(copy, name) for name in RecordedCopy.__slots__}
