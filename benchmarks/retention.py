"""How long, and in how much memory, it is decided about every copy of very many scans; and again before each deletion.

Belongs here: a past of scans with eight copies each, all old enough, and a process of its own that plans for a place.
The processor's time is measured beside that on the wall: on a machine that does other work only the first one tells.
Does not: proof and deletion, which take as long as the outside world does.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import dagster as dg
from rich.console import Console
from rich.table import Table

from als_assets.registry import build_graph
from als_assets.retention.order import Order
from als_assets.retention.passes import AT_ONCE
from als_assets.retention.planner import Planner
from als_assets.retention.planning import Candidate
from als_assets.retention.tables import Tables, make_tables
from beamlines.deletion import keepers_of
from beamlines.retention import name_of
from benchmarks.history import Past, write
from benchmarks.limits import against
from resources.clock import SystemClock
from resources.database import Database
from resources.holds import Holds
from resources.ledger import Ledger
from resources.recorded import Suspect
from resources.settings import PROJECT, STATE_VARIABLE, load_settings
from resources.standings import Standings

NUMBERS = (1_000, 10_000, 100_000)
LIMIT_S, LIMIT_MB = 60, 500
WAITING_RUNS, SUSPECTS = 1_000, 100
COPIES = ("spot832/raw", "data832/raw", "nersc/raw", "pscratch/raw", "pscratch/tiff", "pscratch/zarr", "nersc/tiff",
          "data832/nersc_tiff")  # fmt: skip
PLACES = ("spot832", "data832", "nersc", "pscratch")
_TWIN = PROJECT / "config" / "twin.yaml"
T = TypeVar("T")


@dataclass(frozen=True)
class Took:
    """How long something took: on the wall, and of the processor."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} / {self.cpu_s:.1f}"


@dataclass(frozen=True)
class Decided:
    """One process."""

    following: Took
    """Reading the event log, most of it for the first time."""
    deciding: Took
    """The pass that takes longest, when the log has nothing new."""
    everything: Took
    """What decisions rest on, read once, for all scans."""
    again: Took
    """The same for one scan, and its decision: what is asked before each deletion."""
    peak_mb: float
    copies: int
    going: int


def run(console: Console) -> None:
    """The table, and its growth with the number of scans."""
    found = {number: _measured(number) for number in NUMBERS}
    table = Table(
        title=f"Deciding about a place, {len(COPIES)} copies a scan: the longest of {len(PLACES)}; wall / processor",
        title_justify="left",
    )
    columns = (
        "scans",
        "first reading, s",
        "deciding, s",
        "limit",
        "peak MB",
        "limit",
        "all anew, ms",
        "one scan anew, ms",
    )
    for column in columns:
        table.add_column(column, justify="right")
    for number, one in found.items():
        table.add_row(
            f"{number:,}",
            str(one.following),
            str(one.deciding),
            against(one.deciding.cpu_s, LIMIT_S, "s"),
            f"{one.peak_mb:.0f}",
            against(one.peak_mb, LIMIT_MB, "MB"),
            f"{one.everything.cpu_s * 1e3:.0f}",
            f"{one.again.cpu_s * 1e3:.1f}",
        )
    console.print(table)
    least, most = found[NUMBERS[0]], found[NUMBERS[-1]]
    console.print(
        f"{NUMBERS[-1] / NUMBERS[0]:.0f} times the scans take {most.deciding.cpu_s / least.deciding.cpu_s:.0f} times "
        f"the processor to decide, {most.following.cpu_s / least.following.cpu_s:.0f} times to read the log, "
        f"{most.again.cpu_s / least.again.cpu_s:.1f} times before each deletion, and "
        f"{most.peak_mb - least.peak_mb:.0f} MB more; {most.going:,} copies could go"
    )


def _measured(number: int) -> Decided:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "dagster"
        home.mkdir()
        shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
        long_ago = datetime.now(UTC) - timedelta(days=100)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            made = [dg.AssetKey(["bl832", *name.split("/")]) for name in COPIES[1:]]
            arrival = dg.AssetKey(["bl832", *COPIES[0].split("/")])
            write(instance, Past("bl832_scans", arrival, made, {"bytes": 10, "files": 1}), range(number), long_ago)
        environment = {**os.environ, STATE_VARIABLE: folder, "DAGSTER_HOME": str(home)}
        command = [sys.executable, "-m", "benchmarks.retention"]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        said = json.loads(done.stdout.splitlines()[-1])
        return Decided(
            following=Took(**said["following"]),
            deciding=Took(**said["deciding"]),
            everything=Took(**said["everything"]),
            again=Took(**said["again"]),
            peak_mb=said["peak_mb"],
            copies=said["copies"],
            going=said["going"],
        )


def _decide() -> Decided:
    settings = load_settings(_TWIN, os.environ)
    graph, database = build_graph(settings.beamline), Database(settings.deployment.ledger)
    tables = make_tables(database, Ledger(database), Standings(database), Holds(database))
    copies = {name_of(copy): copy for copy in graph.copies}
    order = Order(author="benchmark")
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        planners = [Planner(settings.beamline, copies, place, instance, tables, SystemClock()) for place in PLACES]
        _, following = _timed(planners[0].follow)
        _fill(instance, tables)
        plans = [(planner, *_timed(partial(planner.plan, order))) for planner in planners]
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        planner, most, _ = max(plans, key=lambda one: len(one[1].going))
        _, everything = _timed(partial(planner.known, order))
        batch = most.going[:AT_ONCE]
        _, again = _timed(partial(_ask_again, planner, order, batch))
    database.close()
    return Decided(
        following=following,
        deciding=max((took for _, _, took in plans), key=lambda took: took.cpu_s),
        everything=everything,
        again=Took(again.wall_s / len(batch), again.cpu_s / len(batch)),
        peak_mb=peak_mb,
        copies=max(plan.decided for _, plan, _ in plans),
        going=sum(plan.may_go for _, plan, _ in plans),
    )


def _ask_again(planner: Planner, order: Order, batch: Sequence[Candidate]) -> None:
    for candidate in batch:
        for name in (candidate.name, *keepers_of(candidate.rule, candidate.scene.others)):
            planner.latest(name, candidate.partition)
        if not planner.decide_again(order, candidate).allowed:
            raise RuntimeError(f"{candidate.name} of {candidate.partition} may not go any more")


def _fill(instance: dg.DagsterInstance, tables: Tables) -> None:
    """As it is after an archive was registered: a copy of each scan is held, some are suspect, a backfill waits."""
    scans, now = sorted(tables.recorded.ids("nersc/raw")), SystemClock().now()
    tables.holds.hold("nersc/raw", scans, author="benchmark", note="registered", at=now)
    for scan in scans[:SUSPECTS]:
        tables.suspects.add(Suspect("alcf/raw", scan, 1, now, "damaged"))
    for number in range(WAITING_RUNS):
        tags = {"dagster/partition": f"elsewhere/{number}"}
        instance.add_run(dg.DagsterRun("bl832_alcf", str(uuid4()), status=dg.DagsterRunStatus.NOT_STARTED, tags=tags))


def _timed(act: Callable[[], T]) -> tuple[T, Took]:
    wall, cpu = time.perf_counter(), time.process_time()
    done = act()
    return done, Took(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    print(json.dumps(asdict(_decide())))
