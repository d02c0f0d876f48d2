"""What NERSC's public documents say of a machine: how it is, and its outages.

Belongs here: reading those documents. Pure.
Does not: asking for them (superfacility), or what is made of an outage (service, sensors).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from resources.facilities.service import FacilityState, Health, Outage

NERSC_TIME = ZoneInfo("America/Los_Angeles")
"""What the documents mean by a time: they show none of its offset from UTC (seen in October 2026)."""
OUTAGES_AT_MOST = 20
_STANDS = ("planned", "active", "extended")


def state_of(shown: Mapping[str, object], outages: object, now: datetime) -> FacilityState:
    """The state of one system, from ``/status/{name}`` and one list of outages, less those that are over."""
    word = str(shown.get("status")).lower()
    health = Health(word) if word in set(Health) else Health.OTHER
    why = "" if health is Health.ACTIVE else str(shown.get("description") or "")
    known = {outage for entry in _list(outages) if (outage := _outage(entry)) is not None}
    ahead = [outage for outage in known if outage.end is None or outage.end > now]
    return FacilityState(health, why, tuple(sorted(ahead, key=lambda outage: outage.start)[:OUTAGES_AT_MOST]))


def _list(document: object) -> list[Mapping[str, object]]:
    return [entry for entry in document if isinstance(entry, Mapping)] if isinstance(document, list) else []


def _outage(entry: Mapping[str, object]) -> Outage | None:
    """One entry; None for one that was cancelled, or that says no time at which it begins."""
    start = _time(entry.get("start_at"))
    if start is None or str(entry.get("status") or "planned").lower() not in _STANDS:
        return None
    why = str(entry.get("description") or entry.get("notes") or "outage")
    return Outage(start, _time(entry.get("end_at")), " ".join(why.split()))


def _time(text: object) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return (time if time.tzinfo is not None else time.replace(tzinfo=NERSC_TIME)).astimezone(UTC)
