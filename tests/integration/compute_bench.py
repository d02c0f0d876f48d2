"""One worker's facility client before a real endpoint, and what tests say most often to both.

Belongs here: drivers, and waiting. Does not: fixtures, or what must be true (test_compute).
"""

import os
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.database import Database
from resources.facilities import JobResult, JobSpec, Output
from resources.facilities.batch import BatchFacility
from resources.facilities.compute import ComputeJobs
from resources.facilities.factory import make_facility
from resources.facilities.marks import SILENT
from resources.facilities.service import JobSeen
from resources.facilities.slurm import quote
from resources.globus import Globus
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import JobState, Remote, RemoteStatus
from resources.testing import make_gate
from resources.work import Record, WorkKey
from twin.compute.servers import RealEndpoint
from twin.server import Twin
from twin.testing import eventually


@dataclass
class Bench:
    """One worker's facility client, and the real endpoint at the other end."""

    twin: Twin
    endpoint: RealEndpoint
    globus: Globus
    database: Database
    facility: BatchFacility
    heard: list[str] = field(default_factory=list)
    act: Callable[[Record, RemoteStatus], None] = lambda *_: None

    @property
    def service(self) -> ComputeJobs:
        assert isinstance(self.facility._service, ComputeJobs)
        return self.facility._service

    @property
    def logs(self) -> Path:
        return Path(self.twin.world.beamline.facilities["alcf"].resources.logs)

    def pulse(self, record: Record, status: RemoteStatus) -> None:
        self.heard.append(f"{status.state}: {status.detail}")
        self.act(record, status)

    def job(self, body: str, outputs: tuple[Output, ...] = (), **resources: object) -> JobSpec:
        beamline = self.twin.world.beamline
        scan, place = ScanId("small/a.h5"), beamline.places["alcf"]
        asked = beamline.facilities["alcf"].resources.model_copy(update=resources)
        return JobSpec("small", (scan,), place, f"{body}\n", asked, outputs)

    def run(self, name: str, body: str, outputs: tuple[Output, ...] = (), **resources: object) -> JobResult:
        return self.facility.run(self.job(body, outputs, **resources), key(name), self.pulse)

    def submit(self, body: str) -> str:
        return self.service.submit(self.job(body), f"als-{uuid.uuid4().hex}")

    def until(self, job_id: str, *states: JobState) -> JobSeen:
        def reached() -> JobSeen | None:
            with suppress(LookupError):  # between its folder and its first mark
                seen = self.service.job(job_id)
                return seen if seen.job_state in states else None
            return None

        found: JobSeen = eventually(reached)
        return found

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """The service's own records of this work."""
        assert self.twin.compute is not None
        return self.twin.compute.tasks(key(name).digest)

    def counting(self, name: str, more: str = "true") -> str:
        """A body that writes a line whenever it runs."""
        return f"echo once >>{quote(str(self.counted(name)))}; {more}"

    def counted(self, name: str) -> Path:
        return self.logs / f"{name}.count"

    def process(self, name: str) -> psutil.Process:
        """The process whose id the body has written into the file of this name."""
        file = self.logs / name
        eventually(lambda: file.exists() and file.read_text().strip())
        return psutil.Process(int(file.read_text()))

    def pass_over_silence(self, job_id: str) -> None:
        """Let the job's marks be as old as those of a job that has been silent for too long."""
        long_ago = time.time() - SILENT.total_seconds() - 60
        for mark in (self.logs / job_id.partition("/")[2]).iterdir():
            os.utime(mark, (long_ago, long_ago))


def key(name: str) -> WorkKey:
    return WorkKey("integration", name, "", "")


def make_client(twin: Twin, database: Database, globus: Globus, owner: str) -> BatchFacility:
    remote, clock = Remote(Ledger(database), Owner.this_process(owner), SystemClock()), SystemClock()
    world = twin.world
    facility = make_facility(
        "alcf", world.beamline, world.deployment, remote, make_gate(database, clock), clock, globus
    )
    assert isinstance(facility, BatchFacility)
    return facility
