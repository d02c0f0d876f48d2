"""The calls to the outside world: what each is called here, and which ones a run makes.

Belongs here: names of calls, and reading them from the twin's log of requests.
Does not: what goes wrong with them (plan, injections).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

NAMES = {
    "globus-token": "POST /auth/v2/oauth2/token",
    "stat": "GET /transfer/v0.10/operation/endpoint/*/stat",
    "listing": "GET /transfer/v0.10/operation/endpoint/*/ls",
    "submission-id": "GET /transfer/v0.10/submission_id",
    "task-list": "GET /transfer/v0.10/task_list",
    "transfer-submit": "POST /transfer/v0.10/transfer",
    "task": "GET /transfer/v0.10/task/*",
    "task-cancel": "POST /transfer/v0.10/task/*/cancel",
    "nersc-token": "POST /superfacility/token",
    "jobs": "GET /superfacility/compute/jobs/*",
    "job-submit": "POST /superfacility/compute/jobs/*",
    "job-submit-task": "GET /superfacility/tasks/*",
    "job-cancel": "DELETE /superfacility/compute/jobs/*",
    "file-listing": "GET /superfacility/utilities/ls/*",
    "file-download": "GET /superfacility/utilities/download/*",
    "slurm-submit": "POST /slurm_rest/slurm/*/job/submit",
    "slurm-job": "GET /slurm_rest/slurm/*/job/*",
    "slurm-jobs": "GET /slurm_rest/slurm/*/jobs",
    "slurm-cancel": "DELETE /slurm_rest/slurm/*/job/*",
    "slurm-accounted": "GET /slurm_rest/slurmdb/*/jobs",
    "slurm-accounted-job": "GET /slurm_rest/slurmdb/*/job/*",
    "compute-version": "GET /compute/v2/version",
    "compute-function": "POST /compute/v3/functions",
    "compute-submit": "POST /compute/v3/endpoints/*/submit",
    "compute-task": "GET /compute/v2/tasks/*",
    "compute-batch": "POST /compute/v2/batch_status",
    "compute-group": "GET /compute/v2/taskgroup/*",
    "compute-endpoint": "GET /compute/v2/endpoints/*/status",
}
"""Shell patterns on ``METHOD /path``, by the names that cases have."""
POLLED = {
    "jobs": 5,
    "task": 4,
    "job-submit-task": 1,
    "slurm-job": 3,
    "slurm-jobs": 2,
    "slurm-accounted": 2,
    "slurm-accounted-job": 3,
    "compute-task": 3,
    "compute-batch": 3,
    "compute-group": 3,
}
"""Calls that are repeated until something has happened: so many of them are always made."""
SUBMITS = frozenset({"transfer-submit", "job-submit", "slurm-submit", "compute-submit"})


class UnnamedCallError(LookupError):
    """A call that has no name here: it would not be tried."""


@dataclass(frozen=True, order=True)
class Call:
    """One call of a run: the nth of its name."""

    part: str
    """``ingest``, or the facility whose branch is run."""
    name: str
    nth: int

    @property
    def pattern(self) -> str:
        return NAMES[self.name]


def name_of(request: str) -> str:
    """What a request is called here. Raises UnnamedCallError."""
    for name, pattern in NAMES.items():
        if fnmatchcase(request, pattern):
            return name
    raise UnnamedCallError(f"{request} has no name in campaign.calls: give it one, so that its failure is tried too")


def calls_of(part: str, requests: Iterable[str]) -> list[Call]:
    """The calls of a run that nothing has disturbed, in their order."""
    seen: Counter[str] = Counter()
    calls = []
    for request in requests:
        name = name_of(request)
        seen[name] += 1
        if seen[name] <= POLLED.get(name, seen[name]):
            calls.append(Call(part, name, seen[name]))
    return calls
