"""Restricting a scan that is on its way already: its remote work is ended, and what has left the site is listed.

Belongs here: finding and ending what is under way, and looking at every place off site.
Does not: the restriction itself (resources.standings), or ending Dagster's runs (the caller has its own way).
Nothing is deleted: removing what has left is a person's own act (withdraw).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import dagster as dg

from als_assets.naming import asset_key, scan_partitions
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy
from beamlines.scans import InvalidPartitionKeyError, PartitionKey, ScanId
from resources.ending import Ending
from resources.errors import PlatformError
from resources.transfer import NotFoundError, Transfer

IN_PROGRESS = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)
_PARTITION_TAG = "dagster/partition"
DETAIL = "canceled: its scan was restricted"


class There(StrEnum):
    """What is seen where a copy would lie."""

    YES = "there"
    NO = "not there"
    UNSEEN = "cannot be seen"


@dataclass(frozen=True, slots=True)
class Left:
    """One copy off site: whether the graph has it, and what lies there now."""

    copy: Copy
    key: PartitionKey
    recorded: bool
    there: There
    why_unseen: str = ""


@dataclass(slots=True)
class Ended:
    """What was ended, and what could not be."""

    ended: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def runs_of(
    instance: dg.DagsterInstance, beamline: Beamline, scan: ScanId, on_site: Collection[dg.AssetKey]
) -> list[str]:
    """The runs in progress that do anything else for a scan than bring it to where it is first read, on site."""
    runs = instance.get_runs(dg.RunsFilter(statuses=[*IN_PROGRESS]))
    return [
        run.run_id
        for run in runs
        if _is_of(run.tags.get(_PARTITION_TAG), scan)
        and run.job_name != f"{beamline.name}_ingest"
        and not (run.asset_selection and run.asset_selection <= {*on_site})
    ]


def end_remote_work(beamline: Beamline, scan: ScanId, ending: Ending) -> Ended:
    """End every transfer and job of a scan, but for the copy that brings it to where it is first read.

    The work is taken from its worker, which stops. What its service does not end now is named, and stays in the ledger.
    """
    outcome = Ended()
    first = f"{beamline.name}/{beamline.scans.first_copy}/raw"
    for record in ending.ledger.in_flight_of(scan.key):
        if record.asset == first:
            continue
        try:
            ended = ending.end(record, DETAIL)
        except (PlatformError, LookupError) as error:
            outcome.failed.append(f"{record.said}: {error}")
        else:
            if ended is not None:
                outcome.ended.append(record.said)
    return outcome


def off_site_copies(
    instance: dg.DagsterInstance, beamline: Beamline, copies: Iterable[Copy], scan: ScanId, transfer: Transfer
) -> list[Left]:
    """Every copy and product of a scan off site that the graph has, or that lies there whatever the graph says."""
    name = str(scan_partitions(beamline).name)
    keys = [PartitionKey(scan)] + [
        PartitionKey.parse(text) for text in instance.get_dynamic_partitions(name) if _is_labelled(text, scan)
    ]
    found = [
        _look(instance, beamline, copy, key, transfer)
        for copy in copies
        if copy.place.off_site
        for key in keys
        if key.label is None or copy.artifact is not Artifact.RAW
    ]
    return [left for left in found if left.recorded or left.there is not There.NO]


def entries_of(
    instance: dg.DagsterInstance, beamline: Beamline, entries: Iterable[dg.AssetKey], scan: ScanId
) -> list[tuple[dg.AssetKey, str]]:
    """The entries of a scan, and of its reconstructions, that the catalogue shows by our records.

    The newest record of an entry says whether it is shown: a run that hides it observes that.
    """
    name = str(scan_partitions(beamline).name)
    keys = {scan.key, *(text for text in instance.get_dynamic_partitions(name) if _is_labelled(text, scan))}
    found: list[tuple[dg.AssetKey, str]] = []
    for entry in entries:
        made, hidden = (
            instance.get_latest_storage_id_by_partition(entry, kind, partitions=keys)
            for kind in (dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION)
        )
        found += [(entry, key) for key, at in sorted(made.items()) if at > hidden.get(key, -1)]
    return found


def _look(instance: dg.DagsterInstance, beamline: Beamline, copy: Copy, key: PartitionKey, transfer: Transfer) -> Left:
    wanted = dg.AssetRecordsFilter(asset_key(beamline, copy), asset_partitions=[str(key)])
    recorded = bool(instance.fetch_materializations(wanted, limit=1).records)
    try:
        transfer.stat(copy.location(key))
    except NotFoundError:
        return Left(copy, key, recorded, There.NO)
    except PlatformError as error:
        return Left(copy, key, recorded, There.UNSEEN, error.seen)
    return Left(copy, key, recorded, There.YES)


def _is_of(partition: str | None, scan: ScanId) -> bool:
    return partition is not None and partition.partition("@")[0] == scan.key


def _is_labelled(partition: str, scan: ScanId) -> bool:
    if not partition.startswith(f"{scan.key}@"):
        return False
    try:
        PartitionKey.parse(partition)
    except InvalidPartitionKeyError:
        return False
    return True
