"""Deciding whether a copy may be deleted: first by what is recorded, then by what was proven just before.

Belongs here: pure decisions, each with a named reason. Where anything is unknown, the copy stays.
Does not: the rules (retention), finding out what is true (resources, als_assets.retention), or deleting anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from beamlines.decisions import Decision, Reason
from beamlines.places import Role
from beamlines.retention import RECIPE, PlaceRetention, RetentionRule, Watermark
from beamlines.standing import Standing

CLOCKS_DIFFER = timedelta(minutes=5)
"""A record that is further in the future than this was made by a clock that is wrong: no age can be told."""


@dataclass(frozen=True, slots=True)
class CopyFacts:
    """What is recorded of one copy of one partition."""

    name: str
    """``<place>/<asset>``."""
    role: Role
    recorded: datetime | None = None
    """When our verified record of it was made; None where there is none."""
    bytes: int = 0
    files: int = 0
    deleted: bool = False
    """A certificate says that it is gone, or about to go, and nothing was recorded since."""
    suspect: str | None = None
    """Why it is not believed: its latest check failed, or a proof found it different."""

    @property
    def is_recorded(self) -> bool:
        """Whether it is there, by our records."""
        return self.recorded is not None and not self.deleted


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a decision about one copy rests on, but the proof."""

    copy: CopyFacts
    others: Mapping[str, CopyFacts]
    """The other copies of the same partition, and the raw copies of its scan."""
    standing: Standing
    restriction: Reason | None
    """Why its scan must stay on site; None where it may leave."""
    holds: Sequence[str] = ()
    """Holds that cover it now, in words."""
    work: Sequence[str] = ()
    """Runs and remote work of its scan that have not ended, in words."""
    unknown: str | None = None
    """What could not be found out about the copy, its place or its scan."""
    catalogue: str | None = None
    """How the catalogue disagrees with what is recorded."""


def decide(scene: Scene, rule: RetentionRule | None, age: timedelta, now: datetime) -> Decision:
    """Whether a copy may go, as far as records tell. ``age`` is the rule's own, or what a person has set instead.

    A yes is worth nothing without ``judge`` of a proof that was made afterwards.
    """
    copy = scene.copy
    if rule is None:
        return Decision.no(Reason.NO_RULE, f"no rule is about {copy.name}")
    if not copy.is_recorded or copy.recorded is None:
        return Decision.no(Reason.NOT_RECORDED, "deleted before" if copy.deleted else "no record says that it is there")
    for refusal in (
        _by_knowledge(scene),
        _by_people(scene),
        _by_age(copy, copy.recorded, age, now),
        _by_keepers(rule, scene),
    ):
        if refusal is not None:
            return refusal
    return Decision.yes(Reason.AGED, f"recorded {_days(now - copy.recorded)} ago, kept for {_days(age)}")


def may_go_on(scene: Scene) -> Decision:
    """Whether a deletion that was certified, begun and interrupted may be sent out again: people come first."""
    for refusal in (_by_knowledge(scene), _by_people(scene)):
        if refusal is not None:
            return refusal
    return Decision.yes(Reason.AGED, "nothing has come between")


def _by_knowledge(scene: Scene) -> Decision | None:
    if scene.unknown is not None:
        return Decision.no(Reason.UNKNOWN, scene.unknown)
    if scene.copy.suspect is not None:
        return Decision.no(Reason.SUSPECT, scene.copy.suspect)
    if scene.catalogue is not None:
        return Decision.no(Reason.CATALOGUE_DISAGREES, scene.catalogue)
    if scene.work:
        return Decision.no(Reason.IN_FLIGHT, _listed(scene.work))
    return None


def _by_people(scene: Scene) -> Decision | None:
    if scene.standing.changed is not None:
        return Decision.no(Reason.CHANGED, f"its scan has changed since it was complete: {scene.standing.changed}")
    if scene.restriction is not None:
        return Decision.no(scene.restriction, "its scan must stay on site, where few copies of it are")
    if scene.holds:
        return Decision.no(Reason.HELD, _listed(scene.holds))
    return None


def _by_age(copy: CopyFacts, recorded: datetime, age: timedelta, now: datetime) -> Decision | None:
    if recorded > now + CLOCKS_DIFFER:
        return Decision.no(Reason.CLOCK, f"{copy.name} was recorded at {recorded.isoformat()}, which is still to come")
    if now - recorded < age:
        return Decision.no(Reason.TOO_YOUNG, f"recorded {_days(now - recorded)} ago, kept for {_days(age)}")
    return None


def _by_keepers(rule: RetentionRule, scene: Scene) -> Decision | None:
    there = [keeper for keeper in keepers_of(rule, scene.others) if _can_keep(scene.others[keeper])]
    by_recipe = RECIPE in rule.keepers and any(_is_durable_raw(other) for other in scene.others.values())
    durable = sum(scene.others[keeper].role is Role.DURABLE for keeper in there) + by_recipe
    if len(there) + by_recipe < rule.proven or durable < rule.durable:
        wanted = f"{rule.proven} of {', '.join(rule.keepers)}"
        return Decision.no(
            Reason.NO_KEEPER, f"{wanted} must keep it, {rule.durable} at durable places; there are {_listed(there)}"
        )
    return None


def keepers_of(rule: RetentionRule, others: Mapping[str, CopyFacts]) -> list[str]:
    """The rule's keepers of which something is recorded, in the rule's order; without the recipe."""
    return [name for name in rule.keepers if name in others and others[name].is_recorded]


def durable_raw(others: Mapping[str, CopyFacts]) -> list[str]:
    """The raw copies that a recipe can start from."""
    return sorted(name for name, other in others.items() if _is_durable_raw(other))


def _can_keep(other: CopyFacts) -> bool:
    return other.role is not Role.SCRATCH and other.suspect is None


def _is_durable_raw(other: CopyFacts) -> bool:
    return other.name.endswith("/raw") and other.is_recorded and other.role is Role.DURABLE and other.suspect is None


class Found(StrEnum):
    """What reading a keeper again has shown."""

    EQUAL = "equal to its manifest"
    DIFFERENT = "different from its manifest"
    UNREAD = "not read"


@dataclass(frozen=True, slots=True)
class Reading:
    """One keeper, read again now; or the recipe, whose raw copy was."""

    name: str
    role: Role
    found: Found
    detail: str


def judge(rule: RetentionRule, readings: Iterable[Reading], *, candidate: str | None) -> Decision:
    """Whether a copy may go by what was read just now. ``candidate`` is how it itself has changed; None if it has not.

    One keeper that differs from its manifest blocks the deletion whatever the others are: something is wrong with this
    scan's copies, and a person must look first.
    """
    read = list(readings)
    different = [reading for reading in read if reading.found is Found.DIFFERENT]
    if different:
        return Decision.no(Reason.KEEPER_DIFFERS, _listed([f"{r.name}: {r.detail}" for r in different]))
    if candidate is not None:
        return Decision.no(Reason.CANDIDATE_CHANGED, candidate)
    equal = [
        reading
        for reading in read
        if reading.found is Found.EQUAL and reading.name in rule.keepers and reading.role is not Role.SCRATCH
    ]
    names = {reading.name for reading in equal}
    durable = {reading.name for reading in equal if reading.role is Role.DURABLE}
    if len(names) < rule.proven or len(durable) < rule.durable:
        unread = [f"{r.name}: {r.detail}" for r in read if r.found is Found.UNREAD]
        return Decision.no(
            Reason.KEEPER_NOT_READ,
            f"{rule.proven} proven keepers are needed, {rule.durable} of them durable; proven {_listed(sorted(names))}"
            f"; {_listed(unread)}",
        )
    return Decision.yes(Reason.AGED, f"kept by {_listed(sorted(names))}, read again just now")


# -- how much goes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a place is, of bytes or of files."""

    used: int
    capacity: int


def to_free(watermark: Watermark | None, usage: Usage | None) -> int | None:
    """How much is to go; None: whatever may. 0 where the place is empty enough, or where that cannot be told."""
    if watermark is None:
        return None
    if usage is None or usage.capacity <= 0 or usage.used <= watermark.above * usage.capacity:
        return 0
    return usage.used - int(watermark.down_to * usage.capacity)


def as_needed(
    oldest_first: Sequence[CopyFacts], place: PlaceRetention, bytes_used: Usage | None, files_used: Usage | None
) -> int:
    """How many of the copies that may go are to go, so that a place gets as empty as it should be, and no emptier."""
    limits = [to_free(place.bytes, bytes_used), to_free(place.files, files_used)]
    if all(limit is None for limit in limits):
        return len(oldest_first)
    still_bytes, still_files = (limit or 0 for limit in limits)
    for number, copy in enumerate(oldest_first):
        if still_bytes <= 0 and still_files <= 0:
            return number
        still_bytes, still_files = still_bytes - copy.bytes, still_files - copy.files
    return len(oldest_first)


def brakes(copies: int, size_bytes: int, place: PlaceRetention) -> Decision:
    """Whether a pass may delete so many copies, of so many bytes together, without a person."""
    much = f"{copies} copies of {size_bytes} bytes"
    if copies > place.brake.copies or size_bytes > place.brake.bytes:
        most = f"at most {place.brake.copies} copies of {int(place.brake.bytes)} bytes"
        return Decision.no(Reason.BRAKE, f"{much} would go at once; without a person {most} do")
    return Decision.yes(Reason.AGED, much)


def _days(span: timedelta) -> str:
    hours = span / timedelta(hours=1)
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours" if hours >= 2 else f"{hours * 60:.0f} min"


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words) if words else "none"
