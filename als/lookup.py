"""What is recorded of one scan, read for a command that has to answer at once: without Dagster, and without Globus.

Belongs here: opening the tables, and which of them are asked.
Does not: queries (resources), or what follows from them (als_assets.whereabouts).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from als.connection import Connection
from als.names import meant_scan
from als_assets.whereabouts import Read
from beamlines.branches import Stage, stages
from beamlines.catalogue.identity import RAW_ENTRY, reconstruction_entry
from beamlines.config import Beamline
from beamlines.retention import name_of
from beamlines.scans import InvalidPartitionKeyError, PartitionKey, ScanId
from beamlines.seconds import Expected, expected
from beamlines.standing import Standing
from resources.certificates import Certificates
from resources.dagster_log import MATERIALIZATION, DagsterLog, Event, RunSeen, StepFailed, open_log
from resources.database import Database
from resources.ledger import Ledger
from resources.recorded import Suspects
from resources.standings import Entry, Standings
from resources.tallies import Tallies


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that was read of a scan, of its own partition and of its labelled ones."""

    scan: ScanId
    keys: Sequence[PartitionKey]
    read: Read
    history: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Lookup:
    """The tables that know of scans."""

    beamline: Beamline
    log: DagsterLog
    database: Database

    @property
    def stages(self) -> list[Stage]:
        """What a scan can have."""
        return stages(self.beamline)

    @property
    def entries(self) -> list[str]:
        """What a scan can have in the catalogue."""
        branches = dict.fromkeys(stage.branch for stage in self.stages if stage.branch)
        if self.beamline.catalogue is None:
            return []
        return [RAW_ENTRY, *(reconstruction_entry(branch) for branch in branches)]

    def scan(self, name: str) -> Found:
        """All of the scan that a person means. Raises UnknownScanError."""
        standings, partitions = Standings(self.database), f"{self.beamline.name}_scans"

        def is_known(scan: ScanId) -> bool:
            return self.log.knows(partitions, scan.key) or standings.of(scan.key) != Standing()

        scan = meant_scan(self.beamline, name, is_known, lambda: {*self.log.keys(partitions), *standings.restricted()})
        keys = [PartitionKey(scan), *_labelled(self.log.keys(partitions, beginning=f"{scan.key}@"))]
        standing = standings.of(scan.key)
        return Found(scan, keys, self._read(scan, keys, standing), standings.history(scan.key))

    def _read(self, scan: ScanId, keys: Sequence[PartitionKey], standing: Standing) -> Read:
        partitions, names = [str(key) for key in keys], [name_of(stage.copy) for stage in self.stages]
        events = self.log.newest([f"{self.beamline.name}/{name}" for name in (*names, *self.entries)], partitions)
        records = [event for event in events if event.kind == MATERIALIZATION]
        oldest = {asset: min(e.storage_id for e in records if e.asset == asset) for asset in {e.asset for e in records}}
        runs = self.log.runs(partitions)
        return Read(
            beamline=self.beamline,
            standing=standing,
            events=events,
            checks=[
                check for asset, since in oldest.items() for check in self.log.checks(asset, partitions, since=since)
            ],
            runs=runs,
            failures=self._failures(runs),
            work=Ledger(self.database).in_flight_of(scan.key),
            certificates=Certificates(self.database).of(scan.key),
            suspects=Suspects(self.database).of(partitions),
            expected=self._expected(names, standing, records),
        )

    def _failures(self, runs: Sequence[RunSeen]) -> Mapping[str, Sequence[StepFailed]]:
        return {run.run_id: self.log.failures(run.run_id) for run in runs if run.status == "FAILURE"}

    def _expected(self, names: Sequence[str], standing: Standing, records: Sequence[Event]) -> Mapping[str, Expected]:
        """Of what is not recorded yet, where the size of the scan is known."""
        missing = {*names} - {record.asset.partition("/")[2] for record in records}
        if standing.file is None:
            return {}
        tallies, size_bytes = Tallies(self.database), standing.file.size_bytes
        told = {name: expected(tallies.took(name, size_bytes)) for name in missing}
        return {name: found for name, found in told.items() if found is not None}


def _labelled(keys: Iterable[str]) -> Iterator[PartitionKey]:
    for key in keys:
        # A person has typed what is no label, in the UI: no copy can have it.
        with suppress(InvalidPartitionKeyError):
            yield PartitionKey.parse(key)


@contextmanager
def lookup(connection: Connection) -> Iterator[Lookup]:
    """The tables of a deployment, open for as long as a command lasts."""
    home = connection.environment.get("DAGSTER_HOME")
    if home is None:
        raise ValueError("DAGSTER_HOME is not set: it names the folder of Dagster's dagster.yaml")
    with connection.database() as database:
        yield Lookup(connection.settings.beamline, open_log(Path(home), connection.environment), database)
