"""Which entries of the catalogue are to be made, or made again, by what has happened since the last tick.

Belongs here: reading that from the event log, certificates, runs and standings, a bounded part a tick.
Does not: requesting runs (catalogue), or making entries (als_assets.catalogue).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Protocol

import dagster as dg

from beamlines.config import Beamline
from beamlines.layout import LEGACY
from beamlines.policy import Arrival
from beamlines.scans import InvalidPartitionKeyError, PartitionKey
from beamlines.standing import Standing
from sensors.event_log import ARRIVAL, keys_with

READ_A_TICK = 10
"""Of each entry's events: 57,600 a day, at a tick every 15 s."""
SWEPT_A_TICK = 1_000
"""Of all partitions: at a tick every 15 s, 100,000 of them are gone through in 25 minutes."""
GRACE = timedelta(minutes=10)
"""An entry waits so long for what usually comes with it, as the first look."""
ENTRY_TAG, TRIES_TAG = "als/entry", "als/tries"
PARTITION_TAG = "dagster/partition"
_WILL_RETRY_TAG = "dagster/will_retry"
TRIES = 10
_FIRST_AGAIN, _LONGEST = timedelta(hours=1), timedelta(hours=24)
FAILED_LOOKED_AT = 50
_MADE, _PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_OBSERVED = dg.DagsterEventType.ASSET_OBSERVATION


@dataclass(frozen=True, slots=True)
class Told:
    """An entry, and what it tells of."""

    entry: dg.AssetKey
    first: dg.AssetKey
    """Without it there is nothing to tell."""
    last: dg.AssetKey
    """Once it is there, everything is."""
    copies: frozenset[str]
    """``<place>/<asset>`` of each copy whose deletion is told."""

    @property
    def name(self) -> str:
        return self.entry.path[-1]


class _Head(Protocol):
    @property
    def entries(self) -> int: ...


class Deletions(Protocol):
    """The log of certificates (resources.certificates), whose library costs every importer a third of a second."""

    def head(self) -> "_Head": ...

    def done_after(self, sequence: int, limit: int) -> list[tuple[int, str, str]]: ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry that is to be made; ``because`` is the same as long as the reason is."""

    told: Told
    key: str
    because: str
    tries: int = 0

    @property
    def run_key(self) -> str:
        return f"catalogue:{self.told.name}:{self.key}:{self.because}"


def came_last(instance: dg.DagsterInstance, told: Told, after: int) -> tuple[list[Wanted], int]:
    """Entries of which everything is there since a storage id; and the id up to which this was read."""
    records = _records(instance, told.last, after)
    found = [Wanted(told, key, str(record.storage_id)) for record in records if (key := _key(record)) is not None]
    return found, records[-1].storage_id if records else after


def overdue(instance: dg.DagsterInstance, told: Told, after: int, now: datetime) -> tuple[list[Wanted], int]:
    """Entries of which the first is there for a while, and which no run has been planned for since.

    What comes last was never made then, or a tick has died.
    """
    old = now.timestamp() - GRACE.total_seconds()
    records = [*takewhile(lambda record: record.timestamp <= old, _records(instance, told.first, after))]
    keys = {key: record.storage_id for record in records if (key := _key(record)) is not None}
    planned = instance.get_latest_storage_id_by_partition(told.entry, _PLANNED, partitions={*keys}) if keys else {}
    found = [Wanted(told, key, str(at)) for key, at in keys.items() if planned.get(key, -1) < at]
    return found, records[-1].storage_id if records else after


def moved(
    instance: dg.DagsterInstance, certificates: Deletions, entries: Sequence[Told], after: int
) -> tuple[list[Wanted], int]:
    """Entries that are there, and a copy of whose data was deleted since a certificate."""
    ended = certificates.done_after(after, READ_A_TICK)
    found = [
        Wanted(told, partition, f"certificate {number}")
        for told in entries
        for number, asset, partition in ended
        if asset in told.copies
    ]
    there = {told.name: keys_with(instance, told.entry, [_MADE], {one.key for one in found}) for told in entries}
    return [one for one in found if one.key in there[one.told.name]], ended[-1][0] if ended else after


def hidden_or_free(
    instance: dg.DagsterInstance,
    beamline: Beamline,
    told: Told,
    keys: Collection[str],
    standings: Mapping[str, Standing],
) -> list[Wanted]:
    """Of some partitions, the entries that are shown and must be hidden by now, and those that are free again.

    The newest record of an entry says which it is: a run that hides it observes that.
    """
    made = instance.get_latest_storage_id_by_partition(told.entry, _MADE, partitions={*keys}) if keys else {}
    hidden = instance.get_latest_storage_id_by_partition(told.entry, _OBSERVED, partitions={*keys}) if keys else {}
    found: list[Wanted] = []
    for key in sorted(made.keys() | hidden.keys()):
        scan = PartitionKey.parse(key).scan
        restricted = beamline.export_control.restriction(scan, standings.get(scan.key, Standing())) is not None
        shown = made.get(key, -1) > hidden.get(key, -1)
        if restricted is shown:
            at = made[key] if shown else hidden[key]
            found.append(Wanted(told, key, f"{'restricted' if restricted else 'free'} {at}"))
    return found


def failed(instance: dg.DagsterInstance, job: str, entries: Sequence[Told], now: datetime) -> list[Wanted]:
    """Entries whose newest run has failed long enough ago: 1 h after the first, then 2, 4, ... up to ten times.

    Only runs that were requested here: a person has others in hand.
    """
    by_name = {told.name: told for told in entries}
    records = instance.get_run_records(
        dg.RunsFilter(job_name=job, statuses=[dg.DagsterRunStatus.FAILURE], tags={ENTRY_TAG: sorted(by_name)}),
        limit=FAILED_LOOKED_AT,
    )
    found: list[Wanted] = []
    for record in records:
        run, tries = record.dagster_run, int(record.dagster_run.tags.get(TRIES_TAG, "0"))
        waits = min(_FIRST_AGAIN * 2**tries, _LONGEST)
        recent = record.end_time is None or now.timestamp() - record.end_time < waits.total_seconds()
        if recent or tries >= TRIES or run.tags.get(_WILL_RETRY_TAG) == "true":
            continue
        key, name = run.tags.get(PARTITION_TAG, ""), run.tags[ENTRY_TAG]
        newest = instance.get_runs(dg.RunsFilter(job_name=job, tags={PARTITION_TAG: key, ENTRY_TAG: name}), limit=1)
        if newest and newest[0].run_id == run.run_id:
            found.append(Wanted(by_name[name], key, f"after {run.run_id}", tries + 1))
    return found


def _records(instance: dg.DagsterInstance, asset: dg.AssetKey, after: int) -> Sequence[dg.EventLogRecord]:
    wanted = dg.AssetRecordsFilter(asset, after_storage_id=after)
    return instance.fetch_materializations(wanted, limit=READ_A_TICK, ascending=True).records


def _key(record: dg.EventLogRecord) -> str | None:
    """The partition of a record that is to be told; None for what the system before this one has told already."""
    event, key = record.asset_materialization, record.partition_key or ""
    arrival = None if event is None else event.metadata.get(ARRIVAL)
    if arrival is not None and arrival.value == Arrival.ADOPTED:
        return None
    return key if is_told(key) else None


def is_told(key: str) -> bool:
    """Whether a partition stands for a scan, or for a reconstruction that this platform has made."""
    try:
        return PartitionKey.parse(key).label != LEGACY
    except InvalidPartitionKeyError:
        return False
