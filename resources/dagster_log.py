"""What Dagster's own tables say of one scan, and what is new in its event log: read as they are, without Dagster.

Belongs here: those queries, and how events read as JSON.
Does not: writing there, ever; or what the events mean (als_assets.whereabouts, als_assets.metrics).

Importing Dagster alone takes a second and a half, so that no command that does can answer within one. What is relied on
here (tables, columns, the form of a few kinds of events) is held against Dagster's own words by a test, and its version
is pinned (docs/decisions/0019-metrics.md).
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import yaml
from sqlalchemy.pool import NullPool

from resources.errors import PlatformError

MATERIALIZATION, OBSERVATION, PLANNED = "ASSET_MATERIALIZATION", "ASSET_OBSERVATION", "ASSET_MATERIALIZATION_PLANNED"
RUN_FAILURE = "PIPELINE_FAILURE"
"""As Dagster's storage calls it, still."""
_STEP_FAILURE = "STEP_FAILURE"
_PARTITION_TAG, _WILL_RETRY_TAG = "dagster/partition", "dagster/will_retry"
_RUNS_SHOWN = 20

_events = sa.table(
    "event_logs", *map(sa.column, ("id", "run_id", "event", "dagster_event_type", "step_key", "asset_key", "partition"))
)
_checks = sa.table(
    "asset_check_executions",
    *map(
        sa.column,
        ("id", "asset_key", "check_name", "partition", "evaluation_event", "materialization_event_storage_id"),
    ),
)
_runs = sa.table("runs", *map(sa.column, ("id", "run_id", "pipeline_name", "status", "start_time", "end_time")))
_tags = sa.table("run_tags", *map(sa.column, ("run_id", "key", "value")))
_partitions = sa.table("dynamic_partitions", *map(sa.column, ("partitions_def_name", "partition")))

Connect = Callable[[], AbstractContextManager[sa.Connection]]
OfRun = Callable[[str], AbstractContextManager[sa.Connection] | None]
"""None of a run whose events were deleted."""


class UnknownStorageError(PlatformError):
    """Dagster keeps its tables where this does not know to look."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one asset's partition, or of a run."""

    storage_id: int
    kind: str
    run_id: str
    step: str
    at: datetime
    asset: str
    """``<beamline>/<place>/<asset>``; empty of a run's own event."""
    partition: str
    description: str
    said: Mapping[str, Any]
    """Its metadata, as plain values."""
    job: str
    """Of its run."""


@dataclass(frozen=True, slots=True)
class CheckSeen:
    """How a check of one partition ended last."""

    asset: str
    partition: str
    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run of one partition."""

    run_id: str
    job: str
    status: str
    partition: str
    started: datetime | None
    ended: datetime | None
    will_retry: bool


@dataclass(frozen=True, slots=True)
class StepFailed:
    """Why a step of a run failed, in its own words, and the name of the error."""

    step: str
    error: str
    words: str


class DagsterLog:
    """Dagster's tables: the event log's, a single run's, and those of runs, which may be three databases."""

    def __init__(self, events: Connect, runs: Connect, of_run: OfRun):
        self._events = events
        self._runs = runs
        self._of_run = of_run

    # -- scans ---------------------------------------------------------------------------------------------------

    def knows(self, partitions: str, key: str) -> bool:
        """Whether there is such a partition."""
        column = _partitions.c
        query = sa.select(column.partition).where(column.partitions_def_name == partitions, column.partition == key)
        with self._events() as connection:
            return connection.execute(query).first() is not None

    def keys(self, partitions: str, *, beginning: str = "") -> list[str]:
        """All partitions, or those that begin so."""
        column = _partitions.c
        query = sa.select(column.partition).where(column.partitions_def_name == partitions)
        if beginning:
            # Not LIKE, which would look at every row; keys are ASCII.
            after = beginning[:-1] + chr(ord(beginning[-1]) + 1)
            query = query.where(column.partition >= beginning, column.partition < after)
        with self._events() as connection:
            return [str(key) for key in connection.execute(query.order_by(column.partition)).scalars()]

    def newest(self, assets: Collection[str], partitions: Collection[str]) -> list[Event]:
        """The newest record, the newest observation and the newest plan of each asset's partition."""
        column = _events.c
        kinds = (MATERIALIZATION, OBSERVATION, PLANNED)
        ids = (
            sa.select(sa.func.max(column.id))
            .where(
                column.asset_key.in_([_stored(asset) for asset in assets]),
                column.dagster_event_type.in_(kinds),
                column.partition.in_([*partitions]),
            )
            .group_by(column.asset_key, column.dagster_event_type, column.partition)
        )
        with self._events() as connection:
            return [_event(row) for row in connection.execute(sa.select(_events).where(column.id.in_(ids)))]

    def checks(self, asset: str, partitions: Collection[str], *, since: int) -> list[CheckSeen]:
        """How each check of an asset ended last, of each partition. ``since``: no record of these is older than that.

        An evaluation belongs to no record, or to one from ``since`` on: with this the index is enough for any number.
        """
        column, names = _checks.c, self._check_names(asset)
        mine = column.materialization_event_storage_id
        found_by = (
            sa.select(column.id, column.partition, column.check_name, column.evaluation_event).where(
                column.asset_key == _stored(asset),
                column.check_name.in_(names),
                of_which,
                column.partition.in_([*partitions]),
                column.evaluation_event.is_not(None),
            )
            # Apart, because of either at once SQLite reads every evaluation of the check.
            for of_which in (mine.is_(None), mine >= since)
        )
        query = sa.union_all(*found_by).order_by("id")
        found: dict[tuple[str, str], CheckSeen] = {}
        with self._events() as connection:
            for _, partition, name, event in connection.execute(query):
                said = json.loads(event)["dagster_event"]["event_specific_data"]
                if "success" in said:  # else it is only planned
                    detail = _value(said["metadata"]["detail"]) if "detail" in said["metadata"] else ""
                    passed = bool(said["success"])
                    found[partition, name] = CheckSeen(asset, partition, name, passed, str(detail))
        return list(found.values())

    def _check_names(self, asset: str) -> list[str]:
        """One look into the index a name, however many evaluations there are."""
        column, names = _checks.c, list[str]()
        least = sa.select(sa.func.min(column.check_name)).where(column.asset_key == _stored(asset))
        with self._events() as connection:
            name = connection.execute(least).scalar()
            while name is not None:
                names.append(str(name))
                name = connection.execute(least.where(column.check_name > name)).scalar()
        return names

    # -- runs ----------------------------------------------------------------------------------------------------

    def runs(self, partitions: Collection[str]) -> list[RunSeen]:
        """The latest runs of these partitions, the newest first."""
        column, tag, retry = _runs.c, _tags.alias("tag"), _tags.alias("retry")
        of_run = retry.c.run_id == column.run_id, retry.c.key == _WILL_RETRY_TAG
        query = (
            sa.select(*list(column)[1:], tag.c.value, retry.c.value.label("retried"))
            .join(tag, tag.c.run_id == column.run_id)
            .join(retry, sa.and_(*of_run), isouter=True)
            .where(tag.c.key == _PARTITION_TAG, tag.c.value.in_([*partitions]))
            .order_by(column.id.desc())
            .limit(_RUNS_SHOWN)
        )
        with self._runs() as connection:
            return [
                RunSeen(run, job, status, key, _time(began), _time(ended), retried == "true")
                for run, job, status, began, ended, key, retried in connection.execute(query)
            ]

    def failures(self, run_id: str) -> list[StepFailed]:
        """Why steps of a run failed, in order; nothing where its events were deleted."""
        column = _events.c
        query = sa.select(column.event).where(column.run_id == run_id, column.dagster_event_type == _STEP_FAILURE)
        opened = self._of_run(run_id)
        if opened is None:
            return []
        with opened as connection:
            events = connection.execute(query.order_by(column.id)).scalars().all()
        return [_failed(json.loads(event)["dagster_event"]) for event in events]

    def failed_since(self, when: datetime) -> set[str]:
        """Partitions of which a run has failed since, with no later run of the same job that has not."""
        tag, retry, later, its_tag = _tags.alias("tag"), _tags.alias("retry"), _runs.alias("later"), _tags.alias("its")
        is_tried_again = retry.c.run_id == _runs.c.run_id, retry.c.key == _WILL_RETRY_TAG, retry.c.value == "true"
        mended = (
            sa.select(later.c.run_id)
            .join(its_tag, its_tag.c.run_id == later.c.run_id)
            .where(
                its_tag.c.key == _PARTITION_TAG,
                its_tag.c.value == tag.c.value,
                later.c.pipeline_name == _runs.c.pipeline_name,
                later.c.status != "FAILURE",
                later.c.id > _runs.c.id,
            )
        )
        query = (
            sa.select(tag.c.value)
            .join(_runs, _runs.c.run_id == tag.c.run_id)
            .where(
                tag.c.key == _PARTITION_TAG,
                _runs.c.status == "FAILURE",
                _runs.c.end_time >= when.timestamp(),
                ~sa.select(retry.c.run_id).where(*is_tried_again).exists(),
                ~mended.exists(),
            )
        )
        with self._runs() as connection:
            return {str(partition) for partition in connection.execute(query).scalars()}

    # -- what is new ---------------------------------------------------------------------------------------------

    def after(self, storage_id: int, limit: int) -> Sequence[Event]:
        """The next records, observations and failed runs after a storage id, in the order of the log."""
        column, kinds = _events.c, (MATERIALIZATION, OBSERVATION, RUN_FAILURE)
        query = sa.select(_events).where(column.id > storage_id, column.dagster_event_type.in_(kinds))
        with self._events() as connection:
            return [_event(row) for row in connection.execute(query.order_by(column.id).limit(limit))]


def open_log(home: Path, environment: Mapping[str, str]) -> DagsterLog:
    """The tables of the instance whose dagster.yaml lies in ``home``: PostgreSQL, or SQLite there.

    Raises UnknownStorageError.
    """
    stated = yaml.safe_load((home / "dagster.yaml").read_text()) or {}
    storage = stated.get("storage")
    if storage is None:
        shards = home / "history" / "runs"

        def of_run(run_id: str) -> sa.Connection | None:
            shard = shards / f"{run_id}.db"
            return _sqlite(shard).connect() if shard.exists() else None

        return DagsterLog(_sqlite(shards / "index.db").connect, _sqlite(home / "history" / "runs.db").connect, of_run)
    url = storage.get("postgres", {}).get("postgres_url")
    if isinstance(url, dict):
        url = environment.get(str(url.get("env")))
    if not url:
        raise UnknownStorageError(
            seen=f"{home / 'dagster.yaml'} has storage {sorted(storage)}, or its address is not set",
            meaning="Dagster's tables are read here as they are, and only from PostgreSQL or SQLite",
            remedy="state storage as deploy/dagster/production.yaml does, and set the variable that it names",
        )
    engine = sa.create_engine(url, poolclass=NullPool)
    return DagsterLog(engine.connect, engine.connect, lambda _: engine.connect())


def _sqlite(file: Path) -> sa.Engine:
    # Never made: a file that is not there is an instance that has run nothing yet.
    return sa.create_engine(f"sqlite:///file:{file}?mode=rw&uri=true", poolclass=NullPool, connect_args={"timeout": 30})


def _stored(asset: str) -> str:
    """As Dagster's storage writes an asset's key."""
    return json.dumps(asset.split("/"))


def _event(row: Any) -> Event:
    entry = json.loads(row.event)
    event = entry["dagster_event"]
    data = event["event_specific_data"] or {}
    about = data.get("materialization") or data.get("asset_observation") or {}
    return Event(
        storage_id=int(row.id),
        kind=row.dagster_event_type,
        run_id=row.run_id,
        step=row.step_key or "",
        at=datetime.fromtimestamp(entry["timestamp"], UTC),
        asset="/".join(json.loads(row.asset_key)) if row.asset_key else "",
        partition=row.partition or "",
        description=about.get("description") or "",
        said={one["label"]: _value(one["entry_data"]) for one in about.get("metadata_entries") or ()},
        job=event.get("pipeline_name") or "",
    )


def _value(data: Mapping[str, Any]) -> Any:
    """The plain value of one piece of metadata: what stands beside the name of its class."""
    return next((value for name, value in data.items() if name != "__class__"), None)


def _failed(event: Mapping[str, Any]) -> StepFailed:
    data = event["event_specific_data"]
    stated, error = data.get("user_failure_data") or {}, data.get("error") or {}
    metadata = {one["label"]: _value(one["entry_data"]) for one in stated.get("metadata_entries") or ()}
    cause = error.get("cause") or error
    name = "Refused" if metadata.get("refused") else str(metadata.get("error") or cause.get("cls_name") or "Unknown")
    words = stated.get("description") or str(cause.get("message") or "no message").strip()
    return StepFailed(str(event["step_key"]), name, words)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
