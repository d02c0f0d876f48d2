"""Programs of others that the twin needs for a while: started in one folder, on loopback, and every one of them ended.

Belongs here: starting, waiting until one is ready, its log, ending it with everything that it has started; free ports.
Does not: which programs, or how they are configured (scheduler.servers, compute.servers).
"""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

SANE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SETPRIV = "/usr/bin/setpriv"
START_S = 30.0
STOP_S = 10.0


class ServersFailedError(RuntimeError):
    """One of the programs did not start; its last words are in the message."""


class Programs:
    """The programs that were started, each in a session of its own, told to end when their parent does."""

    def __init__(self, folder: Path, environment: Mapping[str, str], mark: str) -> None:
        """``mark``: the variable of ``environment`` by which everything that was started here is known again."""
        self.folder = folder
        self.environment = dict(environment)
        self._mark = mark
        self._started: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._last_words = ""

    def start(
        self, *arguments: str, user: str | None = None, ready: Callable[[], bool], **more: str
    ) -> "subprocess.Popen[bytes]":
        """Start a program in the foreground and wait until it is ``ready``. Raises ServersFailedError."""
        who = ["--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--init-groups"] if user else []
        name = Path(arguments[0]).name
        with self.log(name).open("ab") as log:
            process = subprocess.Popen(
                [SETPRIV, *who, "--pdeathsig", "TERM", "--", *arguments],
                env=self.environment | more,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._started.append((name, process))
        give_up = time.monotonic() + START_S
        while not ready():
            if process.poll() is not None or time.monotonic() > give_up:
                what = f"ended with {process.returncode}" if process.returncode is not None else "is not ready"
                words = f"{self.log(name).read_text(errors='replace')[-2000:]}\n{self._last_words}"
                raise ServersFailedError(f"{name} {what}: {words}")
            time.sleep(0.05)
        return process

    def run(self, *arguments: str) -> None:
        done = subprocess.run(arguments, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise ServersFailedError(f"{' '.join(arguments)}: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def succeeds(self, *arguments: str, says: str = "") -> bool:
        done = subprocess.run(arguments, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        self._last_words = f"{' '.join(arguments)}: {(done.stdout + done.stderr).strip()[-500:]}"
        return done.returncode == 0 and says in done.stdout

    def log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def has_started(self, name: str) -> bool:
        return any(name == started for started, _ in self._started)

    def end_all(self) -> None:
        """End the programs in the reverse order, and what is still left of what they have started."""
        family = self.left()
        for _, process in reversed(self._started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_S)
        _kill(family)
        self.kill_all()

    def kill_all(self) -> None:
        """Kill whatever was started here and is left, at once, and whatever one of those starts meanwhile."""
        while left := self.left():
            _kill(left)

    def left(self) -> set[psutil.Process]:
        """Every live process that was started here, by whichever of them.

        Children of children keep this folder's mark in their environment, also where their parents are gone. One that
        has changed its title has overwritten it there: that one is known as a descendant.
        """
        found = {process for process in psutil.process_iter() if self._is_marked(process)}
        for process in (process for _, process in self._started if process.poll() is None):
            with suppress(psutil.NoSuchProcess):
                program = psutil.Process(process.pid)
                found |= {program, *program.children(recursive=True)}
        return {process for process in found if process.pid != os.getpid() and _is_alive(process)}

    def _is_marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(self._mark) == self.environment[self._mark]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _kill(processes: Collection[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=1)


def free_ports(number: int) -> Sequence[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
