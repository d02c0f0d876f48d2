"""The commands of ``als``.

Belongs here: the commands that run the twin and Dagster, and how every command ends.
Does not: work, which is in the modules beside this one and in the platform.
"""

import os
import signal
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from als import (
    archive,
    branches,
    compare,
    doctor,
    messages,
    metrics,
    reconciliation,
    reconstruct,
    remote,
    retention,
    scans,
)
from als import stack as stacks
from als.connection import NothingRunsError
from als.options import DEMO_STATE, UP_STATE, StateDir
from als.saying import console, say
from resources.clock import SystemClock
from resources.errors import PlatformError

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The data platform of ALS beamline 8.3.2.")
app.command("new-scan")(scans.new_scan)
app.add_typer(scans.app, name="scan")
app.command()(reconstruct.reconstruct)
app.command()(compare.compare)
app.command()(archive.register)
app.command()(archive.backfill)
app.command(context_settings=branches.ANY_FACILITY)(branches.branches)
app.add_typer(remote.app, name="remote")
app.add_typer(messages.app, name="messages")
retention.app.command()(reconciliation.reconcile)
app.add_typer(retention.app, name="retention")
app.command()(metrics.metrics)
app.command()(doctor.doctor)
app.add_typer(doctor.cutover, name="cutover")

DEMO_ROWS, DEMO_COLUMNS, DEMO_ANGLES = 256, 512, 361

ScanFile = Annotated[
    Path | None,
    typer.Option("--scan", exists=True, dir_okay=False, help="A finished scan; else a phantom."),
]
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
REFUSALS = (stacks.StackError, NothingRunsError, PlatformError, ValueError)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("als-data-platform"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """The data platform of ALS beamline 8.3.2."""


@app.command()
def demo(
    scan: ScanFile = None,
    state: StateDir = DEMO_STATE,
    limit_s: Annotated[float, typer.Option(help="Give up after so many seconds.")] = 600,
) -> None:
    """One scan, all the way: start the twin and Dagster, let the beamline measure, follow it, and end everything.

    Exit code 0 only if every asset of the scan is there and every check of a copy passed.
    """
    from als.demonstration import follow_one, start_afresh

    state = state.resolve()
    start_afresh(state)
    clock = SystemClock()
    console.print("starting the twin and Dagster ...")
    with stacks.running(state, clock, ui_port=stacks.UI_PORT, twin_port=stacks.TWIN_PORT) as stack:
        console.print(
            f"Dagster's UI is at {stack.ui_url} and the catalogue at {stack.twin_url}/scicat/ while this runs; "
            "the beamline measures a scan ...",
            soft_wrap=True,
        )
        path = _measure(state, scan)
        complete_at = clock.now().timestamp()
        scans.new_scan([announced(path)], state=state)
        raise typer.Exit(follow_one(stack, path, console, clock, complete_at=complete_at, limit_s=limit_s))


@app.command()
def up(
    state: StateDir = UP_STATE,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of Dagster's UI; a free one where it is in use.")
    ] = stacks.UI_PORT,
) -> None:
    """Keep the twin and Dagster running, with the sensors on, until Ctrl-C."""
    clock = SystemClock()
    with (
        stacks.running(state.resolve(), clock, ui_port=port, twin_port=stacks.TWIN_PORT) as stack,
        stacks.metrics(stack) as metrics_url,
    ):
        try:
            console.print(
                f"Dagster's UI   {stack.ui_url}\nthe twin       {stack.twin_url}\n"
                f"the catalogue  {stack.twin_url}/scicat/\nmessages       {stack.twin_url}/messages/\n"
                f"metrics        {metrics_url}\nlogs and data  {stack.state}\n"
                "`make scan` in another terminal lets a scan arrive; Ctrl-C ends everything",
                highlight=False,
                soft_wrap=True,
            )
            while True:
                clock.sleep(3600)
        finally:
            console.print("ending ...")


@app.command()
def measure(
    scan: ScanFile = None,
    state: StateDir = UP_STATE,
    silent: Annotated[
        bool, typer.Option("--silent", help="Do not announce it: the sensor has to find it by itself.")
    ] = False,
) -> None:
    """Let the simulated beamline of the twin that is up measure one more scan, and announce it."""
    state = state.resolve()
    stacks.must_run(state)
    path = _measure(state, scan)
    say(f"measured {path}")
    if not silent:
        scans.new_scan([announced(path)], state=state)


def announced(path: str) -> str:
    """A path below raw/ as the acquisition program names it."""
    return f"/global/raw/{path}"


def _measure(state: Path, scan: Path | None) -> str:
    """Let the simulated beamline measure a phantom, or write a finished scan; its path below raw/."""
    phantom = ["--rows", str(DEMO_ROWS), "--columns", str(DEMO_COLUMNS), "--angles", str(DEMO_ANGLES)]
    source = phantom if scan is None else ["--source", str(scan.resolve()), "--text", scan.stem]
    return stacks.measure(state, source)


def main() -> None:
    """Run a command; what was refused is one message, not a traceback."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    for number in ENDING:
        # A closed terminal, a `kill` and Ctrl-C end the processes that were started, each in the same way.
        signal.signal(number, _end)
    try:
        app()
    except REFUSALS as error:
        Console(stderr=True).print(f"als: {error}", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error


def _end(number: int, _: FrameType | None) -> None:
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)  # an impatient second Ctrl-C must not leave half of them running
    raise SystemExit(128 + number)
