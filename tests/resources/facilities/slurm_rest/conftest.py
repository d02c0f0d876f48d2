"""A twin with a facility that has a Slurm REST API, and the platform's own client that drives it over real HTTP."""

import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.facilities.job import JobSpec
from resources.facilities.service import JobSeen
from resources.facilities.slurm_rest import SlurmRest
from resources.remote import TERMINAL
from resources.settings import secret
from twin.faults import Fault
from twin.scheduler import JobRecord, Pace
from twin.server import SlurmSite, Twin, serve
from twin.testing import eventually

CONFIG = Path(__file__).parents[4] / "config"


def write_configuration(folder: Path) -> Path:
    """The twin's configuration with a facility that has a Slurm REST API, and nothing else at it."""
    beamline = yaml.safe_load((CONFIG / "bl832.yaml").read_text())
    deployment = yaml.safe_load((CONFIG / "twin.yaml").read_text())
    root = "/lustre/orion/als/8.3.2"
    beamline["places"]["olcf"] = {
        **beamline["places"]["alcf"],
        "facility": "olcf",
        "collection": "36d521b3-c182-4071-b7d5-91db5d380d42",
        "collection_root": root,
        "posix_root": root,
    }
    resources = {
        "queue": "normal",
        "account": "als832",
        "nodes": 1,
        "cpus_per_task": 8,
        "time_limit": "PT15M",
        "exclusive": True,
        "logs": f"{root}/logs",
    }
    beamline["facilities"]["olcf"] = {
        **{key: value for key, value in beamline["facilities"]["nersc"].items() if key != "machine"},
        "kind": "slurm-rest",
        "raw": "olcf",
        "work": "olcf",
        "results": ["data832"],
        "resources": resources,
    }
    beamline["preference"] = list(beamline["facilities"])
    deployment["prefixes"]["olcf"] = "${ALS_STATE}/world/olcf"
    deployment["slurm_rest"] = {
        "olcf": {
            "controller_url": "${ALS_TWIN_URL}/slurm_rest/slurm/v0.0.38",
            "accounting_url": "${ALS_TWIN_URL}/slurm_rest/slurmdb/v0.0.38",
            "version": "v0.0.38",
            "user": "alsdev",
            "token": {"file": "${ALS_STATE}/secrets/olcf_token"},
        }
    }
    deployment.get("facilities", {}).pop("olcf", None)
    (folder / "bl832.yaml").write_text(yaml.safe_dump(beamline))
    (folder / "twin.yaml").write_text(yaml.safe_dump(deployment))
    return folder / "twin.yaml"


@dataclass
class Bench:
    """One client, and the twin's facility behind it."""

    twin: Twin
    site: SlurmSite
    client: SlurmRest
    job: JobSpec
    name: str
    """Of every job of this test."""

    def submit(self, body: str = "echo done", name: str | None = None) -> str:
        return self.client.submit(replace(self.job, body=f"{body}\n"), name or self.name)

    def other(self, **changes: object) -> AbstractContextManager[SlurmRest]:
        """Another client, with other arguments."""
        return closing(_client(self.twin, **changes))

    def ended(self, job_id: str) -> JobSeen:
        return eventually(lambda: self._ended(job_id))

    def _ended(self, job_id: str) -> JobSeen | None:
        seen = self.client.job(job_id)
        return seen if seen.job_state in TERMINAL else None

    def log(self, seen: JobSeen) -> str:
        return Path(self.client.log_paths(self.job, seen)[0]).read_text()

    def fault(self, **fault: object) -> None:
        self.twin.control.injector.add(Fault.model_validate(fault))

    def forget(self) -> None:
        """The controller forgets what has ended."""
        self.site.api.remembered = timedelta(seconds=-1)

    def records(self, name: str | None = None) -> list[JobRecord]:
        return [job for job in self.site.scheduler.jobs() if job.request.name == (name or self.name)]


def _client(twin: Twin, **changes: object) -> SlurmRest:
    service = twin.world.deployment.slurm_rest["olcf"]
    arguments: dict[str, object] = {
        "controller_url": service.controller_url,
        "accounting_url": service.accounting_url,
        "version": service.version,
        "token": secret(service.token),
        "token_source": str(service.token.file),
        "user": service.user,
        "clock": SystemClock(),
        "timeout_s": 5,
    }
    return SlurmRest(**(arguments | changes))


@pytest.fixture(scope="package")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_configuration(tmp_path_factory.mktemp("configuration"))


@pytest.fixture(scope="package")
def twin(configuration: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with serve(configuration, tmp_path_factory.mktemp("state"), environment=os.environ) as served:
        yield served


@pytest.fixture
def bench(twin: Twin, request: pytest.FixtureRequest) -> Iterator[Bench]:
    rules = twin.world.beamline.facilities["olcf"]
    job = JobSpec("small", (ScanId("small/a.h5"),), twin.world.beamline.places["olcf"], "", rules.resources)
    name = f"als-{zlib.crc32(request.node.name.encode())}-1"
    client = _client(twin)
    yield Bench(twin, twin.slurm_site, client, job, name)
    client.close()
    twin.control.reset()
    twin.slurm_site.api.reset()
    twin.slurm_site.scheduler.clear_faults()
    twin.slurm_site.scheduler.pace = Pace()
