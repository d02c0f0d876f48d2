"""A place as it is, held against the graph: lost, changed and dark copies, and which of them may be one.

Belongs here: what of that is judged, and the second look at what seems lost.
Does not: listing a place (looking), the comparison (beamlines.reconciliation), what is recorded of it
(records), or deleting anything: nothing here can.

What is recorded, and what lies there, is looked at a folder at a time; held is what was found.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

import dagster as dg

from als_assets.reconciliation.looking import MOST_UNANSWERED, Look
from als_assets.reconciliation.renames import pairs
from als_assets.reconciliation.report import Report
from als_assets.retention.inventory import EVERY_SCAN, RunsInFlight, up_to_date, work_in_flight
from als_assets.retention.tables import Tables
from als_assets.walking import entries_in
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.places import Location, Place
from beamlines.reconciliation import Expected, Finding, Kind
from beamlines.scans import InvalidPartitionKeyError, PartitionKey
from resources.clock import Clock
from resources.errors import PlatformError, ServiceUnavailableError
from resources.recorded import RecordedCopy, SeenBy, Suspect
from resources.transfer import FEW, NotFoundError, Transfer


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Looks through one place. It changes nothing there, and beside the table of records nothing here."""

    beamline: Beamline
    copies: Mapping[str, Copy]
    """Of the graph, by name."""
    place: Place
    instance: dg.DagsterInstance
    transfer: Transfer
    tables: Tables
    clock: Clock
    run_id: str = ""
    """The run that asks; empty where none does."""

    def reconcile(self) -> Report:
        """Look through the place. A place that does not answer has nothing lost: it is unreachable."""
        self._follow()
        look = Look(self.beamline, self.copies, self.place, self.transfer, self.tables.recorded, self.clock.now())
        suspects = self._suspects()
        report, seen = Report(self.place.name), list[Finding]()
        for compared in look.through():
            seen += compared.findings
            report.again += (suspects[of] for copy in compared.whole if (of := _record(copy)) in suspects)
            report.whole += len(compared.whole)
            report.leftovers += compared.leftovers
            report.not_judged += compared.unsettled
        report.folders, report.unreachable, report.unknown = look.folders, look.unreachable, look.unknown
        self._judge(seen, look.newest, report)
        report.renamed = pairs(report.findings, self.place, self.tables.recorded)
        return report

    def _follow(self) -> None:
        up_to_date(self.instance, self.beamline, self.copies, self.tables)

    def _suspects(self) -> dict[tuple[str, str, int], Suspect]:
        """What a listing has found here before, by copy and record."""
        here = f"{self.place.name}/"
        return {
            (suspect.asset, suspect.partition, suspect.storage_id): suspect
            for suspect in self.tables.suspects.all()
            if suspect.seen_by is SeenBy.LISTING and suspect.asset.startswith(here)
        }

    # -- judging -------------------------------------------------------------------------------------------------

    def _judge(self, seen: Collection[Finding], newest: int, report: Report) -> None:
        """Keep what still holds: by the records of now, with nothing at work on it, and looked at once more if lost."""
        busy = self._busy()
        self._follow()
        recorded_since = {
            str(self.copies[record.asset].location(PartitionKey.parse(record.partition)).path)
            for record in self.tables.recorded.at_place(self.place.name, after=newest)
            if record.asset in self.copies
        }
        records = self._records_of(seen)
        held = []
        for finding in seen:
            if finding.path in recorded_since or not _still_holds(finding, records) or busy.covers(finding):
                report.not_judged += 1
            else:
                held.append(finding)
        lost = [finding for finding in held if finding.kind is Kind.LOST]
        not_lost = self._there_after_all(lost, report)
        report.not_judged += len(not_lost)
        order = list(Kind)
        report.findings = sorted(
            (finding for finding in held if finding.path not in not_lost),
            key=lambda finding: (order.index(finding.kind), finding.path),
        )
        report.remains = {
            (copy.asset, copy.partition): self._remains(copy, records)
            for finding in report.bad
            if (copy := finding.expected) is not None
        }

    def _records_of(self, seen: Iterable[Finding]) -> dict[str, list[RecordedCopy]]:
        """All records, of now, of the scans of which a recorded copy is not as it was recorded."""
        scans = {_scan(finding.expected.partition) for finding in seen if finding.expected is not None}
        return {records[0].scan: records for records in self.tables.recorded.of_scans(scans)}

    def _remains(self, copy: Expected, records: Mapping[str, list[RecordedCopy]]) -> list[str]:
        """The other copies of the same thing that are recorded."""
        mine = self.copies[copy.asset]
        return sorted(
            record.asset
            for record in records.get(_scan(copy.partition), ())
            if record.partition == copy.partition
            and not record.gone
            and (other := self.copies.get(record.asset)) is not None
            and other != mine
            and (other.artifact, other.maker) == (mine.artifact, mine.maker)
        )

    def _busy(self) -> "_Busy":
        """Where runs and remote work may be at work now, deletions that have not ended too."""
        work = work_in_flight(RunsInFlight(self.instance, but_run=self.run_id), self.tables.ledger)
        scans = {*work.by_scan, *(one.deletion.scan for one in self.tables.certificates.open())} - {""}
        here = [copy for copy in self.copies.values() if copy.place == self.place]
        paths = [str(copy.location(key).path) for key in _keys(scans) for copy in here]
        return _Busy(frozenset(scans), tuple(paths))

    def _there_after_all(self, lost: Iterable[Finding], report: Report) -> set[str]:
        """The paths at which something lies when asked once more, or of which nobody can tell."""
        by_folder: defaultdict[str, list[Finding]] = defaultdict(list)
        for finding in lost:
            by_folder[str(PurePosixPath(finding.path).parent)].append(finding)
        there: set[str] = set()
        unanswered = 0
        for folder, findings in by_folder.items():
            wanted = {PurePosixPath(finding.path).name for finding in findings}
            try:
                if unanswered >= MOST_UNANSWERED:
                    raise _stopped_answering(folder)
                names = self._names(folder, wanted)
            except PlatformError as error:
                unanswered += 1
                report.unreachable[folder] = error.seen
                names = wanted
            else:
                unanswered = 0
            there |= {finding.path for finding in findings if PurePosixPath(finding.path).name in names}
        return there

    def _names(self, folder: str, wanted: Collection[str]) -> set[str]:
        location = Location(self.place, PurePosixPath(folder))
        if len(wanted) > FEW:
            try:
                return {entry.name for entry in entries_in(self.transfer, location)}
            except NotFoundError:
                return set()
        return {name for name in wanted if self.transfer.entry_at(location / name) is not None}


@dataclass(frozen=True, slots=True)
class _Busy:
    """Scans that something is at work on, and where their copies lie here."""

    scans: frozenset[str]
    paths: tuple[str, ...]

    def covers(self, finding: Finding) -> bool:
        """Whether the copy, or what lies there, may be what is being made or moved now."""
        if EVERY_SCAN in self.scans:
            return True
        if finding.expected is not None:
            return _scan(finding.expected.partition) in self.scans
        return finding.path.startswith(self.paths)  # labelled results have longer names


def _stopped_answering(folder: str) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        seen=f"{folder} was not asked for once more: the place has stopped answering",
        meaning="nobody can tell whether what is recorded there is lost",
        remedy="wait for the next night, or look again when it answers",
    )


def _record(copy: Expected) -> tuple[str, str, int]:
    return copy.asset, copy.partition, copy.storage_id


def _keys(scans: Iterable[str]) -> Iterator[PartitionKey]:
    """The keys of scans, without what stands for none: a check of the links, or what a person has typed in the UI."""
    for scan in scans:
        with suppress(InvalidPartitionKeyError):
            yield PartitionKey.parse(scan)


def _scan(partition: str) -> str:
    return partition.partition("@")[0]


def _still_holds(finding: Finding, records: Mapping[str, list[RecordedCopy]]) -> bool:
    """Whether the record that it was held against is still the newest one, and was not deleted by a certificate."""
    copy = finding.expected
    if copy is None:
        return True
    return any(
        (record.asset, record.partition, record.storage_id, record.gone)
        == (copy.asset, copy.partition, copy.storage_id, copy.gone)
        for record in records.get(_scan(copy.partition), ())
    )
