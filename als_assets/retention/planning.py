"""What would go: every copy at a place decided, and as many chosen as the place needs.

Belongs here: putting together what a decision rests on, for all scans, and the choice among those that may go.
Does not: the decision (beamlines.deletion), or proving and deleting (passes).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

from als_assets.retention.inventory import Work
from beamlines.config import Beamline
from beamlines.decisions import Decision, Reason
from beamlines.deletion import CopyFacts, Scene, Usage, as_needed, brakes, decide
from beamlines.places import Role
from beamlines.retention import RetentionRule
from beamlines.scans import ScanId
from beamlines.standing import Standing
from resources.recorded import RecordedCopy, Suspect

_SCANS_AT_ONCE = 500
MOST_AT_ONCE = 2_000
"""So many copies go in one pass, the oldest; the others in the next."""
_EXPECTED = frozenset({Reason.NO_RULE, Reason.NOT_RECORDED, Reason.TOO_YOUNG})
"""Reasons that nobody has to be told for each copy: nobody would expect it to go."""


@dataclass(frozen=True, slots=True)
class Known:
    """What all decisions of one pass rest on, apart from the records themselves."""

    beamline: Beamline
    ages: Mapping[str, timedelta]
    """Set by people, by copy, instead of the rules' own."""
    standings: Callable[[Collection[str]], Mapping[str, Standing]]
    """Of some scans, those of which something was recorded."""
    holding: Callable[[str, str], Sequence[str]]
    """The holds that cover a copy's partition now, in words."""
    work: Work
    suspects: Mapping[tuple[str, str], Suspect]
    catalogue: Mapping[str, str] = field(default_factory=dict)
    """By partition: how the catalogue disagrees with what it was sent."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One copy that may go, as far as records tell."""

    record: RecordedCopy
    scene: Scene
    rule: RetentionRule
    decision: Decision
    others: Mapping[str, RecordedCopy]
    """By name: the copies that it was decided beside."""

    @property
    def name(self) -> str:
        return self.record.asset

    @property
    def partition(self) -> str:
        return self.record.partition


@dataclass(slots=True)
class Plan:
    """What a pass over one place finds at one time."""

    place: str
    now: datetime
    going: list[Candidate]
    """What is to go, oldest first; at most MOST_AT_ONCE."""
    may_go: int
    """How many may go in all."""
    kept: Counter[Reason]
    refused: list[tuple[RecordedCopy, Decision]]
    """What is old enough, and stays all the same."""
    brake: Decision

    @property
    def bytes(self) -> int:
        return sum(candidate.record.bytes for candidate in self.going)

    @property
    def decided(self) -> int:
        """How many copies at the place were decided about."""
        return self.may_go + sum(self.kept.values())


def plan(
    known: Known,
    place: str,
    scans: Iterable[list[RecordedCopy]],
    now: datetime,
    *,
    usage: tuple[Usage | None, Usage | None] = (None, None),
) -> Plan:
    """Decide about every copy at ``place``. ``scans`` are the records of each scan, ``usage`` in bytes and in files."""
    oldest, kept = _Oldest(), Counter[Reason]()
    refused: list[tuple[RecordedCopy, Decision]] = []
    for records, standing in _with_standings(known, scans):
        for decided in decide_scan(known, place, records, standing, now):
            if isinstance(decided, Candidate):
                oldest.add(decided)
                continue
            record, decision = decided
            kept[decision.reason] += 1
            if decision.reason not in _EXPECTED:
                refused.append((record, decision))
    may_go, rules = oldest.sorted(), known.beamline.retention.places[place]
    going = may_go[: as_needed([candidate.scene.copy for candidate in may_go], rules, *usage)]
    everything_may = len(going) == len(may_go)
    count, size = (oldest.count, oldest.bytes) if everything_may else (len(going), sum(c.record.bytes for c in going))
    if not everything_may:
        kept[Reason.ROOM_ENOUGH] = oldest.count - len(going)
    return Plan(place, now, going, count, kept, refused, brakes(count, size, rules))


class _Oldest:
    """The oldest of very many candidates, and how much all of them are together."""

    def __init__(self) -> None:
        self._some: list[Candidate] = []
        self.count = self.bytes = 0

    def add(self, candidate: Candidate) -> None:
        self._some.append(candidate)
        self.count, self.bytes = self.count + 1, self.bytes + candidate.record.bytes
        if len(self._some) >= 2 * MOST_AT_ONCE:
            self._some = self.sorted()

    def sorted(self) -> list[Candidate]:
        self._some.sort(key=lambda candidate: (candidate.record.recorded, candidate.partition, candidate.name))
        return self._some[:MOST_AT_ONCE]


def decide_scan(
    known: Known, place: str, records: list[RecordedCopy], standing: Standing, now: datetime
) -> Iterator[Candidate | tuple[RecordedCopy, Decision]]:
    """Decide about one scan's copies at a place, its labelled ones too."""
    scan, here = records[0].scan, f"{place}/"
    if not any(record.asset.startswith(here) for record in records):
        return
    facts = {(record.partition, record.asset): _facts(known, record) for record in records}
    restriction = known.beamline.export_control.restriction(ScanId.from_key(scan), standing)
    work = known.work.of(scan)
    for record in records:
        if not record.asset.startswith(here):
            continue
        others = {
            other.asset: other
            for other in records
            if other is not record and other.partition in (record.partition, scan) and _counts(other, record)
        }
        scene = Scene(
            copy=facts[record.partition, record.asset],
            others={name: facts[other.partition, name] for name, other in others.items()},
            standing=standing,
            restriction=None if restriction is None else restriction[0],
            holds=known.holding(record.asset, record.partition),
            work=work,
            catalogue=known.catalogue.get(record.partition),
        )
        rule = known.beamline.retention.rule_of(record.asset)
        age = timedelta() if rule is None else known.ages.get(record.asset, rule.age)
        decision = decide(scene, rule, age, now)
        if decision.allowed and rule is not None:
            yield Candidate(record, scene, rule, decision, others)
        else:
            yield record, decision


def _counts(other: RecordedCopy, record: RecordedCopy) -> bool:
    """Whether another copy says anything about this one: it is of the same partition, or a raw copy of its scan."""
    return other.partition == record.partition or other.asset.endswith("/raw")


def _facts(known: Known, record: RecordedCopy) -> CopyFacts:
    place = known.beamline.places.get(record.asset.partition("/")[0])
    of = (record.asset, record.partition)
    suspect = known.suspects.get(of)
    return CopyFacts(
        name=record.asset,
        role=Role.SCRATCH if place is None else place.role,
        recorded=record.recorded,
        bytes=record.bytes,
        files=record.files,
        deleted=record.gone,
        suspect=suspect.why if suspect is not None and suspect.storage_id >= record.storage_id else None,
    )


def _with_standings(known: Known, scans: Iterable[list[RecordedCopy]]) -> Iterator[tuple[list[RecordedCopy], Standing]]:
    nothing, waiting = Standing(), iter(scans)
    while some := list(islice(waiting, _SCANS_AT_ONCE)):
        standings = known.standings([records[0].scan for records in some])
        for records in some:
            yield records, standings.get(records[0].scan, nothing)
