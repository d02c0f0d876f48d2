"""How a scan's seconds divide, on the page of the last asset of its branch.

Belongs here: that table, made of what is recorded of the stages before.
Does not: the division (beamlines.seconds), or the same for a terminal (als.show).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from als_assets.naming import asset_key
from als_assets.records import newest
from beamlines.branches import Branch, stages
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy
from beamlines.retention import name_of
from beamlines.scans import PartitionKey
from beamlines.seconds import Split, splits_of

SECONDS_BY_STAGE = "seconds_by_stage"
Event = dg.MaterializeResult[None] | dg.AssetCheckResult


def with_split(
    events: Iterable[Event], context: dg.AssetExecutionContext, beamline: Beamline, branch: Branch, key: PartitionKey
) -> Iterator[Event]:
    """The events of a step; the record of the branch's last copy has the split of the whole way besides.

    A query of a millisecond a stage, once a scan.
    """
    last = branch.copies[-1]
    for event in events:
        if isinstance(event, dg.MaterializeResult) and event.asset_key == asset_key(beamline, last):
            said = _recorded(context.instance, beamline, branch, key)
            metadata = event.metadata or {}
            said[name_of(last)] = {name: getattr(value, "value", value) for name, value in metadata.items()}
            yield dg.MaterializeResult(
                asset_key=event.asset_key, metadata={**metadata, SECONDS_BY_STAGE: dg.MetadataValue.table(_rows(said))}
            )
        else:
            yield event


def _recorded(
    instance: dg.DagsterInstance, beamline: Beamline, branch: Branch, key: PartitionKey
) -> dict[str, Mapping[str, Any]]:
    way = (s.copy for s in stages(beamline) if s.branch in (None, branch.name) and s.copy != branch.copies[-1])
    found = ((copy, newest(instance, asset_key(beamline, copy), str(_key_of(copy, key)))) for copy in way)
    return {name_of(copy): said for copy, said in found if said is not None}


def _key_of(copy: Copy, key: PartitionKey) -> PartitionKey:
    """A labelled reconstruction starts from what is recorded under its scan's own key."""
    return key.of_scan if copy.artifact in (Artifact.RAW, Artifact.PREVIEW) else key


def _rows(said: Mapping[str, Mapping[str, Any]]) -> list[dg.TableRecord]:
    return [dg.TableRecord({"stage": name, **_seconds(split)}) for name, split in splits_of(said).items()]


def _seconds(split: Split) -> dict[str, float]:
    return {name: round(value, 1) for name, value in {"seconds": split.total_s, **split.parts}.items()}
