"""How long ticks of the sensors take when many scans are known already, and how that grows.

Belongs here: whole ticks on SQLite, with listings from the twin over HTTP, without what the daemon does afterwards.
Does not: writing the past (history).
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from als_assets.definitions import compose
from beamlines.policy import Arrival
from beamlines.scans import ScanId
from benchmarks.history import Past, scan_path, write
from benchmarks.limits import against
from resources.clock import SystemClock
from resources.database import Database
from resources.facilities.service import FacilityState, Health
from resources.ledger import Ledger
from resources.settings import PROJECT, Settings
from resources.testing import Desk, SleptClock
from sensors.arrivals import COMPLETE_A_TICK, Complete
from sensors.event_log import arrival_record
from sensors.routers import READ_A_TICK
from sensors.routing import WAITING_AT_MOST
from sensors.state_log import state_record
from sensors.states import Recorded
from sensors.testing import Daemon, Stage
from twin.server import serve

KNOWN = (1_000, 10_000, 100_000)
LIMIT_S = 2.0
_ROUNDS = 3
_SCANS = "bl832_scans"
_NEW_SCANS, _ROUTER, _STATUS = "bl832_new_scans", "bl832_route_to_nersc", "bl832_facility_status"
_MESSAGES = "bl832_messages"
_ARRIVAL, _INGESTED, _FIRST = (dg.AssetKey(["bl832", place, "raw"]) for place in ("spot832", "data832", "nersc"))
_SEEN = dg.AssetKey(["bl832", "data832", "preview"])


@dataclass(frozen=True)
class Bench:
    """A platform with a past, and what lets more happen in it."""

    daemon: Daemon
    clock: SleptClock
    desk: Desk
    known: int

    def seconds(self, sensor: str, runs: int, before: Callable[[], None] = lambda: None) -> float:
        """Median time of a tick that requests so many runs; ``before`` happens before each. Nothing is carried out."""
        taken: list[float] = []
        for _ in range(_ROUNDS):
            before()
            self.clock.sleep(15)
            began = time.perf_counter()
            said = self.daemon.tick(sensor, dies_before=Stage.EVENTS)
            taken.append(time.perf_counter() - began)
            assert len(said.run_requests or []) == runs, f"{len(said.run_requests or [])} runs, not {runs}"
        return statistics.median(taken)

    def forget(self, sensor: str) -> Callable[[], None]:
        """The sensor's cursor is lost."""

        def lose() -> None:
            self.daemon.switches[sensor].cursor = None

        return lose

    def write_scans(self) -> None:
        """A tick's worth of new files, which have been seen and are quiet."""
        for number in range(COMPLETE_A_TICK):
            self.desk.put(self.desk.raw("spot832", f"new/{number}.h5"), b"scan")
        self.daemon.tick(_NEW_SCANS)

    def break_down(self) -> None:
        """Every facility is in an outage, as the sensor of their states has recorded it."""
        down, now = FacilityState(Health.UNAVAILABLE, "no answer"), self.clock.now()
        for facility in self.desk.beamline.facilities:
            status = dg.AssetKey(["bl832", facility, "status"])
            self.daemon.report(state_record(status, Recorded(down, now, now)))

    def fill_the_list(self) -> None:
        """As many scans as can wait do so, for the end of an outage, and that was said of each."""
        self.break_down()
        self.ingest_scans("waiting", WAITING_AT_MOST)
        for _ in range(WAITING_AT_MOST // READ_A_TICK + 2):
            self.daemon.tick(_ROUTER)

    def ingest_scans(self, folder: str = "arrived", count: int = COMPLETE_A_TICK) -> None:
        """Scans that arrived and were ingested: a tick's worth."""
        for number in range(count):
            scan = Complete(f"{folder}/{number}.h5", 4, self.clock.now())
            self.daemon.instance.add_dynamic_partitions(_SCANS, [ScanId(scan.path).key])
            self.daemon.report(arrival_record(self.desk.beamline, _ARRIVAL, scan, Arrival.NEW))
            for made in (_INGESTED, _SEEN):
                self.daemon.report(dg.AssetMaterialization(made, partition=ScanId(scan.path).key))


def run(console: Console) -> None:
    """The table of ticks, a column a number of known scans."""
    results = {known: _measure(known) for known in KNOWN}
    table = Table(
        title=f"Seconds a tick by the number of known scans, SQLite: median of {_ROUNDS}", title_justify="left"
    )
    table.add_column("tick", no_wrap=True)
    for known in KNOWN:
        table.add_column(f"{known:,}", justify="right")
    table.add_column("growth", justify="right")
    table.add_column("limit", justify="right")
    for name, first in results[KNOWN[0]].items():
        seconds = [results[known][name] for known in KNOWN]
        growth = f"{seconds[-1] / first:.1f} times"
        table.add_row(name, *(f"{value:.3f}" for value in seconds), growth, against(seconds[-1], LIMIT_S, "s"))
    console.print(table)


def _measure(known: int) -> dict[str, float]:
    with _bench(known) as bench:
        for sensor in (_NEW_SCANS, _ROUTER, _MESSAGES):
            bench.daemon.tick(sensor)
        for _ in range(known // 2_000 + 5):  # so many ticks until every folder was looked at
            bench.clock.sleep(15)
            bench.daemon.tick(_NEW_SCANS)
        usual = {
            "new_scans, nothing new": bench.seconds(_NEW_SCANS, 0),
            "router, nothing new": bench.seconds(_ROUTER, 0),
            "messages, nothing new": bench.seconds(_MESSAGES, 0),
        }
        bench.write_scans()
        bench.ingest_scans()
        ordinary = usual | {
            f"new_scans, {COMPLETE_A_TICK} complete scans": bench.seconds(_NEW_SCANS, COMPLETE_A_TICK),
            f"router, {COMPLETE_A_TICK} ingested scans": bench.seconds(_ROUTER, COMPLETE_A_TICK),
            f"messages, {COMPLETE_A_TICK} scans seen": bench.seconds(_MESSAGES, 1),
            "new_scans, lost cursor": bench.seconds(_NEW_SCANS, 0, bench.forget(_NEW_SCANS)),
            "router, lost cursor": bench.seconds(_ROUTER, 0, bench.forget(_ROUTER)),
            "facility_status": bench.seconds(_STATUS, 0),
        }
        bench.fill_the_list()
        return ordinary | {f"router, {WAITING_AT_MOST} waiting in an outage": bench.seconds(_ROUTER, 0)}


@contextmanager
def _bench(known: int) -> Iterator[Bench]:
    with ExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        twin = stack.enter_context(serve(PROJECT / "config" / "twin.yaml", state))
        ledger = Ledger(Database(f"sqlite:///{state}/ledger.sqlite"))
        stack.callback(ledger.database.close)
        desk = Desk(twin.world.beamline, twin.world.deployment.globus, lambda: twin.world.client_secret, ledger)
        stack.callback(desk.identities.close)
        clock = SleptClock(time=SystemClock().now())
        (state / "dagster").mkdir()
        instance = stack.enter_context(dg.instance_for_test(temp_dir=str(state / "dagster")))
        past = Past(_SCANS, _ARRIVAL, [_INGESTED, _FIRST, _SEEN])
        write(instance, past, range(known), clock.now() - timedelta(days=1))
        for number in range(known):
            desk.put(desk.raw("spot832", scan_path(number)), b"scan")
        definitions = compose(
            Settings(twin.world.deployment, twin.world.beamline),
            transfer=dg.ResourceDefinition.hardcoded_resource(desk.transfer),
            clock=dg.ResourceDefinition.hardcoded_resource(clock),
            database=dg.ResourceDefinition.hardcoded_resource(ledger.database),
        )
        yield Bench(Daemon(instance, definitions.get_repository_def(), clock), clock, desk, known)
