"""Commands about remote work: every job and transfer of ours, and ending one.

Belongs here: arguments, questions, what is shown.
Does not: finding or ending it (als_assets.operations.remote_work).

Two commands rather than one with an option: what only looks can never end anything, whatever is typed after it.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from als.connection import connect
from als.options import UP_STATE, StateDir
from als.saying import console, end_with, say

if TYPE_CHECKING:
    from als_assets.operations.remote_work import Everything, Piece  # dagster costs every command a second

app = typer.Typer(no_args_is_help=True, help="Our jobs and transfers at every facility and at Globus.")


@app.command("list")
def show(state: StateDir = UP_STATE) -> None:
    """Show every job and transfer of ours that has not ended, joined with the ledger.

    An ORPHAN goes on at its service, and no record in flight knows it. Exit code 1 where a service gave no answer.
    """
    from als.platform import platform
    from als_assets.operations.remote_work import look

    with platform(connect(state)) as at:
        found = look(at.ending)
    _show(found)
    end_with(found.problems)


@app.command()
def cancel(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Names or remote ids.")] = None,
    orphans: Annotated[bool, typer.Option("--orphans", help="Every orphan.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """End jobs and transfers, at their service and in the ledger; a worker that waits for one of them stops.

    What its service does not know any more is closed in the ledger. Exit code 1 where something could not be ended.
    """
    from als.platform import platform
    from als_assets.operations.remote_work import cancel as end
    from als_assets.operations.remote_work import look

    if orphans == bool(names):
        raise ValueError("name what is to be cancelled, or say --orphans for everything that no record knows")
    with platform(connect(state)) as at:
        found = look(at.ending)
        chosen = [piece for piece in found.pieces if piece.is_orphan] if orphans else found.named(names or [])
        for piece in chosen:
            say(f"{piece.name}  {_what(piece)}")
        if not chosen:
            say("nothing is to be cancelled")
        elif not yes:
            typer.confirm(f"Cancel {'it' if len(chosen) == 1 else f'these {len(chosen)}'}?", abort=True)
        problems = []
        for piece, problem in end(at.ending, chosen):
            if problem is None:
                say(f"cancelled {piece.name}")
            else:
                problems.append(f"{piece.name} could not be cancelled: {problem}")
    end_with([*problems, *(found.problems if orphans else [])])


def _show(found: "Everything") -> None:
    for piece in found.pieces:
        there, record = piece.there, piece.record
        head = Text(f"{piece.name}  {_what(piece)}")
        if piece.is_orphan:
            head.append("  ORPHAN", "bold red")
        console.print(head, soft_wrap=True, highlight=False)
        if record is not None:
            say(f"    for: {record.asset} of {record.partition}; ledger: {record.state}; run {record.owner.run_id}")
            if record.in_flight:
                say(f"    worker: {f'dead: {piece.death}' if piece.death else 'alive, as far as can be told'}")
        if there is not None and there.since is not None:
            say(f"    since {there.since:%Y-%m-%d %H:%M:%S} UTC")
    orphans = sum(piece.is_orphan for piece in found.pieces)
    say(f"{len(found.pieces)} in all, {orphans} of them orphans")


def _what(piece: "Piece") -> str:
    if piece.there is not None:
        return f"{piece.service} {piece.there.remote_id}: {piece.there.state}"
    if not piece.asked:
        return f"{piece.service}: could not be asked"
    if piece.is_lost:
        return f"{piece.service}: NOT KNOWN THERE"
    return f"{piece.service}: not submitted yet"
