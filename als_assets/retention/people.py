"""What people say about retention, as jobs: hold, release, and how long copies are kept.

Belongs here: the jobs and their configuration. Does not: keeping what was said (resources.holds, resources.ages).
The commands of ``als retention`` say the same without a run.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from beamlines.config import Beamline
from beamlines.scans import PartitionKey
from resources.clock import Clock
from resources.errors import PlatformError

_AGE = re.compile(r"(?P<number>\d+(\.\d+)?) ?(?P<unit>d|days?|h|hours?|min|minutes?)")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
RULES_OWN = "rule"
"""The word for the age that the rule itself has."""


def age_of(text: str) -> timedelta | None:
    """An age as people write it: ``14d``, ``36 hours``, ``90 min``; None for ``rule``. Raises ValueError."""
    if text.strip() == RULES_OWN:
        return None
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{text!r} is no age: it is a number and d, h or min, such as 14d; or 'rule' for the rule's own"
        )
    return float(match["number"]) * _UNITS[match["unit"][0]]


def time_of(text: str) -> datetime | None:
    """A day or a time in UTC as people write it, ``2026-12-24`` or ``2026-12-24T18:00``; None for nothing.

    Raises ValueError.
    """
    if not text.strip():
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no time: it is a day such as 2026-12-24, or 2026-12-24T18:00, in UTC") from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


class HoldConfig(dg.Config):
    """What is held, until when, by whom and why."""

    scan: str = Field(default="", description="A scan's partition; or nothing, and a folder below.")
    folder: str = Field(default="", description="A folder below raw/: every scan in it and below it, now and later.")
    until: str = Field(default="", description="A day or a time in UTC, 2026-12-24; until it is released, if empty.")
    author: str = Field(description="Your name.")
    note: str = Field(description="Why.")


class ReleaseConfig(dg.Config):
    """Which hold is released, by whom and why."""

    hold: int = Field(description="Its number: `als retention holds` lists all.")
    author: str = Field(description="Your name.")
    note: str = Field(description="Why.")


class AgeConfig(dg.Config):
    """How long copies are kept from now on."""

    copies: str = Field(description="<place>/<asset>, such as alcf/raw: one that a rule is about.")
    age: str = Field(description="14d, 36h, 90min; or 'rule' for the rule's own age again.")
    author: str = Field(description="Your name.")
    note: str = Field(description="Why.")


def people_jobs(beamline: Beamline) -> list[dg.JobDefinition]:
    """``<beamline>_hold``, ``<beamline>_release`` and ``<beamline>_retention_set``, where anything is ever deleted."""
    if not beamline.retention.rules:
        return []

    @dg.op(name="hold", out=dg.Out(dg.Nothing))
    def hold(
        context: dg.OpExecutionContext,
        config: HoldConfig,
        retention: dg.ResourceParam[Any],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        def do() -> str:
            said = {"author": config.author, "note": config.note, "at": clock.now(), "until": time_of(config.until)}
            if bool(config.scan) == bool(config.folder):
                raise ValueError("name either a scan or a folder")
            if config.folder:
                return f"hold {retention.holds.hold_folder(config.folder, **said).id}"
            scan = PartitionKey.parse(config.scan).scan.key
            return f"hold {retention.holds.hold_scan(scan, **said).id}"

        _carried_out(context, do)

    @dg.op(name="release", out=dg.Out(dg.Nothing))
    def release(
        context: dg.OpExecutionContext,
        config: ReleaseConfig,
        retention: dg.ResourceParam[Any],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        def do() -> str:
            released = retention.holds.release(config.hold, author=config.author, note=config.note, at=clock.now())
            return f"the {released.kind} {released.target} is released"

        _carried_out(context, do)

    @dg.op(name="set_age", out=dg.Out(dg.Nothing))
    def set_age(
        context: dg.OpExecutionContext,
        config: AgeConfig,
        retention: dg.ResourceParam[Any],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        def do() -> str:
            age = age_of(config.age)
            retention.ages.set(
                config.copies,
                age,
                retention=beamline.retention,
                author=config.author,
                note=config.note,
                at=clock.now(),
            )
            return f"{config.copies} is kept for {'the time of its rule' if age is None else age}"

        _carried_out(context, do)

    def job(name: str, op: dg.OpDefinition, description: str) -> dg.JobDefinition:
        graph = dg.GraphDefinition(name=f"{beamline.name}_{name}", node_defs=[op])
        return graph.to_job(description=description, tags={"als/retention": "people"})

    return [
        job("hold", hold, "Nothing of a scan, or of any scan in a folder, is deleted until it is released."),
        job("release", release, "A hold ends."),
        job("retention_set", set_age, "Copies are kept for another time than their rule says, from now on."),
    ]


def _carried_out(context: dg.OpExecutionContext, do: Callable[[], str]) -> None:
    try:
        context.log.info(do())
    except (PlatformError, ValueError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
