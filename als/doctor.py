"""``als doctor``: whether the deployment can do its work, and who must act where it cannot.

Belongs here: the order of the looks, and the table. Does not: any look (als_assets.operations.doctor).
"""

import uuid
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from als.connection import connect
from als.options import UP_STATE, StateDir

if TYPE_CHECKING:
    from als_assets.operations.doctor import Finding

console = Console()
_SIGN = {"fine": ("✓", "green"), "warning": ("!", "yellow"), "fault": ("✗", "bold red")}


def doctor(state: StateDir = UP_STATE) -> None:
    """Look whether the deployment can do its work: the platform itself, every place, every facility.

    A probe is written to every place, read back and deleted, and a small job runs at every facility; nothing is left.
    Exit code 1 where something is at fault: each line says who must act, and how.
    """
    from als.platform import platform
    from als_assets.operations.doctor import Verdict
    from als_assets.operations.doctor.house import look_at_house
    from als_assets.operations.doctor.machines import MachineLook
    from als_assets.operations.doctor.places import AT_MOST, PlaceLook

    with platform(connect(state)) as at:
        whose = uuid.uuid4().hex
        found: list[Finding] = []
        quick = at.transfer.within(AT_MOST)
        looks = (
            look_at_house(at.ledger, at.webserver),
            PlaceLook(at.beamline, quick, at.clock, _silent, whose).look(),
            MachineLook(at.beamline, at.facilities, at.clock, _silent, whose).look(),
        )
        try:
            for look in looks:
                for finding in look:
                    found.append(finding)
                    _show(finding)
        finally:
            at.remote.cancel_open()  # what could not be waited for, and an impatient Ctrl-C
    faults = sum(finding.verdict is Verdict.FAULT for finding in found)
    warnings = sum(finding.verdict is Verdict.WARNING for finding in found)
    console.print(f"{len(found)} looks, {faults} faults, {warnings} warnings")
    if faults:
        raise typer.Exit(1)


def _show(finding: "Finding") -> None:
    sign, style = _SIGN[finding.verdict]
    line = Text.assemble((f"{sign} ", style), f"{finding.where:<9} {finding.what:<16} {finding.seen}")
    console.print(line, soft_wrap=True)
    if finding.who:
        console.print(Text(f"    who must act: {finding.who}\n    how: {finding.remedy}", style), soft_wrap=True)


def _silent(*_: object) -> None:
    """Nothing is said between the beginning of a look and its end."""
