"""What tests of remote work share: a clock that only sleeping moves, a service in memory, a desk to transfer from.

Belongs here: drivers and stand-ins for tests of whatever uses Remote, Ledger and Transfer. Does not: fixtures (tests).
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from beamlines.config import Beamline
from beamlines.deployment import GlobusClient, GlobusService
from beamlines.places import Location, Store
from beamlines.policy import ExportControl, ExportDefault
from beamlines.scans import ScanId
from resources.clock import Clock, SystemClock
from resources.database import Database
from resources.errors import ServiceUnavailableError
from resources.gate import Beside, Gate, Watch
from resources.globus import Globus
from resources.globus_session import Login
from resources.identities import Identities
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Attempt, JobState, Patience, Remote, RemoteStatus, Shared
from resources.settings import secret
from resources.standings import Standings
from resources.transfer import CopyRequest, Item, Transfer, TransferReceipt
from resources.work import Record, WorkKey

QUICK = Patience(
    first_poll=timedelta(milliseconds=20), longest_poll=timedelta(milliseconds=50), deadline=timedelta(seconds=30)
)

OPEN = ExportControl(default=ExportDefault.UNRESTRICTED)


def make_gate(
    database: Database,
    clock: Clock,
    export_control: ExportControl = OPEN,
    watch: Callable[[ScanId], Beside] = lambda _: Beside(None, None),
) -> Gate:
    """A gate; without a ``watch`` nothing lies beside any scan."""
    return Gate(export_control, Standings(database), watch, clock)


@dataclass(slots=True)
class SleptClock:
    """A clock that stands still until somebody sleeps; ``on_sleep`` is what happens meanwhile."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    on_sleep: Callable[[datetime], None] = lambda _: None

    def now(self) -> datetime:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.on_sleep(self.time)


class HastyClock:
    """A clock that runs ahead: a sleep takes a twentieth of a second at most, and counts in full."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def sleep(self, seconds: float) -> None:
        taken = min(seconds, 0.05)
        time.sleep(taken)
        self._ahead += timedelta(seconds=seconds - taken)


def outage() -> ServiceUnavailableError:
    return ServiceUnavailableError(seen="no answer", meaning="an outage", remedy="ask again later")


@dataclass(slots=True)
class MemoryWork:
    """A service in memory. What is to go wrong is put into its lists, first come first served."""

    submit_faults: list[Exception | None] = field(default_factory=list)
    """None starts the work and then loses the answer; an exception is raised instead of starting it."""
    states: Sequence[RemoteStatus | Exception] = ()
    """What ``status`` says, poll by poll; the last one stays. Empty means COMPLETED."""
    shown_from: int = 0
    """How many look-ups do not show the work yet."""
    unanswered: int = 0
    """How many look-ups after a submit meet an outage."""
    refusals: list[Exception] = field(default_factory=list)
    """What stands in the way of a submit, one for each."""
    submits: int = 0
    polls: int = 0
    cancelled: list[str] = field(default_factory=list)
    shared: Shared | None = None
    first: int = 1
    """The number in the handle of the first that is started."""
    takes: timedelta | None = None
    """How long earlier successes say that it takes."""
    started: dict[str, str] = field(default_factory=dict)

    def prepare(self, name: str) -> dict[str, Any]:
        return {"prepared": name}

    def find(self, name: str, _intent: dict[str, Any]) -> str | None:
        if self.submits and self.unanswered > 0:
            self.unanswered -= 1
            raise outage()
        if name in self.started and self.shown_from > 0:
            self.shown_from -= 1
            return None
        return self.started.get(name)

    def permit(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)

    def submit(self, name: str, _intent: dict[str, Any]) -> str:
        self.submits += 1
        fault = self.submit_faults.pop(0) if self.submit_faults else False
        if isinstance(fault, Exception):
            raise fault
        handle = f"job-{len(self.started) + self.first}"
        self.started[name] = handle
        if fault is None:
            raise outage()
        return handle

    def status(self, _handle: str, seen: Any = None) -> RemoteStatus:
        if isinstance(seen, RemoteStatus):
            return seen
        if not self.states:
            return RemoteStatus(JobState.COMPLETED, "done")
        state = self.states[min(self.polls, len(self.states) - 1)]
        self.polls += 1
        if isinstance(state, Exception):
            raise state
        return state

    def expected(self, _before: Sequence[Record], /) -> timedelta | None:
        return self.takes

    def cancel(self, handle: str, /) -> None:
        self.cancelled.append(handle)

    def describe(self) -> str:
        return "the work of a test"


@dataclass(slots=True)
class Pulses:
    """A pulse that remembers what it was told."""

    records: list[Record] = field(default_factory=list)
    statuses: list[RemoteStatus] = field(default_factory=list)

    def __call__(self, record: Record, status: RemoteStatus) -> None:
        self.records.append(record)
        self.statuses.append(status)


@dataclass
class Desk:
    """A worker with a Transfer of its own, on the places of one beamline, and the files that tests put there."""

    beamline: Beamline
    service: GlobusService
    secret: Callable[[], str]
    ledger: Ledger
    run_id: str = "run"
    clock: Clock = field(default_factory=SystemClock)
    patience: Patience = QUICK
    export_control: ExportControl = OPEN
    retries: int = 0
    http_timeout_s: float = 10
    deletes_secret: Callable[[], str] | None = None
    """Of the client that deletes; None for what the service's file holds."""
    pulses: Pulses = field(default_factory=Pulses)

    def __post_init__(self) -> None:
        self.owner = Owner.this_process(self.run_id)
        self.remote = Remote(self.ledger, self.owner, self.clock)
        deletes = self.service.deletes
        self.globus = self._globus(self.service, self.secret)
        self.identities = Identities(
            self.globus,
            self.globus
            if deletes is None
            else self._globus(deletes, self.deletes_secret or secret(deletes.client_secret)),
        )
        self.standings = Standings(self.ledger.database)
        watch = Watch(self.globus, [self.beamline.places["spot832"]], self.export_control.sidecar)
        self.gate = make_gate(self.ledger.database, self.clock, self.export_control, watch)
        self.transfer = Transfer(self.identities, self.remote, self.ledger, self.gate, self.clock, self.patience)

    def _globus(self, client: GlobusClient, its_secret: Callable[[], str]) -> Globus:
        return Globus(
            Login(client.client_id, its_secret, self.service.auth_url),
            transfer_url=self.service.transfer_url,
            data_access=[place.collection for place in self.beamline.places.values() if place.data_access_consent],
            retries=self.retries,
            http_timeout_s=self.http_timeout_s,
        )

    def but(self, **changes: Any) -> "Desk":
        """Another worker that differs in ``changes``."""
        return replace(self, pulses=Pulses(), **changes)

    def raw(self, place: str, path: str) -> Location:
        return self.beamline.places[place].at(Store.RAW, path)

    def put(self, location: Location, content: bytes) -> bytes:
        """A file at a location, whether the platform could see it from here or not."""
        path = Path(location.posix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return content

    def content(self, location: Location) -> bytes:
        return Path(location.posix).read_bytes()

    def scan(self, path: str, content: bytes) -> CopyRequest:
        """A new raw file on the acquisition machine, and the request to copy it to data832."""
        self.put(self.raw("spot832", path), content)
        return self.request(path)

    def copy(self, request: CopyRequest) -> TransferReceipt:
        return self.transfer.copy(request, self.key(request), self.pulses)

    def request(
        self, *paths: str, source: str = "spot832", destination: str = "data832", known: bool = True
    ) -> CopyRequest:
        """A copy of raw files; with ``known`` their sizes and checksums are given."""
        items = []
        for path in paths:
            at = self.raw(source, path)
            content = self.content(at) if known else None
            items.append(
                Item(
                    at,
                    self.raw(destination, path),
                    sha256=None if content is None else hashlib.sha256(content).hexdigest(),
                    bytes=None if content is None else len(content),
                )
            )
        return CopyRequest(ScanId(paths[0]), tuple(items), fingerprint=f"of {paths}")

    def key(self, request: CopyRequest, asset: str = "bl832/data832/raw", settings: str = "") -> WorkKey:
        return WorkKey(asset, request.subject.key, settings, request.fingerprint)


# -- remote work in memory ---------------------------------------------------------------------------------------

PATIENCE = Patience(
    first_poll=timedelta(seconds=2),
    longest_poll=timedelta(seconds=30),
    deadline=timedelta(minutes=10),
    appear=timedelta(seconds=60),
)
KEY = WorkKey("bl832/pscratch/tiff", "f/a", "settings", "input")
ACTIVE = RemoteStatus(JobState.ACTIVE, "running")
DONE = RemoteStatus(JobState.COMPLETED, "done", {"files": 7})
BROKEN = RemoteStatus(JobState.FAILED, "NODE_FAIL", {"exit_code": 1})
ME = Owner.this_process("me")


@dataclass
class Bench:
    """A worker, and the service that it works with."""

    ledger: Ledger
    clock: SleptClock = field(default_factory=SleptClock)
    work: MemoryWork = field(default_factory=MemoryWork)
    pulses: Pulses = field(default_factory=Pulses)
    owner: Owner = ME

    def __post_init__(self) -> None:
        self.remote = Remote(self.ledger, self.owner, self.clock)

    def other(self, run_id: str = "other", **owner: Any) -> "Bench":
        """Another worker at the same service."""
        return Bench(self.ledger, self.clock, self.work, owner=replace(ME, run_id=run_id, **owner))

    def begin(self, key: WorkKey = KEY, *, intact: bool = True, patience: Patience = PATIENCE) -> Attempt:
        return self.remote.begin(self.work, key, patience, intact=lambda _: intact)

    def finish(self, attempt: Attempt) -> Record:
        return self.remote.finish(attempt, self.pulses)

    def run(self) -> Record:
        return self.finish(self.begin())

    @property
    def last(self) -> Record:
        return self.ledger.attempts(KEY.asset, KEY.partition)[0]


def after(polls: int, act: Callable[[], object]) -> Callable[[datetime], None]:
    """Do something once, when somebody has slept so often."""
    slept = count(1)

    def on_sleep(_: datetime) -> None:
        if next(slept) == polls:
            act()

    return on_sleep
