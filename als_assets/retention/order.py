"""What a pass is asked to do, and what a place's jobs and assets are called.

Belongs here: plain values, light enough for every import of the graph.
Does not: the jobs (jobs), or carrying anything out (passes).
"""

from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from beamlines.config import Beamline


def job_name(beamline: Beamline, place: str) -> str:
    """``<beamline>_retention_<place>``."""
    return f"{beamline.name}_retention_{place}"


def op_name(place: str) -> str:
    """Of the job's one op: Dagster wants all names of ops to differ."""
    return f"look_through_{place}"


@dataclass(frozen=True, slots=True)
class Order:
    """What a pass is asked to do. Raises ValueError for a minute's age without one partition."""

    author: str
    note: str = ""
    dry_run: bool = False
    beyond_the_brake: bool = False
    """A person has seen how much would go."""
    partition: str | None = None
    """Only this one."""
    one_minute: bool = False
    """Of that partition everything older than a minute may go, with the same proofs."""

    def __post_init__(self) -> None:
        if self.one_minute and self.partition is None:
            raise ValueError("an age of one minute is for one chosen scan: name its partition")


def retention_key(beamline: Beamline, place: str) -> dg.AssetKey:
    """``<beamline>/<place>/retention``."""
    return dg.AssetKey([beamline.name, place, "retention"])


def retention_spec(beamline: Beamline, place: str) -> dg.AssetSpec:
    """The passes over one place; its history is theirs."""
    rules = [rule for rule in beamline.retention.rules if any(c.partition("/")[0] == place for c in rule.copies)]
    lines = [
        f"- `{copy}`: {said_age(rule.age)} after its record, {rule.proven} of {', '.join(rule.keepers)} read again"
        for rule in rules
        for copy in rule.copies
        if copy.partition("/")[0] == place
    ]
    enforced = beamline.retention.places[place].enforce
    how = "Deletes" if enforced else "A dry run: it says what it would delete"
    return dg.AssetSpec(
        retention_key(beamline, place),
        description=f"What goes from {place}, and what has gone. {how}.\n\n" + "\n".join(lines),
        group_name=place,
        kinds={"retention"},
    )


def said_age(age: timedelta) -> str:
    """An age as people say it."""
    return f"{age.days} days" if age >= timedelta(days=2) else f"{age / timedelta(hours=1):g} hours"
