"""The twin's command line: ``python -m twin`` serves the world, ``python -m twin scan`` lets the beamline measure.

Belongs here: options, signals, and what is printed. Does not: anything that a test would want without a process.
"""

import os
import signal
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from beamlines.config import ConfigurationError
from beamlines.places import NotAtPlaceError, Store
from twin.beamline import Phantom, PhantomFailedError, make_phantom, scan_name, write_scan
from twin.server import PortTakenError, TwinIsRunningError, load_world, serve
from twin.world import NotInTheWorldError

app = typer.Typer(add_completion=False, help="A copy of the outside world on this machine.")

DeploymentFile = Annotated[Path, typer.Option("--deployment", exists=True, help="The deployment's YAML file.")]
StateDir = Annotated[Path, typer.Option("--state", help="Folder of everything that the twin writes.")]

DEFAULT_DEPLOYMENT = Path("config/twin.yaml")
REFUSALS = (
    ConfigurationError,
    FileExistsError,
    NotAtPlaceError,
    NotInTheWorldError,
    PhantomFailedError,
    PortTakenError,
    TwinIsRunningError,
)


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    state: StateDir = Path("state"),
    deployment: DeploymentFile = DEFAULT_DEPLOYMENT,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8832,
) -> None:
    """Serve the world until SIGTERM or SIGINT."""
    if context.invoked_subcommand is not None:
        return
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serve(deployment, state, port=port) as twin:
        typer.echo(f"the twin of {twin.world.beamline.title} is at {twin.url}, its state in {twin.world.state_dir}")
        stop.wait()


@app.command()
def scan(
    state: StateDir = Path("state"),
    deployment: DeploymentFile = DEFAULT_DEPLOYMENT,
    source: Annotated[Path | None, typer.Option(exists=True, help="A finished scan; otherwise a phantom.")] = None,
    folder: Annotated[str, typer.Option(help="Below raw/.")] = "BLS-00564_demo",
    name: Annotated[str | None, typer.Option(help="File name; otherwise date, time and the text.")] = None,
    text: Annotated[str, typer.Option(help="What stands after date and time.")] = "phantom",
    seconds: Annotated[float, typer.Option(min=0, help="How long the acquisition takes.")] = 3.0,
    rows: Annotated[int, typer.Option(min=1)] = 32,
    columns: Annotated[int, typer.Option(min=1)] = 128,
    angles: Annotated[int, typer.Option(min=1)] = 180,
    seed: int = 0,
) -> None:
    """Measure a scan: its file grows on the acquisition machine. Prints the file's path."""
    state = state.resolve()
    world = load_world(deployment, state, os.environ)
    place = world.beamline.places[world.beamline.scans.place]
    file_name = name or scan_name(datetime.now(UTC), text)
    destination = Path(place.at(Store.RAW, PurePosixPath(folder) / file_name).posix)
    with tempfile.TemporaryDirectory(dir=world.state_dir) as scratch:
        finished = source or Path(scratch, "phantom.h5")
        if source is None:
            make_phantom(Phantom(rows, columns, angles, seed), finished)
        write_scan(finished, destination, seconds=seconds, sleep=time.sleep)
    typer.echo(destination)


def main() -> None:
    """Run a command; what is refused is one line, not a traceback."""
    try:
        app()
    except REFUSALS as error:
        typer.echo(f"twin: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
