"""The routers: one sensor a facility, whose switch in the UI is the operators' switch of the branch.

Belongs here: one tick, in Dagster's terms: reading what has arrived or was handed on, requesting branch runs, observing
what was not routed.
Does not: the decision itself (routing), or queries (event_log).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus
from pydantic import ValidationError

from beamlines.config import Beamline
from beamlines.decisions import Reason
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
    newest_decision,
    read_arrivals,
    read_handed_on,
)
from sensors.follow_up import Arrived, new_keys, old_enough, overlooked
from sensors.job import PartitionedJob
from sensors.new_scans import TILES_TAG
from sensors.routing import WAITING_AT_MOST, Position, Ready, RouterMemory, Routing, decide
from sensors.state_log import outages_now

GRACE_S = 600.0
"""An arrival is looked at once more after this: by then its id has become visible, and its run was created."""
READ_A_TICK = 100
_SETTLED_A_TICK = 500
_JUST_BEFORE = timedelta(minutes=10)
"""A router that never ticked takes scans that arrived while it was being started, and leaves all others alone."""
_REACH_BACK = timedelta(days=7)
"""A router whose cursor was lost looks for scans that were never routed as far back as this."""


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The assets by which a router tells what has happened."""

    arrival: dg.AssetKey
    ingested: dg.AssetKey
    firsts: Mapping[str, dg.AssetKey]
    """By facility: its branch's first asset, on which its decisions are observed."""
    statuses: Mapping[str, dg.AssetKey]
    """By facility: how it is."""


def router_sensor(
    beamline: Beamline, timing: Timing, facility: str, branch: PartitionedJob, marks: Landmarks
) -> dg.SensorDefinition:
    """The router of one facility."""
    partitions, first = str(branch.partitions_def.name), marks.firsts[facility]
    others = {name: asset for name, asset in marks.firsts.items() if name != facility}

    @dg.sensor(
        name=beamline.router(facility),
        job_name=branch.name,
        minimum_interval_seconds=timing.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts the {facility} branch for each new scan, once; in an outage it hands scans on. "
        f"Switch it off to skip {facility}.",
    )
    def route(
        context: dg.SensorEvaluationContext, clock: dg.ResourceParam[Clock], gate: dg.ResourceParam[Gate]
    ) -> dg.SensorResult:
        instance, now = context.instance, clock.now()
        arrivals = _Arrivals(instance, marks.arrival)
        handed_on = _HandedOn(instance, others, facility)
        memory, there = _remembered(context, arrivals, handed_on, now.timestamp())
        if facility != beamline.preference[0]:
            # What arrives meanwhile is another's; should this facility become the first, it begins from there.
            newest = arrivals.newest()
            memory = memory.at(Position(after=newest, settled=newest))
        here, arrived = _look(instance, arrivals, memory.arrivals, first, memory.waiting, now.timestamp())
        in_hand = {*memory.waiting, *new_keys(arrived)}
        there, handed = _look(instance, handed_on, there, first, in_hand, now.timestamp())
        memory = memory.at(here).model_copy(update={"handed_on": there})
        candidates = {*in_hand, *new_keys(handed)}
        ready = _ready(instance, gate, partitions, marks, first, candidates, beamline, now)
        routing = decide(beamline, facility, memory, [*arrived, *handed], ready, now.timestamp())
        _warn(context, routing, ready)
        return _result(facility, first, routing)

    return route


def branch_request(facility: str, key: str, only: dg.AssetKey | None = None) -> dg.RunRequest:
    """The branch run of a scan, or of its ``only`` asset; its run key makes a second request of it nothing."""
    selection = None if only is None else [only]
    tiles = ScanId.from_key(key).describe().group
    tags = {"als/routed_to": facility, **({} if tiles is None else {TILES_TAG: tiles})}
    return dg.RunRequest(run_key=f"{facility}:{key}", partition_key=key, asset_selection=selection, tags=tags)


# -- what is read ----------------------------------------------------------------------------------------------------


class _Source(Protocol):
    """Where scans come from, in the order of the event log."""

    def read(self, after: int, limit: int) -> list[Arrived]: ...

    def newest(self, before: float | None = None) -> int: ...


@dataclass(frozen=True, slots=True)
class _Arrivals:
    """Scans that have arrived."""

    instance: dg.DagsterInstance
    asset: dg.AssetKey

    def read(self, after: int, limit: int) -> list[Arrived]:
        return read_arrivals(self.instance, self.asset, after, limit)

    def newest(self, before: float | None = None) -> int:
        return newest_arrival(self.instance, self.asset, before)


@dataclass(frozen=True, slots=True)
class _HandedOn:
    """Scans that other facilities could not take, among all that was decided there."""

    instance: dg.DagsterInstance
    firsts: Mapping[str, dg.AssetKey]
    to: str

    def read(self, after: int, limit: int) -> list[Arrived]:
        return read_handed_on(self.instance, self.firsts, self.to, after, limit)

    def newest(self, before: float | None = None) -> int:
        return newest_decision(self.instance, self.firsts, before)


# -- what the last tick said -----------------------------------------------------------------------------------------


def _remembered(
    context: dg.SensorEvaluationContext, arrivals: _Source, handed_on: _Source, now: float
) -> tuple[RouterMemory, Position]:
    """What the last tick remembered, and its position among what others have handed on."""
    started, last_tick = context.last_sensor_start_time, context.last_tick_completion_time
    memory = _cursor(context)
    if memory is None and last_tick is None:
        return RouterMemory(started=started).at(_just_before(arrivals, now)), _just_before(handed_on, now)
    switched = context.is_first_tick_since_sensor_start
    if memory is None:
        # Whether it was off then is forgotten too: what is undecided of the time before it was started last is not sent
        # by itself any more, or a lost cursor would let everything through that was skipped.
        off = () if started is None else ((0.0, started),)
        memory = RouterMemory(handed_on=_looking_back(handed_on, now), off=off).at(_looking_back(arrivals, now))
    elif memory.started is not None:
        # Not only where Dagster calls it the first tick: the first may have failed, and then the next is not.
        switched = started != memory.started
    there = memory.handed_on or _just_before(handed_on, now)
    if started is None or not switched:
        return memory.model_copy(update={"started": started}), there
    off_since = last_tick if last_tick is not None and last_tick < started else memory.ticked
    return memory.switched_on(off_since=off_since, started=started), there


def _just_before(source: _Source, now: float) -> Position:
    begin = source.newest(now - _JUST_BEFORE.total_seconds())
    return Position(after=begin, settled=begin)


def _looking_back(source: _Source, now: float) -> Position:
    return Position(after=source.newest(), settled=source.newest(now - _REACH_BACK.total_seconds()))


def _cursor(context: dg.SensorEvaluationContext) -> RouterMemory | None:
    if not context.cursor:
        return None
    try:
        return RouterMemory.model_validate_json(context.cursor)
    except ValidationError as error:
        context.log.warning(f"The cursor cannot be read; scans that were not routed are looked for: {error}")
        return None


# -- what is new -----------------------------------------------------------------------------------------------------


def _look(
    instance: dg.DagsterInstance,
    source: _Source,
    position: Position,
    first: dg.AssetKey,
    in_hand: Collection[str],
    now: float,
) -> tuple[Position, list[Arrived]]:
    """The next scans, as many as can wait: when the list is full, the event log is the queue.

    Before them those that were passed, and are neither in the branch, nor decided against, nor in hand.
    """
    room = min(READ_A_TICK, WAITING_AT_MOST - len(in_hand))
    read = source.read(position.after, room) if room > 0 else []
    after = read[-1].storage_id if read else position.after
    recorded = [
        item
        for item in old_enough(source.read(position.settled, _SETTLED_A_TICK), now, GRACE_S)
        if item.storage_id <= after
    ]
    known = {*in_hand, *new_keys(read)}
    begun = keys_begun(instance, first, {item.key for item in recorded} - known)
    decided = keys_decided(instance, first, {item.key for item in recorded} - known - begun)
    found, settled = overlooked(recorded, known | begun | decided.keys(), WAITING_AT_MOST - len(known))
    return Position(after=after, settled=position.settled if settled is None else settled), [*found, *read]


def _ready(
    instance: dg.DagsterInstance,
    gate: Gate,
    partitions: str,
    marks: Landmarks,
    first: dg.AssetKey,
    keys: Collection[str],
    beamline: Beamline,
    now: datetime,
) -> Ready:
    there = keys_with(instance, marks.ingested, [dg.DagsterEventType.ASSET_MATERIALIZATION], keys)
    existing = instance.get_existing_dynamic_partitions(partitions, sorted(there))
    begun, gone = keys_begun(instance, first, there), there - existing
    to_send = there - begun - gone
    decided = keys_decided(instance, first, to_send)
    return Ready(
        ingested=there,
        begun=begun,
        gone=gone,
        handed_on={key for key, reason in decided.items() if reason == Reason.HANDED_ON},
        standings=gate.standings.of_many(keys),
        outages=outages_now(instance, marks.statuses, now) if to_send else {},
        off=_switched_off(instance, beamline) if to_send else (),
    )


def _switched_off(instance: dg.DagsterInstance, beamline: Beamline) -> set[str]:
    """Facilities whose router a person has switched off."""
    names = {beamline.router(facility): facility for facility in beamline.facilities}
    states = instance.all_instigator_state(
        instigator_type=InstigatorType.SENSOR, instigator_statuses={InstigatorStatus.STOPPED}
    )
    return {names[state.instigator_name] for state in states if state.instigator_name in names}


# -- what is said ----------------------------------------------------------------------------------------------------


def _warn(context: dg.SensorEvaluationContext, routing: Routing, ready: Ready) -> None:
    if len(routing.memory.waiting) >= WAITING_AT_MOST:
        context.log.warning(f"{WAITING_AT_MOST} scans wait: later ones wait in the event log.")
    for key in sorted(ready.gone):
        context.log.warning(f"{key} is not routed: its partition was deleted while it waited.")


def _result(facility: str, first: dg.AssetKey, routing: Routing) -> dg.SensorResult:
    waiting = len(routing.memory.waiting)
    return dg.SensorResult(
        run_requests=[
            *(branch_request(facility, key) for key in routing.run),
            *(branch_request(facility, key, only=first) for key in routing.keep),
        ],
        asset_events=[
            decision_record(first, key, facility, decision, routing.hand_on.get(key))
            for key, decision in routing.observe.items()
        ],
        cursor=routing.memory.model_dump_json(),
        skip_reason=None if routing.run or routing.keep else f"nothing to route; {waiting} waiting",
    )
