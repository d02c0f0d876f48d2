"""Ending remote work that another worker owns, or has left: at its service, and in the ledger.

Belongs here: taking a piece of work, ending it, and letting it go again where that is not possible now.
Does not: whose work is ended, and why (als_assets.operations, sensors.reconciler), or a worker's own work (remote).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resources.clock import Clock
from resources.errors import EpochLostError, PlatformError
from resources.facilities import Facility
from resources.identities import Identities
from resources.ledger import Ledger
from resources.owner import Owner
from resources.work import Record, WorkState


@dataclass(frozen=True, slots=True)
class Ending:
    """What it takes to end work: the ledger, and every service."""

    ledger: Ledger
    globus: Identities
    facilities: Mapping[str, Facility]
    clock: Clock

    def in_flight(self) -> list[Record]:
        """Everything that may be running in the outside world."""
        return self.ledger.in_flight()

    def end(self, record: Record, detail: str) -> Record | None:
        """End work in flight, whoever owns it: its worker stops at its next heartbeat.

        None where it has ended by itself. Raises PlatformError or LookupError where its service does not end it now:
        then it stays in flight, with nobody at it, as the work of the same run.
        """
        # The run stays the same: it tells whose work this is, should this process die before it has ended it.
        owner = Owner.this_process(record.owner.run_id)
        try:
            taken = self.ledger.seize(record, owner, self.clock.now())
        except EpochLostError:
            return None
        try:
            handle = self._end_there(taken)
        except (PlatformError, LookupError):
            self.ledger.release(taken, self.clock.now())
            raise
        evidence = {"handle": handle, "detail": detail}
        return self.ledger.finish(taken, WorkState.CANCELED, evidence, self.clock.now())

    def close(self, record: Record, detail: str) -> Record | None:
        """End work in the ledger alone, for what its service does not know any more. None as for ``end``."""
        try:
            taken = self.ledger.seize(record, Owner.this_process(record.owner.run_id), self.clock.now())
        except EpochLostError:
            return None
        evidence = {"handle": taken.handle, "detail": detail}
        return self.ledger.finish(taken, WorkState.CANCELED, evidence, self.clock.now())

    def _end_there(self, record: Record) -> str | None:
        if record.intent is None:
            return None  # it was never submitted
        if record.facility is not None:
            facility = self._facility(record.facility)
            handle = record.handle or facility.find(record.name, since=record.created)
            cancel: Callable[[str], None] = facility.cancel
        else:
            globus = self.globus.of(record)
            handle = record.handle or globus.find_task(record.name)
            cancel = globus.cancel
        if handle is not None:
            cancel(handle)
        return handle

    def _facility(self, name: str) -> Facility:
        if name not in self.facilities:
            raise LookupError(f"facility {name!r} is not configured any more: end the job there by hand")
        return self.facilities[name]
