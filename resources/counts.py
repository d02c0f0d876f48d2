"""How much there is, in numbers: copies by place, scans by how far they have come, refusals by reason.

Belongs here: sums that the database makes over whole tables of ours, for metrics.
Does not: single copies (recorded), or what only grows (tallies).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from resources.database import Database, recorded_copies, retention_refusals, scans, suspects


@dataclass(frozen=True, slots=True)
class AtPlace:
    """What is recorded at a place and not deleted."""

    copies: int
    bytes: int
    files: int


class Counts:
    """Sums over the tables of copies, scans and refusals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def at_places(self) -> dict[str, AtPlace]:
        """Copies, bytes and files, by place."""
        table = recorded_copies.c
        query = sa.select(table.asset, sa.func.count(), sa.func.sum(table.bytes), sa.func.sum(table.files))
        query = query.where(table.gone.is_(False)).group_by(table.asset)
        found: dict[str, AtPlace] = {}
        with self._database.engine.connect() as connection:
            for asset, copies, size, files in connection.execute(query):
                place = asset.partition("/")[0]
                had = found.get(place, AtPlace(0, 0, 0))
                found[place] = AtPlace(had.copies + copies, had.bytes + int(size), had.files + int(files))
        return found

    def scans(self, *, ingested: str, in_branch: Collection[str], last: Collection[str]) -> Mapping[str, int]:
        """Scans by state. ``last``: the copies with which a branch ends; a deleted one counts, the scan had it."""
        table = recorded_copies.c
        has = {
            "done": table.asset.in_(last),
            "in_branch": table.asset.in_(in_branch),
            "ingested": table.asset == ingested,
        }
        found = [sa.func.max(sa.case((condition, 1), else_=0)).label(name) for name, condition in has.items()]
        each = sa.select(table.scan, *found).where(table.partition == table.scan).group_by(table.scan).subquery()
        state = sa.case(
            (scans.c.changed.is_not(None), "changed"),
            (each.c.done == 1, "done"),
            (scans.c.aborted.is_not(None), "not_whole"),
            (each.c.in_branch == 1, "in_branch"),
            (each.c.ingested == 1, "ingested"),
            else_="arrived",
        ).label("state")
        joined = each.join(scans, scans.c.scan == each.c.scan, isouter=True)
        states = sa.select(state).select_from(joined).subquery()
        query = sa.select(states.c.state, sa.func.count()).group_by(states.c.state)
        with self._database.engine.connect() as connection:
            return {str(name): int(number) for name, number in connection.execute(query)}

    def refusals(self) -> dict[tuple[str, str], int]:
        """Copies that stay, by place and reason."""
        return self._by_asset(sa.select(retention_refusals.c.asset, retention_refusals.c.reason, sa.func.count()))

    def suspects(self) -> dict[str, int]:
        """Copies whose newest record is the one that they do not fit, by place."""
        same = recorded_copies.c.asset == suspects.c.asset, recorded_copies.c.partition == suspects.c.partition
        joined = suspects.join(recorded_copies, sa.and_(*same))
        query = sa.select(suspects.c.asset, sa.func.count()).select_from(joined)
        query = query.where(recorded_copies.c.storage_id <= suspects.c.storage_id).group_by(suspects.c.asset)
        found: dict[str, int] = {}
        with self._database.engine.connect() as connection:
            for asset, number in connection.execute(query):
                place = asset.partition("/")[0]
                found[place] = found.get(place, 0) + int(number)
        return found

    def _by_asset(self, query: sa.Select[tuple[str, str, int]]) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        grouped = query.group_by(*list(query.selected_columns)[:2])
        with self._database.engine.connect() as connection:
            for asset, word, number in connection.execute(grouped):
                key = asset.partition("/")[0], str(word)
                found[key] = found.get(key, 0) + int(number)
        return found
