"""Passes over a world in memory: the real planner, proofs, certificates, holds and deletions, carried out step by step.

Belongs here: what may happen in the world, and a pass through it. Does not: in which order (test_never_loses).
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
from dagster._core.events import StepMaterializationData

from als_assets.naming import asset_key
from als_assets.retention import records
from als_assets.retention.letting_go import By, LettingGo
from als_assets.retention.order import Order
from als_assets.retention.passes import Beats, Pass, PassReport
from als_assets.retention.planner import Planner
from als_assets.retention.tables import make_tables
from beamlines.config import Beamline, parse_beamline
from beamlines.decisions import Reason
from beamlines.layout import Artifact, Copy
from beamlines.retention import name_of
from beamlines.standing import SeenFile
from resources.chain import What
from resources.database import IN_MEMORY, Database
from resources.facilities.checksums import FRESH
from resources.holds import Holds
from resources.identities import Identities
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Patience, Remote
from resources.standings import Standings
from resources.testing import OPEN, make_gate
from resources.transfer import Transfer
from tests.als_assets.retention.world import (
    BEGINNING,
    DiedError,
    LostError,
    Lying,
    Where,
    World,
    WorldsGlobus,
    WorldsReader,
)

TEXT = (Path(__file__).parents[3] / "config" / "bl832.yaml").read_text()
NOBODY = 2**22 + 1
"""No process has this number: every worker of these trials is dead for the next one."""
RAW = ("spot832/raw", "data832/raw", "nersc/raw", "pscratch/raw")
PRODUCTS = ("pscratch/tiff", "nersc/tiff", "data832/nersc_tiff")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ALL = Order("als", beyond_the_brake=True)
"""Whatever may go."""


def _beamline() -> Beamline:
    read = parse_beamline(TEXT, source="bl832.yaml")
    enforced = {name: place.model_copy(update={"enforce": True}) for name, place in read.retention.places.items()}
    retention = read.retention.model_copy(update={"places": enforced})
    return read.model_copy(update={"retention": retention, "export_control": OPEN})


BEAMLINE = _beamline()
COPIES = {
    name_of(copy): copy
    for copy in (
        *(Copy(BEAMLINE.places[name.partition("/")[0]], Artifact.RAW) for name in RAW),
        *(Copy(BEAMLINE.places[name.partition("/")[0]], Artifact.TIFF, "nersc") for name in PRODUCTS),
    )
}


@dataclass
class Trials:
    """A world, and what the platform knows of it."""

    instance: dg.DagsterInstance
    world: World = field(default_factory=lambda: World(BEAMLINE, COPIES, BEGINNING))
    database: Database = field(default_factory=lambda: Database(IN_MEMORY))
    recorded: dict[Where, int] = field(default_factory=dict)
    copies: Mapping[str, Copy] = field(default_factory=lambda: COPIES)
    """Of the graph as it is now: an asset may have left it."""
    progress: Callable[[], None] = lambda: None
    """What a pass does while it looks and reads, to keep its turn."""
    at_work: dict[str, str] = field(default_factory=dict)
    on_site: set[str] = field(default_factory=set)
    """Restricted scans of which an intact durable copy was on site when they were restricted."""

    def __post_init__(self) -> None:
        self.globus = WorldsGlobus(self.world)
        self.ledger = Ledger(self.database)
        self.standings, self.holds = Standings(self.database), Holds(self.database)
        self.tables = make_tables(self.database, self.ledger, self.standings, self.holds)
        self.world.must_be = self.must_be

    # -- what happens --------------------------------------------------------------------------------------------

    def arrive(self, scan: str, content: str) -> None:
        """A scan is measured, and everything is made of it."""
        self.world.truth[scan] = content
        self.standings.arrived([(scan, SeenFile(len(content), self.world.time))])
        for name in RAW:
            self.make((name, scan), content)

    def reconstruct(self, partition: str) -> None:
        for name in PRODUCTS:
            self.make((name, partition), f"slices {partition}")

    def make(self, where: Where, content: str) -> None:
        """A copy is made, recorded, and its checks pass."""
        self.world.lying[where] = Lying(content, self.world.time)
        self.record(where)
        events = records.expected(BEAMLINE, COPIES[where[0]], where[1], passed=True, said="a test")
        records.report(self.instance, events, dg.DagsterRun("a_test"))

    def record(self, where: Where) -> None:
        lying = self.world.lying[where]
        metadata: dict[str, object] = {"files": 1, "bytes": lying.size}
        if where[0] == "data832/raw":
            metadata["sha256"] = lying.sha256
        if where[0] in PRODUCTS:
            metadata |= {"program": "tomography 0.1.0", "settings": {"angles": 61}}
        self.report(where, metadata)

    def report(self, where: Where, metadata: Mapping[str, object]) -> None:
        """A record that says this of a copy, made now."""
        asset = asset_key(BEAMLINE, COPIES[where[0]])
        made = dg.AssetMaterialization(asset, partition=where[1], metadata=metadata)
        event = dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name="a test",
            event_specific_data=StepMaterializationData(made),
        )
        self.instance.report_dagster_event(event, run_id="", timestamp=self.world.time.timestamp())

    def run_begins(self, partition: str) -> None:
        run_id = str(uuid.uuid4())
        tags = {"dagster/partition": partition}
        self.instance.add_run(dg.DagsterRun("a_test", run_id, status=dg.DagsterRunStatus.STARTED, tags=tags))
        self.at_work[partition] = run_id

    def run_ends(self, partition: str) -> None:
        self.instance.delete_run(self.at_work.pop(partition))

    def remeasure(self, scan: str, content: str) -> None:
        """A scan's file is another one; a person accepts it, and it is copied to data832 anew."""
        self.world.truth[scan] = content
        for name in ("spot832/raw", "data832/raw"):
            self.make((name, scan), content)

    def restrict(self, scan: str) -> None:
        self.standings.restrict(scan, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="a test", at=self.world.time)
        if self.world.intact_raw(scan, on_site=True):
            self.on_site.add(scan)

    # -- a pass --------------------------------------------------------------------------------------------------

    def carry_out(self, place: str, skew: timedelta = timedelta(), order: Order = ALL) -> PassReport | None:
        """One pass by a worker of its own, whose clock may differ; None where it died."""
        run = dg.DagsterRun(f"retention_{place}", str(uuid.uuid4()))
        self.instance.add_run(run)
        owner = replace(Owner.this_process(run.run_id), pid=NOBODY)
        self.world.time += skew
        clock = self.world
        remote = Remote(self.ledger, owner, clock)
        transfer = Transfer(
            Identities(self.globus, self.globus),  # type: ignore[arg-type]
            remote,
            self.ledger,
            make_gate(self.database, clock),
            clock,
            Patience(timedelta(seconds=1), timedelta(seconds=2), timedelta(minutes=5)),
        )
        beats = Beats(lambda *_: None, self.world.a_last_moment, self.progress)
        by = By("als", "", run)
        going = LettingGo(BEAMLINE, self.copies, self.instance, transfer, self.tables, clock, by, beats.pulse)
        planner = Planner(BEAMLINE, self.copies, place, self.instance, self.tables, clock, run.run_id)
        one = Pass(planner, transfer, WorldsReader(self.world), going, beats, lambda _: None)  # type: ignore[arg-type]
        try:
            return one.carry_out(order)
        except DiedError:
            return None
        finally:
            self.world.dies_after = None
            self.world.meanwhile = self.world.last_moment = None
            self.world.reads_for = timedelta()
            self.world.time -= skew
            remote.release_open()

    # -- what must be --------------------------------------------------------------------------------------------

    def must_be(self, where: Where, lying: Lying) -> None:
        """What must be true in the moment in which a copy is deleted."""
        asset, partition = where
        scan = partition.partition("@")[0]
        open_ = [one for one in self.tables.certificates.of(partition) if one.state is What.BEGUN]
        of_it = [one.deletion for one in open_ if (one.deletion.asset, one.deletion.partition) == where]
        if len(of_it) != 1:
            raise LostError(f"{where} is deleted, and {len(of_it)} certificates say so")
        [deletion] = of_it
        if not deletion.keepers:
            raise LostError(f"{where} is deleted, and nothing keeps it")
        for keeper in deletion.keepers:
            keeps = (keeper.asset, keeper.partition)
            if not self.world.is_intact(keeps):
                raise LostError(f"{where} is deleted, and {keeper.asset} does not keep it")
            if self.world.time - self.world.read_at[keeps] > FRESH + HOUR:
                raise LostError(f"{where} is deleted, and {keeper.asset} was read long ago")
        if self.holds.active(self.world.time).covering(asset, partition):
            raise LostError(f"{where} is deleted, and it is held")
        standing = self.standings.of(scan)
        if standing.restricted is not None or standing.changed is not None:
            raise LostError(f"{where} is deleted, and its scan is {standing}")
        if partition in self.at_work:
            raise LostError(f"{where} is deleted, and a run is at it")
        newest = self.instance.get_latest_storage_id_by_partition(
            asset_key(BEAMLINE, COPIES[asset]), dg.DagsterEventType.ASSET_MATERIALIZATION, partitions={partition}
        )
        suspects = {(one.asset, one.partition, one.storage_id) for one in self.tables.suspects.all()}
        if (*where, deletion.storage_id) in suspects:
            raise LostError(f"{where} is deleted, and it is not what was recorded")
        if newest.get(partition) != deletion.storage_id:
            raise LostError(f"{where} is deleted, and its certificate is about another record")
        if lying.damaged and not self.world.intact_raw(scan):
            raise LostError(f"{where} is deleted, and nothing of {scan} is left")

    def nothing_is_lost(self) -> None:
        for scan in self.world.truth:
            if not self.world.intact_raw(scan):
                raise LostError(f"of {scan} no intact durable copy is left")
        for scan in self.on_site:
            if not self.world.intact_raw(scan, on_site=True):
                raise LostError(f"of the restricted {scan} nothing is left on site")

    def may_be_damaged(self, where: Where) -> bool:
        """Whether the world may take a copy: never the last durable one of a scan, nor the last one on site."""
        scan = where[1]
        if where not in self.world.lying or not where[0].endswith("/raw"):
            return where in self.world.lying
        left = [name for name in self.world.intact_raw(scan) if name != where[0]]
        on_site = [name for name in self.world.intact_raw(scan, on_site=True) if name != where[0]]
        return bool(left) and (scan not in self.on_site or bool(on_site))


def places_with_rules() -> list[str]:
    """Where passes go through copies of these trials."""
    return [name for name in BEAMLINE.retention.places if any(copy.startswith(f"{name}/") for copy in COPIES)]
