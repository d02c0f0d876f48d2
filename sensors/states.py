"""What is recorded of a facility's answer, when it was asked how it is.

Belongs here: that decision, and what is remembered for it. Pure.
Does not: asking (facility_status), the event log (state_log), or what follows of an outage (routing).
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from resources.errors import PlatformError, ServiceUnavailableError
from resources.facilities.credentials import CredentialsVerdict
from resources.facilities.service import FacilityState, Health, Outage

SILENT_FOR = timedelta(minutes=5)
SILENT_TIMES = 3
"""Both: one lost answer hands nothing on, and neither does one before and one after a night in which nobody asked."""
RECORDED_EVERY = timedelta(days=1)
"""Also where nothing changes: an old record says that nobody asks any more."""
NO_ANSWER = "no answer"

Answer = FacilityState | PlatformError
"""How it is; or why it did not say so."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """How a facility is, as the event log has it."""

    state: FacilityState
    since: datetime
    """Since when its health is what it is."""
    at: datetime
    """When this was recorded."""


class Silence(BaseModel):
    """Since when (seconds since 1970), and how many times in a row, a facility gave no answer."""

    model_config = ConfigDict(frozen=True)

    since: float
    times: int

    def is_an_outage(self, now: datetime) -> bool:
        """Whether it is long enough."""
        return self.times >= SILENT_TIMES and now.timestamp() - self.since >= SILENT_FOR.total_seconds()


class Told(BaseModel):
    """What was said last of a facility's credentials, and when (seconds since 1970)."""

    model_config = ConfigDict(frozen=True)

    said: str
    at: float

    def is_still_right(self, verdict: CredentialsVerdict, now: datetime) -> bool:
        """Whether nothing has to be said anew."""
        return self.said == verdict.said and now.timestamp() - self.at < RECORDED_EVERY.total_seconds()


def hear(answer: Answer, silence: Silence | None, now: datetime) -> Silence | None:
    """The silence after an answer; None where it spoke."""
    if not isinstance(answer, ServiceUnavailableError):
        return None
    return Silence(since=silence.since if silence else now.timestamp(), times=silence.times + 1 if silence else 1)


def to_record(answer: Answer, silence: Silence | None, last: Recorded | None, now: datetime) -> Recorded | None:
    """What is to be recorded of an answer; None where it is no news. ``silence`` is the one that it belongs to."""
    if silence is None:
        state = answer if isinstance(answer, FacilityState) else _refused(answer)
    elif silence.is_an_outage(now):
        announced = () if last is None else last.state.outages
        state = FacilityState(Health.UNAVAILABLE, NO_ANSWER, announced)
    else:
        return None
    state = _worth_recording(state, now)
    if last is None or state.health is not last.state.health:
        begun = now if silence is None else datetime.fromtimestamp(silence.since, UTC)
        return Recorded(state, begun, now)
    if state == _worth_recording(last.state, now) and now - last.at < RECORDED_EVERY:
        return None
    return Recorded(state, last.since, now)


def _worth_recording(state: FacilityState, now: datetime) -> FacilityState:
    """With outages to the second, and without those that are over: their end is no news."""
    ahead = [one for one in state.outages if one.end is None or now < one.end]
    outages = (Outage(_second(one.start), one.end and _second(one.end), one.why) for one in ahead)
    return replace(state, outages=tuple(outages))


def _second(time: datetime) -> datetime:
    return time.replace(microsecond=0)


def _refused(error: PlatformError) -> FacilityState:
    """It spoke, and would not say how it is: that may be our own doing, and is no outage."""
    return FacilityState(Health.OTHER, error.seen)
