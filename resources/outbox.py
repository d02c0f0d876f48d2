"""Who is to be told what, and who was: each of it once.

Belongs here: the table ``messages``, and what becomes of a message whose answer was lost.
Does not: what a message says (beamlines.messages), or sending it (notifier).

What is told is written down before it is sent, as what it is about and never in words: a scan that is restricted
meanwhile must not be named by what was written before (docs/decisions/0020-telling-people.md).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from beamlines.messages import Kind, News, Told, Waiting
from resources.database import Database, insert_new, messages

SENT_WITHIN = timedelta(minutes=10)
"""Whoever has claimed a message and says nothing for so long has died."""
LOST_AT_MOST = 1
"""So often a message whose answer was lost is sent once more."""
GIVEN_UP_AFTER = timedelta(days=1)
"""By then people have found out otherwise."""
_PAUSES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))
"""After a recipient's first, second and every later failure in a row."""
_PAUSE_WHEN_LOST = timedelta(minutes=5)
_MOST = 1_000
"""So many are looked at a time: the others follow."""


class State(StrEnum):
    """How a message stands."""

    DUE = "due"
    SENDING = "sending"
    TOLD = "told"
    PERHAPS = "perhaps"
    """It was handed over more than once, and no answer ever came."""
    GIVEN_UP = "given-up"
    WITHHELD = "withheld"
    """It may not be said any more."""


class Outbox:
    """Messages by recipient, first come first served."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, news: Iterable[News], now: datetime) -> None:
        """Have these told, each once: what was put before, whatever has become of it, is left as it is."""
        rows = [
            {
                "recipient": item.recipient,
                "kind": str(item.kind),
                "about": item.about,
                "branch": item.branch,
                "run": item.run,
                "state": State.DUE,
                "since": now,
                "due": now,
                "failures": 0,
                "lost": 0,
                "changed": now,
            }
            for item in news
        ]
        with self._database.engine.begin() as connection:
            insert_new(connection, messages, rows)

    def due(self, recipient: str, now: datetime) -> list[Waiting]:
        """What this recipient is to be told now."""
        of, table = self._of(recipient, State.DUE), messages.c
        query = sa.select(messages).where(of, table.due <= now).order_by(table.id).limit(_MOST)
        with self._database.engine.connect() as connection:
            return [_waiting(row) for row in connection.execute(query).mappings()]

    def told(self, recipient: str, since: datetime) -> Told:
        """What this recipient was told after a time."""
        table = messages.c
        query = sa.select(table.changed).where(self._of(recipient, State.TOLD), table.changed > since)
        with self._database.engine.connect() as connection:
            alone = list(connection.execute(query.where(table.alone.is_(True))).scalars())
            digests = list(connection.execute(query.where(table.alone.is_(False)).distinct()).scalars())
        return Told(alone, digests)

    def claim(self, some: Sequence[Waiting], now: datetime) -> bool:
        """Take these in hand; False where anybody else has one of them, and then none was taken."""
        with self._database.engine.begin() as connection:
            claimed = self._change(connection, some, State.DUE, state=State.SENDING, changed=now)
            if claimed < len(some):
                connection.rollback()
            return claimed == len(some)

    def sent(self, some: Sequence[Waiting], now: datetime, sha256: str) -> None:
        """They have arrived, as one message."""
        values = {"state": State.TOLD, "alone": len(some) == 1, "sha256": sha256, "changed": now}
        self._set(some, **values)

    def withhold(self, some: Sequence[Waiting], now: datetime) -> None:
        """They may not be told any more."""
        self._set(some, state=State.WITHHELD, changed=now)

    def not_sent(self, recipient: str, some: Sequence[Waiting], now: datetime) -> list[Waiting]:
        """They have certainly not arrived: the recipient is left in peace for a while. Those that are given up."""
        if not some:
            return []
        old = [item for item in some if now - item.since >= GIVEN_UP_AFTER]
        young = [item for item in some if item not in old]
        self._set(old, state=State.GIVEN_UP, changed=now)
        self._set(young, state=State.DUE, failures=messages.c.failures + 1, changed=now)
        in_a_row = max(item.failures for item in some)
        self._leave_in_peace(recipient, now, _PAUSES[min(in_a_row, len(_PAUSES) - 1)])
        return old

    def lost(self, recipient: str, some: Sequence[Waiting], now: datetime) -> list[Waiting]:
        """They were handed over, and no answer came: each is sent once more, then never again. Those that are not."""
        if not some:
            return []
        never = [item for item in some if item.lost >= LOST_AT_MOST]
        again = [item for item in some if item not in never]
        self._set(never, state=State.PERHAPS, changed=now)
        self._set(again, state=State.DUE, lost=messages.c.lost + 1, changed=now)
        self._leave_in_peace(recipient, now, _PAUSE_WHEN_LOST)
        return never

    def left_behind(self, recipient: str, now: datetime) -> list[Waiting]:
        """Those that somebody took in hand who has died since: whether they were sent nobody knows."""
        query = sa.select(messages).where(self._of(recipient, State.SENDING), messages.c.changed <= now - SENT_WITHIN)
        with self._database.engine.connect() as connection:
            return [_waiting(row) for row in connection.execute(query.limit(_MOST)).mappings()]

    # -- SQL ---------------------------------------------------------------------------------------------------------

    def _leave_in_peace(self, recipient: str, now: datetime, pause: timedelta) -> None:
        waiting = self._of(recipient, State.DUE) & (messages.c.due <= now)
        with self._database.engine.begin() as connection:
            connection.execute(sa.update(messages).where(waiting).values(due=now + pause))

    def _set(self, some: Sequence[Waiting], **values: Any) -> None:
        with self._database.engine.begin() as connection:
            self._change(connection, some, State.SENDING, **values)

    @staticmethod
    def _change(connection: sa.Connection, some: Sequence[Waiting], was: State, **values: Any) -> int:
        which = messages.c.id.in_(_ids(some)) & (messages.c.state == was)
        return connection.execute(sa.update(messages).where(which).values(values)).rowcount

    @staticmethod
    def _of(recipient: str, state: State) -> sa.ColumnElement[bool]:
        return (messages.c.recipient == recipient) & (messages.c.state == state)


def _ids(some: Sequence[Waiting]) -> list[int]:
    return [item.id for item in some]


def _waiting(row: sa.RowMapping) -> Waiting:
    news = News(row["recipient"], Kind(row["kind"]), row["about"], row["branch"], row["run"])
    return Waiting(row["id"], news, row["since"], row["failures"], row["lost"])
