"""How long ``als scan show`` takes, from the start of its process to its last line, where very many scans are known.

Belongs here: a past with copies, checks, runs and a history of stages, and the command as a person types it; beside it,
in turn, what importing Dagster alone takes. Does not: what is shown (tests).
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from rich.console import Console
from rich.table import Table

from beamlines.branches import stages
from beamlines.retention import name_of
from beamlines.scans import ScanId
from beamlines.standing import SeenFile
from benchmarks.history import Past, scan_path, write
from benchmarks.limits import against
from resources import tallies
from resources.database import Database
from resources.settings import DEPLOYMENT_VARIABLE, PROJECT, STATE_VARIABLE, load_settings
from resources.standings import Standings

KNOWN, ROUNDS = (1_000, 100_000), 5
LIMIT_S = 1.0
CHECKS = ("files", "size", "checksum")
_BATCH = 10_000
_TWIN = PROJECT / "config" / "twin.yaml"


@dataclass(frozen=True)
class Took:
    """One process: by the clock on the wall, and on the processor, which a busy machine changes less."""

    wall_s: float
    cpu_s: float


def run(console: Console) -> None:
    """The table, and its growth with the number of scans."""
    found = {known: _measure(known) for known in KNOWN}
    table = Table(title=f"als scan show, a process of its own: median of {ROUNDS}, SQLite", title_justify="left")
    for column in ("scans", "s", "limit", "processor, s", "import dagster alone, s", "processor, s"):
        table.add_column(column, justify="right")
    for known, (shown, dagster) in found.items():
        limit = against(shown.wall_s, LIMIT_S, "s")
        figures = (f"{value:.2f}" for value in (shown.cpu_s, dagster.wall_s, dagster.cpu_s))
        table.add_row(f"{known:,}", f"{shown.wall_s:.2f}", limit, *figures)
    console.print(table)
    least, most = (found[known][0].wall_s for known in KNOWN)
    load, cores = os.getloadavg()[0], os.cpu_count()
    growth = f"{KNOWN[1] // KNOWN[0]} times the scans take {most / least:.2f} times the time"
    console.print(f"{growth}; the load of the machine is {load:.1f} on {cores} cores")


def _measure(known: int) -> tuple[Took, Took]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "dagster"
        home.mkdir()
        shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
        environment = {
            **os.environ,
            STATE_VARIABLE: folder,
            DEPLOYMENT_VARIABLE: str(_TWIN),
            "DAGSTER_HOME": str(home),
            "COLUMNS": "200",
        }
        _write_past(known, home, environment)
        key = ScanId(scan_path(known // 2)).key
        command = [sys.executable, "-m", "als", "scan", "show", key]
        said = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        assert said.count(" there ") == 10, said
        imports = [sys.executable, "-c", "import dagster"]
        # In turn, so that a busy machine slows both alike.
        taken = [(_process(command, environment), _process(imports, environment)) for _ in range(ROUNDS)]
    shown, dagster = ([one[which] for one in taken] for which in (0, 1))
    return _median(shown), _median(dagster)


def _process(command: list[str], environment: dict[str, str]) -> Took:
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Took(took, used)


def _median(taken: Sequence[Took]) -> Took:
    return Took(statistics.median(one.wall_s for one in taken), statistics.median(one.cpu_s for one in taken))


def _write_past(known: int, home: Path, environment: dict[str, str]) -> None:
    settings = load_settings(_TWIN, environment)
    way = [s for s in stages(settings.beamline) if s.branch in (None, "nersc") and "comparison" not in name_of(s.copy)]
    names = [name_of(stage.copy) for stage in way][:10]
    recorded = datetime.now(UTC) - timedelta(days=1)
    made = [dg.AssetKey(["bl832", *name.split("/")]) for name in names[1:]]
    keys = [ScanId(scan_path(number)).key for number in range(known)]
    with dg.DagsterInstance.from_config(str(home)) as instance:
        past = Past(
            "bl832_scans", dg.AssetKey(["bl832", "spot832", "raw"]), made, {"bytes": 10, "files": 1, "seconds": 5}
        )
        write(instance, past, range(known), recorded)
        _write_checks(instance, made, keys, recorded)
        _write_runs(instance, keys, recorded)
    database = Database(settings.deployment.ledger)
    Standings(database).arrived((key, SeenFile(10, recorded)) for key in keys)
    took = [tallies.Took(number, names[number % len(names)], 10, 5.0) for number in range(1, known * len(names))]
    tallies.Tallies(database).count(tallies.Counted(took=took), after=0, up_to=len(took))
    database.close()


def _write_checks(instance: dg.DagsterInstance, made: list[dg.AssetKey], keys: list[str], recorded: datetime) -> None:
    said = {"success": True, "metadata": {}}
    event = json.dumps({"dagster_event": {"event_specific_data": said}})
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)
    rows = [
        {
            "asset_key": asset.to_string(),
            "check_name": name,
            "partition": key,
            "run_id": f"run-{number}",
            "execution_status": "SUCCEEDED",
            "evaluation_event": event,
            "evaluation_event_timestamp": recorded.replace(tzinfo=None),
        }
        for number, key in enumerate(keys)
        for asset in made[:3]
        for name in CHECKS
    ]
    with storage.index_connection() as connection:
        _insert(connection, AssetCheckExecutionsTable, rows)


def _write_runs(instance: dg.DagsterInstance, keys: list[str], recorded: datetime) -> None:
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    times = {"start_time": recorded.timestamp(), "end_time": recorded.timestamp() + 9}
    ended = {"pipeline_name": "bl832_nersc", "status": "SUCCESS", "run_body": "{}", **times}
    runs = [{"run_id": f"run-{n}", **ended} for n in range(len(keys))]
    tags = [{"run_id": f"run-{n}", "key": "dagster/partition", "value": key} for n, key in enumerate(keys)]
    with storage.connect() as connection:
        _insert(connection, RunsTable, runs)
        _insert(connection, RunTagsTable, tags)


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, object]]) -> None:
    for start in range(0, len(rows), _BATCH):
        connection.execute(table.insert(), rows[start : start + _BATCH])
