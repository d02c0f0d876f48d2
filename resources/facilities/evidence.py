"""What a job's log tells: how long each step took, and the last words of a program that failed.

Belongs here: pure functions over the text of logs.
Does not: fetching logs (nersc), or the marks themselves (reconstruct.sh.template).
"""

import re
from collections.abc import Iterable

TAIL_LINES = 40
TAIL_CHARACTERS = 6000

_MARK = re.compile(r"als-step (?P<step>[a-z]+) (?P<edge>begin|end) (?P<seconds>\d+(?:\.\d+)?)")
_BY_SLURM = ("srun: ", "slurmstepd: ")


def step_seconds(log: str) -> dict[str, float]:
    """Seconds of each step that ended, from lines ``als-step <step> begin|end <seconds since 1970>``.

    Of a step that was begun again (a requeued job) the last time counts.
    """
    begun: dict[str, float] = {}
    took: dict[str, float] = {}
    for line in log.splitlines():
        mark = _MARK.fullmatch(line.strip())
        if mark is None:
            continue
        if mark["edge"] == "begin":
            begun[mark["step"]] = float(mark["seconds"])
        elif mark["step"] in begun:
            took[mark["step"]] = round(float(mark["seconds"]) - begun.pop(mark["step"]), 3)
    return took


def tail(log: str, lines: int = TAIL_LINES, characters: int = TAIL_CHARACTERS) -> str:
    """The last lines, and of these the last characters."""
    return "\n".join(log.splitlines()[-lines:])[-characters:]


def last_words(stderr: str) -> str | None:
    """The message that says why a job failed: the last one that calls itself an error, else the last line.

    A message is its line and those that follow. Slurm's own lines only repeat that something failed, and count where
    there is nothing else.
    """
    lines = [line for line in stderr.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith(_BY_SLURM)]
    said = _from_last_error(own) or own[-1:] or lines[-1:]
    return " ".join(said)[:TAIL_CHARACTERS] or None


def _from_last_error(lines: Iterable[str]) -> list[str]:
    found: list[str] = []
    for line in lines:
        if line.lower().startswith("error: "):
            found = [line]
        elif found:
            found.append(line)
    return found
