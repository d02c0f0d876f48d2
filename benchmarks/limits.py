"""How a figure stands to its limit, or to what it is to reach, in the words of every table.

Belongs here: those sentences. Does not: any limit or measurement.
"""


def against(value: float, limit: float, unit: str) -> str:
    """The limit, and whether it was kept: a missed one is not to be overlooked in a table."""
    verdict = "kept" if value <= limit else f"[bold red]MISSED[/], {value / limit:.1f} times"
    return f"{limit:g} {unit}: {verdict}"


def reached(value: float, wanted: float, unit: str) -> str:
    """What is to be reached at least, and whether it was."""
    verdict = "reached" if value >= wanted else "[bold red]MISSED[/]"
    return f"{wanted:g} {unit}: {verdict}"
