"""Planning over what is recorded now: the tables read, the event log followed.

Belongs here: reading what decisions rest on, for all scans, and again for one.
Does not: deciding and choosing (planning), or proving and deleting (passes).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import dagster as dg

from als_assets.naming import asset_key
from als_assets.retention.inventory import RunsInFlight, Work, up_to_date, work_in_flight, work_on
from als_assets.retention.order import Order
from als_assets.retention.planning import Candidate, Known, Plan, decide_scan, plan
from als_assets.retention.tables import Tables
from als_assets.retention.usage import usage_of
from beamlines.config import Beamline
from beamlines.decisions import Decision, Reason
from beamlines.layout import Copy
from beamlines.retention import YOUNGEST
from resources.chain import What
from resources.clock import Clock
from resources.holds import HeldNow
from resources.recorded import Suspect


@dataclass(slots=True)
class Planner:
    """Plans for one place."""

    beamline: Beamline
    copies: Mapping[str, Copy]
    """Of the graph, by name."""
    place: str
    instance: dg.DagsterInstance
    tables: Tables
    clock: Clock
    run_id: str = ""
    """The run that asks; empty where none does."""
    now_and_then: Callable[[], None] = lambda: None
    """Called while the event log is read, which the first time takes minutes."""
    _runs: RunsInFlight = field(init=False)

    def __post_init__(self) -> None:
        self._runs = RunsInFlight(self.instance, but_run=self.run_id)

    def plan(self, order: Order, *, ahead: timedelta = timedelta()) -> Plan:
        """What would go now, or in some time if nothing else happened until then."""
        self.follow()
        at = self.clock.now() + ahead
        known = self.known(order)
        if order.partition is not None:
            scan = order.partition.partition("@")[0]
            records_of = self.tables.recorded.of_scans([scan])
            chosen = ([copy for copy in copies if _is_beside(copy.partition, order)] for copies in records_of)
            return plan(known, self.place, (copies for copies in chosen if copies), at)
        rules = self.beamline.retention.places[self.place]
        usage = usage_of(self.beamline.places[self.place], rules, self.tables.recorded)
        return plan(known, self.place, self.tables.recorded.by_scan(), at, usage=usage)

    def follow(self) -> int:
        """Bring what is recorded of copies up to what the event log and the certificates say; how many were news."""
        self.tables.recorded.keep_only(self.copies)
        return up_to_date(self.instance, self.beamline, self.copies, self.tables, self.now_and_then)

    def latest(self, name: str, partition: str) -> int | None:
        """The storage id of the newest record of a copy, as the event log has it now; None where there is none."""
        asset, kind = asset_key(self.beamline, self.copies[name]), dg.DagsterEventType.ASSET_MATERIALIZATION
        return self.instance.get_latest_storage_id_by_partition(asset, kind, partitions={partition}).get(partition)

    def mark_gone(self, partition: str) -> None:
        """Bring one partition's records up to what the certificates of its scan say."""
        gone: dict[str, dict[str, int]] = {}
        for certificate in self.tables.certificates.of(partition):
            deletion, of_asset = certificate.deletion, gone.setdefault(certificate.deletion.asset, {})
            of_asset.pop(deletion.partition, None)
            if certificate.state is not What.GIVEN_UP:
                of_asset[deletion.partition] = deletion.storage_id
        for name, by_partition in gone.items():
            self.tables.recorded.mark_gone(name, by_partition, sorted({*by_partition, partition}))

    def known(self, order: Order) -> Known:
        """What decisions rest on, read now."""
        tables = self.tables
        holds, work = tables.holds.active(self.clock.now()), work_in_flight(self._runs, tables.ledger)
        return self._known(order, holds, work, tables.suspects.all(), tables.disagreements.all())

    def known_of(self, order: Order, scan: str, partitions: Collection[str]) -> Known:
        """The same as far as it concerns one scan, of which ``partitions`` are asked about."""
        tables = self.tables
        holds, work = tables.holds.active(self.clock.now(), partitions), work_on(scan, self._runs, tables.ledger)
        suspects, disagreements = tables.suspects.of(partitions), tables.disagreements.of(partitions)
        return self._known(order, holds, work, suspects, disagreements)

    def _known(
        self, order: Order, holds: HeldNow, work: Work, suspects: Iterable[Suspect], catalogue: Mapping[str, str]
    ) -> Known:
        return Known(
            beamline=self.beamline,
            ages=dict.fromkeys(self.copies, YOUNGEST) if order.one_minute else self.tables.ages.now(),
            standings=self.tables.standings.of_many,
            holding=holds.covering,
            work=work,
            suspects={(suspect.asset, suspect.partition): suspect for suspect in suspects},
            catalogue=catalogue,
        )

    def decide_again(self, order: Order, candidate: Candidate) -> Decision:
        """What records say of a candidate now. Everything is asked once more, as far as it concerns its scan."""
        scan = candidate.record.scan
        self.mark_gone(candidate.partition)
        records = [copy for copies in self.tables.recorded.of_scans([scan]) for copy in copies]
        known = self.known_of(order, scan, {record.partition for record in records})
        standing, now = self.tables.standings.of(scan), self.clock.now()
        for decided in decide_scan(known, self.place, records, standing, now) if records else ():
            if isinstance(decided, Candidate):
                if decided.record == candidate.record:
                    return decided.decision
            elif decided[0] == candidate.record:
                return decided[1]
        return Decision.no(Reason.NOT_RECORDED, "its record has gone while its keepers were read")


def _is_beside(partition: str, order: Order) -> bool:
    """Of one chosen partition its own records, and those of its scan's raw copies, count."""
    return partition in (order.partition, str(order.partition).partition("@")[0])
