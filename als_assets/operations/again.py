"""Reconstructing a scan again, before any run: whether that can be begun, and what is there under a label already.

Belongs here: what a person should hear at once, and taking back a label under which nothing was made.
Does not: the last word, which the run itself has (ledger, gate), or starting it (the caller has its own way).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from als_assets.graph import AgainJob, Graph
from als_assets.naming import asset_key
from als_assets.operations.restrict import IN_PROGRESS
from als_assets.records import newest
from beamlines.config import Beamline
from beamlines.layout import LEGACY, Copy
from beamlines.scans import PartitionKey
from resources.gate import Gate
from resources.ledger import Ledger
from resources.work import WorkState
from tomography.settings import Settings

_PARTITION_TAG = "dagster/partition"


class CannotReconstructError(ValueError):
    """A reconstruction that cannot be begun, and a label that cannot be taken back: says why, and what can be done."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What is made under a key, or is being made."""

    settings: Mapping[str, Any]
    where: str
    """The asset that has it, or the run that makes it."""
    run_id: str | None = None
    """The run that is at it now."""

    def differs_from(self, wanted: Settings) -> list[str]:
        """The settings that differ, in words: ``rings: none there, mean-sinogram asked for``."""
        asked = wanted.model_dump(mode="json")
        names = [*asked, *(name for name in self.settings if name not in asked)]
        return [
            f"{name}: {_said(self.settings.get(name))} there, {_said(asked.get(name))} asked for"
            for name in names
            if self.settings.get(name) != asked.get(name)
        ]


def begun(instance: dg.DagsterInstance, beamline: Beamline, again: AgainJob, key: PartitionKey) -> Begun | None:
    """What is there under a key, by the run that is at it or the newest record of a product; None for nothing."""
    running = dg.RunsFilter(job_name=again.job.name, statuses=[*IN_PROGRESS], tags={_PARTITION_TAG: str(key)})
    for run in instance.get_runs(running, limit=1):
        steps: Any = run.run_config.get("ops", {})
        asked = Settings.model_validate(steps.get(again.step, {}).get("config", {}))
        settings = asked.model_dump(mode="json")
        return Begun(settings, f"run {run.run_id}, which is at it now", run.run_id)
    for copy in again.products:
        said = _recorded(instance, beamline, copy, key)
        if said is not None and isinstance(said.get("settings"), dict):
            settings = said["settings"]
            return Begun(settings.get("reconstruction") or settings, asset_key(beamline, copy).to_user_string())
    return None


def refuse_what_cannot_be(
    instance: dg.DagsterInstance, beamline: Beamline, gate: Gate, again: AgainJob, key: PartitionKey, wanted: Settings
) -> Begun | None:
    """What is there under the key with these very settings; None where nothing is.

    Raises CannotReconstructError where it was made with others, or there is no raw copy that the facility's jobs can
    take; NotAllowedError for a scan that may not be there.
    """
    if key.label == LEGACY:
        raise CannotReconstructError(f"label {LEGACY} stands for what the system before this one made: take another")
    gate.check(key.scan, again.raw.place)
    if _recorded(instance, beamline, again.raw, key.of_scan) is None:
        raw = asset_key(beamline, again.raw).to_user_string()
        raise CannotReconstructError(
            f"no raw copy of {key.of_scan} is recorded at {again.raw.place.name}, and jobs there take it from nowhere "
            f"else: materialize {raw} of the partition {key.of_scan} first"
        )
    there = begun(instance, beamline, again, key)
    if there is not None and (differing := there.differs_from(wanted)):
        raise CannotReconstructError(
            f"{key} was made with other settings ({there.where}). {'; '.join(differing)}. "
            "A label stands for one result: take another label; with the settings that it has, this is nothing new"
        )
    return there


def refuse_to_forget(
    instance: dg.DagsterInstance, beamline: Beamline, graph: Graph, ledger: Ledger, key: PartitionKey
) -> None:
    """Raise CannotReconstructError unless the key is a label's, it is known, and nothing was made under it."""
    if key.label is None:
        raise CannotReconstructError(f"{key} is a scan itself, and not a label: that is not forgotten")
    if not instance.has_dynamic_partition(str(graph.partitions.name), str(key)):
        raise CannotReconstructError(f"there is no partition {key}: nothing to forget")
    if running := instance.get_runs(dg.RunsFilter(statuses=[*IN_PROGRESS], tags={_PARTITION_TAG: str(key)})):
        raise CannotReconstructError(f"run {running[0].run_id} is at {key}: terminate it first")
    recorded = [copy for copy in graph.copies if _recorded(instance, beamline, copy, key) is not None]
    if recorded:
        where = ", ".join(asset_key(beamline, copy).to_user_string() for copy in recorded)
        raise CannotReconstructError(f"{key} was made ({where}): while it lies there the label stays")
    for record in ledger.attempts_of(key.scan.key):
        if record.partition == str(key) and (record.in_flight or record.state is WorkState.SUCCEEDED):
            raise CannotReconstructError(
                f"{key} was begun ({record.asset}, {record.state}), and lies there perhaps: the label stays"
            )


def _recorded(instance: dg.DagsterInstance, beamline: Beamline, copy: Copy, key: PartitionKey) -> dict[str, Any] | None:
    """What was said of a copy when it was recorded last; None where it never was."""
    return newest(instance, asset_key(beamline, copy), str(key))


def _said(value: Any) -> str:
    return "not given" if value is None else str(value)
