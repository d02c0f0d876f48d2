"""Commands about one scan: announcing it, and what people decide about it.

Belongs here: arguments, and words for people.
Does not: what follows from a decision (resources.standings, als_assets.operations).
"""

from typing import TYPE_CHECKING, Annotated

import typer

from als.connection import connect
from als.names import known_scan
from als.options import UP_STATE, StateDir
from als.saying import end_with, say
from beamlines.announcements import Announcement
from beamlines.decisions import Reason
from beamlines.scans import PartitionKey, ScanId
from resources.clock import SystemClock
from resources.errors import PlatformError

if TYPE_CHECKING:
    from als.platform import Platform  # dagster costs every command a second
    from als_assets.operations.restrict import Left

app = typer.Typer(no_args_is_help=True, help="What is known of one scan, and what people decide about it.")

Name = Annotated[str, typer.Argument(help="Its partition key, its path below raw/, or its whole path.")]
Note = Annotated[str, typer.Option("--note", help="Why: kept, with your name and the time.")]


def new_scan(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Finished files, as in /global/raw/....")],
    export_control: Annotated[
        bool, typer.Option("--export-control", help="Must stay on site; only an operator can lift that.")
    ] = False,
    no_nersc: Annotated[bool, typer.Option("--no-nersc", help="Is not sent to NERSC by itself.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """Announce finished scans: the acquisition program's end-of-scan signal. Said twice, it is one scan."""
    from resources.announcements import Announcements

    connection, clock = connect(state), SystemClock()
    beamline = connection.settings.beamline
    messages = [Announcement(path=path, export_control=export_control, send_to_nersc=not no_nersc) for path in paths]
    for message in messages:
        message.scan(beamline)  # all or nothing: one that is refused stops those before it too
    with connection.database() as database:
        inbox = Announcements(database)
        for message in messages:
            scan = inbox.take(message, beamline, author=connection.author, at=clock.now())
            say(f"announced {scan.key}")


@app.command()
def show(name: Name, state: StateDir = UP_STATE) -> None:
    """Show where a scan stands: every copy and product, what it waits for, and what was decided about it."""
    from als.lookup import lookup
    from als.show import show_scan

    connection, clock = connect(state), SystemClock()
    with lookup(connection) as at:
        show_scan(at.scan(name), at.stages, at.entries, connection.settings.deployment.ui, clock.now())


@app.command()
def restrict(name: Name, note: Note, state: StateDir = UP_STATE) -> None:
    """Keep a scan on site from now on: end what is under way, and list what has left.

    Nothing is deleted. Exit code 1 where something could not be ended or looked at: then run it again.
    """
    from als.platform import platform
    from als_assets.naming import asset_key
    from als_assets.operations.restrict import end_remote_work, entries_of, off_site_copies, runs_of

    connection = connect(state)
    with platform(connection) as at:
        scan = known_scan(at, name)
        # First of all, so that nothing new begins while the rest is done.
        at.standings.restrict(
            scan.key, Reason.RESTRICTED_BY_OPERATOR, author=connection.author, note=note, at=at.clock.now()
        )
        say(f"{scan.key} is restricted: from now on nothing of it is sent off site")
        copies = at.graph.copies
        on_site = {asset_key(at.beamline, copy) for copy in copies if copy.maker is None and not copy.place.off_site}
        failed = _terminate(at, runs_of(at.instance, at.beamline, scan, on_site))
        work = end_remote_work(at.beamline, scan, at.ending)
        for ended in work.ended:
            say(f"cancelled {ended}")
        lefts = off_site_copies(at.instance, at.beamline, copies, scan, at.transfer)
        told = [] if at.graph.catalogue is None else at.graph.catalogue.entries
        shown = entries_of(at.instance, at.beamline, told, scan)
    if shown:
        say(f"In the catalogue stand, until the sensor {at.beamline.name}_catalogue has had them hidden:")
    for entry, key in shown:
        say(f"  {entry.to_user_string()} of {key}")
    if connection.settings.deployment.shadow is not None:
        say("This deployment is a shadow: what the system in charge has sent off site was not looked at.")
    say("Off site lie (als scan withdraw removes them):" if lefts else "Nothing of it is off site.")
    for left in lefts:
        say(f"  {_said(left)}")
    unseen = [f"{_said(left)}: {left.why_unseen}" for left in lefts if left.why_unseen]
    end_with([*failed, *work.failed, *unseen])


@app.command()
def withdraw(
    name: Name,
    note: Note,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """Delete every copy and product of a restricted scan that lies off site.

    First its raw copy on site is read again, whole; where that is not what it must be, nothing is deleted.
    """
    from als.platform import platform
    from als_assets.operations.restrict import off_site_copies
    from als_assets.operations.withdraw import prove_keeper
    from als_assets.operations.withdraw import withdraw as run

    connection = connect(state)
    with platform(connection) as at:
        scan = known_scan(at, name)
        lefts = off_site_copies(at.instance, at.beamline, at.graph.copies, scan, at.transfer)
        if not lefts:
            say("Nothing of it is off site.")
            return
        for left in lefts:
            say(f"  {_said(left)}")
        if not yes:
            typer.confirm("Delete these for good?", abort=True)
        keeper = prove_keeper(at.beamline, scan, at.standings, at.clock)
        say(f"{keeper.location} was read again and is intact ({keeper.bytes} bytes)")
        stores = (at.transfer, at.standings, at.instance, at.clock)
        for gone in run(at.beamline, scan, lefts, keeper, *stores, author=connection.author, note=note):
            say(f"deleted {_said(gone.left)}")


@app.command()
def unrestrict(name: Name, note: Note, state: StateDir = UP_STATE) -> None:
    """Say that a scan is not export controlled after all. The configuration's rules still hold."""
    from als.platform import platform

    connection = connect(state)
    with platform(connection) as at:
        scan = known_scan(at, name)
        beside = at.gate.watch(scan)
        if beside.sidecar is not None:
            raise ValueError(
                f"a sidecar lies beside the scan on {beside.sidecar} and would restrict it again: remove it first"
            )
        at.standings.lift(scan.key, author=connection.author, note=note, at=at.clock.now())
        restriction = at.beamline.export_control.restriction(scan, at.standings.of(scan.key))
    say(f"the restriction of {scan.key} is lifted")
    if restriction is not None:
        say(f"it still stays on site: {restriction[1]} ({restriction[0]})")


@app.command()
def accept(name: Name, note: Note, state: StateDir = UP_STATE) -> None:
    """Decide about a scan whose file has changed: as it looks now on the acquisition machine, it is right.

    Where it was ingested before, the copies stay as they are, and the new content is not copied: rename the file there
    if it is wanted too, and it is a scan of its own. Where it was not, it is ingested now.
    """
    from als.platform import platform

    connection = connect(state)
    with platform(connection) as at:
        scan = known_scan(at, name)
        standing = at.standings.of(scan.key)
        if standing.changed is None:
            raise ValueError(f"{scan.key} has not changed: there is nothing to decide")
        file = at.gate.watch(scan).file or standing.file
        if file is None:
            raise ValueError(f"{scan.key} is not on {at.beamline.scans.place}, and nothing was recorded of its file")
        at.standings.accept(scan.key, file, author=connection.author, note=note, at=at.clock.now())
        say(f"accepted: the file of {scan.key} is now {file}")
        if _is_ingested(at, scan):
            say("It was ingested before: its copies stay as they are, and new content is not copied.")
            return
        at.ledger.supersede(at.graph.ingested.to_user_string(), scan.key, at.clock.now())
        tags = {"dagster/partition": scan.key, "als/accepted_by": connection.author}
        say(f"its ingest begins (run {at.webserver.launch(at.graph.ingest.name, tags=tags)})")


def _terminate(at: "Platform", run_ids: list[str]) -> list[str]:
    """End runs; what could not be. The remote work is ended by itself, so that a silent webserver stops nothing."""
    try:
        failed = at.webserver.terminate(run_ids)
    except PlatformError as error:
        return [f"runs {', '.join(run_ids)} go on: {error}"]
    for run_id in run_ids:
        say(f"terminated run {run_id}")
    return failed


def _is_ingested(at: "Platform", scan: ScanId) -> bool:
    import dagster as dg

    wanted = dg.AssetRecordsFilter(at.graph.ingested, asset_partitions=[str(PartitionKey(scan))])
    return bool(at.instance.fetch_materializations(wanted, limit=1).records)


def _said(left: "Left") -> str:
    words = str(left.there) if left.recorded else f"{left.there}, not recorded"
    return f"{left.copy.location(left.key)}  {left.key}  ({words})"
