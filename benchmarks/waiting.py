"""What waiting costs: a real Dagster run worker whose job runs at the twin, one alone and twenty at once; and how soon
a second run has the job of one that was killed.

Belongs here: run workers as processes of their own, and their memory and processor time beside Dagster's own floor.
Does not: the intervals between polls (resources.waiting), which here are those of production.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.storage.tags import PARTITION_NAME_TAG
from dagster._grpc.types import ExecuteRunArgs
from dagster._serdes import serialize_value
from rich.console import Console
from rich.table import Table

from als_assets.definitions import compose
from als_assets.raw import PROGRAM
from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey, ScanId
from benchmarks.history import scan_path
from benchmarks.limits import against
from resources import proof
from resources.database import Database
from resources.ledger import Ledger
from resources.settings import DEPLOYMENT_VARIABLE, PROJECT, STATE_VARIABLE, Settings, load_settings
from tomography.phantom import Phantom, write_phantom
from twin.scheduler import JobFault, Pace
from twin.server import Twin, serve

MEASURED_S, SETTLED_S = 60, 15
MANY = 20
LIMIT_MB, LIMIT_CORE_PERCENT, LIMIT_ATTACH_S = 150, 1, 30
STARTED_WITHIN_S = 600
_CONFIG = PROJECT / "config"
_FACILITY = "nersc"
_JOB = f"bl832_{_FACILITY}"
_MADE = [dg.AssetKey(["bl832", "pscratch", artifact]) for artifact in ("raw", "tiff", "zarr")]
_FLOOR = f"""
import time
import dagster as dg

@dg.op
def sleep() -> None:
    time.sleep({SETTLED_S + MEASURED_S + 60})

@dg.job(executor_def=dg.in_process_executor)
def floor() -> None:
    sleep()

floor.execute_in_process()
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process and those that it has started."""

    rss_mb: float
    pss_mb: float
    core_percent: float


def run(console: Console) -> None:
    """The table: the floor and one worker side by side, then twenty, then the second run after a kill -9."""
    with ExitStack() as stack:
        workers = _Workers.started(stack)
        first = workers.start(scan_path(0))
        floor = subprocess.Popen([sys.executable, "-c", _FLOOR], stderr=subprocess.DEVNULL)
        stack.callback(floor.kill)
        workers.submitted(1)
        time.sleep(SETTLED_S)
        [alone, least] = _costs([first.pid, floor.pid])
        floor.kill()
        first.send_signal(signal.SIGKILL)
        first.wait()
        attached_s = workers.attached(scan_path(0))
        imported_s, load = _import_s(), os.getloadavg()[0]
        many = [workers.start(scan_path(number)) for number in range(1, MANY)]
        workers.submitted(MANY)
        time.sleep(SETTLED_S)
        together = _costs([process.pid for process in workers.processes if process.poll() is None])
        jobs = workers.jobs()
    _show(console, least, alone, together)
    console.print(
        f"after kill -9 a second run has the job within {attached_s:.1f} s of its process's start: "
        f"{against(attached_s, LIMIT_ATTACH_S, 's')}"
    )
    console.print(f"at a load of {load:.1f}, when a new process needs {imported_s:.1f} s to import dagster alone")
    console.print(f"jobs submitted for {1 + len(many)} scans: {jobs}")


def _import_s() -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import dagster"], check=True)
    return time.monotonic() - began


def _show(console: Console, least: Cost, alone: Cost, together: Sequence[Cost]) -> None:
    table = Table(title=f"Waiting for a job at NERSC, over {MEASURED_S} s", title_justify="left")
    for column in ("", "resident MB", "its share MB", "limit", "% of a core", "limit"):
        table.add_column(column)
    rows: list[tuple[str, Cost, bool]] = [
        ("Dagster alone: an op that sleeps", least, False),
        ("one worker", alone, True),
        (f"{len(together)} workers, the largest of each", _largest(together), True),
    ]
    for name, cost, is_limited in rows:
        limits = (
            (against(cost.pss_mb, LIMIT_MB, "MB"), against(cost.core_percent, LIMIT_CORE_PERCENT, "%"))
            if is_limited
            else ("", "")
        )
        table.add_row(
            name, f"{cost.rss_mb:.0f}", f"{cost.pss_mb:.0f}", limits[0], f"{cost.core_percent:.2f}", limits[1]
        )
    console.print(table)
    shares, percent = sum(cost.pss_mb for cost in together), sum(cost.core_percent for cost in together)
    console.print(f"{len(together)} workers together: {shares:,.0f} MB, {percent:.1f} % of a core")


def _largest(costs: Sequence[Cost]) -> Cost:
    return Cost(
        max(cost.rss_mb for cost in costs),
        max(cost.pss_mb for cost in costs),
        max(cost.core_percent for cost in costs),
    )


def _costs(pids: Sequence[int]) -> list[Cost]:
    """What each costs over the time that is measured; its memory as it is at the end."""
    before = [_processor_s(pid) for pid in pids]
    began = time.monotonic()
    time.sleep(MEASURED_S)
    took = time.monotonic() - began
    costs = []
    for pid, spent in zip(pids, before, strict=True):
        memory = [process.memory_full_info() for process in _family(pid)]
        costs.append(
            Cost(
                sum(one.rss for one in memory) / 1e6,
                sum(one.pss for one in memory) / 1e6,
                100 * (_processor_s(pid) - spent) / took,
            )
        )
    return costs


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _processor_s(pid: int) -> float:
    times = [process.cpu_times() for process in _family(pid)]
    return sum(one.user + one.system for one in times)


@dataclass(slots=True)
class _Workers:
    """A twin whose jobs never end, and the run workers that wait for them."""

    settings: Settings
    environment: dict[str, str]
    instance: dg.DagsterInstance
    ledger: Ledger
    twin: Twin
    log: Path
    """What the workers say."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def started(cls, stack: ExitStack) -> "_Workers":
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = _as_in_production(folder)
        twin = stack.enter_context(serve(file, folder))
        assert twin.nersc is not None
        twin.nersc.scheduler.pace = Pace(nodes=MANY)
        twin.nersc.scheduler.inject(JobFault(kind="hang", times=10 * MANY))
        home = folder / "dagster"
        home.mkdir()
        shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
        changed = {
            STATE_VARIABLE: str(folder),
            DEPLOYMENT_VARIABLE: str(file),
            "ALS_TWIN_URL": twin.url,
            "DAGSTER_HOME": str(home),
        }
        environment = {**os.environ, **changed}
        settings = load_settings(file, environment)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        # One more than there are: no daemon is there to free the slot of the worker that is killed.
        instance.event_log_storage.set_concurrency_slots(f"{_FACILITY}_jobs", MANY + 1)
        database = Database(settings.deployment.ledger)
        stack.callback(database.close)
        workers = cls(settings, environment, instance, Ledger(database), twin, folder / "workers.log")
        stack.callback(workers.end)
        return workers

    def start(self, path: str) -> subprocess.Popen[bytes]:
        """A run worker for one scan, as Dagster's launchers start it."""
        key = self._raw(path)
        job = compose(self.settings).resolve_job_def(_JOB).get_subset(asset_selection=set(_MADE))
        pointer = ModuleCodePointer("als_assets.definitions", "defs", str(PROJECT))
        origin = JobPythonOrigin(_JOB, RepositoryPythonOrigin(sys.executable, pointer))
        made = self.instance.create_run_for_job(
            job,
            asset_selection=frozenset(_MADE),
            tags={PARTITION_NAME_TAG: key},
            status=dg.DagsterRunStatus.STARTING,
            job_code_origin=origin,
        )
        arguments = serialize_value(ExecuteRunArgs(origin, made.run_id, self.instance.get_ref()))
        command = [sys.executable, "-m", "dagster", "api", "execute_run", arguments]
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, env=self.environment, cwd=PROJECT, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def submitted(self, count: int) -> None:
        """Wait until so many jobs are known by their handles."""
        self._until(lambda: sum(record.handle is not None for record in self.ledger.in_flight()) >= count)

    def attached(self, path: str) -> float:
        """Start a second run for a scan; seconds until the work of the first is its own."""
        before = {record.key: record.epoch for record in self.ledger.in_flight_of(ScanId(path).key)}
        began = time.monotonic()
        self.start(path)
        self._until(lambda: any(r.epoch > before[r.key] for r in self.ledger.in_flight_of(ScanId(path).key)))
        return time.monotonic() - began

    def jobs(self) -> int:
        assert self.twin.nersc is not None
        return len(self.twin.nersc.scheduler.jobs())

    def _until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + STARTED_WITHIN_S
        while not condition():
            if time.monotonic() > give_up:
                raise TimeoutError(f"not within {STARTED_WITHIN_S} s; the workers say:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _raw(self, path: str) -> str:
        """A raw file on data832 with its manifest, and the partition of its scan."""
        key = PartitionKey(ScanId(path))
        copy = Copy(self.settings.beamline.places["data832"], Artifact.RAW)
        raw = copy.location(key)
        if not raw.here.exists():
            raw.here.parent.mkdir(parents=True, exist_ok=True)
            write_phantom(raw.here, Phantom(rows=4, columns=32, angles=5, seed=1, noisy=False), lambda *_: None)
            proof.write_manifest(copy.manifest(key), proof.make_raw_manifest(raw, program=PROGRAM))
        self.instance.add_dynamic_partitions("bl832_scans", [str(key)])
        return str(key)


def _as_in_production(folder: Path) -> Path:
    """The twin's file with the intervals of production."""
    text = (_CONFIG / "twin.yaml").read_text()
    for quick, usual in (("poll_first_s: 0.5", "poll_first_s: 2"), ("poll_longest_s: 2", "poll_longest_s: 30")):
        if quick not in text:
            raise ValueError(f"config/twin.yaml has no {quick!r} any more: mend this benchmark")
        text = text.replace(quick, usual)
    shutil.copy(_CONFIG / "bl832.yaml", folder)
    file = folder / "twin.yaml"
    file.write_text(text)
    return file
