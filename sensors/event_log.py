"""Arrivals and decisions in Dagster's event log: how they are written there, and how they are read.

Belongs here: their metadata, and queries of bounded size.
Does not: deciding by them (follow_up, routing).
"""

from collections.abc import Collection, Iterator, Mapping

import dagster as dg

from beamlines.config import Beamline
from beamlines.decisions import WAITING, Decision, Reason
from beamlines.layout import Artifact, Copy
from beamlines.policy import Arrival
from beamlines.scans import InvalidPartitionKeyError, PartitionKey, ScanId
from sensors.arrivals import Complete
from sensors.follow_up import Arrived, new_keys

ARRIVAL, REASON, HANDED_TO = "arrival", "reason", "handed_to"
_DECIDED = {
    Reason.WAITING_FOR_RAW: "Waits for",
    Reason.OUTAGE: "Waits for",
    Reason.ABORTED: "Only kept at",
    Reason.HANDED_ON: "Handed on by",
}
KEYS_A_QUERY = 1_000
"""About 10 ms each at 50,000 scans, whether or not they are known; all that are known would be 200 ms."""
_OBSERVATIONS_A_SCAN = 4
_ARRIVALS_A_SCAN = 4


def arrival_record(beamline: Beamline, asset: dg.AssetKey, scan: Complete, arrival: Arrival) -> dg.AssetMaterialization:
    """That a scan is there, how it came to be known, and how its file looked when it was taken for complete."""
    key = PartitionKey(ScanId(scan.path))
    group = key.scan.describe().group
    location = Copy(beamline.places[beamline.scans.place], Artifact.RAW).location(key)
    return dg.AssetMaterialization(
        asset,
        partition=str(key),
        description="Complete on the acquisition machine.",
        metadata={
            "path": dg.MetadataValue.path(_sendable(location.posix)),
            "scan": dg.MetadataValue.text(_sendable(scan.path)),
            "files": dg.MetadataValue.int(1),
            "bytes": dg.MetadataValue.int(scan.size_bytes),
            "modified": dg.MetadataValue.timestamp(scan.modified.timestamp()),
            ARRIVAL: dg.MetadataValue.text(str(arrival)),
            **({} if group is None else {"tiles": dg.MetadataValue.text(group)}),
        },
    )


def _sendable(text: str) -> str:
    """Bytes that are no UTF-8 are shown escaped: as they are, the UI could not send them to a browser."""
    return text.encode("utf-8", "backslashreplace").decode()


def changed_record(asset: dg.AssetKey, key: str, how: str) -> dg.AssetObservation:
    """That a scan's file is not the one that was taken for complete."""
    return dg.AssetObservation(
        asset,
        partition=key,
        description="Its file has changed since it was taken for complete: nothing of it is copied or deleted until a "
        "person decides (als scan accept).",
        metadata={REASON: dg.MetadataValue.text(str(Reason.CHANGED)), "how": dg.MetadataValue.text(how)},
    )


def decision_record(
    asset: dg.AssetKey, key: str, facility: str, decision: Decision, handed_to: str | None = None
) -> dg.AssetObservation:
    """That a scan was not sent through a facility, and why; and which one takes it instead."""
    return dg.AssetObservation(
        asset,
        partition=key,
        description=f"{_DECIDED.get(decision.reason, 'Not sent through')} {facility}: {decision.detail}",
        metadata={
            REASON: dg.MetadataValue.text(str(decision.reason)),
            "decision": dg.MetadataValue.text(str(decision)),
            **({} if handed_to is None else {HANDED_TO: dg.MetadataValue.text(handed_to)}),
        },
    )


def read_arrivals(instance: dg.DagsterInstance, asset: dg.AssetKey, after: int, limit: int) -> list[Arrived]:
    """The next arrivals after a storage id, in the order of the log."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset, after_storage_id=after), limit=limit, ascending=True
    ).records
    return [_arrived(record) for record in records]


def read_handed_on(
    instance: dg.DagsterInstance, firsts: Mapping[str, dg.AssetKey], to: str, after: int, limit: int
) -> list[Arrived]:
    """The next decisions of other facilities after a storage id, in the order of the log.

    ``firsts`` are the assets on which they are observed, by facility. Those that hand nothing on to this one are known,
    and not ours to route.
    """
    found: list[Arrived] = []
    for facility, asset in firsts.items():
        records = instance.fetch_observations(
            dg.AssetRecordsFilter(asset, after_storage_id=after), limit=limit, ascending=True
        ).records
        found += [_handed_on(record, facility, to) for record in records]
    # Of each the next ``limit``: among them are the next ``limit`` of all, and no more, or some would be stepped over.
    return sorted(found, key=lambda item: item.storage_id)[:limit]


def newest_decision(
    instance: dg.DagsterInstance, firsts: Mapping[str, dg.AssetKey], before: float | None = None
) -> int:
    """The storage id of the newest of these, or of the newest recorded before a time; 0 where there is none."""
    pages = [
        instance.fetch_observations(dg.AssetRecordsFilter(asset, before_timestamp=before), limit=1).records
        for asset in firsts.values()
    ]
    return max((records[0].storage_id for records in pages if records), default=0)


def newest_arrival(instance: dg.DagsterInstance, asset: dg.AssetKey, before: float | None = None) -> int:
    """The storage id of the newest arrival, or of the newest one recorded before a time; 0 where there is none."""
    records = instance.fetch_materializations(dg.AssetRecordsFilter(asset, before_timestamp=before), limit=1).records
    return records[0].storage_id if records else 0


def keys_with(
    instance: dg.DagsterInstance, asset: dg.AssetKey, kinds: Collection[dg.DagsterEventType], keys: Collection[str]
) -> set[str]:
    """Of some partition keys, those that have an event of one of these kinds on an asset."""
    return {
        key
        for some in _batches(keys)
        for kind in kinds
        for key in instance.get_latest_storage_id_by_partition(asset, kind, partitions=some)
    }


def keys_begun(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Collection[str]) -> set[str]:
    """Of some partition keys, those for which a run was created that makes the asset, or for which it is there."""
    kinds = (dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.ASSET_MATERIALIZATION)
    return keys_with(instance, asset, kinds, keys)


def keys_new(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Collection[str]) -> set[str]:
    """Of some partition keys, those of scans that have arrived as new ones; not what was only adopted."""
    found: set[str] = set()
    for some in _batches(keys):
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset, asset_partitions=sorted(some)), limit=_ARRIVALS_A_SCAN * len(some)
        ).records
        found |= new_keys([_arrived(record) for record in records])
    return found


def keys_decided(instance: dg.DagsterInstance, asset: dg.AssetKey, keys: Collection[str]) -> dict[str, str]:
    """Of some partition keys, those whose newest decision is that they are not to go through a branch, and why."""
    newest: dict[str, str] = {}
    for some in _batches(keys):
        records = instance.fetch_observations(
            dg.AssetRecordsFilter(asset, asset_partitions=sorted(some)), limit=_OBSERVATIONS_A_SCAN * len(some)
        ).records
        for record in records:
            observation = record.asset_observation
            if observation is not None and REASON in observation.metadata:
                newest.setdefault(str(record.partition_key), str(observation.metadata[REASON].value))
    return {key: reason for key, reason in newest.items() if reason not in WAITING}


def _arrived(record: dg.EventLogRecord) -> Arrived:
    event = record.asset_materialization
    key = record.partition_key or ""
    how = event.metadata.get(ARRIVAL) if event is not None else None
    # What a person has reported in the UI has no such word, or a key of another form: known, and not ours to route.
    new = how is not None and how.value == Arrival.NEW and _is_scan(key)
    repair = how is not None and how.value == Arrival.REPAIR
    arrival = Arrival.NEW if new else Arrival.REPAIR if repair else Arrival.ADOPTED
    return Arrived(record.storage_id, key, arrival, record.timestamp)


def _handed_on(record: dg.EventLogRecord, by: str, to: str) -> Arrived:
    event, key = record.asset_observation, record.partition_key or ""
    said = {name: event.metadata[name].value for name in (REASON, HANDED_TO) if event and name in event.metadata}
    ours = said == {REASON: Reason.HANDED_ON, HANDED_TO: to} and _is_scan(key)
    arrival = Arrival.NEW if ours else Arrival.ADOPTED
    return Arrived(record.storage_id, key, arrival, record.timestamp, by if ours else None)


def _is_scan(key: str) -> bool:
    try:
        ScanId.from_key(key)
    except InvalidPartitionKeyError:
        return False
    return True


def _batches(keys: Collection[str]) -> Iterator[set[str]]:
    # An empty set would mean every partition.
    ordered = sorted(keys)
    for start in range(0, len(ordered), KEYS_A_QUERY):
        yield set(ordered[start : start + KEYS_A_QUERY])
