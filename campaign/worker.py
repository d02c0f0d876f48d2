"""A run's worker: a process of its own that materializes assets of one scan, and may be killed.

Belongs here: what runs in that process, and the hurry that makes a case take seconds.
Does not: when it is killed (drive), or anything of the platform: graph, clients and errors are the real ones.

The process is forked from a server that has imported everything and has no threads: an import for each run would
take longer than the run.
"""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from als_assets.definitions import compose
from resources.identities import Identities
from resources.settings import PROJECT, Settings, identities_of, load_settings
from resources.testing import HastyClock

DEPLOYMENT_FILE = PROJECT / "config" / "twin.yaml"
HTTP_TIMEOUT_S = 2.0
RETRY_FIRST_S = 0.1
_PRELOADED = [
    __name__,
    "dagster._core.execution.api",
    "dagster._core.storage.runs.sqlite",
    "dagster._core.storage.event_log.sqlite",
    "authlib.integrations.httpx_client",
    "encodings.idna",
    "globus_sdk.globus_app",
    "globus_sdk.login_flows",
    "globus_sdk.services.transfer",
    "httpcore",
    "requests",
    "sfapi_client",
    "upath.core",
    "upath.implementations.local",
    "resources.database",
    "resources.ledger",
    "resources.standings",
    "zarr",
]


@dataclass(frozen=True)
class Order:
    """What a worker is to do."""

    instance: InstanceRef
    state: Path
    twin_url: str
    run_id: str
    job: str
    partition: str
    assets: tuple[str, ...]
    program: Path
    """The interpreter that runs the programs which are run on this machine."""
    clock_ahead: timedelta = timedelta()
    """How far this machine's clock is ahead of the true time; negative where it is behind."""


def start(order: Order) -> ForkServerProcess:
    """The worker's process, running."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=work, args=(order,), daemon=True)
    process.start()
    return process


def settings_of(state: Path, twin_url: str) -> Settings:
    """The twin's deployment, in a hurry only where a step is tried again."""
    loaded = load_settings(DEPLOYMENT_FILE, {**os.environ, "ALS_STATE": str(state), "ALS_TWIN_URL": twin_url})
    timing = loaded.deployment.timing.model_copy(update={"retry_first_s": RETRY_FIRST_S})
    return Settings(loaded.deployment.model_copy(update={"timing": timing}), loaded.beamline)


def definitions_of(settings: Settings, clock_ahead: timedelta = timedelta()) -> dg.Definitions:
    """The platform, with a clock that does not wait and clients of Globus that give up soon."""

    @dg.resource
    def globus(_: dg.InitResourceContext) -> Iterator[Identities]:
        with closing(identities_of(settings, retries=1, http_timeout_s=HTTP_TIMEOUT_S)) as made:
            yield made

    return compose(settings, clock=HastyClock(clock_ahead), globus=globus)


def work(order: Order) -> None:
    """Execute the run in this process. It ends as Dagster's own worker does: by itself, by a signal, or killed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _say_to(order.state / "campaign" / f"{order.run_id}.log")
    sys.executable = str(order.program)
    definitions = definitions_of(settings_of(order.state, order.twin_url), order.clock_ahead)
    with dg.DagsterInstance.from_ref(order.instance) as instance:
        definitions.resolve_job_def(order.job).execute_in_process(
            instance=instance,
            run_id=order.run_id,
            partition_key=order.partition,
            asset_selection=[dg.AssetKey(asset.split("/")) for asset in order.assets],
            raise_on_error=False,
        )


def _say_to(path: Path) -> None:
    """Whatever is printed goes to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    logging.captureWarnings(capture=True)
    with path.open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)


def event_log(instance: dg.DagsterInstance, run_id: str) -> list[Any]:
    """Every event of a run."""
    return [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
