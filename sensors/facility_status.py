"""How every facility is, asked again and again: an asset a facility, whose history is the facility's.

Belongs here: one tick: asking all at once, recording what is news.
Does not: what is news (states), how it is written down (state_log), or what follows of an outage (routers).
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from beamlines.config import Beamline
from beamlines.deployment import Timing
from resources.clock import Clock
from resources.errors import PlatformError, ServiceRefusedError, ServiceUnavailableError
from resources.facilities import Facility
from resources.facilities.credentials import judge_credentials
from sensors.state_log import credentials_record, read_state, state_record
from sensors.states import Answer, Silence, Told, hear, to_record

ANSWER_WITHIN_S = 10.0
_EVERY = 4
"""Times the interval of the other sensors: a minute, where that is 15 s."""


class StatusMemory(BaseModel):
    """What one tick tells the next, by facility. How each was is in the event log."""

    model_config = ConfigDict(frozen=True)

    silent: dict[str, Silence] = {}
    told: dict[str, Told] = {}


@dataclass(frozen=True, slots=True)
class Heard:
    """What a facility said, of itself and of our credentials; None where those were not asked for, or not told."""

    answer: Answer
    until: datetime | ServiceRefusedError | None = None
    told_until: bool = False


def facility_status_sensor(
    beamline: Beamline, timing: Timing, assets: Mapping[str, dg.AssetKey], credentials: Mapping[str, str]
) -> dg.SensorDefinition:
    """``assets`` says where each facility's state is recorded, ``credentials`` in which file those that end lie."""

    @dg.sensor(
        name=f"{beamline.name}_facility_status",
        minimum_interval_seconds=timing.sensor_interval_s * _EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks every facility how it is, what outages it has announced, and when our credentials end.",
    )
    def look(
        context: dg.SensorEvaluationContext,
        clock: dg.ResourceParam[Clock],
        facilities: dg.ResourceParam[Mapping[str, Facility]],
    ) -> dg.SensorResult:
        memory, now = _remembered(context), clock.now()
        silent, told = dict[str, Silence](), dict(memory.told)
        events: list[dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
        for name, heard in ask(facilities, credentials, ANSWER_WITHIN_S).items():
            silence = hear(heard.answer, memory.silent.get(name), now)
            if silence is not None:
                silent[name] = silence
                context.log.info(f"{name} gave no answer, {silence.times} times in a row: {heard.answer}")
            record = to_record(heard.answer, silence, read_state(context.instance, assets[name]), now)
            events += [] if record is None else [state_record(assets[name], record)]
            if heard.told_until:
                verdict = judge_credentials(heard.until, credentials[name], now)
                last = told.get(name)
                if last is None or not last.is_still_right(verdict, now):
                    events.append(credentials_record(assets[name], verdict))
                    told[name] = Told(said=verdict.said, at=now.timestamp())
        return dg.SensorResult(
            asset_events=events,
            cursor=StatusMemory(silent=silent, told=told).model_dump_json(),
            skip_reason=None if events else "nothing new of any facility",
        )

    return look


def ask(facilities: Mapping[str, Facility], credentials: Mapping[str, str], within_s: float) -> dict[str, Heard]:
    """What every facility says; all are asked at once, because the slowest must not hold up the others."""
    pool = ThreadPoolExecutor(max(1, len(facilities)), thread_name_prefix="ask")
    try:
        asked = {pool.submit(_ask, one, asks_end=name in credentials): name for name, one in facilities.items()}
        answered, late = wait(asked, timeout=within_s)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    silence = ServiceUnavailableError(
        seen=f"it said nothing within {within_s:.0f} s", meaning="it, or the way to it, is down", remedy="wait"
    )
    return {asked[one]: one.result() for one in answered} | {asked[one]: Heard(silence) for one in late}


def _ask(facility: Facility, *, asks_end: bool) -> Heard:
    answer: Answer
    try:
        answer = facility.state()
    except PlatformError as error:
        answer = error
    if not asks_end:
        return Heard(answer)
    try:
        return Heard(answer, facility.credentials_until(), told_until=True)
    except ServiceRefusedError as error:
        return Heard(answer, error, told_until=True)
    except ServiceUnavailableError:
        return Heard(answer)  # its state says so


def _remembered(context: dg.SensorEvaluationContext) -> StatusMemory:
    try:
        return StatusMemory.model_validate_json(context.cursor) if context.cursor else StatusMemory()
    except ValidationError as error:
        context.log.warning(f"The cursor cannot be read; silences are counted from now on: {error}")
        return StatusMemory()
