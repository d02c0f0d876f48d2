"""The routers: one sensor a facility, whose switch in the UI is the operators' switch of the branch.

Belongs here: one tick, in Dagster's terms: reading arrivals, requesting branch runs, observing what was not routed.
Does not: the decision itself (routing), or queries (event_log).
"""

from collections.abc import Collection
from datetime import timedelta

import dagster as dg
from pydantic import ValidationError

from beamlines.config import Beamline
from beamlines.deployment import Timing
from beamlines.scans import ScanId
from resources.clock import Clock
from resources.gate import Gate
from sensors.event_log import (
    decision_record,
    keys_begun,
    keys_decided,
    keys_with,
    newest_arrival,
    read_arrivals,
)
from sensors.follow_up import Arrived, old_enough, overlooked
from sensors.job import PartitionedJob
from sensors.new_scans import TILES_TAG
from sensors.routing import WAITING_AT_MOST, Ready, RouterMemory, Routing, decide

GRACE_S = 600.0
"""An arrival is looked at once more after this: by then its id has become visible, and its run was created."""
READ_A_TICK = 100
_SETTLED_A_TICK = 500
_JUST_BEFORE = timedelta(minutes=10)
"""A router that never ticked takes scans that arrived while it was being started, and leaves all others alone."""
_REACH_BACK = timedelta(days=7)
"""A router whose cursor was lost looks for scans that were never routed as far back as this."""


def router_sensor(
    beamline: Beamline,
    timing: Timing,
    facility: str,
    arrival: dg.AssetKey,
    ingested: dg.AssetKey,
    branch: PartitionedJob,
    first: dg.AssetKey,
) -> dg.SensorDefinition:
    """The router of one facility; ``first`` is the branch's first asset, on which decisions are observed."""
    partitions = str(branch.partitions_def.name)

    @dg.sensor(
        name=f"{beamline.name}_route_to_{facility}",
        job_name=branch.name,
        minimum_interval_seconds=timing.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts the {facility} branch for each new scan, once. Switch it off to skip {facility}.",
    )
    def route(
        context: dg.SensorEvaluationContext, clock: dg.ResourceParam[Clock], gate: dg.ResourceParam[Gate]
    ) -> dg.SensorResult:
        instance, now = context.instance, clock.now().timestamp()
        memory = _remembered(context, arrival, now)
        if facility != beamline.preference[0]:
            # What arrives meanwhile is another's; should this facility become the first, it begins from there.
            newest = newest_arrival(instance, arrival)
            memory = memory.model_copy(update={"after": newest, "settled": newest})
        memory, arrived = _read(instance, arrival, memory)
        memory, stepped_over = _stepped_over(instance, arrival, first, memory, arrived, now)
        candidates = {*memory.waiting, *(item.key for item in (*arrived, *stepped_over))}
        ready = _ready(instance, gate, partitions, ingested, first, candidates)
        routing = decide(beamline, facility, memory, [*stepped_over, *arrived], ready, now)
        _warn(context, routing, ready)
        return _result(facility, first, routing)

    return route


def branch_request(facility: str, key: str, only: dg.AssetKey | None = None) -> dg.RunRequest:
    """The branch run of a scan, or of its ``only`` asset; its run key makes a second request of it nothing."""
    selection = None if only is None else [only]
    tiles = ScanId.from_key(key).describe().group
    tags = {"als/routed_to": facility, **({} if tiles is None else {TILES_TAG: tiles})}
    return dg.RunRequest(run_key=f"{facility}:{key}", partition_key=key, asset_selection=selection, tags=tags)


# -- what the last tick said -----------------------------------------------------------------------------------------


def _remembered(context: dg.SensorEvaluationContext, arrival: dg.AssetKey, now: float) -> RouterMemory:
    started, last_tick = context.last_sensor_start_time, context.last_tick_completion_time
    memory = _cursor(context)
    if memory is None and last_tick is None:
        begin = newest_arrival(context.instance, arrival, before=now - _JUST_BEFORE.total_seconds())
        return RouterMemory(after=begin, settled=begin, started=started)
    switched = context.is_first_tick_since_sensor_start
    if memory is None:
        memory = RouterMemory(
            after=newest_arrival(context.instance, arrival),
            settled=newest_arrival(context.instance, arrival, before=now - _REACH_BACK.total_seconds()),
        )
    elif memory.started is not None:
        # Not only where Dagster calls it the first tick: the first may have failed, and then the next is not.
        switched = started != memory.started
    if started is None or not switched:
        return memory.model_copy(update={"started": started})
    off_since = last_tick if last_tick is not None and last_tick < started else memory.ticked
    return memory.switched_on(off_since=off_since, started=started)


def _cursor(context: dg.SensorEvaluationContext) -> RouterMemory | None:
    if not context.cursor:
        return None
    try:
        return RouterMemory.model_validate_json(context.cursor)
    except ValidationError as error:
        context.log.warning(f"The cursor cannot be read; scans that were not routed are looked for: {error}")
        return None


# -- what is new -----------------------------------------------------------------------------------------------------


def _read(
    instance: dg.DagsterInstance, arrival: dg.AssetKey, memory: RouterMemory
) -> tuple[RouterMemory, list[Arrived]]:
    """The next arrivals, as many as can wait: when the list is full, the event log is the queue."""
    room = min(READ_A_TICK, WAITING_AT_MOST - len(memory.waiting))
    arrived = read_arrivals(instance, arrival, memory.after, room) if room > 0 else []
    return memory.model_copy(update={"after": arrived[-1].storage_id}) if arrived else memory, arrived


def _stepped_over(
    instance: dg.DagsterInstance,
    arrival: dg.AssetKey,
    first: dg.AssetKey,
    memory: RouterMemory,
    arrived: Collection[Arrived],
    now: float,
) -> tuple[RouterMemory, list[Arrived]]:
    """Arrivals that were passed, and are neither in the branch, nor decided against, nor waiting."""
    recorded = [
        item
        for item in old_enough(read_arrivals(instance, arrival, memory.settled, _SETTLED_A_TICK), now, GRACE_S)
        if item.storage_id <= memory.after
    ]
    in_hand = {*memory.waiting, *(item.key for item in arrived)}
    begun = keys_begun(instance, first, {item.key for item in recorded} - in_hand)
    decided = keys_decided(instance, first, {item.key for item in recorded} - in_hand - begun)
    room = WAITING_AT_MOST - len(in_hand)
    found, settled = overlooked(recorded, in_hand | begun | decided, room)
    return memory if settled is None else memory.model_copy(update={"settled": settled}), found


def _ready(
    instance: dg.DagsterInstance,
    gate: Gate,
    partitions: str,
    ingested: dg.AssetKey,
    first: dg.AssetKey,
    keys: Collection[str],
) -> Ready:
    there = keys_with(instance, ingested, [dg.DagsterEventType.ASSET_MATERIALIZATION], keys)
    existing = instance.get_existing_dynamic_partitions(partitions, sorted(there))
    return Ready(
        ingested=there,
        begun=keys_begun(instance, first, there),
        gone=there - existing,
        standings=gate.standings.of_many(keys),
    )


# -- what is said ----------------------------------------------------------------------------------------------------


def _warn(context: dg.SensorEvaluationContext, routing: Routing, ready: Ready) -> None:
    if len(routing.memory.waiting) >= WAITING_AT_MOST:
        context.log.warning(f"{WAITING_AT_MOST} scans wait for their raw copy: later ones wait in the event log.")
    for key in sorted(ready.gone):
        context.log.warning(f"{key} is not routed: its partition was deleted while it waited.")


def _result(facility: str, first: dg.AssetKey, routing: Routing) -> dg.SensorResult:
    waiting = len(routing.memory.waiting)
    return dg.SensorResult(
        run_requests=[
            *(branch_request(facility, key) for key in routing.run),
            *(branch_request(facility, key, only=first) for key in routing.keep),
        ],
        asset_events=[decision_record(first, key, facility, decision) for key, decision in routing.observe.items()],
        cursor=routing.memory.model_dump_json(),
        skip_reason=None if routing.run or routing.keep else f"nothing to route; {waiting} waiting for their raw copy",
    )
