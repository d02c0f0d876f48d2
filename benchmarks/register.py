"""How long, and in how much memory, a place with many old scans is registered; and again, when all is known.

Belongs here: ``als register`` as a person runs it, a process of its own, with listings from the twin over HTTP.
Does not: what is adopted (als_assets.operations.adopt).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from beamlines.places import Store
from benchmarks.history import scan_path
from benchmarks.limits import against
from resources.settings import DEPLOYMENT_VARIABLE, PROJECT, STATE_VARIABLE
from twin.server import serve

SCANS = 50_000
LIMIT_S, LIMIT_MB = 600, 500
_TWIN = PROJECT / "config" / "twin.yaml"


@dataclass(frozen=True)
class Registered:
    """One run of the command."""

    seconds: float
    peak_mb: float
    said: str


def run(console: Console) -> None:
    """The table: the first time, and once more over what is known by then."""
    with tempfile.TemporaryDirectory() as folder, serve(_TWIN, Path(folder)) as twin:
        place = twin.world.beamline.places["data832"]
        for number in range(SCANS):
            file = Path(place.at(Store.RAW, scan_path(number)).posix)
            if number % 100 == 0:
                file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"x")
        home = Path(folder) / "dagster"
        home.mkdir()
        shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
        environment = {
            **os.environ,
            STATE_VARIABLE: folder,
            DEPLOYMENT_VARIABLE: str(_TWIN),
            "ALS_TWIN_URL": twin.url,
            "DAGSTER_HOME": str(home),
        }
        first, again = _register(environment), _register(environment)
    table = Table(title=f"als register of {SCANS:,} scans, SQLite", title_justify="left")
    for column in ("", "seconds", "limit", "peak MB", "limit", "it said"):
        table.add_column(column)
    for name, done in (("the first time", first), ("once more", again)):
        table.add_row(
            name,
            f"{done.seconds:.0f}",
            against(done.seconds, LIMIT_S, "s"),
            f"{done.peak_mb:.0f}",
            against(done.peak_mb, LIMIT_MB, "MB"),
            done.said,
        )
    console.print(table)


def _register(environment: dict[str, str]) -> Registered:
    command = [str(Path(sys.executable).with_name("als")), "register", "--place", "data832"]
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"als register ended with {process.returncode}: {said}")
    return Registered(time.perf_counter() - began, usage.ru_maxrss / 1024, said.splitlines()[0].partition("(")[0])
