"""The command that serves the metrics.

Belongs here: what it is put together from, and for how long it runs.
Does not: any metric (als_assets.metrics).
"""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from als.connection import connect
from als.options import UP_STATE, StateDir
from als.saying import say

EVERY_S = 15.0
"""As often as Prometheus usually asks."""


def metrics(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Else the deployment's; 0 takes a free one.")
    ] = None,
    state: StateDir = UP_STATE,
) -> None:
    """Serve /metrics for Prometheus until Ctrl-C. What happens while this does not run is counted when it does."""
    from als.platform import platform
    from als_assets.definitions import compose
    from als_assets.metrics.exporter import LastLook, look_again, serve
    from als_assets.metrics.looking import Looker
    from resources.dagster_log import open_log

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    connection = connect(state)
    here, definitions = connection.settings.deployment.metrics, compose(connection.settings)
    with platform(connection) as at, connection.database() as database:
        home = Path(connection.environment["DAGSTER_HOME"])
        looker = Looker(
            graph=at.graph,
            instance=at.instance,
            log=open_log(home, connection.environment),
            database=database,
            tables=at.retention,
            clock=at.clock,
            waiting_of=waiting_of,
            jobs=frozenset(job.name for job in definitions.jobs or ()),
            sensors=frozenset(sensor.name for sensor in definitions.sensors or ()),
        )
        last = LastLook()
        served, end = serve(last, address=here.address, port=here.port if port is None else port)
        say(f"http://{here.address}:{served}/metrics")
        try:
            while True:
                look_again(last, looker.look, at.clock, EVERY_S)
        finally:
            end()


def waiting_of(cursor: str) -> Collection[tuple[str, float]]:
    """Why scans wait, and since when, as a router's cursor says; of one that cannot be read nothing is known."""
    from pydantic import ValidationError

    from sensors.routing import RouterMemory

    try:
        waiting = RouterMemory.model_validate_json(cursor).waiting
    except ValidationError:
        return ()  # its router says so itself, and begins anew
    return [(str(one.reason), one.since) for one in waiting.values()]
