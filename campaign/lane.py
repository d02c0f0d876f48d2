"""A lane: one twin and one Dagster instance, in which cases run one after another.

Belongs here: starting both, letting scans arrive, starting runs, putting the outside world in order between cases.
Does not: what a case does (drive), or what is held against it (judgement).
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import dagster as dg

from als_assets.raw import PROGRAM
from beamlines.layout import Artifact, Copy
from beamlines.places import Store
from beamlines.policy import Arrival
from beamlines.scans import PartitionKey, ScanId
from beamlines.standing import SeenFile
from campaign import worker
from campaign.outside import Outside, look
from campaign.sites import site_of
from resources import proof
from resources.database import Database
from resources.ledger import Ledger
from resources.settings import Settings
from resources.standings import Standings
from sensors.arrivals import Complete
from sensors.event_log import arrival_record
from tomography.phantom import Phantom, write_phantom
from twin.image import warm_image
from twin.server import Twin, serve

FOLDER = "BLS-00832_campaign"
PHANTOM = Phantom(rows=4, columns=48, angles=61, seed=1, noisy=False)
FAST = Path("/dev/shm")  # noqa: S108 - state that nobody needs afterwards, in memory where there is room
_INSTANCE = """
telemetry: {enabled: false}
compute_logs: {module: dagster._core.storage.noop_compute_log_manager, class: NoOpComputeLogManager}
"""


@dataclass
class Run:
    """One run of Dagster, in a worker of its own."""

    run_id: str
    process: ForkServerProcess

    @property
    def is_alive(self) -> bool:
        return self.process.is_alive()

    def kill(self) -> None:
        """As kill -9: returns when the process is gone."""
        self.process.kill()
        self.process.join()


@dataclass
class Lane:
    """One twin and one Dagster instance."""

    twin: Twin
    settings: Settings
    instance: dg.DagsterInstance
    phantom: bytes
    database: Database
    facility: str
    program: Path
    """The interpreter that runs the reconstruction programs."""
    _definitions: dg.Definitions = field(init=False)

    def __post_init__(self) -> None:
        self._definitions = worker.definitions_of(self.settings)
        self.site = site_of(self.twin, self.facility)
        self.ledger, self.standings = Ledger(self.database), Standings(self.database)

    # -- scans and runs ------------------------------------------------------------------------------------------

    def arrive(self, name: str) -> str:
        """Let a scan lie complete on the acquisition machine, announced; its partition."""
        scan, beamline = ScanId(f"{FOLDER}/{name}.h5"), self.settings.beamline
        file = Path(beamline.places[beamline.scans.place].at(Store.RAW, scan.path).posix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.phantom)
        seen = Complete(scan.path, len(self.phantom), datetime.fromtimestamp(int(file.stat().st_mtime), UTC))
        self.instance.add_dynamic_partitions(f"{beamline.name}_scans", [scan.key])
        self.standings.arrived([(scan.key, SeenFile(seen.size_bytes, seen.modified))])
        arrival = dg.AssetKey([beamline.name, beamline.scans.place, "raw"])
        self.instance.report_runless_asset_event(arrival_record(beamline, arrival, seen, Arrival.NEW))
        return scan.key

    def ingest(self, key: str) -> None:
        """Put a scan's first copy where an ingest would have: a case of the branch alone need not wait for one."""
        first = Copy(self.settings.beamline.places[self.settings.beamline.scans.first_copy], Artifact.RAW)
        partition = PartitionKey.parse(key)
        location = first.location(partition)
        location.here.parent.mkdir(parents=True, exist_ok=True)
        location.here.write_bytes(self.phantom)
        proof.write_manifest(first.manifest(partition), proof.make_raw_manifest(location, program=PROGRAM))
        asset = dg.AssetKey([self.settings.beamline.name, first.place.name, first.asset_name])
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))

    def start(self, job: str, key: str, assets: tuple[str, ...], clock_ahead: timedelta = timedelta()) -> Run:
        """Start a run of some assets of a job, as the daemon does."""
        order = worker.Order(
            instance=self.instance.get_ref(),
            state=self.twin.world.state_dir,
            twin_url=self.twin.url,
            run_id=str(uuid.uuid4()),
            job=job,
            partition=key,
            assets=assets,
            program=self.program,
            clock_ahead=clock_ahead,
        )
        return Run(order.run_id, worker.start(order))

    def assets_of(self, job: str) -> tuple[str, ...]:
        """The assets that a job makes."""
        graph = self._definitions.resolve_job_def(job).asset_layer.executable_asset_keys
        return tuple(sorted(key.to_user_string() for key in graph))

    def job_of(self, part: str) -> str:
        return f"{self.settings.beamline.name}_{part}"

    def materialized(self, key: str, assets: tuple[str, ...]) -> set[str]:
        """What Dagster has recorded as made."""
        return {asset for asset in assets if self._is_recorded(asset, key)}

    def _is_recorded(self, asset: str, key: str) -> bool:
        wanted = dg.AssetRecordsFilter(dg.AssetKey(asset.split("/")), asset_partitions=[key])
        return bool(self.instance.fetch_materializations(wanted, limit=1).records)

    def copy_of(self, asset: str) -> Copy:
        """The copy that an asset stands for."""
        _, place, name = asset.split("/")
        artifact = Artifact(name.rpartition("_")[2])
        maker = None if artifact in (Artifact.RAW, Artifact.PREVIEW) else self.facility
        return Copy(self.settings.beamline.places[place], artifact, maker)

    def path_of(self, asset: str, key: str) -> Path:
        return Path(self.copy_of(asset).location(PartitionKey.parse(key)).posix)

    # -- the outside world ---------------------------------------------------------------------------------------

    def look(self, name: str, jobs_before: frozenset[str]) -> Outside:
        """What was started outside for the scan called ``name``."""
        return look(self.twin.engine, self.site.jobs(), name, jobs_before)

    def in_order(self) -> None:
        """No faults, no traps, no outages, whole quotas; files, tasks, jobs and time stay."""
        self.twin.control.reset()
        self.twin.control.board.change({"retry_delay_s": 0.02})
        self.site.in_order()


@contextmanager
def lane(facility: str) -> Iterator[Lane]:
    """A lane in a folder of its own, which is gone afterwards."""
    room = FAST if FAST.is_dir() and shutil.disk_usage(FAST).free > 2 * 1024**3 else None
    with tempfile.TemporaryDirectory(prefix="als-faults-", dir=room, ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        home = root / "state" / "dagster"
        home.mkdir(parents=True)
        (home / "dagster.yaml").write_text(_INSTANCE)
        (root / "image").mkdir()
        write_phantom(root / "phantom.h5", PHANTOM, lambda *_: None)
        with (
            warm_image(root / "image") as program,
            serve(worker.DEPLOYMENT_FILE, root / "state", program=program) as twin,
            dg.DagsterInstance.from_config(str(home)) as instance,
        ):
            settings = worker.settings_of(twin.world.state_dir, twin.url)
            with closing(Database(settings.deployment.ledger)) as database:
                phantom = (root / "phantom.h5").read_bytes()
                made = Lane(twin, settings, instance, phantom, database, facility, program)
                made.in_order()
                yield made
