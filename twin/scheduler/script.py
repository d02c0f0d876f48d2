"""Batch scripts as sbatch reads them: the first line, the ``#SBATCH`` lines, and the texts of refusal.

Belongs here: from a script's text to a JobRequest. Sources: ``opt.c`` and the manual of sbatch (Slurm 22 to 24) and,
for a missing constraint, NERSC's submission filter.
Does not: running scripts (scheduler.local).
"""

import getopt
import re
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from twin.scheduler import Cluster, JobRequest, SlurmError

DIRECTIVE = "#SBATCH"
SUBMISSION_FAILED = "sbatch: error: Batch job submission failed: "
UNLIMITED = frozenset({"UNLIMITED", "INFINITE", "-1"})

_SHORT_OPTIONS = "q:A:C:N:n:c:t:J:o:e:D:p:"
_LONG_OPTIONS = {
    "qos=": "-q",
    "account=": "-A",
    "constraint=": "-C",
    "nodes=": "-N",
    "ntasks=": "-n",
    "ntasks-per-node=": "--ntasks-per-node",
    "cpus-per-task=": "-c",
    "time=": "-t",
    "job-name=": "-J",
    "comment=": "--comment",
    "output=": "-o",
    "error=": "-e",
    "chdir=": "-D",
    "partition=": "-p",
    "export=": "--export",
    "exclusive": "--exclusive",
    "requeue": "--requeue",
    "no-requeue": "--no-requeue",
}
_SAME = {"--" + long.rstrip("="): option for long, option in _LONG_OPTIONS.items()}


def read_request(script: str, cluster: Cluster) -> JobRequest:
    """What the script asks for. Raises SlurmError in sbatch's words."""
    _refuse_what_is_no_script(script)
    values: dict[str, Any] = {"name": "sbatch", "qos": cluster.default_qos, "account": cluster.accounts[0]}
    values["time_limit"] = cluster.default_time_limit
    for option, value in _options(script):
        field, read = _MEANING[option]
        values[field] = read(value)
    if "constraint" not in values and cluster.needs_constraint:
        raise SlurmError(
            "sbatch: error: No architecture specified, cannot estimate job costs.\n"
            f"{SUBMISSION_FAILED}Unspecified error"
        )
    try:
        request = JobRequest.model_validate(values)
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise SlurmError(f"sbatch: error: Invalid numeric value for {field}: {values[field]!r}") from error
    _refuse_what_the_cluster_lacks(request, cluster)
    return request


def read_time_limit(text: str) -> timedelta | None:
    """Slurm's six forms, from ``minutes`` to ``days-hours:minutes:seconds``; 0 and UNLIMITED are None.

    Slurm counts in minutes: seconds round up. Raises SlurmError.
    """
    if text.upper() in UNLIMITED:
        return None
    match = re.fullmatch(r"(?:([0-9]{1,6})-)?([0-9]{1,8})(?::([0-9]{1,8}))?(?::([0-9]{1,8}))?", text)
    if match is None:
        raise SlurmError("sbatch: error: Invalid --time specification")
    days, *rest = match.groups()
    numbers = [int(number) for number in rest if number is not None]
    # Without days two numbers are minutes and seconds; otherwise the first one is hours.
    units = ("hours", "minutes", "seconds") if days is not None or len(numbers) == 3 else ("minutes", "seconds")
    limit = timedelta(days=int(days or 0), **dict(zip(units, numbers, strict=False)))
    return timedelta(minutes=-(-limit // timedelta(minutes=1))) or None


def _refuse_what_is_no_script(script: str) -> None:
    if not script:
        raise SlurmError("sbatch: error: Batch script is empty!")
    if not script.strip():
        raise SlurmError("sbatch: error: Batch script contains only whitespace!")
    if not script.startswith("#!"):
        raise SlurmError(
            "sbatch: error: This does not look like a batch script.  The first\n"
            "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
            "sbatch: error: For instance: #!/bin/sh"
        )
    if "\0" in script:
        raise SlurmError(
            "sbatch: error: The SLURM controller does not allow scripts that\n"
            "sbatch: error: contain a NULL character '\\0'."
        )
    if "\r\n" in script:
        raise SlurmError(
            "sbatch: error: Batch script contains DOS line breaks (\\r\\n)\n"
            "sbatch: error: instead of expected UNIX line breaks (\\n)."
        )


def _options(script: str) -> Iterator[tuple[str, str]]:
    for line in script.split("\n"):
        if not line.startswith(DIRECTIVE):
            # An indented directive lands here and is a comment to sbatch, without a word.
            if line.strip() and not line.lstrip().startswith("#"):
                return
            continue
        try:
            tokens = shlex.split(line.removeprefix(DIRECTIVE), comments=True)
            options, rest = getopt.gnu_getopt(tokens, _SHORT_OPTIONS, list(_LONG_OPTIONS))
        except getopt.GetoptError as error:
            raise SlurmError(f'sbatch: {_getopt_message(error)}\nTry "sbatch --help" for more information') from error
        except ValueError as error:
            raise SlurmError(f"sbatch: error: {line}: {error}") from error
        if rest:
            raise SlurmError(f"sbatch: error: Invalid directive found in batch script: {rest[0]}")
        yield from ((_SAME.get(option, option), value) for option, value in options)


def _getopt_message(error: getopt.GetoptError) -> str:
    dashed = ("-" if len(error.opt) == 1 else "--") + error.opt
    if "requires argument" in error.msg:
        return f"option '{dashed}' requires an argument"
    return f"unrecognized option '{dashed}'"


def _refuse_what_the_cluster_lacks(request: JobRequest, cluster: Cluster) -> None:
    if request.account not in cluster.accounts:
        raise SlurmError(f"{SUBMISSION_FAILED}Invalid account or account/partition combination specified")
    if request.qos not in cluster.qos:
        raise SlurmError(f"{SUBMISSION_FAILED}Invalid qos specification")
    if request.partition not in (None, cluster.partition):
        raise SlurmError(f"{SUBMISSION_FAILED}Invalid partition name specified")
    if not all(feature in cluster.features for feature in re.split(r"[&|]", request.constraint) if feature):
        raise SlurmError(f"{SUBMISSION_FAILED}Invalid feature specification")
    if request.cpus_per_task * request.tasks_per_node > cluster.cpus_per_node:
        raise SlurmError(f"{SUBMISSION_FAILED}Requested node configuration is not available")


def _exports(text: str) -> dict[str, str]:
    return dict(item.split("=", 1) for item in text.split(",") if "=" in item)


def _text(value: str) -> str:
    return value


# What an option sets, and how its value is read. A range of nodes (2-4) asks for its lower end.
_MEANING: dict[str, tuple[str, Callable[[str], Any]]] = {
    "-q": ("qos", _text),
    "-A": ("account", _text),
    "-C": ("constraint", _text),
    "-N": ("nodes", lambda text: text.split("-")[0]),
    "-n": ("tasks", _text),
    "--ntasks-per-node": ("tasks_per_node", _text),
    "-c": ("cpus_per_task", _text),
    "-t": ("time_limit", read_time_limit),
    "-J": ("name", _text),
    "--comment": ("comment", _text),
    "-o": ("output", _text),
    "-e": ("error", _text),
    "-D": ("chdir", _text),
    "-p": ("partition", _text),
    "--export": ("exports", _exports),
    "--exclusive": ("exclusive", lambda _: True),
    "--requeue": ("requeue", lambda _: True),
    "--no-requeue": ("requeue", lambda _: False),
}
