"""The facilities' own side: which jobs each has had, and what can go wrong with them there.

Belongs here: one face over the twin's batch systems and its Globus Compute. Does not: when something goes wrong there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from campaign.outside import JobSeen
from twin.compute.conditions import ComputeFault
from twin.compute.service import Compute
from twin.scheduler import JobFault, JobState, Pace
from twin.scheduler.local import LocalScheduler
from twin.server import Twin

_NAME = re.compile(r"als-[0-9a-f]+-[0-9a-f]{32}-\d+")
_SUCCEEDED = re.compile(r'"returncode": *0\b')
"""The service's own ``success`` says only that the function has returned: one that was ended returns too."""
_COMPUTE = {
    "job-vanishes": "vanish",
    "job-does-not-boot": "exception",
    "job-loses-its-node": "lose_node",
    "job-abandoned": "abandon",
}
_BATCH = {
    "job-fails": "exit",
    "job-times-out": "timeout",
    "job-out-of-memory": "out_of_memory",
    "job-preempted": "preempt",
    "job-preempted-and-queued-again": "preempt",
    "job-loses-its-node": "node_fail",
    "job-does-not-boot": "boot_fail",
    "job-vanishes": "vanish",
}


class Site(Protocol):
    """One facility, from its own side."""

    @property
    def address(self) -> str:
        """What the path of every call to it begins with."""

    @property
    def faults(self) -> frozenset[str]:
        """Faults of jobs that there are here, by the plan's names."""

    def jobs(self) -> list[JobSeen]:
        """Every job that it ever took, oldest first."""

    def break_job(self, fault: str, after_s: float) -> None:
        """The next job meets a fault, so many seconds after it has started."""

    def away(self, *, is_away: bool) -> None:
        """Whether what schedules jobs is down."""

    def in_order(self) -> None:
        """Nothing goes wrong any more."""


@dataclass(frozen=True)
class BatchSite:
    """A batch system behind some API."""

    address: str
    scheduler: LocalScheduler
    end: Callable[[], None]

    @property
    def faults(self) -> frozenset[str]:
        return frozenset({*_BATCH, "job-shown-late", "controller-down", "tokens-facility"})

    def jobs(self) -> list[JobSeen]:
        return [
            JobSeen(job.request.name, str(job.job_id), str(job.state), job.submitted, job.ended)
            for job in self.scheduler.jobs()
        ]

    def break_job(self, fault: str, after_s: float) -> None:
        requeue = fault == "job-preempted-and-queued-again"
        what = {"kind": _BATCH[fault], "after_s": after_s, "requeue": requeue}
        self.scheduler.inject(JobFault.model_validate(what))

    def away(self, *, is_away: bool) -> None:
        self.scheduler.pace = Pace(controller_down=is_away)

    def show_late(self, seconds: float) -> None:
        """For so long after its submission a job is shown nowhere."""
        self.scheduler.pace = Pace(lag_s=seconds)

    def end_tokens(self) -> None:
        """Tokens that were given out are accepted no more."""
        self.end()

    def in_order(self) -> None:
        self.scheduler.clear_faults()
        self.scheduler.pace = Pace()


@dataclass(frozen=True)
class ComputeSite:
    """Globus Compute, and the one endpoint that it has here. It shows a task at once; its tokens are Globus Auth's."""

    compute: Compute
    address: str = "/compute/"

    @property
    def faults(self) -> frozenset[str]:
        return frozenset({*_COMPUTE, "controller-down"})

    def jobs(self) -> list[JobSeen]:
        seen = []
        for task in self.compute.tasks():
            name = _NAME.search(task["payload"])
            ended = task.get("completion_t")
            seen.append(
                JobSeen(
                    name=name[0] if name else task["task_id"],
                    job_id=task["task_id"],
                    state=str(JobState.COMPLETED if _SUCCEEDED.search(task.get("result", "")) else JobState.FAILED),
                    submitted=datetime.fromisoformat(task["made"]),
                    ended=None if ended is None else datetime.fromtimestamp(float(ended), UTC),
                )
            )
        return seen

    def break_job(self, fault: str, after_s: float) -> None:
        self.compute.inject(ComputeFault.model_validate({"kind": _COMPUTE[fault], "after_s": after_s}))

    def away(self, *, is_away: bool) -> None:
        self.compute.conditions = self.compute.conditions.model_copy(update={"online": not is_away})

    def in_order(self) -> None:
        self.compute.reset()


def site_of(twin: Twin, facility: str) -> Site:
    """A facility of the twin. Raises ValueError for one that the campaign cannot try."""
    kind = twin.world.beamline.facilities[facility].kind
    if kind == "superfacility" and twin.nersc is not None:
        return BatchSite("/superfacility/", twin.nersc.scheduler, twin.nersc.api.tokens.expire_all)
    if kind == "slurm-rest" and twin.slurm_site is not None:
        return BatchSite("/slurm_rest/", twin.slurm_site.scheduler, twin.slurm_site.api.tokens.expire_all)
    if kind == "globus-compute" and twin.compute is not None:
        return ComputeSite(twin.compute)
    raise ValueError(f"{facility!r} is of kind {kind!r}, of which the campaign knows no calls to the outside world")
