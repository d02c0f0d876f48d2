"""The sensor of the catalogue: it starts the runs that describe scans and reconstructions, after their own.

Belongs here: one tick, what it remembers, and its switch in the UI.
Does not: which entries these are (entries). Nothing waits for these runs, and none of them fails another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from beamlines.config import Beamline
from beamlines.deployment import Timing
from beamlines.scans import PartitionKey
from resources.clock import Clock
from resources.gate import Gate
from sensors.entries import (
    ENTRY_TAG,
    GRACE,
    SWEPT_A_TICK,
    TRIES_TAG,
    Deletions,
    Told,
    Wanted,
    came_last,
    failed,
    hidden_or_free,
    is_told,
    moved,
    overdue,
)
from sensors.event_log import newest_arrival
from sensors.job import PartitionedJob

HIDDEN_A_TICK = 50
RESTRICTED_A_TICK = 500
_REACH_BACK_S = 7 * 24 * 3_600.0
"""A sensor whose cursor was lost looks for entries that were never made as far back as this."""


class CatalogueMemory(BaseModel):
    """How far was read, by entry."""

    model_config = ConfigDict(frozen=True)

    last: dict[str, int] = {}
    """Storage ids of what comes last."""
    first: dict[str, int] = {}
    """Storage ids of what comes first, up to which no entry is missing."""
    certificate: int = 0
    swept: str = ""
    """The partition up to which entries were held against what is restricted."""


def catalogue_sensor(
    beamline: Beamline, timing: Timing, job: PartitionedJob, entries: Sequence[Told]
) -> dg.SensorDefinition:
    """``<beamline>_catalogue``; switched off, nothing is described, and all of it is when it is on again."""
    partitions = str(job.partitions_def.name)

    @dg.sensor(
        name=f"{beamline.name}_catalogue",
        job_name=job.name,
        minimum_interval_seconds=timing.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Describes scans and reconstructions in the catalogue once they are there, again when a copy of "
        "theirs was deleted or a scan was restricted, and again after a while what has failed.",
    )
    def describe(
        context: dg.SensorEvaluationContext,
        clock: dg.ResourceParam[Clock],
        gate: dg.ResourceParam[Gate],
        retention: dg.ResourceParam[Any],
    ) -> dg.SensorResult:
        instance, now = context.instance, clock.now()
        look = _Look(instance, beamline, entries, partitions, gate, retention.certificates, now)
        before = _remembered(context) or look.beginning(context.last_tick_completion_time)
        wanted, memory = look.happened(before)
        hidden, memory = look.restrictions(memory)
        wanted += [*hidden[:HIDDEN_A_TICK], *failed(instance, job.name, entries, now)]
        there = instance.get_existing_dynamic_partitions(partitions, sorted({one.key for one in wanted}))
        requests = [_request(one) for one in wanted if one.key in there]
        return dg.SensorResult(
            run_requests=requests,
            cursor=memory.model_dump_json(),
            skip_reason=None if requests else "the catalogue has been told everything",
        )

    return describe


@dataclass(frozen=True, slots=True)
class _Look:
    """What one tick looks at."""

    instance: dg.DagsterInstance
    beamline: Beamline
    entries: Sequence[Told]
    partitions: str
    gate: Gate
    certificates: Deletions
    now: datetime

    def beginning(self, last_tick: float | None) -> CatalogueMemory:
        """Where to begin: with what happens now; where a cursor was lost, also with what was overlooked."""
        back = GRACE.total_seconds() if last_tick is None else _REACH_BACK_S
        before = self.now.timestamp() - back
        return CatalogueMemory(
            last={told.name: newest_arrival(self.instance, told.last) for told in self.entries},
            first={told.name: newest_arrival(self.instance, told.first, before) for told in self.entries},
            certificate=self.certificates.head().entries,
        )

    def happened(self, memory: CatalogueMemory) -> tuple[list[Wanted], CatalogueMemory]:
        """What has come, and what has gone, since the last tick."""
        wanted: list[Wanted] = []
        last, first = dict[str, int](), dict[str, int]()
        for told in self.entries:
            found, last[told.name] = came_last(self.instance, told, memory.last.get(told.name, 0))
            late, first[told.name] = overdue(self.instance, told, memory.first.get(told.name, 0), self.now)
            come = {one.key for one in found}  # not twice in one tick: neither is planned yet
            wanted += [*found, *(one for one in late if one.key not in come)]
        gone, certificate = moved(self.instance, self.certificates, self.entries, memory.certificate)
        update = {"last": last, "first": first, "certificate": certificate}
        return [*wanted, *gone], memory.model_copy(update=update)

    def restrictions(self, memory: CatalogueMemory) -> tuple[list[Wanted], CatalogueMemory]:
        """Entries that do not go with what may be shown: of scans that somebody has restricted, and of the next of all.

        Of all, because a rule of the configuration restricts scans too, and what is restricted is free again one day.
        """
        every = sorted(key for key in self.instance.get_dynamic_partitions(self.partitions) if is_told(key))
        swept = [key for key in every if key > memory.swept][:SWEPT_A_TICK]
        keys = {*swept, *self.gate.standings.restricted()[:RESTRICTED_A_TICK]}
        standings = self.gate.standings.of_many({PartitionKey.parse(key).scan.key for key in keys})
        wanted = [
            one for told in self.entries for one in hidden_or_free(self.instance, self.beamline, told, keys, standings)
        ]
        position = swept[-1] if len(swept) == SWEPT_A_TICK else ""
        return wanted, memory.model_copy(update={"swept": position})


def _remembered(context: dg.SensorEvaluationContext) -> CatalogueMemory | None:
    if not context.cursor:
        return None
    try:
        return CatalogueMemory.model_validate_json(context.cursor)
    except ValidationError as error:
        context.log.warning(f"The cursor cannot be read; entries that were never made are looked for: {error}")
        return None


def _request(wanted: Wanted) -> dg.RunRequest:
    tags: Mapping[str, str] = {ENTRY_TAG: wanted.told.name, TRIES_TAG: str(wanted.tries)}
    return dg.RunRequest(
        run_key=wanted.run_key, partition_key=wanted.key, asset_selection=[wanted.told.entry], tags=tags
    )
