"""Commands about one scan: announcing it, and what people decide about it.

Belongs here: arguments, and words for people.
Does not: what follows from a decision (resources.standings, als_assets.operations).
"""

from typing import Annotated

import typer
from rich.console import Console

from als.connection import connect
from als.options import UP_STATE, StateDir
from beamlines.announcements import Announcement
from resources.clock import SystemClock

app = typer.Typer(no_args_is_help=True, help="What is known of one scan, and what people decide about it.")
console = Console()


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
            console.print(f"announced {scan.key}", soft_wrap=True, highlight=False, markup=False)
