"""The ledger: what was started in the outside world, so that nothing is submitted twice, forgotten or unowned.

Belongs here: the transitions of remote work, each one conditional UPDATE on key, attempt and epoch.
Does not: the table (database), what the work is (remote, transfer, facilities), or what Dagster records well itself.
Why there is one: docs/decisions/0003-the-ledger.md.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from resources.database import Database, remote_work
from resources.errors import EpochLostError, OtherInputError, OtherSettingsError
from resources.owner import Owner
from resources.work import IN_FLIGHT, AlreadyDone, Claimed, Record, Watching, WorkKey, WorkState


class Ledger:
    """Remote work in the table ``remote_work``.

    No transition reads first and writes later: each is one INSERT on the primary key or one UPDATE whose WHERE names
    key, attempt and epoch, and which must change exactly one row.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    # -- taking work ---------------------------------------------------------------------------------------------

    def claim(
        self, key: WorkKey, owner: Owner, now: datetime, *, redo: bool = False
    ) -> Claimed | Watching | AlreadyDone:
        """Own the work, or learn who does, or that it is done.

        A new attempt is made only where there is none, where the last one failed or was canceled, or where it
        succeeded and ``redo`` says that its result is gone. Raises OtherSettingsError or OtherInputError where this
        partition of this asset was made, or is being made, differently.
        """
        while True:
            last = self.last(key)
            if last is None or not last.in_flight:
                if last is not None and last.state is WorkState.SUCCEEDED and not redo:
                    return AlreadyDone(last)
                self.refuse_other_work(key)
                made = self._insert(key, (last.attempt if last else 0) + 1, owner, now)
                if made is not None:
                    return Claimed(made)
                continue
            taken = self.take_over(last, owner, now)
            if taken is not None:
                return Claimed(taken)
            current = self.get(last.key, last.attempt)
            if current.epoch == last.epoch and current.in_flight:
                return Watching(current)

    def take_over(self, record: Record, owner: Owner, now: datetime) -> Record | None:
        """The record under a new epoch if its owner is this very worker or dead by its own evidence; else None."""
        mine = record.owner == owner
        if not mine and not record.owner.is_dead(seen_from=owner, heartbeat=record.heartbeat, now=now):
            return None
        changed = self._update(record, now, epoch=record.epoch + 1, owner=owner.to_json(), heartbeat=now)
        return self.get(record.key, record.attempt) if changed else None

    def refuse_other_work(self, key: WorkKey) -> None:
        """Raise OtherSettingsError or OtherInputError where this partition is made, or was, by other work than ``key``.

        Where both differ it is the input that a person must look at.
        """
        for other in self.attempts(key.asset, key.partition):
            if other.key == key.digest or not (other.in_flight or other.state is WorkState.SUCCEEDED):
                continue
            same_input = other.fingerprint == key.fingerprint
            what = "settings, or by another program" if same_input else "input"
            seen = f"{key.asset} of {key.partition} was started with other {what} ({other.name}, {other.state})"
            meaning = "two different results must not share a path"
            if same_input:
                remedy = "for other settings use a label of its own: run the partition <scan>@<another label>"
                raise OtherSettingsError(seen=seen, meaning=meaning, remedy=remedy)
            remedy = "look at why the input changed; nothing is done with it until then"
            raise OtherInputError(seen=seen, meaning=meaning, remedy=remedy)

    # -- transitions of owned work -------------------------------------------------------------------------------

    def store_intent(self, record: Record, intent: dict[str, Any], now: datetime) -> Record:
        """What must be known to find the work again, before it is submitted."""
        return self._transition(record, now, intent=intent)

    def store_handle(self, record: Record, handle: str, now: datetime) -> Record:
        """The service's own id of the work, right after the submit."""
        return self._transition(record, now, handle=handle, state=WorkState.SUBMITTED)

    def beat(self, record: Record, now: datetime) -> Record:
        """Say that the owner is alive. Raises EpochLostError once another worker has taken over."""
        return self._transition(record, now, heartbeat=now)

    def release(self, record: Record, now: datetime) -> Record:
        """Let work in flight go without ending it: whoever comes next attaches to it at once."""
        return self._transition(record, now, owner=record.owner.released().to_json())

    def finish(self, record: Record, state: WorkState, evidence: dict[str, Any], now: datetime) -> Record:
        """The end, with its evidence."""
        return self._transition(record, now, state=state, evidence=evidence)

    # -- what people decide --------------------------------------------------------------------------------------

    def seize(self, record: Record, owner: Owner, now: datetime) -> Record:
        """Take work in flight from whoever owns it, alive or not: its worker stops at its next heartbeat.

        Raises EpochLostError where it has ended, or changed hands, since it was read.
        """
        taken = {"epoch": record.epoch + 1, "owner": owner.to_json(), "heartbeat": now}
        return self._transition(record, now, **taken)

    def supersede(self, asset: str, partition: str, now: datetime) -> int:
        """Let whatever was copied for this partition of an asset count for nothing but remains of our own; how many.

        Work in flight stays as it is.
        """
        statement = (
            sa.update(remote_work)
            .where(
                remote_work.c.asset == asset,
                remote_work.c.partition == partition,
                remote_work.c.state.not_in(IN_FLIGHT),
            )
            .values(state=WorkState.SUPERSEDED, updated=now)
        )
        with self.database.writing() as connection:
            return connection.execute(statement).rowcount

    # -- forgetting ----------------------------------------------------------------------------------------------

    def prune(self, *, before: datetime, checks_before: datetime, seen_from: Owner, now: datetime) -> int:
        """Delete old rows that no guard asks for any more; how many.

        A guard needs what succeeded (the same is not made twice, other settings are refused), what was superseded, the
        newest attempt of each key (the next one takes the next number: a name is never given twice), and any attempt
        since the last success (it may have left remains of our own). So of those that failed or were canceled before
        ``before`` only those go after which the same work succeeded. Checks of the platform itself have keys of their
        own, once: all of theirs go before ``checks_before``, also what a dead worker has left in flight.
        """
        later = remote_work.alias()
        succeeded_since = (
            sa.select(later.c.key)
            .where(
                later.c.key == remote_work.c.key,
                later.c.attempt > remote_work.c.attempt,
                later.c.state == WorkState.SUCCEEDED,
            )
            .exists()
        )
        gone = (WorkState.FAILED, WorkState.CANCELED)
        old = sa.and_(remote_work.c.state.in_(gone), remote_work.c.updated < before, succeeded_since)
        checks = sa.and_(_IS_CHECK, remote_work.c.updated < checks_before)
        ended = sa.and_(checks, remote_work.c.state.not_in(IN_FLIGHT))
        with self.database.writing() as connection:
            count = connection.execute(sa.delete(remote_work).where(sa.or_(old, ended))).rowcount
        for record in self._select(checks, remote_work.c.state.in_(IN_FLIGHT)):
            if record.owner.is_dead(seen_from=seen_from, heartbeat=record.heartbeat, now=now):
                with self.database.writing() as connection:
                    count += connection.execute(sa.delete(remote_work).where(*_is_still(record))).rowcount
        return count

    # -- reading -------------------------------------------------------------------------------------------------

    def get(self, key: str, attempt: int) -> Record:
        """One attempt. Raises LookupError."""
        found = self._select(remote_work.c.key == key, remote_work.c.attempt == attempt)
        if not found:
            raise LookupError(f"the ledger has no attempt {attempt} of {key}")
        return found[0]

    def last(self, key: WorkKey) -> Record | None:
        """The newest attempt at exactly this work."""
        # By its number, not by its time: another worker's clock may have been ahead.
        return max(self._select(remote_work.c.key == key.digest), key=lambda record: record.attempt, default=None)

    def attempts(self, asset: str, partition: str) -> list[Record]:
        """Every attempt, with whatever settings, to make this partition of this asset; the newest first."""
        return self._select(remote_work.c.asset == asset, remote_work.c.partition == partition)

    def in_flight(self) -> list[Record]:
        """Everything that may be running in the outside world."""
        return self._select(remote_work.c.state.in_(IN_FLIGHT))

    def successes(self, asset: str, limit: int) -> list[Record]:
        """The latest pieces of work that made a partition of this asset, whichever; the newest first."""
        return self._select(
            remote_work.c.asset == asset,
            remote_work.c.state == WorkState.SUCCEEDED,
            order=[remote_work.c.updated.desc()],
            limit=limit,
        )

    def attempts_of(self, scan: str) -> list[Record]:
        """Everything that was ever started for a scan, under its own key or with a label; the newest first."""
        return self._select(_of_scan(scan))

    def in_flight_of(self, scan: str) -> list[Record]:
        """What may be running in the outside world for a scan, under its own key or with a label."""
        return self._select(remote_work.c.state.in_(IN_FLIGHT), _of_scan(scan))

    # -- SQL -----------------------------------------------------------------------------------------------------

    def _select(
        self,
        *where: sa.ColumnElement[bool],
        order: Sequence[sa.ColumnElement[Any]] = (remote_work.c.created.desc(), remote_work.c.attempt.desc()),
        limit: int | None = None,
    ) -> list[Record]:
        query = sa.select(remote_work).where(*where).order_by(*order).limit(limit)
        with self.database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [_record(row, self.database.installation) for row in rows]

    def _insert(self, key: WorkKey, attempt: int, owner: Owner, now: datetime) -> Record | None:
        row = {
            "key": key.digest,
            "attempt": attempt,
            "asset": key.asset,
            "partition": key.partition,
            "settings": key.settings,
            "fingerprint": key.fingerprint,
            "state": WorkState.INTENT,
            "epoch": 1,
            "owner": owner.to_json(),
            "heartbeat": now,
            "created": now,
            "updated": now,
        }
        try:
            with self.database.writing() as connection:
                connection.execute(sa.insert(remote_work).values(row))
        except IntegrityError:
            return None  # another worker was first: look again
        return self.get(key.digest, attempt)

    def _transition(self, record: Record, now: datetime, **values: Any) -> Record:
        if not self._update(record, now, **values):
            raise EpochLostError(
                seen=f"{record.name} ({record.asset} of {record.partition}) is no longer at epoch {record.epoch}",
                meaning="another worker has taken it over, or it has ended",
                remedy="nothing to do: this worker stops and leaves the remote work alone",
            )
        return self.get(record.key, record.attempt)

    def _update(self, record: Record, now: datetime, **values: Any) -> bool:
        statement = sa.update(remote_work).where(*_is_still(record)).values(updated=now, **values)
        with self.database.writing() as connection:
            return connection.execute(statement).rowcount == 1


_IS_CHECK = sa.or_(
    *(remote_work.c.asset.contains(f"/{word}#", autoescape=True) for word in ("flight_check", "doctor")),
    remote_work.c.asset.endswith("/proof", autoescape=True),
)
"""Of als_assets.operations: what the flight check and the doctor let go the way of a scan, and remove. And jobs that
read copies again: they prove something in their own pass, and nothing later."""


def _is_still(record: Record) -> tuple[sa.ColumnElement[bool], ...]:
    """In flight, and in the same hands as when it was read."""
    return (
        remote_work.c.key == record.key,
        remote_work.c.attempt == record.attempt,
        remote_work.c.epoch == record.epoch,
        remote_work.c.state.in_(IN_FLIGHT),
    )


def _of_scan(scan: str) -> sa.ColumnElement[bool]:
    labelled = remote_work.c.partition.startswith(f"{scan}@", autoescape=True)
    return sa.or_(remote_work.c.partition == scan, labelled)


def _record(row: sa.RowMapping, installation: str) -> Record:
    kept = {**row, "state": WorkState(row["state"]), "owner": Owner(**row["owner"])}
    return Record(**kept, installation=installation)
