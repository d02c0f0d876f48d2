"""The sensor that takes in new scans: those that are announced, and below them, as a safety net, those that are found.

Belongs here: one tick, in Dagster's terms: a partition, the arrival's record and the ingest run together.
Does not: deciding which files are complete scans (announced, arrivals), what else a listing shows (second_look), or
what a dead tick left undone (follow_up).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from pathlib import PurePosixPath

import dagster as dg

from beamlines.config import Beamline
from beamlines.decisions import Reason
from beamlines.deployment import Timing
from beamlines.places import Location, Store
from beamlines.policy import Arrival
from beamlines.scans import ScanId
from beamlines.standing import SeenFile
from resources.clock import Clock
from resources.errors import PlatformError
from resources.gate import AUTHOR, Gate
from resources.transfer import EntryType, NotFoundError, Transfer
from sensors.announced import GIVE_UP_AFTER, HEARD_A_TICK, Heard, Inbox, hear
from sensors.arrivals import COMPLETE_A_TICK, Complete, Memory, Tick, UnreadableCursorError, tick
from sensors.event_log import arrival_record, changed_record, keys_begun, keys_with, read_arrivals
from sensors.folders import Found, Look, LookFailedError
from sensors.follow_up import Arrived, old_enough, overlooked
from sensors.job import PartitionedJob
from sensors.second_look import look_again

HEAR_EVERY_S = 5
"""How often announcements are looked at; Dagster's daemon does not tick more often."""
TILES_TAG = "als/tiles"
"""What the runs of all tiles of one tiled scan have in common."""
_EARLY_S = 0.5
"""Ticks do not come to the second: a listing that is due in a moment is due."""
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
    """The sensor; each tick is whole in itself, and a tick that fails changes nothing.

    One sensor for both ways in which a scan comes to be known: two would each request a run of the same scan.
    """

    @dg.sensor(
        name=f"{beamline.name}_new_scans",
        job_name=ingest.name,
        minimum_interval_seconds=min(timing.sensor_interval_s, HEAR_EVERY_S),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Takes in announced scans, looks for others that are complete on {beamline.scans.place}, and "
        "ingests them.",
    )
    def new_scans(
        context: dg.SensorEvaluationContext,
        transfer: dg.ResourceParam[Transfer],
        inbox: dg.ResourceParam[Inbox],
        gate: dg.ResourceParam[Gate],
        clock: dg.ResourceParam[Clock],
    ) -> dg.SensorResult:
        instance = context.instance
        seeing = Seeing(instance, arrival, beamline, transfer, gate, clock)
        memory = _remembered(context)
        heard = seeing.hear(inbox, memory.heard)
        memory = replace(memory, heard=heard.after)
        found = seeing.list(memory, timedelta(seconds=timing.quiet_time_s), timing.sensor_interval_s)
        _warn(context, heard, found)
        complete = {scan.path: scan for scan in (*heard.complete, *found.complete)}
        changed = seeing.note(found, complete.values())
        undone, settled = _left_undone(instance, arrival, ingested, found.memory.settled, clock.now().timestamp())
        arrived = [arrival_record(beamline, arrival, scan, Arrival.NEW) for scan in complete.values()]
        keys = list(dict.fromkeys([*(str(event.partition) for event in arrived), *(item.key for item in undone)]))
        return dg.SensorResult(
            dynamic_partitions_requests=[partitions.build_add_request(keys)] if keys else [],
            asset_events=[*arrived, *(changed_record(arrival, key, how) for key, how in changed.items())],
            run_requests=[ingest_request(key) for key in keys],
            cursor=found.memory.settled_up_to(settled).to_cursor(),
            skip_reason=None if keys else f"no complete new scan; {len(found.memory.pending)} still being written",
        )

    return new_scans


@dataclass(frozen=True, slots=True)
class Seeing:
    """What one tick looks with, and what it keeps of what it sees."""

    instance: dg.DagsterInstance
    arrival: dg.AssetKey
    beamline: Beamline
    transfer: Transfer
    gate: Gate
    clock: Clock

    def hear(self, inbox: Inbox, after: int) -> Heard:
        """Deal with announcements: those whose scans are there, known, or will not come."""
        announced = inbox.open(after=after, limit=HEARD_A_TICK)
        known = self._known(item.scan for item in announced)
        heard = hear(announced, known, self._look_at, self.clock.now, after)
        inbox.settle(heard.settled)
        for item in heard.given_up:
            inbox.expire(item, f"no file was there {GIVE_UP_AFTER} after the announcement")
        return heard

    def list(self, memory: Memory, quiet_time: timedelta, interval_s: float) -> Tick:
        """Look through folders where that is due."""
        if memory.listed + interval_s > self.clock.now().timestamp() + _EARLY_S:
            return Tick((), memory, {}, 0, full=False)
        return tick(memory, listing_of(self.transfer, self.beamline), self._new_of, self.clock.now, quiet_time)

    def note(self, found: Tick, complete: Collection[Complete]) -> dict[str, str]:
        """Keep what was seen of scans, before it is acted on; those that have changed, and how."""
        standings, now = self.gate.standings, self.clock.now()
        look = look_again(self.beamline, found.files.items())
        known = standings.of_many({*look.files, *look.beside})
        changed = look.changed(known)
        for key, how in changed.items():
            standings.changed(key, how, at=now)
        for key in look.restricted(known):
            sidecar = f"on {self.beamline.scans.place}"
            standings.restrict(key, Reason.RESTRICTED_BY_SIDECAR, author=AUTHOR, note=sidecar, at=now)
        standings.arrived((ScanId(scan.path).key, SeenFile(scan.size_bytes, scan.modified)) for scan in complete)
        return changed

    def _look_at(self, scan: ScanId) -> Complete | None:
        """One announced file; and whatever lies beside it is kept."""
        place = self.beamline.places[self.beamline.scans.place]
        try:
            entry = self.transfer.stat(place.at(Store.RAW, scan.path))
            if entry.type is not EntryType.FILE or entry.size_bytes == 0:
                return None
            self.gate.take_in(scan)
        except NotFoundError:
            return None
        except PlatformError as error:
            raise LookFailedError(str(error)) from error
        return Complete(scan.path, entry.size_bytes, entry.modified.astimezone(UTC))

    def _new_of(self, paths: Collection[str]) -> Collection[str]:
        scans = {ScanId(path).key: path for path in paths if self.beamline.why_not_a_scan(path) is None}
        known = self._known(scans)
        return [path for key, path in scans.items() if key not in known]

    def _known(self, keys: Iterable[str]) -> set[str]:
        return keys_with(self.instance, self.arrival, [dg.DagsterEventType.ASSET_MATERIALIZATION], {*keys})


def ingest_request(key: str) -> dg.RunRequest:
    """The ingest run of a scan; its run key makes a second request of it nothing."""
    name = ScanId.from_key(key).describe()
    tags = {"als/proposal": name.proposal, TILES_TAG: name.group}
    known = {tag: value for tag, value in tags.items() if value is not None}
    return dg.RunRequest(run_key=f"ingest:{key}", partition_key=key, tags=known)


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


def _warn(context: dg.SensorEvaluationContext, heard: Heard, found: Tick) -> None:
    for item in heard.given_up:
        context.log.warning(f"{item.scan} was announced, and after {GIVE_UP_AFTER} its file is still not there.")
    for why in heard.failed:
        context.log.warning(f"An announced file could not be looked at; it is looked at again: {why}")
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
