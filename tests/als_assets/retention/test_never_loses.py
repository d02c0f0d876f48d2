"""Whatever happens in whatever order: no scan is lost, and nothing goes without a valid certificate.

Belongs here: the state machine over trials, its invariants, and that it can fail.
Does not: real processes and HTTP (test_interrupted).
"""

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from als_assets.retention import planner, planning, proving
from als_assets.retention.inventory import Work
from als_assets.retention.passes import Pass
from als_assets.retention.planning import Known
from beamlines import deletion
from beamlines.decisions import Decision, Reason
from beamlines.policy import ExportControl
from beamlines.standing import SeenFile
from resources.facilities.checksums import FRESH
from resources.recorded import RecordedCopy
from tests.als_assets.retention.trials import (
    DAY,
    HOUR,
    PRODUCTS,
    RAW,
    Trials,
    places_with_rules,
)
from tests.als_assets.retention.world import LostError, Where

STEPS = int(os.environ.get("ALS_STEPS", "1000"))
STEPS_AN_EXAMPLE = 50
SCANS = ("f/20260101_000001_a", "f/20260101_000002_b")
PARTITIONS = (*SCANS, f"{SCANS[0]}@again")
WHERES = [(name, scan) for name in RAW for scan in SCANS] + [(name, p) for name in PRODUCTS for p in PARTITIONS]

scans, partitions, wheres = st.sampled_from(SCANS), st.sampled_from(PARTITIONS), st.sampled_from(WHERES)
places = st.sampled_from(places_with_rules())
ages = st.sampled_from((HOUR, 8 * DAY, 40 * DAY, 40 * DAY))
OF_ONE_ANOTHER = (("spot832", "data832"), ("pscratch", "data832"))
"""At the second of these lie copies that keep some at the first."""
MEANWHILE = ("hold", "damage", "write", "make again", "restrict", "change", "run", "release")


class Beamline832(RuleBasedStateMachine):
    """Scans, people, clocks, faults, crashes and passes."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.trials = Trials(self.stack.enter_context(dg.DagsterInstance.ephemeral()))
        self.stack.callback(self.trials.database.close)
        self.number = 0

    def teardown(self) -> None:
        self.stack.close()

    @initialize(age=ages)
    def there_are_scans(self, age: timedelta) -> None:
        for scan in SCANS:
            self.trials.arrive(scan, "first")
        for partition in PARTITIONS:
            self.trials.reconstruct(partition)
        self.trials.world.time += age

    # -- passes --------------------------------------------------------------------------------------------------

    @rule(place=places, skew=st.sampled_from((timedelta(), timedelta(), timedelta(), HOUR, -HOUR)))
    def a_pass(self, place: str, skew: timedelta) -> None:
        self.trials.carry_out(place, skew)

    @rule(place=places, calls=st.integers(0, 60))
    def a_pass_that_dies(self, place: str, calls: int) -> None:
        self.trials.world.dies_after = calls
        self.trials.carry_out(place)

    @rule(place=places, lost=st.sampled_from((1, 2, 4)))
    def a_pass_whose_answers_are_lost(self, place: str, lost: int) -> None:
        self.trials.globus.refuses = lost
        self.trials.carry_out(place)
        self.trials.globus.refuses = 0

    @rule(place=places, what=st.sampled_from(MEANWHILE), where=wheres, dies=st.none() | st.integers(20, 80))
    def a_pass_while_something_happens(self, place: str, what: str, where: Where, dies: int | None) -> None:
        self.trials.world.meanwhile = lambda: self._happens(what, where)
        self.trials.world.dies_after = dies
        self.trials.carry_out(place)

    @rule(place=places, span=st.sampled_from((HOUR, FRESH, 2 * FRESH)))
    def a_pass_that_reads_for_hours(self, place: str, span: timedelta) -> None:
        self.trials.world.reads_for = span
        self.trials.carry_out(place)

    @rule(both=st.sampled_from(OF_ONE_ANOTHER))
    def a_pass_and_another_one_between_its_last_word_and_its_certificate(self, both: tuple[str, str]) -> None:
        self.trials.world.last_moment = lambda: self.trials.carry_out(both[1])
        self.trials.carry_out(both[0])

    # -- the world -----------------------------------------------------------------------------------------------

    @rule(span=st.sampled_from((HOUR, DAY, 8 * DAY, 15 * DAY, 40 * DAY)))
    def time_passes(self, span: timedelta) -> None:
        self.trials.world.time += span

    @rule(what=st.sampled_from(MEANWHILE), where=wheres)
    def something_happens(self, what: str, where: Where) -> None:
        self._happens(what, where)

    @rule(scan=scans)
    def a_bit_flips_in_what_keeps_others(self, scan: str) -> None:
        self._happens("damage", ("data832/raw", scan))

    @rule(where=wheres, manifest=st.booleans())
    def something_is_lost(self, where: Where, manifest: bool) -> None:
        if not self.trials.may_be_damaged(where):
            return
        if manifest:
            self.trials.world.lying[where] = replace(self.trials.world.lying[where], manifest=None)
        else:
            del self.trials.world.lying[where]

    @rule(place=places, how=st.sampled_from(("away", "dying", "well")))
    def a_place_comes_and_goes(self, place: str, how: str) -> None:
        self.trials.world.away.discard(place)
        self.trials.world.dying.discard(place)
        {"away": self.trials.world.away, "dying": self.trials.world.dying}.get(how, set()).add(place)

    @rule(scan=scans)
    @precondition(lambda self: not self.trials.at_work)
    def a_scan_is_measured_again(self, scan: str) -> None:
        self.number += 1
        if scan not in self.trials.on_site:
            self.trials.remeasure(scan, f"{'again' * (self.number % 2)}{self.number % 10}")

    @rule(scan=scans)
    def a_person_lets_a_scan_go_on(self, scan: str) -> None:
        said = {"author": "dula", "note": "a test", "at": self.trials.world.time}
        self.trials.standings.lift(scan, **said)  # type: ignore[arg-type]
        self.trials.standings.accept(scan, SeenFile(1, self.trials.world.time), **said)  # type: ignore[arg-type]
        self.trials.on_site.discard(scan)

    @rule(where=wheres)
    def a_copy_is_made_again(self, where: Where) -> None:
        self._make(where)

    @rule(partition=partitions, age=ages)
    def everything_is_made_again(self, partition: str, age: timedelta) -> None:
        for where in WHERES:
            if where[1] == partition:
                self._make(where)
        self.trials.world.time += age

    def _happens(self, what: str, where: Where) -> None:
        trials, (_, partition) = self.trials, where
        scan, now = partition.partition("@")[0], trials.world.time
        lying = trials.world.lying.get(where)
        if what == "hold":
            trials.holds.hold_scan(scan, author="dula", note="a paper", at=now, until=now + 20 * DAY)
        elif what == "release":
            for hold in trials.holds.listed():
                trials.holds.release(hold.id, author="dula", note="printed", at=now)
            for at_work in [*trials.at_work]:
                trials.run_ends(at_work)
        elif what == "damage" and lying is not None and trials.may_be_damaged(where):
            trials.world.lying[where] = replace(lying, damaged=True)
        elif what == "write" and lying is not None and trials.may_be_damaged(where):
            trials.world.lying[where] = replace(lying, content=f"{lying.content} and more", written=now, damaged=True)
        elif what == "make again":
            self._make(where)
        elif what == "restrict":
            trials.restrict(scan)
        elif what == "change":
            trials.standings.changed(scan, "7 bytes", at=now)
        elif what == "run" and partition not in trials.at_work:
            trials.run_begins(partition)

    def _make(self, where: Where) -> None:
        """As a backfill does: of raw, what its scan is; of a product, what the program makes."""
        asset, partition = where
        content = self.trials.world.truth[partition] if asset in RAW else f"slices {partition}"
        self.trials.make(where, content)

    # -- what must always be true --------------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost(self) -> None:
        self.trials.nothing_is_lost()

    @invariant()
    def the_chain_is_whole(self) -> None:
        self.trials.tables.certificates.verify()


def _settings(steps: int, **more: Any) -> settings:
    """A state machine's steps, always the same ones: what fails is printed with what makes it fail again."""
    return settings(
        max_examples=max(1, steps // STEPS_AN_EXAMPLE),
        stateful_step_count=STEPS_AN_EXAMPLE,
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def test_whatever_happens_no_scan_is_lost() -> None:
    run_state_machine_as_test(Beamline832, settings=_settings(STEPS))  # type: ignore[no-untyped-call]


def _yes(*_: Any, **__: Any) -> Decision:
    return Decision.yes(Reason.AGED, "a guard is away")


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _believed(known: Known, record: RecordedCopy) -> deletion.CopyFacts:
    return replace(_FACTS(known, record), suspect=None)


_FACTS = planning._facts
GUARDS: dict[str, Sequence[tuple[Any, str, Callable[..., Any]]]] = {
    "the judgement of what was read": [(proving, "judge", _yes)],
    "what people have said": [(deletion, "_by_people", _nothing)],
    "that a restricted scan stays": [(ExportControl, "restriction", _nothing)],
    "work in flight": [
        (planner, "work_in_flight", lambda *_, **__: Work({})),
        (planner, "work_on", lambda *_, **__: Work({})),
    ],
    "that readings are fresh": [(proving.Evidence, "outdated", _nothing)],
    # Each of these two does without the other.
    "suspects and failed checks": [(planning, "_facts", _believed), (Pass, "_failed_checks", lambda *_: [])],
}


FOUND_LATE = ("work in flight",)
"""Only after thousands of steps: for `make faults`."""
_LATE = pytest.mark.skipif(STEPS < 10_000, reason="seen only after thousands of steps: make faults")


@pytest.mark.parametrize("guard", [pytest.param(one, marks=_LATE if one in FOUND_LATE else ()) for one in GUARDS])
def test_without_a_guard_something_is_lost_and_seen(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, instead in GUARDS[guard]:
        monkeypatch.setattr(owner, name, instead)
    with pytest.raises(LostError):
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Beamline832, settings=_settings(5_000, phases=[Phase.generate])
        )
