"""The twin and Dagster as processes: started together, ended together, nothing left behind.

Belongs here: processes, their environment, ports and logs.
Does not: what they do, or showing it (follow).
"""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from als.connection import ENVIRONMENT
from beamlines.places import Store
from resources.clock import Clock
from resources.settings import DEPLOYMENT_VARIABLE, PROJECT, STATE_VARIABLE, load_settings

if TYPE_CHECKING:
    import psutil

HOST = "127.0.0.1"
TWIN = PROJECT / "config" / "twin.yaml"
UI_PORT, TWIN_PORT, METRICS_PORT = 3000, 8832, 9832
LOCK = "lock"
_MARK = "ALS_STACK"
_READY_S = 120
_TERM_S = 10
_KILL_ROUNDS = 3
"""A process may start another while it is being ended: the second round finds that one."""


class StackError(RuntimeError):
    """The twin or Dagster did not start, or ended; says which log to read."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running twin and Dagster."""

    state: Path
    ui_url: str
    twin_url: str

    @property
    def dagster_home(self) -> Path:
        return self.state / "dagster"

    @property
    def added(self) -> Mapping[str, str]:
        """What its processes have in their environment beside that of the command that started them."""
        return {
            STATE_VARIABLE: str(self.state),
            DEPLOYMENT_VARIABLE: str(TWIN),
            "ALS_TWIN_URL": self.twin_url,
            "ALS_UI_URL": self.ui_url,
            "DAGSTER_HOME": str(self.dagster_home),
        }

    @property
    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self.added, "PYTHONUNBUFFERED": "1", _MARK: str(self.state)}


@contextmanager
def running(state: Path, clock: Clock, *, ui_port: int, twin_port: int) -> Iterator[Stack]:
    """Run the twin and Dagster over ``state`` while inside; at the end every process of theirs is gone.

    Each takes the port that it is given, or a free one where that is in use. Raises StackError.
    """
    state.mkdir(parents=True, exist_ok=True)
    with alone(state):
        end_all(state)  # what a killed `als` has left
        twin_port, ui_port = _free(twin_port), _free(ui_port)
        stack = Stack(state, f"http://{HOST}:{ui_port}", f"http://{HOST}:{twin_port}")
        stack.dagster_home.mkdir(exist_ok=True)
        (state / ENVIRONMENT).write_text(json.dumps(stack.added, indent=1))
        shutil.copyfile(PROJECT / "deploy" / "dagster" / "local.yaml", stack.dagster_home / "dagster.yaml")
        started: list[subprocess.Popen[bytes]] = []
        try:
            twin = _start(stack, "twin", ["-m", "twin", "--state", str(state), "--port", str(twin_port)])
            started.append(twin)
            _await(f"{stack.twin_url}/health", twin, clock, stack.state / "twin.log")
            serve = ["-m", "dagster", "dev", "-w", "workspace.yaml", "-h", HOST, "-p", str(ui_port)]
            dagster = _start(stack, "dagster", serve)
            started.append(dagster)
            _await(f"{stack.ui_url}/server_info", dagster, clock, stack.state / "dagster.log")
            yield stack
        finally:
            end_all(state)
            for process in started:
                process.wait()


@contextmanager
def metrics(stack: Stack) -> Iterator[str]:
    """Serve the metrics of a running stack while inside; their address. Nobody waits until they are there."""
    port = _free(METRICS_PORT)
    process = _start(stack, "metrics", ["-m", "als", "metrics", "--port", str(port)])
    try:
        yield f"http://{HOST}:{port}/metrics"
    finally:
        process.terminate()
        process.wait()


def measure(state: Path, options: Sequence[str]) -> str:
    """Let the simulated beamline of a state folder measure a scan; its path below raw/. Raises StackError."""
    environment = {**os.environ, STATE_VARIABLE: str(state)}
    command = [sys.executable, "-m", "twin", "scan", "--state", str(state), *options]
    done = subprocess.run(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise StackError(
            f"the beamline measured nothing: {' '.join(command[1:])} ended with exit code {done.returncode}"
        )
    beamline = load_settings(TWIN, environment).beamline
    place = beamline.places[beamline.scans.place]
    # A name may end in any white space; only the line's own end is not part of it.
    written = Path(done.stdout.removesuffix("\n"))
    return written.relative_to(place.posix_root / place.stores[Store.RAW]).as_posix()


def end_all(state: Path) -> None:
    """End every process of the stack over ``state``.

    A stopped ``dagster dev`` leaves its run workers alive, and they are in no process group of ours; but every process
    inherits the environment that the stack was started with.
    """
    import psutil

    for number in (signal.SIGTERM, *[signal.SIGKILL] * _KILL_ROUNDS):
        ours = [process for process in psutil.process_iter() if _carries(process, str(state))]
        for process in ours:
            _send(process, number)
        psutil.wait_procs(ours, timeout=_TERM_S)


def must_run(state: Path) -> None:
    """Raises StackError unless a stack runs over the state folder."""
    state.mkdir(parents=True, exist_ok=True)
    try:
        with alone(state):
            pass
    except StackError:
        return
    raise StackError(f"nothing runs over {state}, so nobody would see a scan: run `make up` first")


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """Hold the state folder for this process; the kernel lets go of it however this process ends.

    Raises StackError where another process holds it.
    """
    with (state / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(f"another `als` runs over {state}: end that one, or name another --state") from error
        yield


def _start(stack: Stack, name: str, arguments: Sequence[str]) -> "subprocess.Popen[bytes]":
    with (stack.state / f"{name}.log").open("ab") as log:
        # A session of its own: Ctrl-C in the terminal reaches `als` alone, which then ends them in order.
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=dict(stack.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _await(url: str, process: "subprocess.Popen[bytes]", clock: Clock, log: Path) -> None:
    import httpx  # a third of a second for every command

    give_up = clock.now().timestamp() + _READY_S
    while process.poll() is None and clock.now().timestamp() < give_up:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == httpx.codes.OK:
                return
        clock.sleep(0.2)
    raise StackError(f"{url} did not answer; read {log}")


def _free(port: int) -> int:
    for candidate in (port, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StackError("no free port on this machine")


def _carries(process: "psutil.Process", mark: str) -> bool:
    import psutil

    try:
        return process.environ().get(_MARK) == mark
    except psutil.Error:
        return False  # gone, or another person's


def _send(process: "psutil.Process", number: signal.Signals) -> None:
    import psutil

    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
