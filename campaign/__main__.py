"""``python -m campaign``: try cases, say what was found, write the report; 1 where something was found.

Belongs here: options, and sharing the cases among lanes. Does not: any case.
"""

import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Annotated

import typer

from campaign.drive import Outcome, Undisturbed, drive, undisturbed
from campaign.lane import lane
from campaign.plan import Case, different, plan
from campaign.report import Campaign, markdown, said_of, summary
from campaign.whole import PARTS, Ended, drive_whole, whole

app = typer.Typer(add_completion=False)


@app.command()
def run(
    cases: Annotated[int, typer.Option(min=1, help="How many.")] = 300,
    seed: Annotated[int, typer.Option(help="Decides which, and all that is left to chance in them.")] = 1,
    facility: Annotated[str, typer.Option(help="Whose branch is tried.")] = "nersc",
    lanes: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 2,
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("var/faults.md"),
    case: Annotated[list[str] | None, typer.Option(help="Only this one, by its name; may be repeated.")] = None,
    parts: Annotated[bool, typer.Option(help="Kill each part of a whole Dagster too; it takes minutes.")] = False,
    part: Annotated[list[str] | None, typer.Option(help=f"Nothing but that, of these: {', '.join(PARTS)}.")] = None,
) -> None:
    """Let everything go wrong, case by case, and see whether the platform keeps its promises."""
    began = time.monotonic()
    with lane(facility) as first:
        usual, faults = undisturbed(first), first.site.faults
    if part:
        chosen = []
    else:
        chosen = [Case.parse(name) for name in case] if case else plan(usual.calls, facility, faults, seed, cases)
    outcomes = _try_all(chosen, usual, facility, seed, min(lanes, len(chosen)))
    killed = _kill_parts(part or (PARTS if parts else ()), facility)
    seconds = time.monotonic() - began
    done = Campaign(facility, seed, usual, outcomes, killed, seconds, different(usual.calls, facility, faults))
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(markdown(done))
    for line in summary(done):
        typer.echo(line)
    typer.echo(f"report: {report}")
    if done.has_findings:
        sys.exit(1)


def _try_all(chosen: Sequence[Case], usual: Undisturbed, facility: str, seed: int, lanes: int) -> list[Outcome]:
    waiting: SimpleQueue[Case] = SimpleQueue()
    for case in chosen:
        waiting.put(case)
    outcomes: dict[Case, Outcome] = {}
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with lane(facility) as here:
                while not failures:
                    case = waiting.get_nowait()
                    outcomes[case] = drive(here, case, usual, seed)
                    _say(outcomes[case], len(outcomes), len(chosen))
        except Empty:
            return
        except BaseException as failure:  # a thread's own would only be printed
            failures.append(failure)

    threads = [threading.Thread(target=work, name=f"lane-{number}") for number in range(lanes)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt as stop:
        failures.append(stop)  # each lane ends its case, and then itself
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return [outcomes[case] for case in chosen]


def _kill_parts(parts: Sequence[str], facility: str) -> list[Ended]:
    if not parts:
        return []
    ends = []
    with whole(facility) as here:
        for part in parts:
            ends.append(drive_whole(here, part))
            typer.echo(said_of(ends[-1]))
    return ends


def _say(outcome: Outcome, number: int, of: int) -> None:
    met = "" if outcome.met else " (did not come about)"
    typer.echo(f"[{number}/{of}] {outcome.seconds:5.1f} s  {outcome.case.id}{met}: {outcome.way}")
    for finding in outcome.findings:
        typer.echo(f"    FINDING {finding}")


if __name__ == "__main__":
    app()
