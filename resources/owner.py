"""Who owns a piece of remote work, and whether that worker is dead by its own evidence.

Belongs here: the identity of a worker process, and judging one.
Does not: taking work over (ledger).
"""

import os
import socket
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psutil  # every command that reads the ledger would pay for it

SILENT_AFTER = timedelta(minutes=5)
"""A worker on another machine is taken for dead when it has not recorded a heartbeat for this long."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A worker process: host, boot of that host, process id, process start time, Dagster run."""

    host: str
    boot: str
    pid: int
    started: float
    """In s since the boot where the system tells that, which no step of its clock changes; else since 1970."""
    run_id: str

    @classmethod
    def this_process(cls, run_id: str) -> "Owner":
        import psutil

        return cls(socket.gethostname(), _boot(), os.getpid(), _started(psutil.Process()), run_id)

    def released(self) -> "Owner":
        """The same worker after it has let its work go: anybody may take that over."""
        return replace(self, pid=0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def is_dead(self, *, seen_from: "Owner", heartbeat: datetime, now: datetime) -> bool:
        """Whether this worker is certainly gone, judged from another worker's machine."""
        return self.death(seen_from=seen_from, heartbeat=heartbeat, now=now) is not None

    def death(self, *, seen_from: "Owner", heartbeat: datetime, now: datetime) -> str | None:
        """Why this worker is certainly gone, judged from another worker's machine; None where it may live.

        On the same boot of the same host the process table decides; after a reboot it is dead; on another host only
        its silence can be judged. Liveness is never read from the orchestrator, which loses sight of its own workers.
        """
        if self.pid == 0:
            return "it has let go"
        if self.host != seen_from.host:
            silent = now - heartbeat
            return f"nothing was heard of it on {self.host} for {silent}" if silent > SILENT_AFTER else None
        if self.boot != seen_from.boot:
            return f"{self.host} was booted since"
        import psutil

        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return f"its process {self.pid} on {self.host} has ended"
            return f"process {self.pid} on {self.host} is another now" if self._is_not(process) else None
        except psutil.NoSuchProcess:
            return f"its process {self.pid} on {self.host} is gone"

    def _is_not(self, process: "psutil.Process") -> bool:
        return abs(_started(process) - self.started) > 1


def _started(process: "psutil.Process") -> float:
    linux = Path(f"/proc/{process.pid}/stat")
    try:
        # The 22nd field; the second, a name in brackets, may hold anything (proc_pid_stat(5)).
        ticks = linux.read_text(errors="replace").rpartition(")")[2].split()[19]
    except FileNotFoundError:
        return process.create_time()
    return int(ticks) / os.sysconf("SC_CLK_TCK")


def _boot() -> str:
    linux = Path("/proc/sys/kernel/random/boot_id")
    if linux.exists():
        return linux.read_text().strip()
    import psutil

    return str(int(psutil.boot_time()))
