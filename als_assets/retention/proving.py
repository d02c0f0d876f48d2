"""Proof for a batch of candidates: which keepers are read again, and what follows for each candidate.

Belongs here: choosing keepers, reading them in as few goes as there are facilities, the recipe, the judgement.
Does not: how a copy is read (resources.keepers), or what a reading means (beamlines.deletion).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from als_assets.retention.planning import Candidate
from beamlines.config import Beamline
from beamlines.decisions import Decision, Reason
from beamlines.deletion import Found, Reading, durable_raw, judge, keepers_of
from beamlines.layout import Copy
from beamlines.places import Role
from beamlines.retention import RECIPE, name_of
from beamlines.scans import PartitionKey
from resources.certificates import Keeper
from resources.facilities.checksums import FRESH
from resources.recorded import RecordedCopy
from resources.rereading import Asked, Reread

Read = Callable[[Sequence[Asked]], Sequence[Reread]]
"""Reads copies again, now; a verdict on every one that was asked for."""
Said = Callable[[str, str], Mapping[str, Any] | None]
"""What was said of a copy's partition when it was recorded last; None where it never was."""


@dataclass(slots=True)
class Evidence:
    """What was read for one candidate."""

    candidate: Candidate
    readings: list[Reading] = field(default_factory=list)
    read: dict[str, Reread] = field(default_factory=dict)
    """By name of the copy that was read."""

    def judged(self, candidate_changed: str | None) -> Decision:
        """Whether the candidate may go, by what was read and by how it looks itself."""
        return judge(self.candidate.rule, self.readings, candidate=candidate_changed)

    def outdated(self, now: datetime) -> str | None:
        """Why what was proven is too old to stand for a deletion now; None where it is not."""
        proven = {name: again for name, again in self.read.items() if again.found is Found.EQUAL}
        old = [name for name, again in proven.items() if again.began is None or now - again.began > FRESH]
        return f"{', '.join(sorted(old))}: not read in the last {FRESH}" if old else None

    @property
    def is_enough(self) -> bool:
        return self.judged(None).reason in (Reason.AGED, Reason.KEEPER_DIFFERS)

    @property
    def keepers(self) -> tuple[Keeper, ...]:
        """Every copy that was read and equals its manifest, as the certificate names it."""
        return tuple(
            Keeper(
                asset=name,
                partition=str(again.asked.key),
                checksum=again.manifest_sha256 or "",
                read="" if again.ended is None else again.ended.isoformat(),
                job=again.job_id or "this machine",
            )
            for name, again in sorted(self.read.items())
            if again.found is Found.EQUAL
        )

    @property
    def recipe(self) -> str:
        """What of the recipe was proven, in words; empty where none was asked for."""
        return "; ".join(reading.detail for reading in self.readings if reading.name == RECIPE)


def prove(
    beamline: Beamline,
    copies: Mapping[str, Copy],
    candidates: Sequence[Candidate],
    read: Read,
    said: Said,
) -> list[Evidence]:
    """Read again what keeps each candidate: first as few keepers as could do, then, where they do not, the others."""
    found = [Evidence(candidate) for candidate in candidates]
    for choose in (_fewest, _others):
        open_ = [evidence for evidence in found if not evidence.is_enough]
        chosen = {id(e): [name for name in choose(e, copies) if name not in e.read] for e in open_}
        asked = {id(e): {name: _asked(e.candidate, name, copies) for name in chosen[id(e)]} for e in open_}
        wanted = {_which(one): one for of_it in asked.values() for one in of_it.values()}
        if not wanted:
            continue
        verdicts = {_which(verdict.asked): verdict for verdict in read(list(wanted.values()))}
        for evidence in open_:
            of_it = {name: verdicts[_which(one)] for name, one in asked[id(evidence)].items()}
            _take_in(beamline, copies[evidence.candidate.name], evidence, of_it, said)
    return found


def _asked(candidate: Candidate, name: str, copies: Mapping[str, Copy]) -> Asked:
    return Asked(copies[name], PartitionKey.parse(candidate.others[name].partition), _content(candidate, name))


def _which(asked: Asked) -> tuple[str, str, str | None]:
    return name_of(asked.copy), str(asked.key), asked.sha256


def _content(candidate: Candidate, name: str) -> str | None:
    """The SHA-256 that a raw keeper must have: of the copy that is to go, or of whichever raw copy has it on record.

    A keeper that equals its own manifest may hold what the scan was before it was measured, or accepted, anew.
    """
    if not name.endswith("/raw"):
        return None
    raw = [candidate.record, candidate.others[name], *_newest_first(candidate.others.values())]
    return next((copy.sha256 for copy in raw if copy.asset.endswith("/raw") and copy.sha256 is not None), None)


def _newest_first(records: Iterable[RecordedCopy]) -> list[RecordedCopy]:
    return sorted(records, key=lambda record: record.storage_id, reverse=True)


def _fewest(evidence: Evidence, copies: Mapping[str, Copy]) -> list[str]:
    """As many keepers as the rule needs, those first that this machine reads itself; raw copies for a recipe last."""
    rule, others = evidence.candidate.rule, evidence.candidate.scene.others
    there = sorted(
        (name for name in keepers_of(rule, others) if name in copies),
        key=lambda name: (copies[name].place.mount is None, others[name].role is not Role.DURABLE),
    )
    chosen = there[: max(rule.proven, rule.durable)]
    durable = sum(others[name].role is Role.DURABLE for name in chosen)
    if RECIPE in rule.keepers and (len(chosen) < rule.proven or durable < rule.durable):
        chosen += _raw_first_here(evidence, copies)[:1]
    return chosen


def _others(evidence: Evidence, copies: Mapping[str, Copy]) -> list[str]:
    rule, others = evidence.candidate.rule, evidence.candidate.scene.others
    raw = _raw_first_here(evidence, copies) if RECIPE in rule.keepers else []
    return [name for name in (*keepers_of(rule, others), *raw) if name in copies]


def _raw_first_here(evidence: Evidence, copies: Mapping[str, Copy]) -> list[str]:
    raw = [name for name in durable_raw(evidence.candidate.scene.others) if name in copies]
    return sorted(raw, key=lambda name: copies[name].place.mount is None)


def _take_in(beamline: Beamline, copy: Copy, evidence: Evidence, verdicts: Mapping[str, Reread], said: Said) -> None:
    candidate = evidence.candidate
    evidence.read |= verdicts
    others, keepers = candidate.scene.others, candidate.rule.keepers
    evidence.readings = [
        Reading(name, others[name].role, *_seen(candidate, again))
        for name, again in evidence.read.items()
        if name in keepers or again.found is Found.DIFFERENT
    ]
    if RECIPE in keepers:
        raw = [again for name, again in evidence.read.items() if name.endswith("/raw")]
        evidence.readings.append(_recipe(beamline, copy, candidate, raw, said))


def _seen(candidate: Candidate, again: Reread) -> tuple[Found, str]:
    """What a keeper is beside the copy that is to go: equal to its manifest, and of its size, or another thing."""
    record, key = candidate.record, str(again.asked.key)
    alike = (again.files, again.bytes) == (record.files, record.bytes)
    if again.found is not Found.EQUAL or key != record.partition or alike:
        return again.found, again.detail
    seen = f"{again.files} files of {again.bytes} bytes"
    return Found.DIFFERENT, f"it is intact, with {seen}; {record.files} of {record.bytes} are to go: not the same thing"


def _recipe(beamline: Beamline, copy: Copy, candidate: Candidate, raw: Collection[Reread], said: Said) -> Reading:
    """Whether the product can be made again: what from, how, and with what must all be known."""

    def reading(found: Found, detail: str) -> Reading:
        return Reading(RECIPE, Role.DURABLE, found, detail)

    proven = [again for again in raw if again.found is Found.EQUAL]
    if not proven:
        return reading(Found.UNREAD, f"no durable raw copy was proven: {_words(raw)}")
    recorded = said(candidate.name, candidate.partition) or {}
    missing = [word for word in ("settings", "program") if not recorded.get(word)]
    if missing:
        return reading(Found.UNREAD, f"its record does not say with what {' and '.join(missing)} it was made")
    maker = copy.maker or ""
    rules = beamline.facilities.get(maker)
    version = None if rules is None else rules.program.version
    if version is None or not str(recorded["program"]).endswith(f" {version}"):
        return reading(Found.UNREAD, f"it was made by {recorded['program']}, and {maker} has {version or 'none'} now")
    return reading(
        Found.EQUAL,
        f"{recorded['program']} makes it again of {name_of(proven[0].asked.copy)}, with the recorded settings",
    )


def _words(read: Iterable[Reread]) -> str:
    return "; ".join(f"{name_of(again.asked.copy)}: {again.detail}" for again in read) or "there is none"
