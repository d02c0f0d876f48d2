"""What was counted of Dagster's event log, once each: sums that only grow, and how long the stages of scans took.

Belongs here: the tables ``tallies``, ``stage_history`` and ``tally_position``.
Does not: what is counted (als_assets.metrics), or what is recorded of copies now (recorded).

A portion of the log, its sums and how far it was read are written together or not at all: whoever counts on begins
where the last one ended, wherever that was. So a restart neither loses nor doubles anything, and two at once count
nothing twice. Without the tables everything is counted again from the log.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from beamlines.seconds import SIMILAR
from resources.database import Database, insert_new, stage_history, tallies, tally_position

Series = tuple[str, tuple[tuple[str, str], ...]]
"""A metric's name, and its labels in order."""
SIMILAR_SCANS = 50
_LOOKED_THROUGH = 2_000
"""So many of the latest are looked through for similar ones: the last weeks, and 2 ms."""


@dataclass(frozen=True, slots=True)
class Took:
    """How long one stage of one scan took."""

    storage_id: int
    asset: str
    """``<place>/<asset>``."""
    scan_bytes: int
    """Of the scan's raw file."""
    seconds: float


@dataclass(slots=True)
class Counted:
    """What one portion of the log adds."""

    sums: dict[Series, float] = field(default_factory=dict)
    took: list[Took] = field(default_factory=list)

    def add(self, metric: str, value: float, **labels: str) -> None:
        """Add to one sum."""
        series = metric, tuple(sorted(labels.items()))
        self.sums[series] = self.sums.get(series, 0.0) + value


class Tallies:
    """Sums over everything that was ever recorded."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def position(self) -> int:
        """The storage id up to which everything is counted; 0 before anything is."""
        with self._database.engine.connect() as connection:
            found = connection.execute(sa.select(tally_position.c.storage_id)).scalar()
        return 0 if found is None else int(found)

    def count(self, counted: Counted, *, after: int, up_to: int) -> bool:
        """Add a portion that was read from ``after`` to ``up_to``; False where somebody has counted it already."""
        with self._database.engine.begin() as connection:
            insert_new(connection, tally_position, [{"only": 1, "storage_id": 0}])
            mine = tally_position.c.storage_id == after
            moved = connection.execute(sa.update(tally_position).where(mine).values(storage_id=up_to))
            if moved.rowcount != 1:
                return False
            _add(connection, counted.sums)
            insert_new(
                connection, stage_history, [{name: getattr(t, name) for name in Took.__slots__} for t in counted.took]
            )
        return True

    def sums(self) -> Mapping[Series, float]:
        """All sums."""
        with self._database.engine.connect() as connection:
            rows = connection.execute(sa.select(tallies)).all()
        return {(row.metric, tuple((k, v) for k, v in json.loads(row.labels))): float(row.value) for row in rows}

    def took(self, asset: str, scan_bytes: int) -> Sequence[float]:
        """Seconds of the last similar scans at one stage, the newest first."""
        column = stage_history.c
        latest = (
            sa.select(column.scan_bytes, column.seconds)
            .where(column.asset == asset)
            .order_by(column.storage_id.desc())
            .limit(_LOOKED_THROUGH)
            .subquery()
        )
        alike = latest.c.scan_bytes.between(scan_bytes / SIMILAR, scan_bytes * SIMILAR)
        with self._database.engine.connect() as connection:
            found = connection.execute(sa.select(latest.c.seconds).where(alike).limit(SIMILAR_SCANS))
            return [float(seconds) for seconds in found.scalars()]


def _add(connection: sa.Connection, sums: Mapping[Series, float]) -> None:
    rows = [
        {"of": metric, "which": json.dumps(labels), "more": value} for (metric, labels), value in sorted(sums.items())
    ]
    if not rows:
        return
    column = tallies.c
    insert_new(connection, tallies, [{"metric": r["of"], "labels": r["which"], "value": 0.0} for r in rows])
    this = (column.metric == sa.bindparam("of")) & (column.labels == sa.bindparam("which"))
    connection.execute(sa.update(tallies).where(this).values(value=column.value + sa.bindparam("more")), rows)
