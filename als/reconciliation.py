"""``als retention reconcile``: places held against the graph, in the terminal.

Belongs here: arguments, and what was found, in lines.
Does not: looking (als_assets.reconciliation), or writing it down, which the nightly jobs do.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from als.connection import connect
from als.options import UP_STATE, StateDir
from als.retention import places_named
from als.saying import say, say_problem

if TYPE_CHECKING:
    from als_assets.reconciliation.report import Report
    from beamlines.places import Place

_SHOWN = 200


def reconcile(
    places: Annotated[list[str] | None, typer.Argument(metavar="PLACE...", help="Places; all, if none.")] = None,
    state: StateDir = UP_STATE,
) -> None:
    """Hold places against the graph now: what is lost, changed, or not recorded. Nothing is written down or deleted.

    Exit code 1 where something is lost or changed. The jobs bl832_reconcile_<place> write it down, every night.
    """
    from als.platform import platform
    from als_assets.reconciliation.reconciler import Reconciler
    from beamlines.retention import name_of

    bad = 0
    with platform(connect(state)) as at:
        copies = {name_of(copy): copy for copy in at.graph.copies}
        for name in places_named(at, places):
            place = at.beamline.places[name]
            report = Reconciler(
                at.beamline, copies, place, at.instance, at.transfer, at.retention, at.clock
            ).reconcile()
            show(place, report)
            bad += len(report.bad)
    if bad:
        raise typer.Exit(1)


def show(place: "Place", report: "Report") -> None:
    """What one place has shown: a line in all, and three for each finding."""
    from als_assets.reconciliation.records import register_commands, rows, shown

    (say_problem if report.bad else say)(shown(str(report)))
    for folder, why in list(report.unreachable.items())[:_SHOWN]:
        say(f"  UNREACHABLE {shown(folder)}: {shown(why)}")
    for what, copy, scan, path, seen, to_do in rows(place, report, _SHOWN):
        say(f"  {what}  {copy or '(no record)'}  {scan}".rstrip())
        say(f"      {path}: {seen}")
        say(f"      what to do: {to_do}")
    if len(report.findings) > _SHOWN:
        say(f"  ... and {len(report.findings) - _SHOWN} more")
    for command in register_commands(place, report):
        say(f"  to register what is dark: {command}")
