"""What the graph has of every copy, brought up to date from Dagster's event log.

Belongs here: following the log into ``resources.recorded``, and runs and remote work that have not ended.
Does not: what truly lies at a place (reconciliation), or deciding by it (planning).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from als_assets.naming import asset_key
from als_assets.operations.restrict import IN_PROGRESS
from als_assets.records import PAGE, pages
from als_assets.retention.tables import Tables
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.retention import name_of
from beamlines.scans import InvalidPartitionKeyError, PartitionKey
from resources.chain import What
from resources.database import batches
from resources.ledger import Ledger
from resources.recorded import Recorded, RecordedCopy
from resources.work import Record

_PARTITION_TAG = "dagster/partition"
_BACKFILL_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
_FEW = 5 * PAGE
"""So many partitions are asked for by name; more are read in the order of the log."""
EVERY_SCAN = "*"
"""Stands for all scans, where a run does not say which ones it is about."""


def _nothing() -> None:
    pass


def up_to_date(
    instance: dg.DagsterInstance,
    beamline: Beamline,
    copies: Mapping[str, Copy],
    tables: Tables,
    now_and_then: Callable[[], None] = _nothing,
) -> int:
    """Bring the records up to what the event log and the certificates say now; how many were news. Copies by name.

    The first time takes minutes. ``now_and_then`` is called meanwhile, and what was read by then is kept: whoever comes
    after an interruption goes on from there.
    """
    news = follow(instance, beamline, copies.values(), tables.recorded, now_and_then)
    for name in copies:
        gone = tables.certificates.gone(name)
        tables.recorded.mark_gone(name, {of: it.storage_id for of, it in gone.items() if it.state is not What.GIVEN_UP})
    return news


def follow(
    instance: dg.DagsterInstance,
    beamline: Beamline,
    copies: Collection[Copy],
    recorded: Recorded,
    now_and_then: Callable[[], None] = _nothing,
) -> int:
    """Bring the records up to what the event log says now; how many were new or gone.

    What was wiped there is gone here too: of a copy that nobody has recorded nothing is deleted.
    """
    return sum(_follow_one(instance, beamline, copy, recorded, now_and_then) for copy in copies)


def _follow_one(
    instance: dg.DagsterInstance, beamline: Beamline, copy: Copy, recorded: Recorded, now_and_then: Callable[[], None]
) -> int:
    asset, name = asset_key(beamline, copy), name_of(copy)
    latest = instance.get_latest_storage_id_by_partition(asset, dg.DagsterEventType.ASSET_MATERIALIZATION)
    known = recorded.ids(name)
    gone = known.keys() - latest.keys()
    recorded.drop(name, gone)
    new = {partition for partition, storage_id in latest.items() if known.get(partition) != storage_id}
    for page in _pages(instance, asset, new, latest):
        recorded.put([made for record in page if (made := _copy(record, name, latest)) is not None])
        now_and_then()
    return len(gone) + len(new)


def _pages(
    instance: dg.DagsterInstance, asset: dg.AssetKey, new: Collection[str], latest: Mapping[str, int]
) -> Iterator[Sequence[dg.EventLogRecord]]:
    if len(new) <= _FEW:
        ordered = sorted(new)
        for start in range(0, len(ordered), PAGE):
            some = ordered[start : start + PAGE]
            first = min(latest[partition] for partition in some)
            wanted = dg.AssetRecordsFilter(asset, asset_partitions=some, after_storage_id=first - 1)
            yield from pages(instance, wanted)
        return
    first = min(latest[partition] for partition in new)
    yield from pages(instance, dg.AssetRecordsFilter(asset, after_storage_id=first - 1))


def _copy(record: dg.EventLogRecord, name: str, latest: Mapping[str, int]) -> RecordedCopy | None:
    """What is kept of a record; None where a newer one is there, or where it stands for no scan."""
    event, partition = record.asset_materialization, record.partition_key
    if event is None or partition is None or latest.get(partition) != record.storage_id:
        return None
    try:
        PartitionKey.parse(partition)
    except InvalidPartitionKeyError:
        return None  # a person has typed it in the UI: no copy has such a path
    said = {word: value.value for word, value in event.metadata.items()}
    sha256 = said.get("sha256")
    return RecordedCopy(
        scan=partition.partition("@")[0],
        partition=partition,
        asset=name,
        storage_id=record.storage_id,
        recorded=datetime.fromtimestamp(record.timestamp, UTC),
        bytes=_number(said.get("bytes")),
        files=_number(said.get("files")),
        sha256=sha256 if isinstance(sha256, str) else None,
    )


def _number(said: object) -> int:
    return said if isinstance(said, int) else 0


@dataclass(frozen=True, slots=True)
class Work:
    """Runs and remote work that have not ended, in words, by scan; ``EVERY_SCAN`` where that cannot be told."""

    by_scan: Mapping[str, list[str]]

    def of(self, scan: str) -> list[str]:
        """What may be at work on a scan."""
        return [*self.by_scan.get(scan, ()), *self.by_scan.get(EVERY_SCAN, ())]


class RunsInFlight:
    """Runs that make or move copies, and have not ended: which ones, is asked each time.

    What a run is about never changes, so it is read once: a pass asks before each deletion, and a backfill can have
    thousands of runs in the queue.
    """

    def __init__(self, instance: dg.DagsterInstance, *, but_run: str) -> None:
        """``but_run``, the run that asks, does not count."""
        self._instance = instance
        self._but_run = but_run
        self._about: dict[str, tuple[str, str] | None] = {}

    def now(self) -> list[tuple[str, str]]:
        """The scan of each, or ``EVERY_SCAN``, and the run in words."""
        in_flight = dg.RunsFilter(statuses=[*IN_PROGRESS, dg.DagsterRunStatus.CANCELING])
        ids = [run_id for run_id in self._instance.get_run_ids(in_flight) if run_id != self._but_run]
        for some in batches([run_id for run_id in ids if run_id not in self._about]):
            runs = self._instance.get_runs(dg.RunsFilter(run_ids=list(some)))
            self._about |= {run.run_id: _about(run) for run in runs}
        self._about = {run_id: self._about[run_id] for run_id in ids if run_id in self._about}
        return [about for about in self._about.values() if about is not None]


def _about(run: dg.DagsterRun) -> tuple[str, str] | None:
    """A run has a partition, or one of a range of them, where it makes or moves copies."""
    if not (_PARTITION_TAG in run.tags or any(tag in run.tags for tag in _BACKFILL_TAGS)):
        return None
    partition = run.tags.get(_PARTITION_TAG)
    scan = EVERY_SCAN if partition is None else partition.partition("@")[0]
    return scan, f"run {run.run_id[:8]} of {run.job_name}"


def work_in_flight(runs: RunsInFlight, ledger: Ledger) -> Work:
    """What is under way now."""
    return _work(runs, ledger.in_flight())


def work_on(scan: str, runs: RunsInFlight, ledger: Ledger) -> Work:
    """The same as far as it concerns one scan."""
    return _work(runs, ledger.in_flight_of(scan))


def _work(runs: RunsInFlight, remote: Iterable[Record]) -> Work:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for scan, said in runs.now():
        found[scan].append(said)
    for record in remote:
        found[record.partition.partition("@")[0]].append(record.said)
    return Work(found)
