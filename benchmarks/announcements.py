"""A thousand scans announced within a minute: whether each is ingested, none twice, and how long two cores need.

Belongs here: announcing, ticks of the sensor, and two workers that carry out what it requests, over the twin's HTTP.
Does not: Dagster's own start of a run worker, which takes its share besides (imports), or the first look at a scan.
"""

import multiprocessing
import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dagster as dg
from rich.console import Console
from rich.table import Table

from als_assets.definitions import compose
from beamlines.announcements import Announcement
from beamlines.places import Store
from benchmarks.history import scan_path
from benchmarks.limits import against
from resources.announcements import Announcements
from resources.clock import SystemClock
from resources.database import Database
from resources.settings import PROJECT, STATE_VARIABLE, Settings, load_settings
from sensors.testing import Daemon
from tomography.phantom import Phantom, write_phantom
from twin.server import serve

SCANS, WORKERS = 1_000, 2
ANNOUNCED_WITHIN_S = 60
_TWIN = PROJECT / "config" / "twin.yaml"
_INGESTED = dg.AssetKey(["bl832", "data832", "raw"])


def run(console: Console) -> None:
    """The table: seconds of each part, and the counts that must be equal."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        twin = stack.enter_context(serve(_TWIN, folder))
        home = folder / "dagster"
        home.mkdir()
        shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
        environment = {STATE_VARIABLE: str(folder), "ALS_TWIN_URL": twin.url, "DAGSTER_HOME": str(home)}
        settings = _settings(environment)
        instance = stack.enter_context(dg.DagsterInstance.from_config(str(home)))
        _measure_scans(settings, folder)
        began = time.perf_counter()
        _announce(settings)
        announced_s = time.perf_counter() - began
        done = _ingest(settings, instance, environment)
        ingested_s = time.perf_counter() - began
        made = Counter(
            event.asset_materialization.partition for event in _made(instance) if event.asset_materialization
        )
        sent = len(twin.control.injector.requests("POST /transfer/v0.10/transfer"))
    table = Table(title=f"{SCANS:,} scans announced at once, {WORKERS} workers, SQLite", title_justify="left")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("limit")
    table.add_row("announced, seconds", f"{announced_s:.1f}", against(announced_s, ANNOUNCED_WITHIN_S, "s"))
    table.add_row("last one ingested, seconds", f"{ingested_s:.0f}", "")
    table.add_row("runs requested", f"{done.requested}", _exactly(done.requested))
    table.add_row("scans ingested", f"{len(made)}", _exactly(len(made)))
    table.add_row("ingested twice", f"{sum(count > 1 for count in made.values())}", "0")
    table.add_row("transfers submitted", f"{sent}", _exactly(sent))
    console.print(table)


class _Done:
    requested = 0


def _ingest(settings: Settings, instance: dg.DagsterInstance, environment: dict[str, str]) -> _Done:
    context, done = multiprocessing.get_context("spawn"), _Done()
    keys: Any = context.JoinableQueue()
    workers = [context.Process(target=_work, args=(keys, environment), daemon=True) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    clock = SystemClock()
    daemon = Daemon(instance, compose(settings).get_repository_def(), clock)
    while done.requested < SCANS:
        for request in daemon.tick("bl832_new_scans").run_requests or []:
            keys.put(request.partition_key)
            done.requested += 1
        clock.sleep(1)
    for _ in range(3):  # nothing more is requested
        done.requested += len(daemon.tick("bl832_new_scans").run_requests or [])
    keys.join()
    for _ in workers:
        keys.put(None)
    for worker in workers:
        worker.join()
    return done


def _work(keys: Any, environment: dict[str, str]) -> None:
    """One worker: the runs that are requested, one after another, without their first look."""
    os.environ.update(environment)
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        job = compose(_settings(environment)).resolve_job_def("bl832_ingest")
        while (key := keys.get()) is not None:
            job.execute_in_process(
                instance=instance, partition_key=key, asset_selection=[_INGESTED], raise_on_error=False
            )
            keys.task_done()


def _settings(environment: dict[str, str]) -> Settings:
    loaded = load_settings(_TWIN, {**os.environ, **environment})
    timing = loaded.deployment.timing.model_copy(update={"poll_first_s": 0.05, "poll_longest_s": 0.5})
    return Settings(loaded.deployment.model_copy(update={"timing": timing}), loaded.beamline)


def _measure_scans(settings: Settings, folder: Path) -> None:
    phantom = folder / "phantom.h5"
    write_phantom(phantom, Phantom(rows=4, columns=32, angles=5, seed=1, noisy=False), lambda *_: None)
    place = settings.beamline.places[settings.beamline.scans.place]
    for number in range(SCANS):
        file = Path(place.at(Store.RAW, scan_path(number)).posix)
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(phantom, file)


def _announce(settings: Settings) -> None:
    database = Database(settings.deployment.ledger)
    inbox, clock = Announcements(database), SystemClock()
    for number in [*range(SCANS), *range(0, SCANS, 10)]:  # some of them twice
        message = Announcement(path=f"/global/raw/{scan_path(number)}")
        inbox.take(message, settings.beamline, author="benchmark", at=clock.now())
    database.close()


def _made(instance: dg.DagsterInstance) -> list[dg.EventLogRecord]:
    return list(instance.fetch_materializations(_INGESTED, limit=10 * SCANS).records)


def _exactly(found: int) -> str:
    return f"{SCANS}: kept" if found == SCANS else f"[bold red]{SCANS}: MISSED[/]"
