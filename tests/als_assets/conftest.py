"""The whole platform over a twin: real HTTP, real jobs, an instance of Dagster of its own."""

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from als.connection import ENVIRONMENT
from als_assets.bindings import bindings
from als_assets.definitions import compose
from beamlines.layout import Artifact, Copy
from beamlines.places import Store
from beamlines.policy import Arrival
from beamlines.scans import PartitionKey, ScanId
from beamlines.standing import SeenFile
from resources.database import Database
from resources.settings import PROJECT, Settings, load_settings
from resources.standings import Standings
from resources.work import Record
from sensors.arrivals import Complete
from sensors.event_log import arrival_record
from tomography.phantom import Phantom, write_phantom
from twin.scheduler import JobRecord, JobState, Pace
from twin.server import Twin, serve
from twin.testing import eventually

DEPLOYMENT_FILE = PROJECT / "config" / "twin.yaml"
ARRIVAL = "bl832/spot832/raw"
INGEST = ("bl832/data832/raw", "bl832/data832/preview")
JOBS = ("bl832/pscratch/raw", "bl832/pscratch/tiff", "bl832/pscratch/zarr")
RETURNED = ("bl832/nersc/tiff", "bl832/nersc/zarr", "bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")
BRANCH = ("bl832/nersc/raw", *JOBS, *RETURNED)
TRANSFERS = "POST /transfer/v0.10/transfer"
JOB_SUBMITS = "POST /superfacility/compute/jobs/*"


@dataclass
class Platform:
    """One twin, one Dagster instance and the graph over both, and what tests say most often to them."""

    twin: Twin
    settings: Settings
    instance: dg.DagsterInstance
    phantom: Path
    counted: dict[str, int] = field(default_factory=dict)
    """Transfers and jobs of the scan that has gone all the way."""

    def but(self, **changes: Any) -> "Platform":
        """The same platform with another file of the beamline."""
        if "facilities" in changes:
            known = [name for name in self.settings.beamline.preference if name in changes["facilities"]]
            changes = {"preference": tuple(known), **changes}
        beamline = self.settings.beamline.model_copy(update=changes)
        return Platform(self.twin, Settings(self.settings.deployment, beamline), self.instance, self.phantom)

    @cached_property
    def database(self) -> Database:
        deployment = self.settings.deployment
        return Database(deployment.ledger, shadow=deployment.shadow_folder)

    @property
    def standings(self) -> Standings:
        return Standings(self.database)

    @cached_property
    def definitions(self) -> dg.Definitions:
        return compose(self.settings)

    # -- scans ---------------------------------------------------------------------------------------------------

    def measured(self, path: str, content: bytes | None = None) -> str:
        """Let a scan lie complete on spot832, announced; its partition."""
        scan = ScanId(path)
        place = self.settings.beamline.places["spot832"]
        file = Path(place.at(Store.RAW, path).posix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.phantom.read_bytes() if content is None else content)
        self.announce(path)
        return scan.key

    def announce(self, path: str) -> None:
        file = self.file("spot832", Artifact.RAW, ScanId(path).key)
        modified = datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
        seen = Complete(path, file.stat().st_size, modified)
        self.add_partition(ScanId(path).key)
        self.standings.arrived([(ScanId(path).key, SeenFile(seen.size_bytes, seen.modified))])
        self.instance.report_runless_asset_event(
            arrival_record(self.settings.beamline, to_key(ARRIVAL), seen, Arrival.NEW)
        )

    def accept(self, key: str) -> None:
        """As an operator: the file on the acquisition machine is the scan."""
        status = self.file("spot832", Artifact.RAW, key).stat()
        seen = SeenFile(status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC))
        self.standings.accept(key, seen, author="dula", note="looked at", at=datetime.now(UTC))

    def add_partition(self, key: str) -> None:
        self.instance.add_dynamic_partitions("bl832_scans", [key])

    def ingested(self, path: str) -> str:
        """A scan on data832, without the first look that takes two seconds."""
        key = self.measured(path)
        assert self.run(key, INGEST[0]).success
        return key

    def reconstructed(self, path: str) -> str:
        key = self.measured(path)
        assert self.run(key, *INGEST, *BRANCH).success
        return key

    # -- runs ----------------------------------------------------------------------------------------------------

    def run(self, key: str, *assets: str, config: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """Materialize some assets of one partition, as a click in the UI does."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=self.instance,
            partition_key=key,
            asset_selection=[to_key(asset) for asset in assets],
            run_config={"ops": {"nersc_raw_tiff_zarr_job": {"config": config}}} if config else None,
            raise_on_error=False,
        )

    def failure(self, key: str, *assets: str, config: dict[str, Any] | None = None) -> str:
        """What people are told of a run that must fail."""
        result = self.run(key, *assets, config=config)
        assert not result.success
        said = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        return "\n".join(_words(failure) for failure in said)

    def materialized(self, key: str, assets: Collection[str] = (ARRIVAL, *INGEST, *BRANCH)) -> set[str]:
        return {asset for asset in assets if self._materializations(asset, key)}

    def metadata(self, asset: str, key: str) -> dict[str, Any]:
        event = self._materializations(asset, key)[0].asset_materialization
        assert event is not None
        return {name: value.value for name, value in event.metadata.items()}

    def evaluation(self, asset: str, name: str, key: str) -> dg.AssetCheckEvaluation:
        """How a check of one partition ended last."""
        check = dg.AssetCheckKey(to_key(asset), name)
        records = self.instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
        events = [record.event.dagster_event for record in records if record.event and record.event.dagster_event]
        ended = [event for event in events if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION]
        return next(found for event in ended if (found := event.asset_check_evaluation_data).partition == key)

    def _materializations(self, asset: str, key: str) -> list[dg.EventLogRecord]:
        wanted = dg.AssetRecordsFilter(to_key(asset), asset_partitions=[key])
        return list(self.instance.fetch_materializations(wanted, limit=10).records)

    # -- the outside world ---------------------------------------------------------------------------------------

    def file(self, place: str, artifact: Artifact, key: str) -> Path:
        """Where a copy lies on this machine."""
        return Path(self._copy(place, artifact).location(PartitionKey.parse(key)).posix)

    def manifest(self, place: str, artifact: Artifact, key: str) -> Path:
        return Path(self._copy(place, artifact).manifest(PartitionKey.parse(key)).posix)

    def _copy(self, place: str, artifact: Artifact) -> Copy:
        made = None if artifact in (Artifact.RAW, Artifact.PREVIEW) else "nersc"
        return Copy(self.settings.beamline.places[place], artifact, made)

    @property
    def resources(self) -> dict[str, Any]:
        return bindings(self.settings)

    def hold_jobs(self) -> None:
        """Jobs wait in the queue from now on."""
        assert self.twin.nersc is not None
        self.twin.nersc.scheduler.pace = Pace(nodes=0)

    def outside_has_ended(self, record: Record) -> bool:
        """Whether the service itself says that a piece of remote work has ended, and not well."""
        task = self.twin.engine.find(str(record.handle))
        if task is not None:
            return task.status == "FAILED"
        return {job.job_id: job.state for job in self.jobs}[int(str(record.handle))] is JobState.CANCELLED

    @staticmethod
    def eventually(condition: Callable[[], Any]) -> Any:
        return eventually(condition)

    def asked(self, pattern: str) -> int:
        """How many requests of this test have matched ``METHOD /path``."""
        return len(self.twin.control.injector.requests(pattern))

    @property
    def jobs(self) -> list[JobRecord]:
        assert self.twin.nersc is not None
        return list(self.twin.nersc.scheduler.jobs())


def to_key(asset: str) -> dg.AssetKey:
    return dg.AssetKey(asset.split("/"))


def _words(failure: Any) -> str:
    described = failure.user_failure_data.description if failure.user_failure_data else None
    return str(described or failure.error.message)


@pytest.fixture
def deletes_secret(platform: Platform) -> Iterator[Path]:
    """Where the secret of the client that deletes is; what a test writes there holds for that test."""
    client = platform.settings.deployment.globus.deletes
    assert client is not None
    path = Path(str(client.client_secret.file))
    before = path.read_text()
    yield path
    path.write_text(before)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantom") / "phantom.h5"
    write_phantom(path, Phantom(rows=16, columns=64, angles=61, seed=1, noisy=False), lambda *_: None)
    return path


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory, phantom: Path, loaded_programs: Path) -> Iterator[Platform]:
    with platform_over(tmp_path_factory.mktemp("state"), phantom, loaded_programs) as made:
        yield made


@contextmanager
def platform_over(state: Path, phantom: Path, programs: Path) -> Iterator[Platform]:
    """A platform with a twin and an instance of its own."""
    with (
        serve(DEPLOYMENT_FILE, state, program=programs) as twin,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        environment = {**os.environ, "ALS_STATE": str(twin.world.state_dir), "ALS_TWIN_URL": twin.url}
        loaded = load_settings(DEPLOYMENT_FILE, environment)
        quick = {"poll_first_s": 0.05, "poll_longest_s": 0.1}
        timing = loaded.deployment.timing.model_copy(update=quick)
        deployment = loaded.deployment.model_copy(update={"timing": timing})
        yield Platform(twin, Settings(deployment, loaded.beamline), instance, phantom)


@contextmanager
def platform_on_disk(state: Path, phantom: Path, programs: Path) -> Iterator[Platform]:
    """The same, whose Dagster keeps its tables in files, as every real one does; commands find it by ``state``."""
    home = state / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
    with platform_over(state, phantom, programs) as made, dg.DagsterInstance.from_config(str(home)) as instance:
        added = {"ALS_STATE": str(state), "ALS_TWIN_URL": made.twin.url, "DAGSTER_HOME": str(home)}
        added["ALS_DEPLOYMENT"] = str(DEPLOYMENT_FILE)
        (state / ENVIRONMENT).write_text(json.dumps(added))
        yield replace(made, instance=instance)


@pytest.fixture
def platform(running: Platform) -> Iterator[Platform]:
    """The platform that all tests share: scans stay, so every test has scans of its own."""
    running.twin.control.reset()
    running.twin.control.board.change({"retry_delay_s": 0.02})
    yield running
    running.twin.control.reset()
    if running.twin.nersc is not None:
        running.twin.nersc.scheduler.clear_faults()
        running.twin.nersc.scheduler.pace = Pace()


@pytest.fixture(scope="session")
def done(running: Platform) -> str:
    """A scan that has gone all the way."""
    before = {pattern: running.asked(pattern) for pattern in (TRANSFERS, JOB_SUBMITS)}
    key = running.reconstructed("BLS-00564_dyparkinson/20260701_120000_rock.h5")
    running.counted |= {pattern: running.asked(pattern) - count for pattern, count in before.items()}
    return key
