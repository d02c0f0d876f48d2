"""Commands about retention: what goes, letting it go, and what people say about it.

Belongs here: arguments, tables, words.
Does not: deciding or deleting (beamlines.deletion, als_assets.retention). A pass is a run: it is started, not carried
out here.
"""

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from als.connection import connect
from als.names import known_scan
from als.options import UP_STATE, StateDir
from als.saying import say
from als.scans import Note
from als.words import size
from beamlines.scans import PartitionKey

if TYPE_CHECKING:
    from als.platform import Platform  # dagster costs every command a second
    from als_assets.retention.planning import Plan

app = typer.Typer(no_args_is_help=True, help="Which copies go when, and what has gone.")

Place = Annotated[str, typer.Argument(help="A place, such as alcf.")]
_SHOWN = 40


@app.command()
def plan(
    places: Annotated[list[str] | None, typer.Argument(metavar="PLACE...", help="Places; all, if none.")] = None,
    days: Annotated[int, typer.Option(min=0, help="What goes until then, if nothing else happens.")] = 7,
    state: StateDir = UP_STATE,
) -> None:
    """Show what goes in the next days, and what would remain. Nothing is deleted, and nothing is read again."""
    from als.platform import platform
    from als_assets.retention.order import Order
    from als_assets.retention.planner import Planner
    from beamlines.retention import name_of

    with platform(connect(state)) as at:
        copies = {name_of(copy): copy for copy in at.graph.copies}
        for place in places_named(at, places):
            planner = Planner(at.beamline, copies, place, at.instance, at.retention, at.clock)
            _show_plan(at, planner.plan(Order(author=""), ahead=timedelta(days=days)))


@app.command()
def run(
    place: Place,
    note: Annotated[str, typer.Option("--note", help="Why: kept with every certificate.")] = "",
    scan: Annotated[str | None, typer.Option("--scan", help="Only this scan, or this labelled result of it.")] = None,
    one_minute: Annotated[
        bool, typer.Option("--one-minute", help="Of that scan everything older than a minute may go, if it is proven.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    beyond_the_brake: Annotated[
        bool, typer.Option("--beyond-the-brake", help="Delete more at once than goes without a person.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end; exit code 1 where that is bad.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """Look through a place now, as the schedule does daily, and delete what may go."""
    from als.platform import platform
    from als_assets.retention.jobs import PassConfig
    from als_assets.retention.order import job_name, op_name

    connection = connect(state)
    with platform(connection) as at:
        [chosen] = places_named(at, [place])
        partition = "" if scan is None else str(_partition(at, scan))
        config = PassConfig(
            dry_run=dry_run,
            beyond_the_brake=beyond_the_brake,
            partition=partition,
            one_minute=one_minute,
            author=connection.author,
            note=note,
        )
        config.order  # noqa: B018 - what cannot be asked for is refused here, before a run is started
        ops = {op_name(chosen): {"config": config.model_dump()}}
        run_id = at.webserver.launch(job_name(at.beamline, chosen), config={"ops": ops})
        say(f"{chosen}: the pass begins ({at.webserver.url}/runs/{run_id})")
        if wait:
            raise typer.Exit(_wait(at, run_id))


@app.command()
def hold(
    note: Note,
    name: Annotated[str | None, typer.Argument(help="A scan; or --folder.")] = None,
    folder: Annotated[str | None, typer.Option("--folder", help="Every scan below this folder of raw/.")] = None,
    until: Annotated[str, typer.Option("--until", help="A day, 2026-12-24, or a time in UTC; else for good.")] = "",
    state: StateDir = UP_STATE,
) -> None:
    """Let nothing of a scan, or of any scan in a folder, be deleted until it is released."""
    from als.platform import platform
    from als_assets.retention.people import time_of

    if (name is None) == (folder is None):
        raise ValueError("name either a scan or --folder")
    connection, end = connect(state), time_of(until)
    with platform(connection) as at:
        said = {"author": connection.author, "note": note}
        if folder is not None:
            made = at.retention.holds.hold_folder(folder, **said, at=at.clock.now(), until=end)
        else:
            scan = known_scan(at, str(name))
            made = at.retention.holds.hold_scan(scan.key, **said, at=at.clock.now(), until=end)
    say(f"hold {made.id}: {made}")


@app.command()
def holds(state: StateDir = UP_STATE) -> None:
    """List what is held, with the numbers by which holds are released."""
    from als.platform import platform

    with platform(connect(state)) as at:
        now, found, single = at.clock.now(), at.retention.holds.listed(), at.retention.holds.count()
    for one in found:
        say(f"{one.id:>5}  {one}{'  (has expired)' if one.is_expired(now) else ''}")
    say(f"{len(found)} holds of scans and folders; {single} registered copies are held until `als retention release`")


@app.command()
def release(
    note: Note,
    hold: Annotated[int | None, typer.Argument(help="The number of a hold.")] = None,
    scan: Annotated[str | None, typer.Option("--scan", help="The registered copies of this scan.")] = None,
    state: StateDir = UP_STATE,
) -> None:
    """End a hold; or let the rules hold for copies that were registered as found."""
    from als.platform import platform

    if (hold is None) == (scan is None):
        raise ValueError("name either the number of a hold or --scan")
    connection = connect(state)
    with platform(connection) as at:
        said = {"author": connection.author, "note": note, "at": at.clock.now()}
        if hold is not None:
            released = at.retention.holds.release(hold, **said)  # type: ignore[arg-type]
            say(f"the {released.kind} {released.target} is released")
            return
        partition = str(_partition(at, str(scan)))
        found = at.retention.holds.of(partition)
        if not found:
            raise ValueError(
                f"no registered copy of {partition} is held by itself; als retention holds lists the others"
            )
        for one in found:
            at.retention.holds.release_copies(one.asset, [one.partition], **said)  # type: ignore[arg-type]
            say(f"released {one.asset} of {one.partition}")


@app.command("set")
def set_age(
    copies: Annotated[str, typer.Argument(help="<place>/<asset>, such as alcf/raw.")],
    age: Annotated[str, typer.Argument(help="14d, 36h, 90min; or 'rule' for the rule's own again.")],
    note: Note,
    state: StateDir = UP_STATE,
) -> None:
    """Keep copies for another time than their rule says, from now on."""
    from als.platform import platform
    from als_assets.retention.people import age_of

    connection, wanted = connect(state), age_of(age)
    with platform(connection) as at:
        at.retention.ages.set(
            copies, wanted, retention=at.beamline.retention, author=connection.author, note=note, at=at.clock.now()
        )
    say(f"{copies} is kept for {'the time of its rule' if wanted is None else wanted} from now on")


@app.command("list-deleted")
def list_deleted(
    copies: Annotated[str | None, typer.Option("--copies", help="Of these only, such as alcf/raw.")] = None,
    days: Annotated[int, typer.Option(min=1, help="So many days back.")] = 30,
    keys: Annotated[bool, typer.Option("--keys", help="Only the partitions, a line each, for `als backfill`.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """List what was deleted, with its certificate and what keeps it."""
    from als.platform import platform

    with platform(connect(state)) as at:
        found = at.retention.certificates.deleted_since(at.clock.now() - timedelta(days=days), copies)
    if keys:
        for partition in dict.fromkeys(certificate.deletion.partition for certificate in found):
            say(partition)
        return
    for certificate in found:
        deletion, kept = certificate.deletion, ", ".join(keeper.asset for keeper in certificate.deletion.keepers)
        say(f"{certificate.sequence:>6}  {deletion.asset} of {deletion.partition}  ({size(deletion.bytes)})")
        say(f"        {certificate.begun:%Y-%m-%d %H:%M} UTC by {deletion.author}; kept by {kept}")
    say(f"{len(found)} copies were deleted in {days} days")


@app.command()
def verify(
    file: Annotated[Path | None, typer.Argument(help="An exported file; else the database.")] = None,
    head: Annotated[str, typer.Option("--head", help="<entries>:<hash> that was noted before: it must be in it.")] = "",
    state: StateDir = UP_STATE,
) -> None:
    """Go along the chain of all certificates: nothing was changed, left out or put in."""
    from als.platform import platform
    from resources.chain import Head, verify_lines

    number, _, value = head.partition(":")
    known = Head(int(number), value) if head else None
    if file is not None:
        with file.open(encoding="utf-8") as lines:
            found = verify_lines(lines, known=known)
    else:
        with platform(connect(state)) as at:
            found = at.retention.certificates.verify(known)
    say(f"{found.entries} entries, and each follows from the one before. Head: {found.entries}:{found.hash}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="A new file: JSON, a line each.")], state: StateDir = UP_STATE
) -> None:
    """Write all certificates to a file that can be verified without this database."""
    from als.platform import platform

    with platform(connect(state)) as at, file.open("x", encoding="utf-8") as out:
        lines = [out.write(f"{line}\n") for line in at.retention.certificates.export()]
    say(f"{file}: {len(lines)} entries")


def places_named(at: "Platform", named: Iterable[str] | None) -> list[str]:
    """The places that were named, or all with rules. Raises ValueError."""
    known = list(at.beamline.retention.places)
    chosen = list(named or known)
    if unknown := [place for place in chosen if place not in known]:
        raise ValueError(f"no rule is about {unknown[0]!r}; places with rules are {', '.join(known)}")
    return chosen


def _partition(at: "Platform", name: str) -> PartitionKey:
    scan = known_scan(at, name)
    _, labelled, label = name.partition("@")
    return PartitionKey(scan, label if labelled else None)


def _wait(at: "Platform", run_id: str) -> int:
    import dagster as dg

    while (found := at.instance.get_run_by_id(run_id)) is not None and not found.is_finished:
        at.clock.sleep(1)
    return 0 if found is not None and found.status is dg.DagsterRunStatus.SUCCESS else 1


def _show_plan(at: "Platform", made: "Plan") -> None:
    from als_assets.retention.records import remains

    how = "" if at.beamline.retention.places[made.place].enforce else " (a dry run: nothing is enforced here)"
    say(f"{made.place}{how}: {made.may_go} of {made.decided} copies go")
    for candidate in made.going[:_SHOWN]:
        record = candidate.record
        say(f"  {candidate.name} of {candidate.partition}  ({size(record.bytes)}, recorded {record.recorded:%Y-%m-%d})")
        say(f"      remains: {remains(candidate)}")
    if made.may_go > _SHOWN:
        say(f"  and {made.may_go - _SHOWN} more")
    if not made.brake.allowed:
        say(f"  {made.brake}: als retention run {made.place} --beyond-the-brake")
    for reason, count in made.kept.most_common():
        say(f"  {count} stay: {reason}")
