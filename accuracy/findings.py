"""What was measured, and the limit it has to keep.

Belongs here: a figure, its limit, the table in the terminal. Does not: any measurement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Finding:
    """One figure. Without a limit it is only shown."""

    part: str
    what: str
    measured: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def limit(self) -> str:
        """The limit in words; empty where there is none."""
        words = [
            f"{word} {bound:.4g}"
            for word, bound in (("at least", self.at_least), ("at most", self.at_most))
            if bound is not None
        ]
        return f"{', '.join(words)} {self.unit}".strip() if words else ""

    @property
    def is_missed(self) -> bool:
        """Whether the limit was missed; what is no number keeps none."""
        high = self.at_most is not None and not self.measured <= self.at_most
        low = self.at_least is not None and not self.measured >= self.at_least
        return high or low

    @property
    def verdict(self) -> str:
        """``kept`` or ``MISSED``; empty where there is no limit."""
        return ("MISSED" if self.is_missed else "kept") if self.limit else ""

    @property
    def figure(self) -> str:
        """The measured value with its unit."""
        return f"{self.measured:.5g} {self.unit}".strip()


def print_table(findings: Sequence[Finding], console: Console) -> None:
    """Everything that was measured, a line each."""
    table = Table(title="Accuracy", title_justify="left")
    for column in ("part", "what", "measured", "limit", ""):
        table.add_column(column)
    for finding in findings:
        verdict = f"[bold red]{finding.verdict}[/]" if finding.is_missed else finding.verdict
        table.add_row(finding.part, finding.what, finding.figure, finding.limit, verdict)
    console.print(table)
