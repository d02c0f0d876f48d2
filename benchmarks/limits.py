"""How a figure stands to its limit, in the words of every table.

Belongs here: that sentence. Does not: any limit or measurement.
"""


def against(value: float, limit: float, unit: str) -> str:
    """The limit, and whether it was kept: a missed one is not to be overlooked in a table."""
    verdict = "kept" if value <= limit else f"[bold red]MISSED[/], {value / limit:.1f} times"
    return f"{limit:g} {unit}: {verdict}"
