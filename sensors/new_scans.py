"""The sensor that finds new scans on the acquisition machine: the safety net below announcements.

Belongs here: one tick, in Dagster's terms: a partition, the arrival's record and the ingest run together.
Does not: deciding which files are complete scans (arrivals), or what a dead tick left undone (follow_up).
"""

from collections.abc import Collection
from datetime import timedelta
from pathlib import PurePosixPath

import dagster as dg

from beamlines.config import Beamline
from beamlines.deployment import Timing
from beamlines.places import Location, Store
from beamlines.policy import Arrival
from beamlines.scans import ScanId
from resources.clock import Clock
from resources.errors import PlatformError
from resources.transfer import EntryType, NotFoundError, Transfer
from sensors.arrivals import COMPLETE_A_TICK, Memory, Tick, UnreadableCursorError, tick
from sensors.event_log import arrival_record, keys_begun, keys_with, read_arrivals
from sensors.folders import Found, Look, LookFailedError
from sensors.follow_up import Arrived, old_enough, overlooked
from sensors.job import PartitionedJob

GRACE_S = 60.0
"""Whoever records an arrival has requested its run by then."""
_SETTLED_A_TICK = 500


def new_scans_sensor(
    beamline: Beamline,
    timing: Timing,
    partitions: dg.DynamicPartitionsDefinition,
    arrival: dg.AssetKey,
    ingested: dg.AssetKey,
    ingest: PartitionedJob,
) -> dg.SensorDefinition:
    """The sensor; each tick is whole in itself, and a tick that fails changes nothing."""

    @dg.sensor(
        name=f"{beamline.name}_new_scans",
        job_name=ingest.name,
        minimum_interval_seconds=timing.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks for complete new scans on {beamline.scans.place} and ingests them.",
    )
    def new_scans(
        context: dg.SensorEvaluationContext, transfer: dg.ResourceParam[Transfer], clock: dg.ResourceParam[Clock]
    ) -> dg.SensorResult:
        instance = context.instance

        def new_of(paths: Collection[str]) -> Collection[str]:
            scans = {ScanId(path).key: path for path in paths if beamline.why_not_a_scan(path) is None}
            known = keys_with(instance, arrival, [dg.DagsterEventType.ASSET_MATERIALIZATION], scans)
            return [path for key, path in scans.items() if key not in known]

        found = tick(
            _remembered(context),
            listing_of(transfer, beamline),
            new_of,
            clock.now,
            timedelta(seconds=timing.quiet_time_s),
        )
        _warn(context, found)
        undone, settled = _left_undone(instance, arrival, ingested, found.memory.settled, clock.now().timestamp())
        arrived = [arrival_record(arrival, complete, Arrival.NEW) for complete in found.complete]
        keys = list(dict.fromkeys([*(str(event.partition) for event in arrived), *(item.key for item in undone)]))
        return dg.SensorResult(
            dynamic_partitions_requests=[partitions.build_add_request(keys)] if keys else [],
            asset_events=arrived,
            run_requests=[ingest_request(key) for key in keys],
            cursor=found.memory.settled_up_to(settled).to_cursor(),
            skip_reason=None if keys else f"no complete new scan; {len(found.memory.pending)} still being written",
        )

    return new_scans


def ingest_request(key: str) -> dg.RunRequest:
    """The ingest run of a scan; its run key makes a second request of it nothing."""
    name = ScanId.from_key(key).describe()
    tags = {"als/proposal": name.proposal} if name.proposal else {}
    return dg.RunRequest(run_key=f"ingest:{key}", partition_key=key, tags=tags)


def listing_of(transfer: Transfer, beamline: Beamline) -> Look:
    """How a folder below raw/ is listed: in one call, without the folders that never hold scans."""
    place = beamline.places[beamline.scans.place]
    ignored = {PurePosixPath(folder) for folder in beamline.scans.ignore_folders}

    def look(folder: str) -> Collection[Found] | None:
        location = place.at(Store.RAW, folder) if folder else Location(place, place.stores[Store.RAW])
        try:
            listing = transfer.list(location, newest_first=True)
        except NotFoundError:
            return None
        except PlatformError as error:
            raise LookFailedError(str(error)) from error
        return [
            Found(entry.name, entry.type is EntryType.FOLDER, entry.size_bytes, entry.modified)
            for entry in listing.entries
            if entry.type is EntryType.FILE
            or (entry.type is EntryType.FOLDER and PurePosixPath(folder, entry.name) not in ignored)
        ]

    return look


def _remembered(context: dg.SensorEvaluationContext) -> Memory:
    if not context.cursor:
        return Memory()
    try:
        return Memory.from_cursor(context.cursor)
    except UnreadableCursorError as error:
        context.log.warning(f"Looking through everything afresh, and finding nothing twice: {error}")
        return Memory()


def _warn(context: dg.SensorEvaluationContext, found: Tick) -> None:
    for folder, why in found.failed.items():
        context.log.warning(f"{folder!r} could not be listed and is looked at again: {why}")
    if found.full:
        context.log.warning("More files are being written than are remembered: the others wait where they are.")


def _left_undone(
    instance: dg.DagsterInstance, arrival: dg.AssetKey, ingested: dg.AssetKey, settled: int, now: float
) -> tuple[list[Arrived], int | None]:
    """Arrivals that are recorded, and for which a tick or an announcer died before it requested the ingest run."""
    recorded = old_enough(read_arrivals(instance, arrival, settled, _SETTLED_A_TICK), now, GRACE_S)
    begun = keys_begun(instance, ingested, {item.key for item in recorded if item.arrival is Arrival.NEW})
    return overlooked(recorded, begun, COMPLETE_A_TICK)
