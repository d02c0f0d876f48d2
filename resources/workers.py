"""Which process works on which of Dagster's runs, as the process itself records it, and when it was last heard of.

Belongs here: the table ``workers``, and a worker's heartbeat.
Does not: what follows from a death (sensors.reconciler), or who owns remote work (ledger).
Why it is a table of our own and no tag of the run: docs/decisions/0013-the-reconciler.md.
"""

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa

from resources.clock import Clock
from resources.database import Database, workers
from resources.errors import LedgerUnavailableError
from resources.owner import Owner
from resources.work import Worker

BEATS_EVERY_S = 30.0
"""A tenth of the silence after which a worker on another host is taken for dead."""
_log = logging.getLogger(__name__)


class Workers:
    """Workers in the table ``workers``, one a run."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def beat(self, owner: Owner, now: datetime) -> None:
        """Record that this process works on its run now."""
        mine = {"owner": owner.to_json(), "heartbeat": now}
        with self.database.writing() as connection:
            changed = connection.execute(sa.update(workers).where(workers.c.run == owner.run_id).values(mine))
            if changed.rowcount == 0:
                connection.execute(sa.insert(workers).values(run=owner.run_id, **mine))

    def all(self) -> dict[str, Worker]:
        """Everything that is recorded, by run."""
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(workers)).mappings().all()
        return {row["run"]: Worker(Owner(**row["owner"]), row["heartbeat"]) for row in rows}

    def forget(self, runs: Collection[str]) -> None:
        """The workers of runs that have ended."""
        if runs:
            with self.database.writing() as connection:
                connection.execute(sa.delete(workers).where(workers.c.run.in_(sorted(runs))))


@contextmanager
def recorded(database: Database, owner: Owner, clock: Clock, *, every_s: float = BEATS_EVERY_S) -> Iterator[None]:
    """Record this process as its run's worker, before anything else, and let its heart beat while inside.

    The record stays behind: who reconciles removes it when the run has ended.
    """
    known = Workers(database)
    known.beat(owner, clock.now())
    ended = threading.Event()

    def beats() -> None:
        while not ended.wait(every_s):
            try:
                known.beat(owner, clock.now())
            except (LedgerUnavailableError, sa.exc.SQLAlchemyError) as error:
                # The database is away: the silence says so itself, and the next beat ends it.
                _log.warning("the heartbeat of run %s was not recorded: %s", owner.run_id, error)

    threading.Thread(target=beats, name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
