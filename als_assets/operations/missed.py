"""What a branch has missed: scans that arrived lately, and that have not entered it.

Belongs here: that difference over the event log, and what is recorded as the reason for each.
Does not: the switch of the branch (als.branches), or sending what was missed through it (backlog, Dagster's backfill).

Nothing here needs the branch's router: it is right while that is off, and was off when a scan arrived.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg

from als_assets.graph import BranchJob, Graph
from als_assets.operations.restrict import IN_PROGRESS
from als_assets.records import every
from beamlines.config import Beamline
from beamlines.decisions import Reason
from beamlines.policy import Arrival
from beamlines.scans import InvalidPartitionKeyError, ScanId

_PAGE = 1_000
_OBSERVATIONS_A_SCAN = 4
NOTHING_RECORDED = "nothing-recorded-yet"
"""While the router is off, or before its next look; or a run failed before the first copy was made."""
ELSEWHERE = frozenset({Reason.NOT_PREFERRED, Reason.HANDED_ON})
"""Reasons that send a scan to another facility: this branch has missed nothing."""


@dataclass(slots=True)
class Taken:
    """What became of the arrivals of some time at one branch, each counted once."""

    arrived: int = 0
    entered: int = 0
    """The branch's first copy of it was made."""
    under_way: int = 0
    """A run that makes it has been created, and has not ended."""
    elsewhere: int = 0
    """Another facility was to take it."""
    missed: dict[str, str] = field(default_factory=dict)
    """All others, in the order of their arrival: partition key, and the reason that is recorded."""

    @property
    def reasons(self) -> dict[str, int]:
        """How many were missed for each reason, the most frequent first."""
        return dict(Counter(self.missed.values()).most_common())


def taken_by(instance: dg.DagsterInstance, beamline: Beamline, graph: Graph, facility: str, since: datetime) -> Taken:
    """What became of the new scans that have arrived since then. Raises ValueError for a branch that is not there."""
    branch = graph.branch(facility)
    arrived = list(dict.fromkeys(_arrivals(instance, graph.arrival, since)))
    entered = instance.get_materialized_partitions(branch.first)
    under_way = _under_way(instance, branch)
    left = [key for key in arrived if key not in entered and key not in under_way]
    reasons = _reasons(instance, branch.first, left)
    first = facility == beamline.preference[0]
    to_come = {*left} if first else _handed_to(instance, graph, facility, left)
    taken = Taken(arrived=len(arrived), entered=sum(key in entered for key in arrived))
    said = {key: reasons.get(key, NOTHING_RECORDED if key in to_come else Reason.NOT_PREFERRED) for key in left}
    taken.missed = {key: str(reason) for key, reason in said.items() if reason not in ELSEWHERE}
    taken.elsewhere = len(left) - len(taken.missed)
    taken.under_way = len(arrived) - taken.entered - len(left)
    return taken


def _arrivals(instance: dg.DagsterInstance, arrival: dg.AssetKey, since: datetime) -> Iterator[str]:
    """New scans, by key: what was adopted or mended was not to be sent on by itself."""
    for key, said in every(instance, dg.AssetRecordsFilter(arrival, after_timestamp=since.timestamp())):
        if said.get("arrival") == Arrival.NEW and _is_scan(key):
            yield key


def _under_way(instance: dg.DagsterInstance, branch: BranchJob) -> set[str]:
    runs = instance.get_runs(dg.RunsFilter(statuses=[*IN_PROGRESS]))
    return {run.tags.get("dagster/partition", "") for run in runs if _makes(run, branch)}


def _makes(run: dg.DagsterRun, branch: BranchJob) -> bool:
    """Whether a run makes the branch's first copy: of the branch's own job, or of a backfill or a click."""
    if run.asset_selection is not None:
        return branch.first in run.asset_selection
    return run.job_name == branch.job.name


def _handed_to(instance: dg.DagsterInstance, graph: Graph, facility: str, keys: Collection[str]) -> set[str]:
    """Those that another branch has handed on to this one."""
    others = [branch.first for name, branch in graph.branches.items() if name != facility]
    decisions = [_said(instance, first, keys) for first in others]
    return {key for decided in decisions for key, said in decided.items() if said.get("handed_to") == facility}


def _reasons(instance: dg.DagsterInstance, first: dg.AssetKey, keys: Collection[str]) -> dict[str, str]:
    """The newest reason that is recorded on the branch's first asset, for those that have one."""
    return {key: said["reason"] for key, said in _said(instance, first, keys).items()}


def _said(instance: dg.DagsterInstance, first: dg.AssetKey, keys: Collection[str]) -> dict[str, dict[str, str]]:
    """The newest decision that is recorded on an asset, for those that have one."""
    found: dict[str, dict[str, str]] = {}
    ordered = sorted(keys)
    for start in range(0, len(ordered), _PAGE):
        some = ordered[start : start + _PAGE]
        wanted = dg.AssetRecordsFilter(first, asset_partitions=some)
        for record in instance.fetch_observations(wanted, limit=_OBSERVATIONS_A_SCAN * len(some)).records:
            event = record.asset_observation
            if event is not None and "reason" in event.metadata:
                said = {name: str(value.value) for name, value in event.metadata.items()}
                found.setdefault(str(record.partition_key), said)
    return found


def _is_scan(key: str) -> bool:
    try:
        ScanId.from_key(key)
    except InvalidPartitionKeyError:
        return False
    return True
