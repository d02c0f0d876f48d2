"""How facilities are, in Dagster's event log: how it is written there, and how it is read.

Belongs here: the metadata of those records.
Does not: what is recorded when (states), or arrivals and decisions (event_log).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg

from resources.facilities.credentials import CREDENTIALS, CredentialsVerdict
from resources.facilities.service import FacilityState, Health, Outage
from sensors.states import RECORDED_EVERY, Recorded

HEALTH, WHY, OUTAGES, SINCE = "health", "why", "outages", "since"
_FROM, _UNTIL, _OUTAGE = "from (UTC)", "until (UTC)", "outage"
_COLUMNS = dg.TableSchema([dg.TableColumn(name) for name in (_FROM, _UNTIL, _OUTAGE)])
_KNOWN_FOR = RECORDED_EVERY + timedelta(hours=1)
"""A record is renewed daily: an older one says that nobody asks any more."""


def state_record(asset: dg.AssetKey, recorded: Recorded) -> dg.AssetMaterialization:
    """How a facility is."""
    state = recorded.state
    rows = [
        dg.TableRecord({_FROM: _shown(one.start), _UNTIL: _shown(one.end), _OUTAGE: one.why}) for one in state.outages
    ]
    return dg.AssetMaterialization(
        asset,
        description=state.said,
        metadata={
            HEALTH: dg.MetadataValue.text(str(state.health)),
            WHY: dg.MetadataValue.text(state.why),
            OUTAGES: dg.MetadataValue.table(rows, schema=_COLUMNS),
            SINCE: dg.MetadataValue.timestamp(recorded.since.timestamp()),
        },
    )


def read_state(instance: dg.DagsterInstance, asset: dg.AssetKey) -> Recorded | None:
    """What was recorded last; None where nothing was, or where a person has reported something else in the UI."""
    records = instance.fetch_materializations(asset, limit=1).records
    event = records[0].asset_materialization if records else None
    if event is None:
        return None
    said = {name: event.metadata[name].value for name in (HEALTH, WHY, SINCE) if name in event.metadata}
    table = event.metadata.get(OUTAGES)
    if len(said) < 3 or said[HEALTH] not in set(Health) or not isinstance(table, dg.TableMetadataValue):
        return None
    outages = tuple(_outage(row.data) for row in table.records)
    state = FacilityState(Health(str(said[HEALTH])), str(said[WHY]), outages)
    since = datetime.fromtimestamp(float(str(said[SINCE])), UTC)
    return Recorded(state, since, datetime.fromtimestamp(records[0].timestamp, UTC))


def outages_now(instance: dg.DagsterInstance, assets: Mapping[str, dg.AssetKey], now: datetime) -> dict[str, str]:
    """The facilities to which nothing is to be sent now, and why, in words; not those of which nothing is known."""
    found: dict[str, str] = {}
    for facility, asset in assets.items():
        recorded = read_state(instance, asset)
        if recorded is not None and now - recorded.at < _KNOWN_FOR:
            words = recorded.state.outage(now)
            found |= {} if words is None else {facility: words}
    return found


def credentials_record(asset: dg.AssetKey, verdict: CredentialsVerdict) -> dg.AssetCheckEvaluation:
    """Whether a facility's credentials are good for a while."""
    until = {} if verdict.until is None else {"until": dg.MetadataValue.timestamp(verdict.until.timestamp())}
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=CREDENTIALS,
        passed=verdict.good,
        severity=dg.AssetCheckSeverity.ERROR,
        description=verdict.said,
        metadata={"file": dg.MetadataValue.path(verdict.file), **until},
    )


def _shown(time: datetime | None) -> str:
    return "" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _outage(row: Mapping[str, object]) -> Outage:
    start, end = (str(row[name]) for name in (_FROM, _UNTIL))
    return Outage(_time(start), _time(end) if end else None, str(row[_OUTAGE]))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
