"""A twin over real HTTP, and the platform's own facility client that drives it through the real sfapi_client."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey, ScanId
from resources.database import Database
from resources.facilities import Facility, JobResult
from resources.facilities.factory import make_facility
from resources.facilities.reconstruction import ReconstructionJob, Step
from resources.globus import Globus
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Remote, RemoteStatus
from resources.settings import Settings, identities_of
from resources.testing import HastyClock, make_gate
from resources.work import Record, WorkKey
from tomography.phantom import Phantom, write_phantom
from twin.scheduler import JobFault, JobRecord, Pace
from twin.server import Nersc as TwinNersc
from twin.server import Twin, serve

DEPLOYMENT_FILE = Path(__file__).parents[3] / "config" / "twin.yaml"


@dataclass
class Pulses:
    """What a waiting worker was told, poll by poll; ``act`` is called with each."""

    act: Callable[[Record, RemoteStatus], None] = lambda *_: None
    heard: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def __call__(self, record: Record, status: RemoteStatus) -> None:
        self.heard.append(f"{status.state}: {status.detail}")
        self.lines += status.lines
        self.act(record, status)


@dataclass
class Bench:
    """One twin, one worker's facility client, and what tests say most often to them."""

    twin: Twin
    name: str
    """Of the test: what it makes is called so, because the twin is shared."""
    ledger: Ledger
    globus: Globus
    facility: Facility
    phantom: bytes
    pulses: Pulses = field(default_factory=Pulses)

    @property
    def beamline(self) -> Beamline:
        return self.twin.world.beamline

    @property
    def nersc(self) -> TwinNersc:
        assert self.twin.nersc is not None
        return self.twin.nersc

    def place_raw(self, path: str, content: bytes | None = None) -> ReconstructionJob:
        """Put a raw file at NERSC's durable place; the job that does everything with it."""
        content = self.phantom if content is None else content
        key = PartitionKey(ScanId(path))
        here = self.local(Artifact.RAW, key, "nersc")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_bytes(content)
        return self.job(key, raw_bytes=len(content), raw_sha256=hashlib.sha256(content).hexdigest())

    def job(self, key: PartitionKey, *, raw_bytes: int, raw_sha256: str) -> ReconstructionJob:
        steps = tuple(Step)
        return ReconstructionJob.at(
            self.beamline, "nersc", key, steps=steps, raw_bytes=raw_bytes, raw_sha256=raw_sha256
        )

    def local(self, artifact: Artifact, key: PartitionKey, place: str = "pscratch") -> Path:
        maker = None if artifact is Artifact.RAW else "nersc"
        return Path(Copy(self.beamline.places[place], artifact, maker).location(key).posix)

    def run(self, job: ReconstructionJob) -> JobResult:
        return self.facility.run(job.spec(), key_of(job), self.pulses)

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs to use the same twin."""
        return {"ALS_STATE": str(self.twin.world.state_dir), "ALS_TWIN_URL": self.twin.url}

    def scan(self, path: str) -> ScanId:
        return ScanId(path)

    def pace(self, pace: Pace) -> None:
        self.nersc.scheduler.pace = pace

    def requests(self, pattern: str) -> int:
        """How many requests have matched ``METHOD /path`` in this test."""
        return len(self.twin.control.injector.requests(pattern))

    def records(self, key: WorkKey) -> list[JobRecord]:
        """The batch system's own records of this work, every attempt."""
        return [record for record in self.nersc.scheduler.jobs() if key.digest in record.request.name]

    def facility_records(self, key: WorkKey) -> list[Record]:
        """The ledger's records of this work."""
        return self.ledger.attempts(key.asset, key.partition)

    def break_job(self, key: WorkKey, **fault: Any) -> None:
        """Let the next job of this work meet a fault (twin.scheduler.JobFault)."""
        self.nersc.scheduler.inject(JobFault(match=key.digest, **fault))


def key_of(job: ReconstructionJob) -> WorkKey:
    """The ledger's key of a job, as the asset graph would make it."""
    return WorkKey("bl832/pscratch/zarr", str(job.key), " ".join(job.settings), job.raw_sha256)


def make_bench(twin: Twin, name: str, ledger_url: str, phantom: bytes, where: str = "nersc") -> Bench:
    """A bench with a ledger and a worker of its own on a twin that others may use too."""
    database, clock = Database(ledger_url), HastyClock()
    ledger = Ledger(database)
    remote = Remote(ledger, Owner.this_process("run-1"), clock)
    gate = make_gate(database, clock)
    world = twin.world
    globus = identities_of(Settings(world.deployment, world.beamline)).transfers
    facility = make_facility(where, world.beamline, world.deployment, remote, gate, clock, globus)
    return Bench(twin, name, ledger, globus, facility, phantom)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A scan of a few rows: a job takes a second or two."""
    path = tmp_path_factory.mktemp("phantom") / "phantom.h5"
    write_phantom(path, Phantom(rows=4, columns=48, angles=61, seed=1, noisy=False), lambda *_: None)
    return path.read_bytes()


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory, loaded_programs: Path) -> Iterator[Twin]:
    state = tmp_path_factory.mktemp("state")
    with serve(DEPLOYMENT_FILE, state, environment=os.environ, program=loaded_programs) as served:
        yield served


@pytest.fixture
def bench(twin: Twin, tmp_path: Path, phantom: bytes) -> Iterator[Bench]:
    """The twin is shared: every test has scans of its own, and leaves it as it was."""
    made = make_bench(twin, tmp_path.name, f"sqlite:///{tmp_path}/ledger.sqlite", phantom)
    twin.control.reset()
    yield made
    made.facility.close()
    made.globus.close()
    made.ledger.database.close()
    twin.control.reset()
    made.nersc.scheduler.clear_faults()
    made.nersc.scheduler.pace = Pace()
