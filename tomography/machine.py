"""What this process may use of the machine it runs on.

Belongs here: the limits that a batch system, a container and the scheduler set.
Does not: how they are used. Nothing here may change a result, only how fast it comes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CGROUP = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True)
class Machine:
    """``threads`` to work with, and the ``memory_bytes`` that may be taken: as somebody asked, or what is free."""

    threads: int
    memory_bytes: int
    memory_is_asked: bool = False


def available_threads(environ: Mapping[str, str], cgroup: Path = CGROUP, membership: Path = MEMBERSHIP) -> int:
    """The smallest of the processor affinity, the cgroups' quotas and what the environment allots; at least 1."""
    told = [_whole(environ.get(name, "")) for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS")]
    quotas = [_quota(folder) for folder in _groups("cpu", cgroup, membership)]
    return max(1, min(limit for limit in (len(os.sched_getaffinity(0)), *told, *quotas) if limit is not None))


def available_memory_bytes(
    environ: Mapping[str, str], cgroup: Path = CGROUP, membership: Path = MEMBERSHIP, meminfo: Path = MEMINFO
) -> int:
    """The smallest of the machine's free memory, the cgroups' limits and what Slurm allots on this node."""
    megabytes = _whole(environ.get("SLURM_MEM_PER_NODE", ""))
    limits = [
        _limit(folder / name)
        for folder in _groups("memory", cgroup, membership)
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    allotted = None if megabytes is None else megabytes * 2**20
    return min(limit for limit in (_free_bytes(meminfo), allotted, *limits) if limit is not None)


def _free_bytes(meminfo: Path) -> int:
    """What can be had without swapping: the page cache gives way, so it counts as free."""
    for line in meminfo.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return int(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _groups(controller: str, cgroup: Path, membership: Path) -> Iterator[Path]:
    """The folders of the cgroups that this process is in, v2 and v1, its own and all above: the tightest limit holds.

    A container sees its own cgroup as the root; a batch system's job lies deeper, and its limit is not in the root.
    """
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        lines = []
    yield from (cgroup, cgroup / controller)
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or controller in controllers.split(","):
            root = cgroup if controllers == "" else cgroup / controller
            own = PurePosixPath(path.lstrip("/"))
            yield from (root / part for part in (own, *own.parents))


def _quota(folder: Path) -> int | None:
    """Processors' worth of time that a cgroup may use (v2, then v1); None without a limit."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:
        return None  # "max" in v2, -1 in v1
    return math.ceil(int(quota) / int(period))


def _limit(file: Path) -> int | None:
    try:
        return _whole(file.read_text().strip())
    except OSError:
        return None


def _whole(text: str) -> int | None:
    """A number above 0; None for anything else, as "max"."""
    return int(text) if text.isdecimal() and int(text) > 0 else None
