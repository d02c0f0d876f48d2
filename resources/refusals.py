"""Why copies stay: the newest refusal of each copy that a retention pass has looked at.

Belongs here: the table ``retention_refusals``.
Does not: deciding (beamlines.deletion), or what was deleted (certificates).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from beamlines.decisions import Reason
from resources.database import Database, batches, insert_new, retention_refusals, storable


@dataclass(frozen=True, slots=True)
class Refusal:
    """A copy that may not be deleted."""

    asset: str
    """``<place>/<asset>``."""
    partition: str
    reason: Reason
    detail: str
    """Words that stay the same while nothing changes: another detail is news."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal, since when it has been the same, and how often it was said."""

    refusal: Refusal
    first: datetime
    last: datetime
    times: int


_COPIES_A_QUERY = 5_000
"""For 100,000 copies PostgreSQL took 5 s with 500, and takes 1 s."""


class Refusals:
    """The newest refusal of each copy."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, many: Iterable[Refusal], at: datetime) -> list[Refusal]:
        """Keep the refusals of a pass; those that are news: of another reason or detail than before, or the first."""
        newest = {(refusal.asset, refusal.partition): refusal for refusal in many}
        again = sa.update(retention_refusals).values(last=at, times=retention_refusals.c.times + 1)
        with self._database.writing() as connection:
            before = dict(_known(connection, newest))
            news = {copy: refusal for copy, refusal in newest.items() if before.get(copy) != _said(refusal)}
            # Not one upsert of all: psycopg2 sends each of its rows by itself, 12 s for 100,000.
            for where in _each(newest.keys() - news.keys()):
                connection.execute(again.where(*where))
            for where in _each(news):
                connection.execute(sa.delete(retention_refusals).where(*where))
            insert_new(connection, retention_refusals, [_row(refusal, at) for refusal in news.values()])
        return list(news.values())

    def clear(self, copies: Iterable[tuple[str, str]]) -> None:
        """Forget the refusals of copies, by asset and partition, that may be deleted now, or that are gone."""
        with self._database.writing() as connection:
            for where in _each(copies):
                connection.execute(sa.delete(retention_refusals).where(*where))

    def of(self, partition: str) -> list[Refused]:
        """The refusals of all copies of a partition."""
        return self._select(retention_refusals.c.partition == partition)

    def latest(self, asset: str) -> list[Refused]:
        """The refusals of all copies of an asset."""
        return self._select(retention_refusals.c.asset == asset)

    def _select(self, where: sa.ColumnElement[bool]) -> list[Refused]:
        order = retention_refusals.c.asset, retention_refusals.c.partition
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(retention_refusals).where(where).order_by(*order))
            return [
                Refused(Refusal(asset, partition, Reason(reason), detail), first, last, times)
                for asset, partition, reason, detail, first, last, times in rows
            ]


_Said = tuple[str, str]


def _known(connection: sa.Connection, copies: Iterable[tuple[str, str]]) -> Iterator[tuple[tuple[str, str], _Said]]:
    column = retention_refusals.c
    query = sa.select(column.asset, column.partition, column.reason, column.detail)
    for where in _each(copies):
        for asset, partition, reason, detail in connection.execute(query.where(*where)):
            yield (asset, partition), (reason, detail)


def _each(copies: Iterable[tuple[str, str]]) -> Iterator[tuple[sa.ColumnElement[bool], ...]]:
    """What chooses the copies, a portion at a time."""
    by_asset: defaultdict[str, list[str]] = defaultdict(list)
    for asset, partition in copies:
        by_asset[asset].append(partition)
    for asset, partitions in by_asset.items():
        for some in batches(partitions, _COPIES_A_QUERY):
            yield retention_refusals.c.asset == asset, retention_refusals.c.partition.in_(some)


def _row(refusal: Refusal, at: datetime) -> Mapping[str, Any]:
    return {
        "asset": refusal.asset,
        "partition": refusal.partition,
        "reason": str(refusal.reason),
        "detail": refusal.detail,
        "first": at,
        "last": at,
        "times": 1,
    }


def _said(refusal: Refusal) -> _Said:
    return str(refusal.reason), storable(refusal.detail)
