"""``als reconstruct``: a scan once more with other settings, under a label, beside what is there.

Belongs here: arguments, which are made from the program's settings, and words for people.
Does not: what can be begun (als_assets.operations.again), or following a scan (follow).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from als.connection import connect
from als.names import known_scan
from als.options import UP_STATE, StateDir
from als.saying import console, say, say_problem
from als.scans import Name
from beamlines.layout import Copy
from beamlines.scans import PartitionKey
from tomography.options import settings_of, with_settings
from tomography.settings import Settings

if TYPE_CHECKING:
    from als.follow import ScanView
    from als.platform import Platform
    from als_assets.graph import AgainJob

_POLL_S = 0.5

Label = Annotated[str, typer.Option("--label", help="1 to 32 of a-z, 0-9 and '-': the result lies under it.")]


@with_settings
def reconstruct(
    name: Name,
    label: Label,
    facility: Annotated[str | None, typer.Option("--facility", help="Where; by default the preferred one.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow it to its end; exit code 1 where that is bad.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Take back a label, a mistyped one, under which nothing was made.")
    ] = False,
    state: StateDir = UP_STATE,
    *,
    given: dict[str, Any],
) -> None:
    """Reconstruct a scan once more, with other settings, under a label. The result lies beside the first one.

    The same label and settings once more are nothing new: what is there and whole stays. A label that was made with
    other settings is refused.
    """
    from als.platform import platform

    connection = connect(state)
    with platform(connection) as at:
        key = PartitionKey(known_scan(at, name), label)
        if forget:
            _forget(at, key)
            return
        again = _job(at, facility or at.beamline.preference[0])
        run_id = _begin(at, again, key, settings_of(given), author=connection.author)
        if wait:
            raise typer.Exit(follow_run(at, key, again.products, run_id)[0])


def _begin(at: "Platform", again: "AgainJob", key: PartitionKey, settings: Settings, *, author: str) -> str:
    from als_assets.operations.again import refuse_what_cannot_be

    there = refuse_what_cannot_be(at.instance, at.beamline, at.gate, again, key, settings)
    if there is not None and there.run_id is not None:
        say(f"{key} is being made with these settings: run {there.run_id}")
        return there.run_id
    if there is not None:
        say(f"{key} was made with these settings ({there.where}): what is whole stays, and what is lost is made again")
    at.instance.add_dynamic_partitions(str(at.graph.partitions.name), [str(key)])
    tags = {"dagster/partition": str(key), "als/begun_by": author}
    run_id = at.webserver.launch(again.job.name, tags=tags, config=again.config(settings))
    say(f"{key}: its reconstruction begins ({at.webserver.url}/runs/{run_id})")
    return run_id


def _forget(at: "Platform", key: PartitionKey) -> None:
    from als_assets.operations.again import refuse_to_forget

    refuse_to_forget(at.instance, at.beamline, at.graph, at.ledger, key)
    at.instance.delete_dynamic_partition(str(at.graph.partitions.name), str(key))
    say(f"{key} is forgotten: nothing was made under it")


def _job(at: "Platform", facility: str) -> "AgainJob":
    if facility not in at.graph.again:
        raise ValueError(f"there is no facility {facility!r}; there are {', '.join(sorted(at.graph.again))}")
    return at.graph.again[facility]


def follow_run(at: "Platform", key: PartitionKey, copies: Iterable[Copy], run_id: str) -> tuple[int, "ScanView"]:
    """Show what a run says of some copies until it has ended: 0 where it ended well, and what was recorded."""
    import dagster as dg

    from als.follow import AssetView, ScanView
    from als.screen import Lines
    from als_assets.naming import asset_key

    assets = [asset_key(at.beamline, copy) for copy in copies]
    view = ScanView(str(key), {asset: AssetView(asset) for asset in assets}, set(), set())
    began, lines = at.clock.now().timestamp(), Lines(console)
    while (run := at.instance.get_run_by_id(run_id)) is not None:
        view.read_run(at.instance, run)
        lines.show(view, at.clock.now().timestamp() - began)
        if run.is_finished:
            break
        at.clock.sleep(_POLL_S)
    for error in view.errors:
        say_problem(error)
    return (0 if run is not None and run.status is dg.DagsterRunStatus.SUCCESS else 1), view
