"""A Dagster instance with a past: so many scans that arrived, were ingested and went into a branch.

Belongs here: writing that past quickly. Does not: measuring anything (ticks).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

SCANS_A_FOLDER = 100
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Past:
    """What lies in the past: the partitions, the asset of arrivals, and those that runs then made."""

    partitions: str
    arrival: dg.AssetKey
    made: Sequence[dg.AssetKey]
    said: Mapping[str, int] = field(default_factory=dict)
    """The metadata of what was made."""


def scan_path(number: int) -> str:
    """A scan below raw/, in one of many folders."""
    return f"BLS-{number // SCANS_A_FOLDER:05d}_user/20260101_{number:06d}_sample.h5"


def write(instance: dg.DagsterInstance, past: Past, numbers: range, recorded: datetime) -> None:
    """Let the scans with these numbers have arrived and been through everything, all at the same time.

    Rows go straight into the storage's table: through ``report_runless_asset_event`` each takes milliseconds. The first
    scan is written in the usual way; its rows, which hold its key as text, are the pattern of all the others.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        raise TypeError(f"{type(storage).__name__} has no table to write into")
    keys = [scan_path(number).removesuffix(".h5") for number in numbers]
    patterns = list(_patterns(instance, past, keys[0], recorded))
    for start in range(1, len(keys), _BATCH):
        some = keys[start : start + _BATCH]
        rows = [
            {**row, "partition": key, "event": row["event"].replace(keys[0], key)} for key in some for row in patterns
        ]
        with storage.index_connection() as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
    for start in range(0, len(keys), _BATCH):
        instance.add_dynamic_partitions(past.partitions, keys[start : start + _BATCH])


def _patterns(instance: dg.DagsterInstance, past: Past, key: str, recorded: datetime) -> Iterator[dict[str, Any]]:
    events = [dg.AssetMaterialization(past.arrival, partition=key, metadata={"arrival": "new"})]
    events += [dg.AssetMaterialization(asset, partition=key, metadata=dict(past.said)) for asset in past.made]
    for event in events:
        instance.report_runless_asset_event(event)
        [record] = instance.fetch_materializations(event.asset_key, limit=1).records
        entry = record.event_log_entry._replace(timestamp=recorded.timestamp())
        yield {
            "run_id": entry.run_id,
            "event": dg.serialize_value(entry),
            "dagster_event_type": dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            "timestamp": recorded.astimezone(UTC).replace(tzinfo=None),
            "asset_key": event.asset_key.to_string(),
        }
