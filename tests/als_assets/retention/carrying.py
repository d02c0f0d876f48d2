"""A pass that can be killed: carried out by a process of its own, over a twin and an instance that outlive it.

Belongs here: the room that both processes share, copies put into it, and starting a pass there or here.
Does not: when it is killed, or what must be true afterwards (tests).
"""

import multiprocessing
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from als_assets.definitions import compose
from als_assets.retention.order import op_name
from als_assets.retention.tables import Tables, make_tables
from beamlines.layout import Artifact, Copy
from beamlines.retention import name_of
from beamlines.scans import PartitionKey, ScanId
from campaign import worker
from resources.certificates import Certificate
from resources.database import Database
from resources.holds import Holds
from resources.ledger import Ledger
from resources.rereading import Asked
from resources.settings import Settings
from resources.standings import Standings
from resources.testing import HastyClock
from resources.work import Record
from tests.resources.facilities.shelf import here, listing, manifest_of, put, write
from twin.globus.task import Kind
from twin.scheduler import Scheduler
from twin.server import Twin, serve

PLACE, CANDIDATE, KEEPER = "pscratch", "pscratch/tiff", "data832/nersc_tiff"
READ_THERE = "nersc/tiff"
"""A keeper that is not mounted here: a job at NERSC reads it."""
FILES = {"a_0000.tif": b"slice one", "a_0001.tif": b"slice two", "below/a_0002.tif": b"slice three"}
LATER = timedelta(minutes=2)
"""Old enough for a pass that takes what is a minute old, and near enough for what a job has read just now (FRESH)."""
_INSTANCE = """
telemetry: {enabled: false}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""


@dataclass(frozen=True)
class Order:
    """One pass, for a process of its own."""

    instance: InstanceRef
    state: Path
    twin_url: str
    config: Mapping[str, Any]


def job_of(settings: Settings) -> dg.JobDefinition:
    """The pass over the place, some minutes from now."""
    return compose(settings, clock=HastyClock(LATER)).resolve_job_def(f"bl832_retention_{PLACE}")


def carried_out(
    job: dg.JobDefinition, instance: dg.DagsterInstance, config: Mapping[str, Any]
) -> dg.ExecuteInProcessResult:
    """One pass over the place, by this process."""
    ops = {op_name(PLACE): {"config": dict(config)}}
    return job.execute_in_process(instance=instance, run_config={"ops": ops}, raise_on_error=False)


def work(order: Order) -> None:
    """The same, by a process that was started for it."""
    with dg.DagsterInstance.from_ref(order.instance) as instance:
        carried_out(job_of(worker.settings_of(order.state, order.twin_url)), instance, order.config)


@dataclass
class Room:
    """A twin, an instance of Dagster in a folder, and the copies that tests put there."""

    twin: Twin
    settings: Settings
    instance: dg.DagsterInstance
    database: Database
    said: list[str] = field(default_factory=list)

    @cached_property
    def job(self) -> dg.JobDefinition:
        return job_of(self.settings)

    @property
    def tables(self) -> Tables:
        return make_tables(self.database, Ledger(self.database), Standings(self.database), Holds(self.database))

    @property
    def nersc(self) -> Scheduler:
        """Where jobs that read keepers run."""
        assert self.twin.nersc is not None
        return self.twin.nersc.scheduler

    # -- copies --------------------------------------------------------------------------------------------------

    def asked(self, name: str, key: str) -> Asked:
        place = self.settings.beamline.places[name.partition("/")[0]]
        return Asked(Copy(place, Artifact.TIFF, "nersc"), PartitionKey.parse(key))

    def put(self, name: str, key: str, files: Mapping[str, bytes] = FILES) -> None:
        """A copy with its manifest, and its record."""
        asked = self.asked(name, key)
        for path, content in files.items():
            put(here(asked) / path, content)
        write(asked, manifest_of(files, "tiff"))
        self.record(name, key, files)

    def record(self, name: str, key: str, files: Mapping[str, bytes] = FILES) -> None:
        asset = dg.AssetKey(["bl832", *name_of(self.asked(name, key).copy).split("/")])
        size = sum(map(len, files.values()))
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(asset, partition=key, metadata={"files": len(files), "bytes": size})
        )

    def product(self, name: str, keeper: str = KEEPER) -> str:
        """A product on scratch, and what keeps it: beside data832, where nothing else is said. The partition."""
        key = ScanId(f"interrupted/{name}.h5").key
        self.instance.add_dynamic_partitions("bl832_scans", [key])
        for copy in (CANDIDATE, keeper):
            self.put(copy, key)
        return key

    def lies(self, name: str, key: str) -> bool:
        return here(self.asked(name, key)).exists()

    def is_intact(self, name: str, key: str) -> bool:
        root = here(self.asked(name, key))
        return all((root / path).read_bytes() == content for path, content in FILES.items())

    def listed(self, name: str, key: str) -> bool:
        return listing(self.asked(name, key)).exists()

    # -- passes --------------------------------------------------------------------------------------------------

    def config(self, key: str, **more: Any) -> dict[str, Any]:
        return {"partition": key, "one_minute": True, "author": "dula", "note": "a test", **more}

    def start(self, key: str) -> ForkServerProcess:
        """A pass in another process."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["campaign.worker", "als_assets.retention.jobs", __name__])
        state = self.twin.world.state_dir
        order = Order(self.instance.get_ref(), state, self.twin.url, self.config(key))
        process = context.Process(target=work, args=(order,), daemon=True)
        process.start()
        return process

    def carry_out(self, key: str, **more: Any) -> bool:
        """A pass here, to its end; whether it was well."""
        result = carried_out(self.job, self.instance, self.config(key, **more))
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        self.said = [str(f.user_failure_data.description if f.user_failure_data else f.error) for f in failures]
        return result.success

    # -- what has become of it -----------------------------------------------------------------------------------

    def in_flight(self, key: str) -> list[Record]:
        """What of a scan may be under way outside: other tests leave some on purpose."""
        return [record for record in self.tables.ledger.in_flight() if record.partition == key]

    def open(self, key: str) -> list[Certificate]:
        """The certificates of a scan that have not ended."""
        return [one for one in self.tables.certificates.open() if one.deletion.partition == key]

    def certificates(self, key: str) -> list[Certificate]:
        return self.tables.certificates.of(key)

    def deletes(self, key: str) -> list[str]:
        """What was sent to Globus to be deleted, by paths in its world."""
        name = PartitionKey.parse(key).scan.name
        tasks = [task for task in self.twin.engine.tasks() if task.kind is Kind.DELETE]
        return [item.path for task in tasks for item in task.document.DATA if name in item.path]  # type: ignore[union-attr]

    def told(self, key: str) -> int:
        """How often the asset's page says that the copy was deleted."""
        wanted = dg.AssetRecordsFilter(dg.AssetKey(["bl832", *CANDIDATE.split("/")]), asset_partitions=[key])
        seen = [record.asset_observation for record in self.instance.fetch_observations(wanted, limit=20).records]
        return sum(one is not None and one.metadata.get("state") == dg.MetadataValue.text("deleted") for one in seen)


@contextmanager
def make_room(folder: Path) -> Iterator[Room]:
    """A room, until the context ends."""
    home = folder / "dagster"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text(_INSTANCE)
    with (
        serve(worker.DEPLOYMENT_FILE, folder / "state") as twin,
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        settings = worker.settings_of(twin.world.state_dir, twin.url)
        with closing(Database(settings.deployment.ledger)) as database:
            yield Room(twin, settings, instance, database)
