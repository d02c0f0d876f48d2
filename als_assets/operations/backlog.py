"""The backlog of a branch: scans that are on site, and of which the branch has made nothing yet.

Belongs here: which they are, how large, and which are left out for a reason.
Does not: running them: that is a backfill of Dagster's.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import dagster as dg

from als_assets.graph import Graph
from als_assets.naming import asset_key
from als_assets.records import every
from beamlines.config import Beamline
from beamlines.decisions import Decision, Reason
from beamlines.layout import Artifact
from beamlines.scans import InvalidPartitionKeyError, ScanId
from beamlines.standing import Standing
from resources.standings import Standings


@dataclass(slots=True)
class Backlog:
    """What a backfill would do."""

    parts: list[tuple[list[dg.AssetKey], list[str]]] = field(default_factory=list)
    """Assets and the scans for which they are made: of scans whose raw copy is at the facility, all but that."""
    bytes: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """By reason."""

    @property
    def scans(self) -> list[str]:
        return [key for _, keys in self.parts for key in keys]


def backlog_of(
    instance: dg.DagsterInstance,
    beamline: Beamline,
    graph: Graph,
    branch: str,
    folder: str,
    standings: Standings,
    *,
    include_aborted: bool,
    only: Collection[str] | None = None,
) -> Backlog:
    """The backlog of one branch, for scans below a folder of raw/, or for ``only`` these partitions of it.

    Raises ValueError for a branch that is not there.
    """
    copies, first = graph.branch(branch).copies, graph.branch(branch).first
    assets = [asset_key(beamline, copy) for copy in copies]
    made = next(asset_key(beamline, copy) for copy in copies if copy.artifact is Artifact.TIFF)
    sizes = dict(_on_site(instance, graph.ingested, folder))
    if only is not None:
        sizes = {key: size for key, size in sizes.items() if key in only}
    known = standings.of_many(sizes)
    reconstructed, there = (set(instance.get_materialized_partitions(asset)) for asset in (made, first))
    backlog = Backlog()
    fresh: list[str] = []
    at_facility: list[str] = []
    for key in sizes:
        if key in reconstructed:
            continue
        standing = known.get(key, Standing())
        decision = beamline.sends_on(ScanId.from_key(key), branch, standing)
        if decision.allowed or _wanted_all_the_same(decision, include_aborted=include_aborted):
            (at_facility if key in there else fresh).append(key)
            backlog.bytes += sizes[key]
        else:
            backlog.left_out.setdefault(str(decision.reason), []).append(key)
    without_first = [asset for asset in assets if asset != first]
    backlog.parts = [part for part in ((assets, fresh), (without_first, at_facility)) if part[1]]
    return backlog


def _wanted_all_the_same(decision: Decision, *, include_aborted: bool) -> bool:
    # A person backfills: that a scan was not to be sent by itself is no reason any more.
    return decision.reason is Reason.WITHHELD or (include_aborted and decision.reason is Reason.ABORTED)


def _on_site(instance: dg.DagsterInstance, asset: dg.AssetKey, folder: str) -> Iterator[tuple[str, int]]:
    """Scans with a copy on site, by key, and the size of each; the newest record of each counts."""
    for key, said in every(instance, dg.AssetRecordsFilter(asset)):
        if _is_below(key, folder):
            yield key, int(str(said.get("bytes", 0)))


def _is_below(key: str, folder: str) -> bool:
    try:
        found = ScanId.from_key(key).folder
    except InvalidPartitionKeyError:
        return False
    return not folder or found == folder or found.startswith(f"{folder}/")
