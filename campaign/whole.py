"""The whole of Dagster, killed in parts while a scan is on its way: run worker, code server, daemon, all of it.

Belongs here: which processes are which, killing them, starting again what nobody starts by itself, and waiting.
Does not: faults at a call (drive): a run's own worker is killed there at every call, a hundred times as fast.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil

from als import stack as stacks
from als.follow import Progress, ScanView
from als.stack import Stack, running
from als_assets.definitions import compose
from als_assets.registry import build_graph
from beamlines.scans import ScanId
from campaign.judgement import RunSeen, Seen, judge
from campaign.outside import JobSeen, Outside, TaskSeen
from resources.clock import SystemClock
from resources.database import Database
from resources.ledger import Ledger
from resources.settings import PROJECT, chosen_deployment, load_settings
from resources.work import Record, WorkState

SIZE = ("--rows", "16", "--columns", "64", "--angles", "61", "--seconds", "0.2")
LONGEST_S = 600
COMES_BACK_IN_S = 20
"""What ``dagster dev`` starts again by itself is there by then."""
REATTACHED_WITHIN_S = 30
_LOOK_S = 0.2


@dataclass(frozen=True)
class Ended:
    """How one of these cases ended."""

    part: str
    findings: tuple[str, ...]
    seconds: float
    reattached_s: float | None
    """From the start of the next run to its hold on the job; None where the worker survived."""


@dataclass(frozen=True)
class Whole:
    """A running stack, and what is asked of it."""

    stack: Stack
    definitions: dg.Definitions
    way: Sequence[dg.AssetKey]
    """What the scan has in the end."""
    instance: dg.DagsterInstance
    ledger: Ledger
    work: str
    """The asset under which the ledger keeps the jobs."""

    def kill(self, part: str, worker: int) -> None:
        """kill -9 of one part, or of several."""
        for process in _PARTS[part](self._processes(), worker):
            process.send_signal(signal.SIGKILL)

    def start_again(self) -> None:
        """Start Dagster anew where it does not serve by itself: what a supervisor, or a boot, does."""
        give_up = time.monotonic() + COMES_BACK_IN_S
        while time.monotonic() < give_up:
            time.sleep(1)
            if _serves(self.stack) and {"daemon", "code-server"} <= {_kind(p) for p in self._processes()}:
                return
        for process in self._processes():
            if _kind(process) not in (None, "run-worker"):
                process.send_signal(signal.SIGKILL)
        port = self.stack.ui_url.rpartition(":")[2]
        command = [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", stacks.HOST, "-p", port]
        with (self.stack.state / "dagster.log").open("ab") as log:
            subprocess.Popen(
                command,
                cwd=PROJECT,
                env=dict(self.stack.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _until(lambda: _serves(self.stack), 120)

    def job(self, key: str) -> Record | None:
        """The job of a scan, once it is submitted."""
        records = self.ledger.attempts(self.work, key)
        return records[0] if records and records[0].state is not WorkState.INTENT else None

    def _processes(self) -> list[psutil.Process]:
        return [process for process in psutil.process_iter() if _belongs(process, self.stack.state)]


@contextmanager
def whole(facility: str) -> Iterator[Whole]:
    """A stack of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="als-whole-", ignore_cleanup_errors=True) as folder:
        state = Path(folder)
        with running(state, SystemClock(), ui_port=0, twin_port=0) as stack:
            environment = {**os.environ, **stack.environment}
            settings = load_settings(chosen_deployment(environment), environment)
            with (
                dg.DagsterInstance.from_config(str(stack.dagster_home)) as instance,
                closing(Database(settings.deployment.ledger)) as database,
            ):
                beamline = settings.beamline
                rules = beamline.facilities[facility]
                made = "tiff+zarr" if rules.work == rules.raw else "raw+tiff+zarr"
                work = f"{beamline.name}/{rules.work}/{made}"
                way = build_graph(beamline).way(facility)
                yield Whole(stack, compose(settings), way, instance, Ledger(database), work)


def drive_whole(here: Whole, part: str) -> Ended:
    """Let a scan arrive, kill a part of Dagster while its job is under way, and wait for the scan."""
    began = time.monotonic()
    scan = ScanId(stacks.measure(here.stack.state, [*SIZE, "--text", f"whole-{part}"]))
    view = ScanView.of(here.definitions, here.way, scan.key)
    record = _until(lambda: here.job(scan.key), LONGEST_S)
    if record is None:
        return Ended(part, (f"no job was submitted within {LONGEST_S} s",), time.monotonic() - began, None)
    here.kill(part, record.owner.pid)
    here.start_again()
    taken: list[tuple[Record, datetime]] = []

    def is_over() -> bool:
        view.refresh(here.instance)
        now = here.job(scan.key)
        if not taken and now is not None and now.owner.run_id != record.owner.run_id:
            taken.append((now, datetime.now(UTC)))
        return view.succeeded or view.failed

    _until(is_over, LONGEST_S)
    seen = _seen(here, scan, view)
    reattached = _reattached(here, taken)
    late = [] if reattached is None or reattached <= REATTACHED_WITHIN_S else [f"re-attached after {reattached:.0f} s"]
    return Ended(part, (*judge(seen), *view.errors, *late), time.monotonic() - began, reattached)


def _seen(here: Whole, scan: ScanId, view: ScanView) -> Seen:
    made = {key.to_user_string() for key, asset in view.assets.items() if asset.progress is Progress.DONE}
    records = tuple(here.ledger.attempts_of(scan.key))
    return Seen(
        runs=(RunSeen("SUCCESS" if view.succeeded else "FAILURE", killed=True),),
        outside=Outside(tuple(_tasks(here.stack.state, scan)), tuple(_jobs(here, records))),
        records=records,
        wanted=frozenset(key.to_user_string() for key in view.assets),
        materialized=frozenset(made),
        contents={},
        right={},
    )


def _tasks(state: Path, scan: ScanId) -> Iterator[TaskSeen]:
    """From the twin's own journal of Globus."""
    entries = [json.loads(line)["entry"] for line in (state / "twin" / "globus.jsonl").read_text().split("\n") if line]
    ended = {entry["task_id"]: entry for entry in entries if entry["what"] == "ended"}
    for entry in entries:
        document: dict[str, Any] = entry.get("document") or {}
        paths = tuple(sorted(item.get("destination_path", "") for item in document.get("DATA", [])))
        if entry["what"] == "accepted" and any(scan.name in path for path in paths):
            end = ended.get(entry["task_id"])
            yield TaskSeen(
                label=document["label"],
                paths=paths,
                status="ACTIVE" if end is None else end["status"],
                requested=datetime.fromisoformat(entry["requested"]),
                ended=None if end is None else datetime.fromisoformat(end["completed"]),
            )


def _jobs(here: Whole, records: Sequence[Record]) -> Iterator[JobSeen]:
    """From the twin's batch system."""
    digests = {record.key for record in records}
    answer = httpx.get(f"{here.stack.twin_url}/control/superfacility/", timeout=30).raise_for_status()
    for job in answer.json()["jobs"]:
        name = job["request"]["name"]
        if any(digest in name for digest in digests):
            ended = job["ended"] and datetime.fromisoformat(job["ended"])
            submitted = datetime.fromisoformat(job["submitted"])
            yield JobSeen(name, str(job["job_id"]), job["state"], submitted, ended)


def _reattached(here: Whole, taken: Sequence[tuple[Record, datetime]]) -> float | None:
    if not taken:
        return None
    record, seen_at = taken[0]
    found = here.instance.get_run_record_by_id(record.owner.run_id)
    return None if found is None or found.start_time is None else seen_at.timestamp() - found.start_time


def _until(condition: Callable[[], Any], limit_s: float) -> Any:
    give_up = time.monotonic() + limit_s
    while not (value := condition()) and time.monotonic() < give_up:
        time.sleep(_LOOK_S)
    return value


# -- processes ---------------------------------------------------------------------------------------------------


def _kind(process: psutil.Process) -> str | None:
    """Which part of Dagster a process is; None for the twin and what it runs."""
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return None
    for kind, mark in _MARKS.items():
        if mark in words:
            return kind
    return None


def _belongs(process: psutil.Process, state: Path) -> bool:
    try:
        return process.environ().get("ALS_STACK") == str(state)
    except psutil.Error:
        return False


def _serves(stack: Stack) -> bool:
    try:
        return httpx.get(f"{stack.ui_url}/server_info", timeout=5).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _of(*kinds: str) -> Callable[[list[psutil.Process], int], list[psutil.Process]]:
    return lambda processes, _: [process for process in processes if _kind(process) in kinds]


_MARKS = {
    "code-server": "api grpc",
    "daemon": "dagster._daemon",
    "webserver": "dagster_webserver",
    "dev": "dagster dev",
    "run-worker": "multiprocessing.spawn",
}
_PARTS: dict[str, Callable[[list[psutil.Process], int], list[psutil.Process]]] = {
    "run-worker": lambda processes, worker: [process for process in processes if process.pid == worker],
    "code-server": _of("code-server"),
    "daemon": _of("daemon"),
    "webserver": _of("webserver"),
    "all-but-the-workers": _of("code-server", "daemon", "webserver", "dev"),
    "machine": _of(*_MARKS),
}
PARTS = tuple(_PARTS)
