"""Who owns a piece of remote work, and whether that worker is dead by its own evidence.

Belongs here: the identity of a worker process, and judging one.
Does not: taking work over (ledger).
"""

import os
import socket
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

SILENT_AFTER = timedelta(minutes=5)
"""A worker on another machine is taken for dead when it has not recorded a heartbeat for this long."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A worker process: host, boot of that host, process id, process start time (s since 1970), Dagster run."""

    host: str
    boot: str
    pid: int
    started: float
    run_id: str

    @classmethod
    def this_process(cls, run_id: str) -> "Owner":
        return cls(socket.gethostname(), _boot(), os.getpid(), psutil.Process().create_time(), run_id)

    def released(self) -> "Owner":
        """The same worker after it has let its work go: anybody may take that over."""
        return replace(self, pid=0)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def is_dead(self, *, seen_from: "Owner", heartbeat: datetime, now: datetime) -> bool:
        """Whether this worker is certainly gone, judged from another worker's machine.

        On the same boot of the same host the process table decides; after a reboot it is dead; on another host only
        its silence can be judged. Liveness is never read from the orchestrator, which loses sight of its own workers.
        """
        if self.pid == 0:
            return True
        if self.host != seen_from.host:
            return now - heartbeat > SILENT_AFTER
        if self.boot != seen_from.boot:
            return True
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) > 1 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def _boot() -> str:
    linux = Path("/proc/sys/kernel/random/boot_id")
    return linux.read_text().strip() if linux.exists() else str(int(psutil.boot_time()))
