"""Following one scan: what Dagster has recorded of each of its assets, and what each run says meanwhile.

Belongs here: reading the event log into a view of one partition, and telling when it is over.
Does not: how a terminal shows it (screen).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import dagster as dg

from als_assets.checks import ABOUT_THE_SCAN, WHOLE

_PAGE = 500
_PARTITION_TAG = "dagster/partition"
_WILL_RETRY_TAG = "dagster/will_retry"


class Progress(StrEnum):
    """Where one asset of the scan stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class AssetView:
    """What is known of one asset of the scan."""

    key: dg.AssetKey
    progress: Progress = Progress.WAITING
    news: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    recorded: float = 0.0
    """When it was materialized, in seconds since 1970."""
    checks: dict[str, bool] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    """What each check said."""


@dataclass(slots=True)
class ScanView:
    """Everything known of one scan, brought up to date by `refresh`."""

    partition: str
    assets: dict[dg.AssetKey, AssetView]
    expected_checks: set[dg.AssetCheckKey]
    raw_copies: set[dg.AssetKey]
    """Those that are made of every scan, also of one that is not whole."""
    _failures: dict[str, list[str]] = field(default_factory=dict)
    _ended: dict[str, list[str]] = field(default_factory=dict)
    _cursors: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, definitions: dg.Definitions, way: Collection[dg.AssetKey], partition: str) -> "ScanView":
        """The view of a scan that goes a way through this graph (``Graph.way``), before anything is known."""
        graph = definitions.resolve_asset_graph()
        tags = {key: graph.get(key).tags for key in graph.toposorted_asset_keys if key in way}
        return cls(
            partition=partition,
            assets={key: AssetView(key) for key in tags},
            expected_checks={check for check in graph.asset_check_keys if check.asset_key in tags},
            raw_copies={key for key, said in tags.items() if _is_kept_raw(said)},
        )

    def refresh(self, instance: dg.DagsterInstance) -> None:
        """Read what was recorded since the last time."""
        self._read_arrival(instance)
        records = instance.get_run_records(dg.RunsFilter(tags={_PARTITION_TAG: self.partition}), ascending=True)
        for record in records:
            self.read_run(instance, record.dagster_run)

    @property
    def succeeded(self) -> bool:
        """Every asset is there, and every check was made, and passed where it is about a copy."""
        made = all(asset.progress is Progress.DONE for asset in self.assets.values())
        right = {
            dg.AssetCheckKey(asset.key, name)
            for asset in self.assets.values()
            for name, ok in asset.checks.items()
            if ok or name in ABOUT_THE_SCAN
        }
        return made and right == self.expected_checks and self.not_whole is None

    @property
    def failed(self) -> bool:
        """A run ended badly and no other will take its place."""
        return bool(self._ended)

    @property
    def not_whole(self) -> str | None:
        """What is missing in the scan; None where nothing is, or where that is not known yet."""
        said = (asset.details[WHOLE] for asset in self.assets.values() if asset.checks.get(WHOLE) is False)
        return next(said, None)

    @property
    def remarks(self) -> dict[str, str]:
        """What its first look found, by the check's name: it fails nothing, and people want to know."""
        return {
            name: asset.details[name]
            for asset in self.assets.values()
            for name, ok in asset.checks.items()
            if not ok and name in ABOUT_THE_SCAN
        }

    @property
    def kept(self) -> bool:
        """It is not whole, and what is done with such a scan by itself is done: its raw copies are there."""
        copies = [asset for asset in self.assets.values() if asset.key in self.raw_copies]
        return self.not_whole is not None and all(asset.progress is Progress.DONE for asset in copies)

    @property
    def errors(self) -> list[str]:
        """Why runs ended badly, in their own words."""
        return [error for errors in self._ended.values() for error in errors]

    def _read_arrival(self, instance: dg.DagsterInstance) -> None:
        for asset in self.assets.values():
            if asset.progress is Progress.WAITING:
                wanted = dg.AssetRecordsFilter(asset.key, asset_partitions=[self.partition])
                for record in instance.fetch_materializations(wanted, limit=1).records:
                    self._materialized(asset, record.event_log_entry)

    def read_run(self, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
        """Read what one run has said since the last time."""
        while True:
            page = instance.get_records_for_run(run.run_id, cursor=self._cursors.get(run.run_id), limit=_PAGE)
            for record in page.records:
                self._read_event(record.event_log_entry)
            self._cursors[run.run_id] = page.cursor
            if not page.has_more:
                break
        if run.status is dg.DagsterRunStatus.FAILURE and run.tags.get(_WILL_RETRY_TAG) != "true":
            self._ended[run.run_id] = self._failures.get(run.run_id, [f"run {run.run_id} of {run.job_name} failed"])
        if run.status is dg.DagsterRunStatus.CANCELED:
            self._ended[run.run_id] = [f"run {run.run_id} of {run.job_name} was canceled"]

    def _read_event(self, entry: dg.EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None:
            self._said(entry.user_message)
        elif event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION and event.asset_key in self.assets:
            self._materialized(self.assets[event.asset_key], entry)
        elif event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if (asset := self.assets.get(evaluation.asset_key)) is not None:
                asset.checks[evaluation.check_name] = evaluation.passed
                asset.details[evaluation.check_name] = str(evaluation.metadata["detail"].value)
        elif event.event_type is dg.DagsterEventType.STEP_FAILURE:
            self._failures.setdefault(entry.run_id, []).append(_why(event))
            self._mark(str(event.step_key), Progress.FAILED)

    def _said(self, message: str) -> None:
        """Steps say ``<beamline>/<place>/<artifact>[+<artifact>]: <news>`` of remote work."""
        path, colon, news = message.partition(": ")
        place, _, artifacts = path.rpartition("/")
        for artifact in artifacts.split("+") if colon else []:
            asset = self.assets.get(dg.AssetKey([*place.split("/"), artifact]))
            if asset is not None and asset.progress is not Progress.DONE:
                asset.progress, asset.news = Progress.RUNNING, news

    def _materialized(self, asset: AssetView, entry: dg.EventLogEntry) -> None:
        materialization = entry.asset_materialization
        if materialization is None:
            return
        asset.progress, asset.news, asset.recorded = Progress.DONE, "", entry.timestamp
        asset.metadata = {name: value.value for name, value in materialization.metadata.items()}

    def _mark(self, step: str, progress: Progress) -> None:
        for asset in self.assets.values():
            if asset.progress is Progress.RUNNING or "_".join(asset.key.path[1:]) == step:
                asset.progress = progress


def _is_kept_raw(said: Mapping[str, str]) -> bool:
    """By an asset's tags, which only copies have."""
    return said.get("artifact") == "raw" and said.get("role") != "scratch"


def _why(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    failure = data.user_failure_data
    if failure is not None and failure.description:
        return f"{event.step_key}: {failure.description}"
    return f"{event.step_key}: {data.error.message.strip() if data.error else 'no message'}"
