"""What looks have found, in the terminal: a line each, and of what is wrong who must act, and how.

Belongs here: showing, counting, the exit code. Does not: any look (als_assets.operations).
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from als.saying import console

if TYPE_CHECKING:
    from als_assets.operations.findings import Finding  # dagster costs every command a second

_SIGN = {"fine": ("✓", "green"), "warning": ("!", "yellow"), "fault": ("✗", "bold red")}


def report(findings: "Iterable[Finding]") -> None:
    """Show each as it is found, and how many were wrong. Raises typer.Exit(1) where one is a fault."""
    count = dict.fromkeys(_SIGN, 0)
    for finding in findings:
        count[finding.verdict] += 1
        _show(finding)
    console.print(f"{sum(count.values())} looks, {count['fault']} faults, {count['warning']} warnings")
    if count["fault"]:
        raise typer.Exit(1)


def _show(finding: "Finding") -> None:
    sign, style = _SIGN[finding.verdict]
    line = Text.assemble((f"{sign} ", style), f"{finding.where:<9} {finding.what:<16} {finding.seen}")
    console.print(line, soft_wrap=True)
    if finding.who:
        console.print(Text(f"    who must act: {finding.who}\n    how: {finding.remedy}", style), soft_wrap=True)
