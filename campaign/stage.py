"""The stage of one case: its scan, its first run, and the hands that reach into it.

Belongs here: killing, terminating, waiting for a call, damaging files.
Does not: which of it a fault does (injections), or the course of a case (drive).
"""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from beamlines.scans import PartitionKey
from campaign.calls import Call
from campaign.lane import Lane, Run
from campaign.plan import Case
from twin.traps import Moment, SetTrap, Trap

LONGEST_RUN_S = 180.0
"""Ten times what a run takes on a busy machine."""
_LOOK_S = 0.01


@dataclass
class Stage:
    """One case under way."""

    lane: Lane
    case: Case
    key: str
    name: str
    """Of the scan, as it is part of every path."""
    calls: Sequence[Call]
    """Those of an undisturbed run of this part."""
    usual_s: float
    """How long an undisturbed run takes here."""
    chance: random.Random
    run: Run | None = None
    met: bool = False
    """Whether what was to go wrong has come about."""
    killed: bool = False
    terminated: bool = False
    damaged: set[str] = field(default_factory=set)
    """Assets whose files were damaged, or removed, after they were made."""

    # -- waiting -------------------------------------------------------------------------------------------------

    def trap(self, call: Call, moment: Moment) -> SetTrap:
        """Stop the run at a call, from now on."""
        return self.lane.twin.control.injector.traps.set(Trap(match=call.pattern, nth=call.nth, moment=moment))

    def caught(self, trap: SetTrap) -> bool:
        """Wait until the trap has caught its call; False where the run has ended without it."""
        assert self.run is not None  # noqa: S101 - only a run that was started makes calls
        give_up = time.monotonic() + LONGEST_RUN_S
        while self.run.is_alive and time.monotonic() < give_up:
            if trap.await_catch(_LOOK_S):
                self.met = True
                return True
        return trap.caught

    def any_call(self) -> Call:
        """One of the calls of the run, by chance."""
        return self.chance.choice(list(self.calls))

    def nap(self, seconds: float) -> None:
        """Wait, or until the run has ended."""
        give_up = time.monotonic() + seconds
        while self.run is not None and self.run.is_alive and time.monotonic() < give_up:
            time.sleep(_LOOK_S)

    def at_any_call(self, act: Callable[[], None]) -> None:
        """Do something right after one of the run's calls has been answered, by chance which."""
        if self.caught(self.trap(self.any_call(), Moment.ANSWERED)):
            act()

    # -- ending the run ------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """kill -9 of the worker."""
        assert self.run is not None  # noqa: S101
        if self.run.is_alive:
            self.run.kill()
            self.killed = self.met = True

    def terminate(self) -> None:
        """As a person does in the UI: the run's status first, then the signal."""
        assert self.run is not None  # noqa: S101
        run = self.lane.instance.get_run_by_id(self.run.run_id)
        if run is not None and not run.is_finished and self.run.is_alive:
            self.lane.instance.report_run_canceling(run)
            os.kill(self.run.process.pid or 0, signal.SIGINT)
            self.terminated = self.met = True

    # -- files ---------------------------------------------------------------------------------------------------

    def path(self, asset: str) -> Path:
        """Where a copy of the scan lies, as ``<place>/<name of the asset>``."""
        return self.lane.path_of(f"{self.lane.settings.beamline.name}/{asset}", self.key)

    def manifest(self, asset: str) -> Path:
        copy = self.lane.copy_of(f"{self.lane.settings.beamline.name}/{asset}")
        return Path(copy.manifest(PartitionKey.parse(self.key)).posix)

    def file_of(self, asset: str) -> Path:
        """The largest file of a copy."""
        path = self.path(asset)
        return path if path.is_file() else max(path.rglob("*"), key=lambda file: file.stat().st_size * file.is_file())

    def damage(self, asset: str, how: Callable[[Path], None]) -> None:
        """Do something to a file of a copy that was made already."""
        how(self.file_of(asset))
        self.damaged.add(f"{self.lane.settings.beamline.name}/{asset}")
        self.met = True


def truncate(path: Path) -> None:
    """Cut a file off in its middle."""
    os.truncate(path, path.stat().st_size // 2)


def corrupt(path: Path) -> None:
    """Change one byte, and nothing that a listing shows."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
