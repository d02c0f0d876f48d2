"""Retention as data: how old a copy must be, and which other copies must be proven, before it may go.

Belongs here: the models of the section ``retention`` of a beamline's file, and why a set of rules is refused.
Does not: deciding about one copy (deletion), or proving and deleting anything (resources, als_assets.retention).
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Self

from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

from beamlines.facilities import FacilityRules
from beamlines.layout import Artifact, Copy
from beamlines.places import Place, Role

RECIPE = "recipe"
"""Stands among the keepers of a product: it can be made again, from a proven durable raw copy, with the recorded
settings, by the recorded version of the program."""
YOUNGEST = timedelta(minutes=1)
"""No rule is younger: what was made in this very minute may still be looked at by whoever made it."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetentionRule(_Strict):
    """When copies may go. Copies are called ``<place>/<asset>``, as in the graph."""

    copies: tuple[str, ...] = Field(min_length=1)
    age: timedelta = Field(ge=YOUNGEST)
    """Since our own verified record of the copy, never since a file's time."""
    keepers: tuple[str, ...] = Field(min_length=1)
    """Copies of the same thing that may stand for it; for products also ``recipe``. Scratch is none."""
    proven: int = Field(default=1, ge=1)
    """How many of the keepers must be read again, now, and equal their manifests."""
    durable: int = Field(default=1, ge=0)
    """How many of those must lie at durable places; of raw copies one at least."""


class Watermark(_Strict):
    """Something is deleted only while a place is fuller than ``above``, and only until it is down to ``down_to``."""

    above: float = Field(gt=0, lt=1)
    down_to: float = Field(gt=0, lt=1)
    capacity: ByteSize | None = Field(default=None, gt=0)
    """Bytes, or files; None where the place is mounted here: then its file system says."""

    @model_validator(mode="after")
    def _gets_emptier(self) -> Self:
        if self.down_to > self.above:
            raise ValueError(f"down_to ({self.down_to}) must not be more than above ({self.above})")
        return self


class Brake(_Strict):
    """A pass that would delete more than this waits for a person."""

    copies: int = Field(default=20, ge=1)
    bytes: ByteSize = Field(default=ByteSize(10**12), ge=1)


class PlaceRetention(_Strict):
    """When a place is looked through, and how much may go at once."""

    cron: str = Field(default="30 5 * * *", pattern=r"^\S+ \S+ \S+ \S+ \S+$")
    """In UTC."""
    reconcile: str = Field(default="30 3 * * *", pattern=r"^\S+ \S+ \S+ \S+ \S+$")
    """When it is held against the graph, in UTC: before, so that what is lost keeps nothing any more."""
    brake: Brake = Brake()
    bytes: Watermark | None = None
    """None: whatever is old enough goes."""
    files: Watermark | None = None
    enforce: bool = False
    """Stated by the deployment. Where it is not, a pass says what it would delete."""


class Retention(_Strict):
    """Which copies of a beamline go when. A copy without a rule stays for ever."""

    places: Mapping[str, PlaceRetention] = {}
    rules: tuple[RetentionRule, ...] = ()

    def rule_of(self, copy: str) -> RetentionRule | None:
        """The rule for ``<place>/<asset>``."""
        return next((rule for rule in self.rules if copy in rule.copies), None)


class UnsafeRetentionError(ValueError):
    """Rules that could delete the last good copy of something, or that contradict each other."""


def name_of(copy: Copy) -> str:
    """``<place>/<asset>``."""
    return f"{copy.place.name}/{copy.asset_name}"


def copy_named(name: str, places: Mapping[str, Place], facilities: Iterable[str]) -> Copy:
    """The copy of a name. Raises ValueError for what no beamline with these places and facilities could have."""
    known = sorted(facilities)
    place_name, slash, asset = name.partition("/")
    if not slash or place_name not in places:
        raise ValueError(f"{name!r} names no copy: it is <place>/<asset>, and the places are {sorted(places)}")
    place = places[place_name]
    maker, _, artifact = asset.rpartition("_")
    if artifact not in {str(kind) for kind in Artifact}:
        raise ValueError(f"{name!r} names no copy: an asset ends with one of {[str(kind) for kind in Artifact]}")
    kind = Artifact(artifact)
    if kind in (Artifact.TIFF, Artifact.ZARR):
        maker = maker or place.facility or ""
        if maker not in known:
            raise ValueError(f"{name!r} names no copy: a product is made by one of {known}")
        copy = Copy(place, kind, maker)
    else:
        copy = Copy(place, kind)
    if name_of(copy) != name:
        raise ValueError(f"{name!r} names no copy: it is called {name_of(copy)!r}")
    return copy


def refuse_unsafe(retention: Retention, places: Mapping[str, Place], facilities: Mapping[str, FacilityRules]) -> None:
    """Raise UnsafeRetentionError for rules that must not be loaded, with the rule and the reason."""
    _must_be_one_a_copy(retention)
    for place in retention.places:
        if place not in places:
            raise UnsafeRetentionError(f"retention.places.{place}: no such place; there are {sorted(places)}")
    for number, rule in enumerate(retention.rules):
        here = f"retention.rules[{number}]"
        try:
            copies = [copy_named(name, places, facilities) for name in rule.copies]
            keepers = [copy_named(name, places, facilities) for name in rule.keepers if name != RECIPE]
        except ValueError as error:
            raise UnsafeRetentionError(f"{here}: {error}") from error
        for copy in copies:
            _must_have_a_schedule(retention, copy, here)
            _must_be_kept_by(rule, copy, keepers, here)
    _must_not_guard_in_a_circle(retention, places)


def _must_be_one_a_copy(retention: Retention) -> None:
    seen: set[str] = set()
    for rule in retention.rules:
        for copy in rule.copies:
            if copy in seen:
                raise UnsafeRetentionError(f"retention.rules: two rules for {copy}: which one holds could not be told")
            seen.add(copy)


def _must_have_a_schedule(retention: Retention, copy: Copy, here: str) -> None:
    if copy.place.name not in retention.places:
        raise UnsafeRetentionError(
            f"{here}: nothing looks through {copy.place.name}: name it in retention.places, or leave its copies out"
        )


def _must_be_kept_by(rule: RetentionRule, copy: Copy, keepers: list[Copy], here: str) -> None:
    name, by_recipe = name_of(copy), RECIPE in rule.keepers
    if by_recipe and copy.artifact not in (Artifact.TIFF, Artifact.ZARR):
        raise UnsafeRetentionError(f"{here}: {name} is measured or seen once: no recipe makes it again")
    for keeper in keepers:
        other = name_of(keeper)
        if keeper == copy:
            raise UnsafeRetentionError(f"{here}: {name} cannot keep itself")
        if keeper.place.role is Role.SCRATCH:
            raise UnsafeRetentionError(f"{here}: {other} lies on scratch, which is purged by others: it keeps nothing")
        if (keeper.artifact, keeper.maker) != (copy.artifact, copy.maker):
            raise UnsafeRetentionError(f"{here}: {other} is not the same thing as {name}, and cannot stand for it")
    if rule.proven > len(rule.keepers):
        raise UnsafeRetentionError(f"{here}: {rule.proven} keepers of {len(rule.keepers)} can never be proven")
    if rule.durable > rule.proven:
        raise UnsafeRetentionError(f"{here}: {rule.durable} durable ones of {rule.proven} proven keepers cannot be")
    durable = sum(keeper.place.role is Role.DURABLE for keeper in keepers) + by_recipe
    if rule.durable > durable:
        raise UnsafeRetentionError(f"{here}: of the keepers of {name} only {durable} are durable, not {rule.durable}")
    if copy.artifact is Artifact.RAW and rule.durable < 1:
        raise UnsafeRetentionError(f"{here}: {name} is a raw copy: one durable keeper at least must be proven")


def _must_not_guard_in_a_circle(retention: Retention, places: Mapping[str, Place]) -> None:
    raw = [f"{name}/{Artifact.RAW}" for name, place in places.items() if place.role is Role.DURABLE]
    guards = {copy: _guards(rule, raw) for rule in retention.rules for copy in rule.copies}
    done: set[str] = set()

    def follow(copy: str, way: tuple[str, ...]) -> None:
        if copy in way:
            circle = " <- ".join((*way[way.index(copy) :], copy))
            raise UnsafeRetentionError(f"retention.rules: copies guard each other in a circle: {circle}")
        if copy not in done:
            for keeper in guards.get(copy, ()):
                follow(keeper, (*way, copy))
            done.add(copy)

    for copy in guards:
        follow(copy, ())


def _guards(rule: RetentionRule, raw: Iterable[str]) -> list[str]:
    named = [keeper for keeper in rule.keepers if keeper != RECIPE]
    return [*named, *(raw if RECIPE in rule.keepers else ())]
