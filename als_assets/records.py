"""What Dagster has recorded of assets: the newest record of a partition, and all records of many, page by page.

Belongs here: those queries.
Does not: writing records (evidence, operations.past_events), or what a sensor reads (sensors.event_log).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

PAGE = 1_000


def newest(instance: dg.DagsterInstance, asset: dg.AssetKey, partition: str) -> dict[str, Any] | None:
    """What was said of a partition when it was recorded last; None where it never was."""
    wanted = dg.AssetRecordsFilter(asset, asset_partitions=[partition])
    found = instance.fetch_materializations(wanted, limit=1).records
    event = found[0].asset_materialization if found else None
    return None if event is None else {name: value.value for name, value in event.metadata.items()}


def every(instance: dg.DagsterInstance, wanted: dg.AssetRecordsFilter) -> Iterator[tuple[str, dict[str, Any]]]:
    """Partition and metadata of each record, the oldest first; never more than a page of them is held."""
    for records in pages(instance, wanted):
        for record in records:
            event, partition = record.asset_materialization, record.partition_key
            if event is not None and partition is not None:
                yield partition, {name: value.value for name, value in event.metadata.items()}


def pages(instance: dg.DagsterInstance, wanted: dg.AssetRecordsFilter) -> Iterator[Sequence[dg.EventLogRecord]]:
    """The records themselves, the oldest first, a page at a time."""
    cursor: str | None = None
    while True:
        page = instance.fetch_materializations(wanted, limit=PAGE, cursor=cursor, ascending=True)
        yield page.records
        if not page.has_more:
            return
        cursor = page.cursor
