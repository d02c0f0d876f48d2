"""Real Slurm as a batch system of the twin: the four commands, as they are on this machine.

Belongs here: calling sbatch, scancel, squeue and sacct, and what they print as rows.
Does not: the daemons behind them (scheduler.servers, or a site's own).
"""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from twin.scheduler import JobQuery, Row, SlurmError

TIMEOUT_S = 60
SEPARATOR = "\x1f"
"""Between the columns of sacct: names of jobs and folders may have the usual one in them."""


class RealSlurm:
    """A Scheduler.

    Args:
        environment: all that the commands get: SLURM_CONF for the cluster, TZ for the zone of times.
        home: where relative paths of a script begin.
    """

    def __init__(self, environment: Mapping[str, str], home: Path) -> None:
        self._environment = dict(environment)
        self._home = home

    def sbatch(self, script: str, args: Sequence[str] = ()) -> int:
        # Standard input is where sbatch looks for a script that is in no file; arguments could only follow a file.
        if args:
            raise SlurmError("sbatch: error: a script that is handed over as text takes no arguments here")
        printed = self._run("sbatch", "--parsable", given=script)
        return int(printed.strip().partition(";")[0])

    def scancel(self, job_id: int) -> None:
        self._run("scancel", str(job_id))

    def squeue(self, query: JobQuery) -> list[Row]:
        printed = self._run("squeue", "--noconvert", "--format=%all", *_options(query))
        return list(_table(printed, "|"))

    def sacct(self, query: JobQuery) -> list[Row]:
        since = []
        if query.since is not None:
            # In UTC: sacct takes seconds since 1970, and so has no zone to guess.
            since = [f"--starttime=uts{int(query.since.timestamp())}"]
        everyone = [] if query.user else ["--allusers"]
        options = ["--allocations", "--parsable2", f"--delimiter={SEPARATOR}", "--format=ALL", *everyone, *since]
        return list(_table(self._run("sacct", *options, *_options(query)), SEPARATOR))

    def close(self) -> None:
        """Nothing: the jobs are the cluster's, and end with it."""

    def _run(self, *command: str, given: str | None = None) -> str:
        try:
            done = subprocess.run(
                command,
                cwd=self._home,
                env=self._environment,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                text=True,
                errors="surrogateescape",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise SlurmError(f"{command[0]}: error: no answer for {TIMEOUT_S} s") from error
        if done.returncode:
            raise SlurmError((done.stderr or done.stdout).strip())
        return done.stdout


def _options(query: JobQuery) -> list[str]:
    ids = None if query.job_ids is None else ",".join(str(job_id) for job_id in sorted(query.job_ids))
    named = {"jobs": ids, "user": query.user, "partition": query.partition, "name": query.name}
    return [f"--{option}={value}" for option, value in named.items() if value is not None]


def _table(printed: str, separator: str) -> Iterator[Row]:
    """Rows, with names in lower case. A line with more columns than there are names cannot be told apart: left out."""
    header, *lines = printed.splitlines() or [""]
    names = [name.strip().lower() for name in header.split(separator)]
    for line in lines:
        values = line.split(separator)
        if len(values) == len(names):
            yield dict(zip(names, (value.strip() for value in values), strict=True))
