"""How long, and in how much memory, it is decided about every copy of very many scans.

Belongs here: a past of scans with eight copies each, all old enough, and a process of its own that plans for a place.
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
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from als_assets.registry import build_graph
from als_assets.retention.order import Order
from als_assets.retention.planner import Planner
from als_assets.retention.tables import make_tables
from beamlines.retention import name_of
from benchmarks.history import Past, write
from benchmarks.limits import against
from resources.clock import SystemClock
from resources.database import Database
from resources.holds import Holds
from resources.ledger import Ledger
from resources.settings import PROJECT, STATE_VARIABLE, load_settings
from resources.standings import Standings

NUMBERS = (1_000, 10_000, 100_000)
LIMIT_S, LIMIT_MB = 60, 500
COPIES = ("spot832/raw", "data832/raw", "nersc/raw", "pscratch/raw", "pscratch/tiff", "pscratch/zarr", "nersc/tiff",
          "data832/nersc_tiff")  # fmt: skip
PLACES = ("spot832", "data832", "nersc", "pscratch")
_TWIN = PROJECT / "config" / "twin.yaml"


@dataclass(frozen=True)
class Decided:
    """One process."""

    following_s: float
    """Reading the event log, most of it for the first time."""
    deciding_s: float
    """The pass that takes longest, when the log has nothing new."""
    peak_mb: float
    copies: int
    going: int


def run(console: Console) -> None:
    """The table, and its growth with the number of scans."""
    found = {number: _measured(number) for number in NUMBERS}
    table = Table(
        title=f"Deciding about a place, {len(COPIES)} copies a scan: the longest of {len(PLACES)}", title_justify="left"
    )
    for column in ("scans", "first reading of the log, s", "deciding, s", "limit", "peak MB", "limit", "µs a copy"):
        table.add_column(column, justify="right")
    for number, one in found.items():
        table.add_row(
            f"{number:,}",
            f"{one.following_s:.1f}",
            f"{one.deciding_s:.1f}",
            against(one.deciding_s, LIMIT_S, "s"),
            f"{one.peak_mb:.0f}",
            against(one.peak_mb, LIMIT_MB, "MB"),
            f"{one.deciding_s / one.copies * 1e6:.0f}",
        )
    console.print(table)
    least, most = found[NUMBERS[0]], found[NUMBERS[-1]]
    scans, seconds = NUMBERS[-1] / NUMBERS[0], most.deciding_s / least.deciding_s
    console.print(f"{scans:.0f} times the scans take {seconds:.0f} times the time; {most.going:,} copies could go")


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
        return Decided(**json.loads(done.stdout.splitlines()[-1]))


def _decide() -> Decided:
    settings = load_settings(_TWIN, os.environ)
    graph, database = build_graph(settings.beamline), Database(settings.deployment.ledger)
    tables = make_tables(database, Ledger(database), Standings(database), Holds(database))
    copies = {name_of(copy): copy for copy in graph.copies}
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        planners = [Planner(settings.beamline, copies, place, instance, tables, SystemClock()) for place in PLACES]
        began = time.perf_counter()
        planners[0].follow()
        followed = time.perf_counter()
        took, plans = [], []
        for planner in planners:
            before = time.perf_counter()
            plans.append(planner.plan(Order(author="benchmark")))
            took.append(time.perf_counter() - before)
    database.close()
    return Decided(
        following_s=followed - began,
        deciding_s=max(took),
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        copies=max(plan.decided for plan in plans),
        going=sum(plan.may_go for plan in plans),
    )


if __name__ == "__main__":
    print(json.dumps(asdict(_decide())))
