"""What one event of the log adds to the metrics that only grow.

Belongs here: that, event by event. Pure.
Does not: reading the log, keeping sums (resources.tallies), or what is now (looking).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from als_assets.metrics.catalogue import (
    ARRIVALS,
    BUCKETS_S,
    DECISIONS,
    DELETED_BYTES,
    DELETIONS,
    FAILURES,
    STAGE_SECONDS,
    TRANSFER_BYTES,
    TRANSFER_SECONDS,
    TRANSFERS,
)
from beamlines.branches import Stage
from beamlines.decisions import Reason
from beamlines.policy import Arrival
from beamlines.retention import name_of
from beamlines.seconds import COPIED_FROM, REUSED, Split, split_of
from resources.dagster_log import MATERIALIZATION, OBSERVATION, RUN_FAILURE, Event, StepFailed
from resources.tallies import Counted, Took

BUCKET, SUM = f"{STAGE_SECONDS.name}_bucket", f"{STAGE_SECONDS.name}_sum"
"""Of the histogram: samples by the least bound that is not below them, and their sum."""
INFINITE = "+Inf"
OTHER = "other"
"""Stands for a word that is none of ours: what people type must not make series."""


@dataclass(frozen=True, slots=True)
class Counter:
    """What has to be known to count events of one beamline."""

    beamline: str
    stages: Mapping[str, Stage]
    """By ``<place>/<asset>``."""
    jobs: frozenset[str]
    failures: Callable[[str], Sequence[StepFailed]]
    """Of a run."""

    def count(self, events: Sequence[Event], scan_bytes: Mapping[str, int]) -> Counted:
        """All of some events. ``scan_bytes``: the size of their scans' raw files, by key, where that is known."""
        counted = Counted()
        for event in events:
            beamline, _, name = event.asset.partition("/")
            if event.kind == RUN_FAILURE:
                self._failed(counted, event)
            elif beamline == self.beamline and name in self.stages:
                self._of_copy(counted, event, self.stages[name], scan_bytes)
        return counted

    def _of_copy(self, counted: Counted, event: Event, stage: Stage, scan_bytes: Mapping[str, int]) -> None:
        if event.kind == MATERIALIZATION:
            if stage.made_of is None:
                counted.add(ARRIVALS.name, 1, arrival=_known(event.said.get("arrival"), Arrival))
            elif REUSED not in event.said and "arrival" not in event.said:
                self._made(counted, event, stage, scan_bytes)
        elif event.kind == OBSERVATION and event.said.get("state") == "deleted":
            certificate = event.said.get("certificate")
            place = stage.copy.place.name
            counted.add(DELETIONS.name, 1, place=place)
            counted.add(DELETED_BYTES.name, _number(certificate, "bytes"), place=place)
        elif event.kind == OBSERVATION and "reason" in event.said and stage.branch is not None:
            counted.add(DECISIONS.name, 1, branch=stage.branch, reason=_known(event.said["reason"], Reason))

    def _made(self, counted: Counted, event: Event, stage: Stage, scan_bytes: Mapping[str, int]) -> None:
        split = split_of(event.said)
        if split is None:
            return
        name = name_of(stage.copy)
        _observe(counted, name, split)
        scan = event.partition.partition("@")[0]
        if scan in scan_bytes:
            counted.took.append(Took(event.storage_id, name, scan_bytes[scan], split.total_s))
        if COPIED_FROM in event.said:
            pair = {"from": str(event.said[COPIED_FROM]), "to": stage.copy.place.name}
            counted.add(TRANSFERS.name, 1, **pair)
            counted.add(TRANSFER_BYTES.name, _number(event.said, "bytes"), **pair)
            counted.add(TRANSFER_SECONDS.name, split.transfer_s, **pair)

    def _failed(self, counted: Counted, event: Event) -> None:
        job = event.job if event.job in self.jobs else OTHER
        for failed in self.failures(event.run_id) or [StepFailed("", "RunFailed", "")]:
            counted.add(FAILURES.name, 1, job=job, error=failed.error)


def _observe(counted: Counted, stage: str, split: Split) -> None:
    for part, seconds in split.parts.items():
        bound = next((str(bound) for bound in BUCKETS_S if seconds <= bound), INFINITE)
        counted.add(BUCKET, 1, stage=stage, part=part, le=bound)
        counted.add(SUM, seconds, stage=stage, part=part)


def _known(word: object, words: type[Arrival] | type[Reason]) -> str:
    return str(word) if word in {str(one) for one in words} else OTHER


def _number(said: Any, name: str) -> float:
    value = said.get(name) if isinstance(said, Mapping) else None
    return float(value) if isinstance(value, int | float) else 0.0
