"""One pass at a time: whoever begins one while another goes on waits for its turn.

Belongs here: taking the turn and giving it back. Does not: what is done in it (passes).

A pool of Dagster's would do for runs that its queue starts. This holds for a command, a second installation on the same
ledger, and a run whose worker was killed too: its turn is taken over by its own evidence.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from beamlines.config import Beamline
from resources.clock import Clock
from resources.errors import PlatformError
from resources.ledger import Ledger
from resources.owner import Owner
from resources.work import Claimed, Record, WorkKey, WorkState

WAITS_FOR = timedelta(hours=2)
_LOOKS_AGAIN_S = 10.0
_BEATS_EVERY = timedelta(seconds=20)
"""While a keeper is read, which says at every block how far it is; others wait five minutes (resources.owner)."""


class AnotherPassError(PlatformError):
    """Another pass goes on, and has not ended in the time that is waited for it."""


@dataclass(slots=True)
class Turn:
    """The turn, while it is had."""

    ledger: Ledger
    record: Record
    clock: Clock
    beaten: datetime

    def beat(self) -> None:
        """Say that it is still had. Raises EpochLostError where another pass has taken it over."""
        self.beaten = self.clock.now()
        self.ledger.beat(self.record, self.beaten)

    def beat_now_and_then(self) -> None:
        """The same, for whoever calls very often."""
        if abs(self.clock.now() - self.beaten) >= _BEATS_EVERY:
            self.beat()


@contextmanager
def turn(beamline: Beamline, ledger: Ledger, owner: Owner, clock: Clock, say: Callable[[str], None]) -> Iterator[Turn]:
    """Have the turn, which must beat now and then: others take over what is silent. Raises AnotherPassError."""
    key = WorkKey(f"{beamline.name}/retention#turn", "", "", "")
    give_up = clock.now() + WAITS_FOR
    while not isinstance(claim := ledger.claim(key, owner, clock.now(), redo=True), Claimed):
        record = claim.record
        if clock.now() >= give_up:
            raise AnotherPassError(
                seen=f"run {record.owner.run_id} goes through copies since {record.created.isoformat()}",
                meaning="two passes at once could each rest on a copy that the other deletes",
                remedy="wait for it, or terminate that run; nothing was done here",
            )
        say(f"waits for its turn: run {record.owner.run_id} goes through copies")
        clock.sleep(_LOOKS_AGAIN_S)
    try:
        yield Turn(ledger, claim.record, clock, clock.now())
    finally:
        ledger.finish(claim.record, WorkState.SUCCEEDED, {}, clock.now())
