"""Which scans a facility's branch takes: decided once, at a scan's arrival; and in an outage, who takes them instead.

Belongs here: the pure decision of one tick of a router, from the arrivals it has read and the list it keeps.
Does not: reading the event log or requesting runs (routers), or what is an outage (resources.facilities.service).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from beamlines.config import Beamline
from beamlines.decisions import Decision, Reason
from beamlines.places import Place
from beamlines.policy import route
from beamlines.scans import PartitionKey
from beamlines.standing import Standing
from sensors.follow_up import Arrived

ROUTED_A_TICK = 50
WAITING_AT_MOST = 500
WAIT_AT_MOST = timedelta(days=7)
"""A scan whose raw copy never comes must not fill the list: after so long the branch is a person's to backfill."""
USUAL_WAIT = timedelta(minutes=2)
"""A scan that is being ingested is nothing to speak of for so long."""
_SWITCHES_AT_MOST = 20


class Waiting(BaseModel):
    """Why a scan waits, as it was observed last, and since when (seconds since 1970)."""

    model_config = ConfigDict(frozen=True)

    reason: Reason
    since: float

    def is_news(self, now: float) -> bool:
        """Whether it waits for longer than every scan does, and nobody has been told."""
        return self.reason is not Reason.WAITING_FOR_RAW and now - self.since >= USUAL_WAIT.total_seconds()


class Position(BaseModel):
    """How far a router has read the event log, by storage ids."""

    model_config = ConfigDict(frozen=True)

    after: int = 0
    """Everything up to this id was read, but for what a cursor steps over."""
    settled: int = 0
    """Everything up to this one was looked at once more, when it was old enough."""


class RouterMemory(BaseModel):
    """What one tick tells the next: storage ids, the scans that wait, and when the router was off."""

    model_config = ConfigDict(frozen=True)

    after: int = 0
    settled: int = 0
    """With ``after``: the position among arrivals."""
    handed_on: Position | None = None
    """The position among the decisions of other facilities; None in the memory of a time in which none was read."""
    waiting: dict[str, Waiting] = {}
    started: float | None = None
    """When the router was last switched on, as Dagster has it: another time than this means that it was off."""
    ticked: float = 0
    off: tuple[tuple[float, float], ...] = ()
    """From when until when it was off; arrivals of that time may still have to be read."""

    @property
    def arrivals(self) -> Position:
        """The position among arrivals."""
        return Position(after=self.after, settled=self.settled)

    def at(self, arrivals: Position) -> "RouterMemory":
        """The same, at another position among arrivals."""
        return self.model_copy(update=arrivals.model_dump())

    def switched_on(self, *, off_since: float, started: float) -> "RouterMemory":
        """The same, after the router was off; the newest switches are remembered."""
        off = (*self.off, (off_since, started))[-_SWITCHES_AT_MOST:]
        return self.model_copy(update={"off": off, "started": started})


@dataclass(frozen=True, slots=True)
class Ready:
    """Of the scans that arrived or wait, how far each is."""

    ingested: Collection[str] = ()
    """Their raw copy on site is verified."""
    standings: Mapping[str, Standing] = field(default_factory=dict)
    """What is known of each; of those that are missing nothing is."""
    begun: Collection[str] = ()
    """Of these: in the branch already, by a person or by an earlier tick."""
    gone: Collection[str] = ()
    """Of these: their partition was deleted; a run of one would fail the whole tick."""
    handed_on: Collection[str] = ()
    """Of these: given to another facility by an earlier tick, which died before it could remember that."""
    outages: Mapping[str, str] = field(default_factory=dict)
    """Facilities that are not to be had now, and why, in words."""
    off: Collection[str] = ()
    """Facilities whose router the operator has switched off: nothing is handed to them."""


@dataclass(slots=True)
class Routing:
    """What one tick decided."""

    memory: RouterMemory
    run: list[str] = field(default_factory=list)
    keep: list[str] = field(default_factory=list)
    """Scans of which only the raw copy is made: they are not reconstructed by themselves, and not lost either."""
    observe: dict[str, Decision] = field(default_factory=dict)
    hand_on: dict[str, str] = field(default_factory=dict)
    """Of those that are observed: who takes them instead."""

    @property
    def is_full(self) -> bool:
        """Whether this was enough for one tick."""
        return len(self.run) + len(self.keep) + len(self.hand_on) >= ROUTED_A_TICK


def decide(
    beamline: Beamline,
    facility: str,
    memory: RouterMemory,
    arrived: Sequence[Arrived],
    ready: Ready,
    now: float,
) -> Routing:
    """Route what has arrived and what was waiting; see docs/decisions/0006-routers.md and 0016-outages.md.

    ``arrived``, also what others have handed on, is no longer than the waiting list has room for. What arrived while
    the router was off is the operator's to backfill. An outage counts when a scan would be sent, not when it arrives.
    """
    destination = beamline.places[beamline.facilities[facility].raw]
    routing = Routing(memory)
    waiting = dict(memory.waiting)
    for item in arrived:
        decision = _at_arrival(beamline, facility, destination, item, memory.off, ready)
        if decision.allowed:
            waiting.setdefault(item.key, Waiting(reason=Reason.PREFERRED, since=now))
        elif decision.reason not in (Reason.NOT_NEW, Reason.NOT_PREFERRED):
            routing.observe[item.key] = decision
    for key, waits in [*waiting.items()]:
        if key in ready.begun or key in ready.gone or key in ready.handed_on:
            del waiting[key]
        elif key in ready.ingested and not routing.is_full:
            del waiting[key]
            if not _send_on(beamline, facility, key, waits, ready, routing):
                waiting[key] = waits.model_copy(update={"reason": Reason.OUTAGE})
        elif key not in ready.ingested and now - waits.since > WAIT_AT_MOST.total_seconds():
            routing.observe[key] = _still_waiting(f"after {WAIT_AT_MOST.days} days: backfill the branch when it is")
            del waiting[key]
        elif key not in ready.ingested and waits.is_news(now):
            routing.observe[key] = _still_waiting("yet: the branch starts when it is")
            waiting[key] = waits.model_copy(update={"reason": Reason.WAITING_FOR_RAW})
    routing.memory = memory.model_copy(update={"waiting": waiting, "ticked": now})
    return routing


def _at_arrival(
    beamline: Beamline,
    facility: str,
    destination: Place,
    item: Arrived,
    off: Sequence[tuple[float, float]],
    ready: Ready,
) -> Decision:
    if item.handed_on_by is None:
        routed = route(item.arrival, facility, beamline.preference)
    else:
        routed = Decision.yes(Reason.PREFERRED, f"{item.handed_on_by} handed it on")
    if not routed.allowed:
        return routed
    allowed = _allowed(beamline, destination, item.key, ready)
    if not allowed.allowed and allowed.reason is not Reason.PROPOSAL_UNKNOWN:  # its file, once read, may tell
        return allowed
    if any(since < item.recorded < until for since, until in off):
        return Decision.no(
            Reason.SWITCHED_OFF, f"it arrived while the router of {facility} was off: backfill it if wanted"
        )
    return routed


def _send_on(beamline: Beamline, facility: str, key: str, waits: Waiting, ready: Ready, routing: Routing) -> bool:
    """Decide of an ingested scan: much may have been learned of it since it arrived. False: it waits for an outage."""
    decision = _sends_on(beamline, facility, key, ready)
    outage = ready.outages.get(facility)
    if outage is not None and (decision.allowed or decision.reason is Reason.ABORTED):
        # Of an aborted scan only the raw copy is wanted, and here: another facility keeps none for good.
        instead = _instead_of(beamline, facility, key, ready) if decision.allowed else None
        return _in_an_outage(facility, key, outage, instead, waits, routing)
    if decision.allowed:
        routing.run.append(key)
        return True
    routing.observe[key] = decision
    if decision.reason is Reason.ABORTED:
        routing.keep.append(key)
    return True


def _in_an_outage(facility: str, key: str, outage: str, instead: str | None, waits: Waiting, routing: Routing) -> bool:
    why = f"{facility.upper()}: {outage}"
    if instead is not None:
        routing.observe[key] = Decision.no(Reason.HANDED_ON, f"{why}, handed to {instead.upper()}")
        routing.hand_on[key] = instead
        return True
    if waits.reason is not Reason.OUTAGE:
        routing.observe[key] = Decision.no(Reason.OUTAGE, f"{why}, and nobody else can take it: it is sent afterwards")
    return False


def _instead_of(beamline: Beamline, facility: str, key: str, ready: Ready) -> str | None:
    """The next facility of the preference that takes this scan now. Nothing is ever handed back."""
    later = beamline.preference[beamline.preference.index(facility) + 1 :]
    to_be_had = [name for name in later if name not in ready.outages and name not in ready.off]
    return next((name for name in to_be_had if _sends_on(beamline, name, key, ready).allowed), None)


def _sends_on(beamline: Beamline, facility: str, key: str, ready: Ready) -> Decision:
    return beamline.sends_on(PartitionKey.parse(key).scan, facility, ready.standings.get(key, Standing()))


def _allowed(beamline: Beamline, destination: Place, key: str, ready: Ready) -> Decision:
    scan = PartitionKey.parse(key).scan
    return beamline.export_control.may_be_at(scan, destination, ready.standings.get(key, Standing()))


def _still_waiting(how: str) -> Decision:
    return Decision.no(Reason.WAITING_FOR_RAW, f"its first copy on site is not verified {how}")
