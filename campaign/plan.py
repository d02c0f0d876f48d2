"""The plan: which cases there are, and which of them a campaign of some length tries, in which order.

Belongs here: cases, their names, the order. Pure: the same calls, seed and number give the same cases.
Does not: carrying a case out (drive), or what each fault is (injections).
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from campaign.calls import SUBMITS, Call

KILLS = ("kill-before", "kill-during", "kill-after")
"""The worker dies before the call is executed, while it is (and it still is), after it has had the answer."""
TERMINATES = ("terminate-before", "terminate-during")
"""A person ends the run, and the call is not executed, or is."""
LOST = ("lost", "dropped", "bad-gateway-lost")
"""Executed and never answered; never executed nor answered; executed and answered with 502."""
ANSWERS = ("401", "403", "429", "500", "503", "nonsense", "late")
AT_A_CALL = (*KILLS, *TERMINATES, *LOST, *ANSWERS)

ANYWHERE = (
    "kill-anytime",
    "kill-twice",
    "terminate-anytime",
    "outage-globus",
    "tokens-globus",
    "clock-ahead",
    "clock-behind",
)
INGEST = (
    "file-corrupted-on-the-way",
    "file-not-readable",
    "quota-data832",
    "collection-down-spot832",
    "source-changed",
)
JOB_FAULTS = (
    *("job-fails", "job-times-out", "job-out-of-memory", "job-preempted", "job-preempted-and-queued-again"),
    *("job-loses-its-node", "job-does-not-boot", "job-vanishes", "job-abandoned"),
)
AT_A_FACILITY = (*JOB_FAULTS, "job-shown-late", "controller-down", "tokens-facility")
"""Not every kind of facility has all of these."""
BRANCH = (
    *("outage-facility", "outage-everything"),
    *("file-corrupted-on-the-way", "file-not-readable"),
    *("quota-raw", "quota-data832", "collection-down-raw"),
    *("raw-corrupted", "raw-truncated"),
    *("product-truncated", "product-corrupted", "product-removed", "manifest-truncated"),
    "result-damaged-on-arrival",
)
"""Of a branch; what is called ``facility``, ``job`` or ``raw`` is of whichever facility is tried."""


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong, in one part of a scan's way."""

    part: str
    fault: str
    call: Call | None = None
    round: int = 1
    """The first time, or which repetition: what is left to chance is then left to another."""

    @property
    def id(self) -> str:
        """Its name, by which it can be run alone."""
        at = [] if self.call is None else [self.call.name, str(self.call.nth)]
        again = [] if self.round == 1 else [f"again{self.round}"]
        return ":".join([self.part, self.fault, *at, *again])

    @classmethod
    def parse(cls, text: str) -> "Case":
        """The case of a name. Raises ValueError."""
        words = text.split(":")
        turn = int(words.pop().removeprefix("again")) if words[-1].startswith("again") else 1
        if len(words) == 2 and words[1] not in AT_A_CALL:
            return cls(words[0], words[1], None, turn)
        if len(words) == 4 and words[1] in AT_A_CALL and words[3].isdigit():
            return cls(words[0], words[1], Call(words[0], words[2], int(words[3])), turn)
        raise ValueError(f"{text!r} is no case: they are called <part>:<fault>[:<call>:<nth>][:again<n>]")

    @property
    def chance(self) -> str:
        """What, with the campaign's seed, decides everything that is left to chance in it."""
        return self.id


def plan(calls: Sequence[Call], facility: str, faults: frozenset[str], seed: int, number: int) -> list[Case]:
    """So many cases: each fault at each call, and each fault of its own, before anything is repeated.

    ``faults`` are those of AT_A_FACILITY that the facility has.

    The first ones are the widest choice: every kill and every loss at every submit, then one case of each fault, then
    every call, and so on through all of them.
    """
    turns = (_every_case(calls, facility, faults, random.Random(f"{seed}:{turn}"), turn) for turn in _from_one())
    return list(islice(chain.from_iterable(turns), number))


def different(calls: Sequence[Call], facility: str, faults: frozenset[str]) -> int:
    """How many cases there are before anything is repeated."""
    return len(_cases(calls, facility, faults, 1))


def _every_case(
    calls: Sequence[Call], facility: str, faults: frozenset[str], chance: random.Random, turn: int
) -> Iterator[Case]:
    cases = _cases(calls, facility, faults, turn)
    chance.shuffle(cases)
    yield from _widest_first(cases)


def _cases(calls: Sequence[Call], facility: str, faults: frozenset[str], turn: int) -> list[Case]:
    return [
        *(Case(call.part, fault, call, turn) for call in calls for fault in AT_A_CALL),
        *(Case("ingest", fault, None, turn) for fault in (*ANYWHERE, *INGEST)),
        *(Case(facility, fault, None, turn) for fault in (*ANYWHERE, *BRANCH, *sorted(faults))),
    ]


def _widest_first(cases: list[Case]) -> list[Case]:
    """The cases in an order in which what is new comes first: every fault, every call, every fault at every submit."""
    novelty: list[Callable[[Case], object]] = [
        lambda case: (case.part, case.fault) if case.call is None else case.fault,
        lambda case: None if case.call is None else (case.part, case.call.name),
        lambda case: (case.fault, case.call.name) if case.call and case.call.name in SUBMITS else None,
        lambda case: (case.part, case.fault, case.call and case.call.name),
    ]
    ordered: dict[Case, None] = {}
    for of in novelty:
        ordered.update(dict.fromkeys(_first_of_each(cases, of)))
    ordered.update(dict.fromkeys(cases))
    return list(ordered)


def _first_of_each(cases: Iterable[Case], of: Callable[[Case], object]) -> Iterator[Case]:
    seen: set[object] = {None}
    for case in cases:
        if of(case) not in seen:
            seen.add(of(case))
            yield case


def _from_one() -> Iterator[int]:
    turn = 0
    while True:
        turn += 1
        yield turn
