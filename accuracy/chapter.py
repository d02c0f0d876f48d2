"""A chapter of the report: what one part of the proof found.

Belongs here: findings, pictures and words of a part. Does not: measuring, or how the whole is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accuracy.findings import Finding


@dataclass(frozen=True)
class Chapter:
    """``pictures`` are PNG files by name; ``table`` takes the place of the findings' own in the report."""

    title: str
    about: str
    findings: Sequence[Finding]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    table: Sequence[str] = ()


def rows_of(findings: Sequence[Finding]) -> list[str]:
    """The findings as a Markdown table."""
    lines = ["| scan | what | measured | limit | |", "|---|---|---|---|---|"]
    return lines + [f"| {one.part} | {one.what} | {one.figure} | {one.limit} | {one.verdict} |" for one in findings]
