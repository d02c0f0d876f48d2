"""Where one scan stands: the state of every copy and product of it, by what is recorded, and what it waits for.

Belongs here: that judgement. Pure: everything that was read comes as values.
Does not: reading it (als.lookup), or showing it (als.show). Nothing here needs Dagster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from beamlines.branches import Stage
from beamlines.config import Beamline
from beamlines.decisions import WAITING
from beamlines.layout import Artifact
from beamlines.retention import name_of
from beamlines.scans import PartitionKey
from beamlines.seconds import Expected, Split, split_of
from beamlines.standing import Standing
from resources.certificates import Certificate
from resources.chain import What
from resources.dagster_log import MATERIALIZATION, OBSERVATION, PLANNED, CheckSeen, Event, RunSeen, StepFailed
from resources.recorded import Suspect
from resources.work import Record

_QUEUED = ("QUEUED", "NOT_STARTED")
_IN_PROGRESS = (*_QUEUED, "STARTING", "STARTED", "CANCELING")


class State(StrEnum):
    """How one copy stands."""

    THERE = "there"
    MAKING = "being made"
    WAITING = "waiting"
    DELETED = "deleted"
    """By a rule, with a certificate."""
    LOST = "lost"
    CHANGED = "changed"
    """Something else lies there than was recorded."""
    FAILED = "failed"
    NEVER = "never"


BAD = (State.LOST, State.CHANGED, State.FAILED)
UNFINISHED = (State.MAKING, State.WAITING)


@dataclass(frozen=True, slots=True)
class Whereabout:
    """One copy of one partition."""

    name: str
    """``<place>/<asset>``."""
    partition: str
    state: State
    since: datetime | None = None
    why: str = ""
    """What it waits for and why, why it failed, or why it is not there."""
    bytes: int | None = None
    files: int | None = None
    split: Split | None = None
    failed_checks: tuple[CheckSeen, ...] = ()
    run_id: str | None = None
    """The run that makes it, or that made it, or failed to."""
    expected: Expected | None = None
    """Of what is not there yet."""
    page: str = ""
    """Where it is shown to people, of an entry in the catalogue."""


@dataclass(frozen=True, slots=True)
class Read:
    """Everything that was read of one scan."""

    beamline: Beamline
    standing: Standing
    events: Sequence[Event]
    checks: Sequence[CheckSeen]
    runs: Sequence[RunSeen]
    failures: Mapping[str, Sequence[StepFailed]]
    """By run."""
    work: Sequence[Record]
    """Remote work of the scan that has not ended."""
    certificates: Sequence[Certificate]
    suspects: Sequence[Suspect]
    expected: Mapping[str, Expected] = field(default_factory=dict)
    """By ``<place>/<asset>``."""


def whereabouts(read: Read, stages: Sequence[Stage], key: PartitionKey) -> list[Whereabout]:
    """Every copy of one partition, in the order of the way.

    Of a label only what was begun; and no branch that nobody has asked for, which ``not_asked_for`` names.
    """
    judge, found = _Judge(read, stages, str(key)), dict[str, Whereabout]()
    for stage in stages:
        upstream = found.get(name_of(stage.made_of)) if stage.made_of is not None else None
        judged = judge.stage(stage, upstream)
        if judged is not None:
            found[judged.name] = judged
    return list(found.values())


def entries(read: Read, names: Sequence[str], key: PartitionKey) -> list[Whereabout]:
    """How a partition's entries in the catalogue stand, of those of which there is anything to say."""
    judge = _Judge(read, [], str(key))
    return [found for name in names if (found := judge.entry(name)) is not None]


def not_asked_for(stages: Sequence[Stage], found: Sequence[Whereabout]) -> list[str]:
    """The branches of which nothing is said, as nothing of them was ever begun or decided."""
    said = {where.name for where in found}
    branches = dict.fromkeys(stage.branch for stage in stages if stage.branch)
    return [b for b in branches if not any(s.branch == b and name_of(s.copy) in said for s in stages)]


class _Judge:
    """What was read of one partition, at hand."""

    def __init__(self, read: Read, stages: Sequence[Stage], partition: str) -> None:
        self._read = read
        self._arrival = next(iter(stages), None)
        self._first_of = {stage.branch: stage for stage in reversed(stages)}
        self._partition = partition
        mine = [event for event in read.events if event.partition == partition]
        self._events = {(event.asset.partition("/")[2], event.kind): event for event in mine}
        self._runs = {run.run_id: run for run in read.runs}
        self._is_labelled = "@" in partition

    def stage(self, stage: Stage, upstream: Whereabout | None) -> Whereabout | None:
        """How one copy stands; None where there is nothing to say of it."""
        name = name_of(stage.copy)
        made_of = None if stage.made_of is None else name_of(stage.made_of)
        return self._begun(name, upstream, made_of) or self._absent(
            stage, upstream, was_planned=self._events.get((name, PLANNED)) is not None
        )

    def entry(self, name: str) -> Whereabout | None:
        """The same of an entry in the catalogue, which is made of whatever is there."""
        record, seen = (self._events.get((name, kind)) for kind in (MATERIALIZATION, OBSERVATION))
        if seen is not None and (record is None or seen.storage_id > record.storage_id):
            return self._to_come(name, State.NEVER, seen.at, seen.description, None)
        return self._begun(name, None, None)

    def _begun(self, name: str, upstream: Whereabout | None, made_of: str | None) -> Whereabout | None:
        """How one stands that is there, or whose run is under way or has failed."""
        record, plan = (self._events.get((name, kind)) for kind in (MATERIALIZATION, PLANNED))
        run = self._runs.get(plan.run_id) if plan is not None else None
        is_newer = plan is not None and (record is None or plan.storage_id > record.storage_id)
        if plan is not None and run is not None and is_newer and run.status in _IN_PROGRESS:
            return self._under_way(name, run, upstream)
        failed = self._failed(name, plan, run, made_of) if is_newer else None
        return failed if record is None else self._recorded(name, record, failed)

    # -- there, or once there ------------------------------------------------------------------------------------

    def _recorded(self, name: str, record: Event, failed: Whereabout | None) -> Whereabout:
        state, since, why = self._fate(name, record)
        if failed is not None and failed.why:
            why = "; ".join(part for part in (why, f"made once more, and {failed.state}: {failed.why}") if part)
        bad = (c for c in self._read.checks if c.asset == record.asset and c.partition == self._partition)
        return Whereabout(
            name,
            self._partition,
            state,
            since=since,
            why=why,
            bytes=_number(record.said.get("bytes")),
            files=_number(record.said.get("files")),
            split=split_of(record.said),
            failed_checks=tuple(check for check in bad if not check.passed),
            run_id=record.run_id if record.run_id in self._runs else None,
            page=str(record.said.get("page", "")),
        )

    def _fate(self, name: str, record: Event) -> tuple[State, datetime, str]:
        for certificate in reversed(self._read.certificates):
            deletion, end = certificate.deletion, certificate.end
            same = (deletion.asset, deletion.partition) == (name, self._partition)
            if same and deletion.storage_id >= record.storage_id and certificate.state is not What.GIVEN_UP:
                kept = ", ".join(sorted(keeper.asset for keeper in deletion.keepers))
                at = certificate.begun if end is None else end.at
                return (
                    State.DELETED,
                    at,
                    f"certificate {certificate.sequence}; kept by {kept}. Materialize it to have it again",
                )
        for suspect in self._read.suspects:
            if (suspect.asset, suspect.partition) == (
                name,
                self._partition,
            ) and suspect.storage_id >= record.storage_id:
                state = State.LOST if suspect.why.startswith("lost") else State.CHANGED
                return state, suspect.since, suspect.why
        return State.THERE, record.at, ""

    # -- being made ----------------------------------------------------------------------------------------------

    def _under_way(self, name: str, run: RunSeen, upstream: Whereabout | None) -> Whereabout:
        work = self._work(name)
        state, since, why = State.MAKING, run.started, ""
        if work is not None:
            where = "transfer" if work.facility is None else f"job at {work.facility}"
            since, why = work.created, f"{where} {work.handle or 'is being submitted'}, {work.state}"
        elif run.status in _QUEUED:
            state, since, why = State.WAITING, None, "for its run, which is queued"
        elif upstream is not None and upstream.state in UNFINISHED:
            state, since, why = State.WAITING, None, f"for {upstream.name}, which {_is(upstream.state)}"
        if run.status == "CANCELING":
            why = f"its run is being terminated{'; ' if why else ''}{why}"
        return self._to_come(name, state, since, why, run.run_id)

    def _work(self, name: str) -> Record | None:
        """Remote work in flight that makes a copy: of a job the one for all that it makes."""
        place, _, artifact = name.partition("/")
        for record in self._read.work:
            _, its_place, made = record.asset.split("/", 2) if record.asset.count("/") == 2 else ("", "", "")
            if record.partition == self._partition and its_place == place and artifact in made.split("+"):
                return record
        return None

    # -- not made ------------------------------------------------------------------------------------------------

    def _failed(self, name: str, plan: Event | None, run: RunSeen | None, made_of: str | None) -> Whereabout | None:
        """What became of a plan to make it whose run has ended without it; None where the run has not ended badly."""
        if plan is None or run is None or run.status not in ("FAILURE", "CANCELED"):
            return None
        if run.status == "CANCELED":
            refused = self._events.get((name, OBSERVATION))
            why = (
                refused.description if refused is not None and refused.run_id == run.run_id else "its run was canceled"
            )
            return Whereabout(name, self._partition, State.NEVER, since=run.ended, why=why, run_id=run.run_id)
        failures = self._read.failures.get(run.run_id, ())
        own = [failed for failed in failures if failed.step == plan.step]
        if run.will_retry:
            words = f"its run failed, and is tried again: {_words(own or failures)}"
            return self._to_come(name, State.WAITING, run.ended, words, run.run_id)
        if own or not failures or made_of is None:
            return Whereabout(
                name, self._partition, State.FAILED, run.ended, _words(own or failures), run_id=run.run_id
            )
        why = f"for {made_of}: its run has failed at another step"
        return self._to_come(name, State.WAITING, run.ended, why, run.run_id)

    def _absent(self, stage: Stage, upstream: Whereabout | None, *, was_planned: bool) -> Whereabout | None:
        name = name_of(stage.copy)
        decided = self._events.get((name, OBSERVATION))
        if decided is not None and decided.description and "state" not in decided.said:
            state = State.WAITING if decided.said.get("reason") in WAITING else State.NEVER
            return self._to_come(name, state, decided.at, decided.description, None)
        if was_planned:
            return self._to_come(name, State.NEVER, None, "a run for it has ended without it", None)
        if self._is_labelled or stage.copy.artifact is Artifact.COMPARISON:
            return None
        if stage.made_of is None:
            return self._to_come(name, State.NEVER, None, "nothing is recorded of its arrival", None)
        if stage.branch is not None and stage == self._first_of[stage.branch]:
            return self._entrance(stage, stage.branch, upstream)
        return None if upstream is None else self._after(stage, upstream)

    def _entrance(self, stage: Stage, branch: str, upstream: Whereabout | None) -> Whereabout | None:
        """The first copy of a branch that nothing was decided of: only the preferred one takes scans by itself."""
        name, beamline = name_of(stage.copy), self._read.beamline
        if branch != next(iter(beamline.preference), None):
            return None
        decision = beamline.sends_on(PartitionKey.parse(self._partition).scan, branch, self._read.standing)
        if not decision.allowed:
            return self._to_come(name, State.NEVER, None, decision.detail, None)
        if upstream is None or upstream.state is not State.THERE:
            return self._to_come(name, State.WAITING, None, f"for {upstream.name if upstream else branch}", None)
        why = f"for {beamline.router(branch)}, which has not sent it: als branches shows whether it is on"
        return self._to_come(name, State.WAITING, None, why, None)

    def _after(self, stage: Stage, upstream: Whereabout) -> Whereabout:
        name = name_of(stage.copy)
        if upstream.state is State.NEVER:
            return self._to_come(name, State.NEVER, None, f"as {upstream.name}", None)
        if upstream.state in (*UNFINISHED, State.FAILED):
            return self._to_come(name, State.WAITING, None, f"for {upstream.name}, which {_is(upstream.state)}", None)
        if self._arrival is not None and upstream.name == name_of(self._arrival.copy):
            return self._to_come(name, State.WAITING, None, "for its run, which has not begun", None)
        return self._to_come(name, State.NEVER, None, "no run has made it: materialize it if it is wanted", None)

    def _to_come(self, name: str, state: State, since: datetime | None, why: str, run_id: str | None) -> Whereabout:
        expected = self._read.expected.get(name) if state in UNFINISHED else None
        return Whereabout(name, self._partition, state, since=since, why=why, run_id=run_id, expected=expected)


def _is(state: State) -> str:
    return {State.WAITING: "waits itself", State.FAILED: "has failed"}.get(state, f"is {state}")


def _words(failures: Sequence[StepFailed]) -> str:
    return (
        "; ".join(f"{failed.error}: {failed.words}" for failed in failures) or "its run failed without a word of a step"
    )


def _number(said: object) -> int | None:
    return said if isinstance(said, int) else None
