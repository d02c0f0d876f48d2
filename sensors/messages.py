"""What has happened that people are to be told: a scan is safe and seen, a scan is done, a run has failed.

Belongs here: reading that from the event log and the runs, writing down whom it is for, and starting the job that says
it. Does not: words (als_assets.operations.telling), sending (resources.notifier), or the rate (beamlines.messages).

A tick asks nobody outside: no mail server can hold it up. What it reads again it writes down again, and the outbox
takes it for what it is, the same news; so it reads the last minutes twice rather than missing something.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import dagster as dg
from pydantic import BaseModel, ConfigDict, ValidationError

from beamlines.config import Beamline
from beamlines.deployment import Messages, Recipient, Timing
from beamlines.messages import Kind, News, Told, Waiting, portions
from beamlines.scans import InvalidPartitionKeyError, PartitionKey, ScanId
from beamlines.standing import Standing
from resources.clock import Clock
from resources.gate import Gate
from sensors.event_log import keys_new, keys_with
from sensors.reconciler import WILL_RETRY_TAG

READ_A_TICK = 100
"""Of each asset; and so many failed runs. The log is the queue."""
GRACE = timedelta(minutes=2)
"""An event that is younger is read again: on PostgreSQL an older one may yet become visible."""
PARTITION_TAG = "dagster/partition"
_MADE = dg.DagsterEventType.ASSET_MATERIALIZATION
_UNDER_WAY = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)


class Outbox(Protocol):
    """Where it is written down who is to be told what."""

    def put(self, news: Sequence[News], now: datetime) -> None:
        """Have these told, each once."""

    def due(self, recipient: str, now: datetime) -> Sequence[Waiting]:
        """What a recipient is to be told now."""

    def told(self, recipient: str, since: datetime) -> Told:
        """What a recipient was told after a time."""

    def left_behind(self, recipient: str, now: datetime) -> Sequence[Waiting]:
        """What somebody wanted to tell who has died since."""


class Memory(BaseModel):
    """What one tick tells the next; its size does not grow with the number of scans."""

    model_config = ConfigDict(frozen=True)

    started: float | None
    """When the sensor was switched on."""
    begun: float
    """What was there before is not told."""
    read: dict[str, int]
    """By asset: the storage id of the event up to which everything was read for good."""
    failed: float
    """Up to this time runs that failed were read for good."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The assets by which one tells what has happened to a scan."""

    arrival: dg.AssetKey
    verified: dg.AssetKey
    """Its first copy on site."""
    seen: dg.AssetKey
    """Its first look."""
    branches: Mapping[str, Sequence[dg.AssetKey]]
    """By facility: everything that it makes, all of it there when a scan is done."""

    @property
    def all(self) -> list[dg.AssetKey]:
        """Those that are read."""
        return [self.seen, *(asset for assets in self.branches.values() for asset in assets)]


@dataclass(frozen=True, slots=True)
class Happened:
    """Something that has happened, to whomever it is told."""

    kind: Kind
    about: str
    run: str
    branch: str = ""
    scan: ScanId | None = None


def news_of(
    happened: Sequence[Happened], recipients: Mapping[str, Recipient], standings: Mapping[str, Standing]
) -> list[News]:
    """Who is told what of it."""
    return [
        News(name, item.kind, item.about, item.branch, item.run)
        for item in happened
        for name, recipient in recipients.items()
        if recipient.wants(
            item.kind, item.scan, standings.get(item.scan.key, Standing()).proposal if item.scan else None
        )
    ]


def messages_sensor(
    beamline: Beamline, timing: Timing, messages: Messages, signs: Signs, job: dg.JobDefinition
) -> dg.SensorDefinition:
    """``<beamline>_messages``; switched off, nobody is told anything, not even later of what happened meanwhile."""

    @dg.sensor(
        name=f"{beamline.name}_messages",
        job_name=job.name,
        minimum_interval_seconds=timing.sensor_interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Has told: {', '.join(sorted(messages.recipients))}. Switch it off, and nobody is told anything.",
    )
    def tell(
        context: dg.SensorEvaluationContext,
        outbox: dg.ResourceParam[Outbox],
        gate: dg.ResourceParam[Gate],
        clock: dg.ResourceParam[Clock],
    ) -> dg.SensorResult:
        now = clock.now()
        newest = _newest(context.instance, signs)
        memory = _remembered(context, newest, now)
        look = _Look(context.instance, signs, memory, newest, now, job.name)
        happened = [*look.safe(gate), *look.done(), *look.failed()]
        standings = gate.standings.of_many({item.scan.key for item in happened if item.scan is not None})
        outbox.put(news_of(happened, messages.recipients, standings), now)
        wanted = _is_to_be_sent(outbox, messages, now) and not _is_under_way(context.instance, job.name)
        return dg.SensorResult(
            run_requests=[dg.RunRequest(run_key=f"{job.name}:{now.timestamp():.3f}")] if wanted else [],
            cursor=look.memory().model_dump_json(),
            skip_reason=None if wanted else "nobody is to be told anything now",
        )

    return tell


# -- what the last tick said -------------------------------------------------------------------------------------------


def _remembered(context: dg.SensorEvaluationContext, newest: Mapping[str, int], now: datetime) -> Memory:
    memory, started = _cursor(context), context.last_sensor_start_time
    if memory is None or memory.started != started:
        memory = Memory(started=started, begun=now.timestamp(), read={}, failed=now.timestamp())
    return memory.model_copy(update={"read": {**newest, **memory.read}})


def _cursor(context: dg.SensorEvaluationContext) -> Memory | None:
    if not context.cursor:
        return None
    try:
        return Memory.model_validate_json(context.cursor)
    except ValidationError as error:
        context.log.warning(f"The cursor cannot be read; what happened before is not told: {error}")
        return None


def _newest(instance: dg.DagsterInstance, signs: Signs) -> dict[str, int]:
    """The storage id of the newest event of each asset: one query tells of which there is anything to read."""
    made = {
        record.asset_entry.asset_key: record.asset_entry.last_materialization_storage_id or 0
        for record in instance.get_asset_records(signs.all)
    }
    observed = instance.fetch_observations(signs.seen, limit=1).records
    made[signs.seen] = max([made.get(signs.seen, 0), *(record.storage_id for record in observed)])
    return {asset.to_user_string(): made.get(asset, 0) for asset in signs.all}


# -- what has happened -------------------------------------------------------------------------------------------------


class _Look:
    """One look at all that is new."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        signs: Signs,
        memory: Memory,
        newest: Mapping[str, int],
        now: datetime,
        teller: str,
    ) -> None:
        self._instance = instance
        self._newest = newest
        self._signs = signs
        self._before = memory
        self._read = dict(memory.read)
        self._failed = memory.failed
        self._now = now
        self._teller = teller

    def memory(self) -> Memory:
        """What the next tick is told."""
        return self._before.model_copy(update={"read": self._read, "failed": self._failed})

    def safe(self, gate: Gate) -> list[Happened]:
        """Scans that are verified on site and were looked at; or could not be, as they are not whole."""
        seen = self._signs.seen
        made, observed = self._new(seen, with_observations=True)
        standings = gate.standings.of_many(observed.keys() - made.keys())
        not_whole = {key: observed[key] for key, standing in standings.items() if standing.aborted is not None}
        runs = not_whole | made
        keys = keys_with(self._instance, self._signs.verified, [_MADE], self._arrived(runs))
        return [Happened(Kind.SAFE_AND_SEEN, key, runs[key], scan=ScanId.from_key(key)) for key in sorted(keys)]

    def done(self) -> list[Happened]:
        """Scans of which everything is there that a facility makes."""
        found: list[Happened] = []
        for facility, assets in self._signs.branches.items():
            runs: dict[str, str] = {}
            for asset in assets:
                runs |= self._new(asset)[0]
            keys = self._arrived(runs)
            for asset in assets:
                keys = keys_with(self._instance, asset, [_MADE], keys)
            found += [Happened(Kind.DONE, key, runs[key], facility, ScanId.from_key(key)) for key in sorted(keys)]
        return found

    def failed(self) -> Iterator[Happened]:
        """Runs that have failed for good. Not those that tell: what they could not say would be told, and fail."""
        records = self._instance.get_run_records(
            dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=_time(self._failed)),
            limit=READ_A_TICK,
            order_by="update_timestamp",
            ascending=True,
        )
        for record in records:
            run = record.dagster_run
            retried = run.tags.get(WILL_RETRY_TAG) == "true"
            if (record.end_time or 0.0) >= self._before.begun and not retried and run.job_name != self._teller:
                yield Happened(Kind.FAILED, run.run_id, run.run_id, scan=_scan(run.tags.get(PARTITION_TAG, "")))
        full = len(records) >= READ_A_TICK
        settled = records[-1].update_timestamp.timestamp() if full else (self._now - GRACE).timestamp()
        self._failed = max(self._failed, settled)

    def _new(self, asset: dg.AssetKey, *, with_observations: bool = False) -> tuple[dict[str, str], dict[str, str]]:
        """The runs of new events by scan: of those that made it, and of observations. Labelled results are left out."""
        name = asset.to_user_string()
        if self._newest[name] <= self._read[name]:
            return {}, {}
        wanted = dg.AssetRecordsFilter(asset, after_storage_id=self._read[name])
        made = self._instance.fetch_materializations(wanted, limit=READ_A_TICK, ascending=True).records
        observed = (
            self._instance.fetch_observations(wanted, limit=READ_A_TICK, ascending=True).records
            if with_observations
            else []
        )
        self._read[name] = self._settled(self._read[name], made, observed)
        return _runs(made), _runs(observed)

    def _settled(self, read: int, *pages: Sequence[dg.EventLogRecord]) -> int:
        old = self._now.timestamp() - GRACE.total_seconds()
        ends = [page[-1].storage_id for page in pages if len(page) >= READ_A_TICK]
        settled = [record.storage_id for page in pages for record in page if record.timestamp < old]
        return min(ends) if ends else max([read, *settled])

    def _arrived(self, keys: Collection[str]) -> set[str]:
        return keys_new(self._instance, self._signs.arrival, keys)


def _runs(records: Sequence[dg.EventLogRecord]) -> dict[str, str]:
    return {
        record.partition_key: record.run_id
        for record in records
        if record.partition_key is not None
        and _scan(record.partition_key) is not None
        and "@" not in record.partition_key
    }


def _scan(partition: str) -> ScanId | None:
    try:
        return PartitionKey.parse(partition).scan
    except InvalidPartitionKeyError:
        return None  # of no scan, or typed by a person in the UI


def _time(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


# -- what is to be done ------------------------------------------------------------------------------------------------


def _is_to_be_sent(outbox: Outbox, messages: Messages, now: datetime) -> bool:
    since = now - max(timedelta(hours=1), messages.digest_every)
    return any(
        outbox.left_behind(name, now) or portions(outbox.due(name, now), outbox.told(name, since), messages.rate, now)
        for name in messages.recipients
    )


def _is_under_way(instance: dg.DagsterInstance, job: str) -> bool:
    return bool(instance.get_runs(dg.RunsFilter(job_name=job, statuses=[*_UNDER_WAY]), limit=1))
