"""The report of a campaign: what was tried, what came of it, what was found.

Belongs here: Markdown, and the lines in the terminal. Does not: any judgement.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from campaign.drive import Outcome, Undisturbed
from campaign.whole import Ended


@dataclass(frozen=True)
class Campaign:
    """Everything that is reported."""

    facility: str
    seed: int
    usual: Undisturbed
    outcomes: Sequence[Outcome]
    parts: Sequence[Ended]
    seconds: float
    all_cases: int
    """How many different ones there are before anything is repeated."""

    @property
    def bad(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.findings]

    @property
    def has_findings(self) -> bool:
        return bool(self.bad) or any(ended.findings for ended in self.parts)

    @property
    def unmet(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if not outcome.met]


def summary(campaign: Campaign) -> list[str]:
    """What a person reads first."""
    outcomes = campaign.outcomes
    runs = [run for outcome in outcomes for run in outcome.runs]
    at_calls = {(o.case.call.part, o.case.call.name, o.case.call.nth) for o in outcomes if o.case.call}
    lines = [
        f"{len(outcomes)} cases of {campaign.all_cases} (facility {campaign.facility}, seed {campaign.seed}) "
        f"in {campaign.seconds:.0f} s: {len(campaign.bad)} with findings.",
        f"{len({o.case.fault for o in outcomes})} kinds of faults; "
        f"{len(at_calls)} of {len(campaign.usual.calls)} calls to the outside world were hit.",
        f"{len(runs)} runs: {sum(r.killed for r in runs)} killed, {sum(r.terminated for r in runs)} terminated.",
        f"In {len(campaign.unmet)} cases the fault did not come about: the run made fewer calls than usual.",
    ]
    lines += [said_of(ended) for ended in campaign.parts]
    lines += [f"FINDING {o.case.id}: {finding}" for o in campaign.bad for finding in o.findings]
    return lines + [f"FINDING {ended.part}: {finding}" for ended in campaign.parts for finding in ended.findings]


def said_of(ended: Ended) -> str:
    """How the kill of a part of a whole Dagster ended, in a line."""
    again = "" if ended.reattached_s is None else f", re-attached {ended.reattached_s:.1f} s after the retry's start"
    found = f"{len(ended.findings)} findings" if ended.findings else "nothing found"
    return f"{ended.part} of a whole Dagster killed: {ended.seconds:.0f} s until all was over{again}; {found}."


def markdown(campaign: Campaign) -> str:
    """The whole report."""
    ends = Counter((o.case.fault, o.way) for o in campaign.outcomes)
    rows = [f"| {fault} | {way} | {count} |" for (fault, way), count in sorted(ends.items())]
    cases = [
        f"| `{o.case.id}` | {'yes' if o.met else 'no'} | {o.way} | {o.seconds:.1f} | {'; '.join(o.findings) or '-'} |"
        for o in campaign.outcomes
    ]
    return "\n".join(
        [
            "# Fault campaign",
            "",
            *(f"- {line}" for line in summary(campaign)),
            "",
            f"A case alone: `python -m campaign --facility {campaign.facility} --seed {campaign.seed} --case ID`.",
            "",
            "## What the runs ended with",
            "",
            "| fault | runs | cases |",
            "|---|---|---|",
            *rows,
            "",
            "## Every case",
            "",
            "| case | came about | runs | seconds | findings |",
            "|---|---|---|---|---|",
            *cases,
            "",
        ]
    )
