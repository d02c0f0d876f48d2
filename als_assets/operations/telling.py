"""What a message says, read from what is recorded at the moment it is sent.

Belongs here: finding flags, results and their dates, and the error of a run.
Does not: the words (beamlines.messages), or sending (tell).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from als_assets.naming import asset_key
from beamlines import messages
from beamlines.config import Beamline
from beamlines.deployment import Recipient
from beamlines.layout import Artifact, Copy
from beamlines.messages import Failure, Kind, Links, Message, News, Result
from beamlines.retention import name_of
from beamlines.scans import InvalidPartitionKeyError, PartitionKey
from resources.errors import PlatformError
from resources.gate import Gate

_PARTITION_TAG = "dagster/partition"
_EVENTS_OF_A_RUN = 200
_UNNAMED = "it is none of the errors that this platform knows; all of it is in the run"


@dataclass(frozen=True, slots=True)
class Telling:
    """Puts messages into words."""

    beamline: Beamline
    copies: Sequence[Copy]
    instance: dg.DagsterInstance
    gate: Gate
    ages: Mapping[str, timedelta]
    """How long copies are kept where a person has changed that, by ``<place>/<asset>``."""
    links: Links

    def message(self, news: News, recipient: Recipient) -> Message | None:
        """What a recipient is told now; None where nothing may be said any more.

        Of a restricted scan nobody is told more than that there is one: not those either who would know by the very
        fact whose it is, because they are told of some scans alone.
        """
        if news.kind is Kind.FAILED:
            return self._failed(news.run, recipient)
        key = PartitionKey.parse(news.about)
        if self.gate.is_restricted(key.scan):
            is_said = news.kind is Kind.SAFE_AND_SEEN and recipient.hears_of_all
            return messages.restricted() if is_said else None
        if news.kind is Kind.DONE:
            return messages.done(key, news.branch, self._results(key, news.branch))
        return self._safe(key, news.run)

    # -- a scan ------------------------------------------------------------------------------------------------------

    def _safe(self, key: PartitionKey, run: str) -> Message:
        site = self.beamline.places[self.beamline.scans.first_copy]
        looks = [asset_key(self.beamline, Copy(site, artifact)) for artifact in (Artifact.RAW, Artifact.PREVIEW)]
        missing = self.gate.standings.of(key.scan.key).aborted
        flags = [*self._flags(key, run, looks)]
        return messages.safe_and_seen(key, flags, missing, self.links.asset(looks[1].path, key))

    def _flags(self, key: PartitionKey, run: str, assets: Sequence[dg.AssetKey]) -> Iterator[str]:
        """The checks that the run has evaluated and that did not pass, in their own words."""
        found = self.instance.get_records_for_run(
            run, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION, limit=_EVENTS_OF_A_RUN
        )
        for record in found.records:
            event = record.event_log_entry.dagster_event
            if event is None:
                continue
            check = event.asset_check_evaluation_data
            if check.passed or check.asset_key not in assets or check.partition not in (None, str(key)):
                continue
            detail = check.metadata.get("detail")
            yield f"{check.check_name}: {check.description or 'not passed' if detail is None else detail.value}"

    def _results(self, key: PartitionKey, facility: str) -> list[Result]:
        site = self.beamline.scans.first_copy
        return [
            Result(name_of(copy), self.links.asset(asset_key(self.beamline, copy).path, key), self._until(copy, key))
            for copy in self.copies
            if copy.maker == facility and copy.place.name == site
        ]

    def _until(self, copy: Copy, key: PartitionKey) -> date | None:
        """The first day on which a rule may let a copy go."""
        rules, name = self.beamline.retention, name_of(copy)
        rule, place = rules.rule_of(name), rules.places.get(copy.place.name)
        if rule is None or place is None or not place.enforce:
            return None
        wanted = dg.AssetRecordsFilter(asset_key(self.beamline, copy), asset_partitions=[str(key)])
        made = self.instance.fetch_materializations(wanted, limit=1).records
        if not made:
            return None
        return (datetime.fromtimestamp(made[0].timestamp, UTC) + self.ages.get(name, rule.age)).date()

    # -- a run -------------------------------------------------------------------------------------------------------

    def _failed(self, run_id: str, recipient: Recipient) -> Message | None:
        run, link = self.instance.get_run_by_id(run_id), self.links.run(run_id)
        if run is None:
            return None  # somebody has deleted it, and with it what could be looked at
        key = _key(run.tags.get(_PARTITION_TAG, ""))
        if key is not None and self.gate.is_restricted(key.scan):
            return messages.failed_unsaid(run.job_name, link) if recipient.hears_of_all else None
        return messages.failed(self._failure(run), key, link)

    def _failure(self, run: dg.DagsterRun) -> Failure:
        steps = self.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1)
        event = steps.records[0].event_log_entry.dagster_event if steps.records else None
        if event is None:
            ends = self.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE, limit=1)
            said = ends.records[0].event_log_entry.dagster_event if ends.records else None
            return Failure(run.job_name, "RunFailed", _UNNAMED if said is None else said.message or _UNNAMED)
        data = event.step_failure_data
        if data.user_failure_data is not None:
            name = data.user_failure_data.metadata.get("error")
            words = data.user_failure_data.description or _UNNAMED
            return Failure(run.job_name, "Failure" if name is None else str(name.value), words)
        return Failure(run.job_name, *_named(data.error))


def _named(error: SerializableErrorInfo | None) -> tuple[str, str]:
    """The name of an error, and what it says: of those that are not ours the name alone, as they may hold anything."""
    known, name = {PlatformError.__name__, *_names_below(PlatformError)}, "an error"
    while error is not None:
        if error.cls_name in known:
            return error.cls_name, error.message.partition(": ")[2]
        name, error = error.cls_name or name, error.cause
    return name, _UNNAMED


def _names_below(error: type[Exception]) -> Iterator[str]:
    for kind in error.__subclasses__():
        yield kind.__name__
        yield from _names_below(kind)


def _key(partition: str) -> PartitionKey | None:
    try:
        return PartitionKey.parse(partition)
    except InvalidPartitionKeyError:
        return None
