"""What this process may use of the machine it runs on.

Belongs here: the limits that a batch system, a container and the scheduler set.
Does not: how they are used. Nothing here may change a result, only how fast it comes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """``threads`` to work with, and the ``memory_bytes`` that are free."""

    threads: int
    memory_bytes: int


def available_threads(environ: Mapping[str, str], cgroup: Path = CGROUP) -> int:
    """The smallest of the processor affinity, the cgroup's quota and what the environment allots; at least 1."""
    limits = [len(os.sched_getaffinity(0)), _cgroup_quota(cgroup), *_allotted(environ)]
    return max(1, min(limit for limit in limits if limit is not None))


def available_memory_bytes(cgroup: Path = CGROUP) -> int:
    """The smaller of the machine's free memory and the cgroup's limit."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = (cgroup / name).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal():  # else "max"
            return min(free, int(limit))
    return free


def _allotted(environ: Mapping[str, str]) -> list[int]:
    told = [environ.get(name, "") for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS")]
    return [int(number) for number in told if number.isdecimal() and int(number) > 0]


def _cgroup_quota(cgroup: Path) -> int | None:
    """Processors' worth of time that a container may use (cgroup v2, then v1); None without a limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None  # "max" in v2, -1 in v1
    return math.ceil(int(quota) / int(period))
