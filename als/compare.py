"""``als compare``: two results of a scan side by side.

Belongs here: arguments, and words for people. Does not: the comparison itself (als_assets.comparison).
"""

from typing import TYPE_CHECKING, Annotated

import typer

from als.connection import connect
from als.names import known_scan
from als.options import UP_STATE, StateDir
from als.reconstruct import follow_run
from als.saying import say
from als.scans import Name
from beamlines.scans import PartitionKey

if TYPE_CHECKING:
    from als.platform import Platform

NO_LABEL = "."
"""Stands for the result that has no label; a label cannot be called so."""


class CannotCompareError(ValueError):
    """Two results that cannot be compared: says why, and what there is."""


def compare(
    name: Name,
    labels: Annotated[
        tuple[str, str],
        typer.Option("--labels", metavar="FIRST SECOND", help="Of the two results; . is the one without a label."),
    ],
    facility: Annotated[str | None, typer.Option("--facility", help="Whose; by default the preferred one's.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end, and say where the picture lies.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """Compare two results of a scan: three slices of each, their difference, and the settings that differ."""
    from als.platform import platform

    connection = connect(state)
    with platform(connection) as at:
        scan = known_scan(at, name)
        first, second = (PartitionKey(scan, None if label == NO_LABEL else label) for label in labels)
        whose = facility or at.beamline.preference[0]
        job = at.graph.compare
        if job is None or whose not in job.results:
            there = [] if job is None else sorted(job.results)
            raise CannotCompareError(f"no results of {whose!r} are kept on site; there are those of {there}")
        _refuse_what_is_not_there(at, whose, first, second)
        config = {"ops": {job.step: {"config": {"first": first.label or "", "facility": whose}}}}
        tags = {"dagster/partition": str(second), "als/begun_by": connection.author}
        run_id = at.webserver.launch(job.job.name, tags=tags, config=config)
        say(f"{second} is compared with {first} ({at.webserver.url}/runs/{run_id})")
        if wait:
            code, view = follow_run(at, second, [job.comparison], run_id)
            for asset in view.assets.values():
                if "path" in asset.metadata:
                    say(f"{asset.metadata['path']}/comparison.png")
            raise typer.Exit(code)


def _refuse_what_is_not_there(at: "Platform", facility: str, first: PartitionKey, second: PartitionKey) -> None:
    from als_assets.naming import asset_key

    if first == second:
        raise CannotCompareError(f"{first} is one result: name two labels, or one label and {NO_LABEL}")
    assert at.graph.compare is not None  # noqa: S101 - the caller has looked
    assets = [asset_key(at.beamline, copy) for copy in at.graph.compare.results[facility]]
    there = {key for asset in assets for key in at.instance.get_materialized_partitions(asset)}
    for key in (first, second):
        if str(key) not in there:
            of_scan = sorted(other for other in there if other.partition("@")[0] == first.scan.key)
            known = ", ".join(other.partition("@")[2] or NO_LABEL for other in of_scan) or "none"
            raise CannotCompareError(
                f"no result of {key} by {facility} is recorded on site; of this scan there are: {known}"
            )
