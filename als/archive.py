"""Commands about many scans: adopting what lies at a place, and backfilling a branch.

Belongs here: arguments, progress, what is shown before something begins.
Does not: adopting (als_assets.operations.adopt), or running a backfill, which is Dagster's.
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.text import Text

from als.connection import connect
from als.options import DAYS, UP_STATE, StateDir
from als.saying import console, end_with, say
from als.words import size

if TYPE_CHECKING:
    from als_assets.operations.adopt import Tally
    from als_assets.operations.backlog import Backlog

_SHOWN = 20


def register(
    place: Annotated[str, typer.Option("--place", help="Whose scans and results: data832, nersc, spot832, ....")],
    folder: Annotated[str, typer.Option("--folder", help="Below raw/ and the results; all, where not given.")] = "",
    manifest: Annotated[
        bool, typer.Option("--manifest", help="Read every raw file now and write its manifest; else when it is needed.")
    ] = False,
    state: StateDir = UP_STATE,
) -> None:
    """Adopt old scans and results that lie at a place already. Nothing is copied, and no branch starts.

    Interrupted, the same command goes on. Exit code 1 where restricted scans lie off site: those are not adopted.
    """
    from als.platform import platform
    from als_assets.operations.adopt import Adoption

    connection = connect(state)
    with platform(connection) as at:
        if place not in at.beamline.places:
            raise ValueError(f"there is no place {place!r}; there are {', '.join(sorted(at.beamline.places))}")
        adoption = Adoption(
            beamline=at.beamline,
            copies=at.graph.copies,
            place=at.beamline.places[place],
            make_manifests=manifest,
            transfer=at.transfer,
            instance=at.instance,
            standings=at.standings,
            holds=at.holds,
            clock=at.clock,
            author=connection.author,
        )
        with Live(console=console, transient=True, auto_refresh=False) as screen:

            def progress(tally: "Tally") -> None:
                screen.update(Text(f"{place}: {tally}"), refresh=console.is_terminal)

            tally = adoption.run(folder.strip("/"), progress)
    say(f"{place}: {tally} ({size(tally.bytes)} of raw files adopted; each is held until it is released)")
    for found in tally.misplaced[:_SHOWN]:
        say(f"  not adopted, the platform would look for it elsewhere: {found.location}")
    end_with(
        f"VIOLATION: {found.key} is restricted and lies at {found.location}; `als scan withdraw` removes it"
        for found in tally.violations
    )


def backfill(
    branch: Annotated[str, typer.Option("--branch", help="The facility whose branch is backfilled.")],
    folder: Annotated[str, typer.Option("--folder", help="Only scans below this folder of raw/.")] = "",
    include_aborted: Annotated[
        bool, typer.Option("--include-aborted", help="Scans that are not whole, too: those are left out otherwise.")
    ] = False,
    missed: Annotated[
        bool, typer.Option("--missed", help="Only what arrived lately and never entered the branch: als branches.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, help="How far back --missed looks.")] = DAYS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """Send old scans through a branch: those that are on site and of which the branch has made nothing yet.

    What a branch has missed while it was switched off: als backfill --branch nersc --missed
    """
    from als.platform import platform
    from als_assets.operations.backlog import backlog_of
    from als_assets.operations.missed import taken_by

    connection = connect(state)
    with platform(connection) as at:
        since = at.clock.now() - timedelta(days=days)
        only = taken_by(at.instance, at.beamline, at.graph, branch, since).missed if missed else None
        found = backlog_of(
            at.instance,
            at.beamline,
            at.graph,
            branch,
            folder.strip("/"),
            at.standings,
            include_aborted=include_aborted,
            only=only,
        )
        _show(found)
        if not found.scans:
            return
        if not yes:
            typer.confirm(f"Send these {len(found.scans)} scans ({size(found.bytes)}) through {branch}?", abort=True)
        for assets, keys in found.parts:
            tags = {"als/backfilled_by": connection.author}
            started = at.webserver.backfill([asset.path for asset in assets], keys, tags)
            say(f"backfill {started}: {len(keys)} scans, {len(assets)} assets each; the UI's page Backfills shows it")


def _show(found: "Backlog") -> None:
    say(f"{len(found.scans)} scans, {size(found.bytes)} of raw files")
    for key in found.scans[:_SHOWN]:
        say(f"  {key}")
    if len(found.scans) > _SHOWN:
        say(f"  ... and {len(found.scans) - _SHOWN} more")
    for reason, keys in found.left_out.items():
        say(f"left out, {reason}: {len(keys)} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})")
