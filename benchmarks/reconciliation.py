"""How long, and in how much memory, a place with very many recorded copies is held against the graph.

Belongs here: ``als retention reconcile`` as a person runs it, a process of its own; listings from the twin over HTTP.
Does not: what is compared (beamlines.reconciliation), or that a folder is listed once (its tests).
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from beamlines.places import Place, Store
from benchmarks.history import SCANS_A_FOLDER, Past, scan_path, write
from benchmarks.limits import against
from resources.settings import DEPLOYMENT_VARIABLE, PROJECT, STATE_VARIABLE
from twin.server import serve

NUMBERS = (1_000, 10_000, 100_000)
LIMIT_MB = 500
_TWIN = PROJECT / "config" / "twin.yaml"
_PLACE = "data832"
_LISTINGS = "GET /transfer/v0.10/operation/endpoint/*/ls"
_SIZE = 10


@dataclass(frozen=True)
class Looked:
    """One run of the command."""

    seconds: float
    cpu_s: float
    """Of the command alone: the twin needs a processor too."""
    peak_mb: float
    listings: int
    said: str


def run(console: Console) -> None:
    """The table: when all was read before, as every night; and its growth with the number of copies."""
    found = {number: _measured(number) for number in NUMBERS}
    table = Table(title=f"als retention reconcile {_PLACE}: every copy there as recorded", title_justify="left")
    for column in (
        "copies",
        "folders",
        "listings",
        "first time, s",
        "again, s",
        "of the processor, s",
        "peak MB",
        "limit",
    ):
        table.add_column(column, justify="right")
    for number, (first, again) in found.items():
        table.add_row(
            f"{number:,}",
            f"{-(-number // SCANS_A_FOLDER):,}",
            f"{again.listings:,}",
            f"{first.seconds:.0f}",
            f"{again.seconds:.0f}",
            f"{again.cpu_s:.0f}",
            f"{again.peak_mb:.0f}",
            against(max(first.peak_mb, again.peak_mb), LIMIT_MB, "MB"),
        )
    console.print(table)
    least, most = found[NUMBERS[0]][1], found[NUMBERS[-1]][1]
    console.print(
        f"{NUMBERS[-1] / NUMBERS[0]:.0f} times the copies take {most.cpu_s / least.cpu_s:.0f} times the processor, and "
        f"{most.peak_mb - least.peak_mb:.0f} MB more; {most.said}",
        markup=False,
    )


def _measured(number: int) -> tuple[Looked, Looked]:
    with tempfile.TemporaryDirectory() as folder, serve(_TWIN, Path(folder)) as twin:
        long_ago = datetime.now(UTC) - timedelta(days=100)
        _lay(twin.world.beamline.places[_PLACE], number, long_ago)
        home = Path(folder) / "dagster"
        home.mkdir()
        shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            arrival, made = (dg.AssetKey(["bl832", place, "raw"]) for place in ("spot832", _PLACE))
            past = Past("bl832_scans", arrival, [made], {"bytes": _SIZE, "files": 1})
            write(instance, past, range(number), long_ago)
        environment = {
            **os.environ,
            STATE_VARIABLE: folder,
            DEPLOYMENT_VARIABLE: str(_TWIN),
            "ALS_TWIN_URL": twin.url,
            "DAGSTER_HOME": str(home),
        }
        looked = []
        for _ in range(2):
            before = len(twin.control.injector.requests(_LISTINGS))
            seconds, usage, said = _reconcile(environment)
            listings = len(twin.control.injector.requests(_LISTINGS)) - before
            looked.append(Looked(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, listings, said))
        return looked[0], looked[1]


def _lay(place: Place, number: int, modified: datetime) -> None:
    """The files, as they were when they were recorded."""
    at = modified.timestamp()
    for scan in range(number):
        file = Path(place.at(Store.RAW, scan_path(scan)).posix)
        if scan % SCANS_A_FOLDER == 0:
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * _SIZE)
        os.utime(file, (at, at))


def _reconcile(environment: dict[str, str]) -> tuple[float, resource.struct_rusage, str]:
    command = [str(Path(sys.executable).with_name("als")), "retention", "reconcile", _PLACE]
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"als retention reconcile ended with {process.returncode}: {said}")
    return time.perf_counter() - began, usage, said.splitlines()[0]
