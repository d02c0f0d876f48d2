"""What commands say: lines of text as they are, problems in red, and the exit code that follows from them.

Belongs here: the console that commands share.
Does not: tables and pictures (screen), or what looks have found (findings).
"""

from collections.abc import Iterable

import typer
from rich.console import Console

console = Console()


def say(text: str) -> None:
    """A line, whatever is in it: names of scans are no markup, and no line is broken."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def say_problem(text: str) -> None:
    """The same, in red."""
    console.print(text, style="bold red", soft_wrap=True, highlight=False, markup=False)


def printable(text: str) -> str:
    """What services and people have said, on one line, with nothing in it that a terminal would obey."""
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in words)


def end_with(problems: Iterable[str]) -> None:
    """Say every problem. Raises typer.Exit(1) where there is one."""
    code = 0
    for problem in problems:
        say_problem(problem)
        code = 1
    if code:
        raise typer.Exit(code)
