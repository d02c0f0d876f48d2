"""From the document that submits a job to a batch script, as sbatch would have been given it.

Belongs here: which keys there are, what is refused, and how each becomes a ``#SBATCH`` line.
Does not: what the batch system makes of the script (scheduler).

The server does not read the ``#SBATCH`` lines of a script (seen): here they are taken out, and the document's put in.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from twin.scheduler.script import DIRECTIVE

UNKNOWN = -1
PARSING = 9001
NO_ENVIRONMENT = 2127

_OPTIONS = {
    "account": "--account",
    "comment": "--comment",
    "constraints": "--constraint",
    "cpus_per_task": "--cpus-per-task",
    "current_working_directory": "--chdir",
    "name": "--job-name",
    "partition": "--partition",
    "qos": "--qos",
    "standard_error": "--error",
    "standard_output": "--output",
    "tasks": "--ntasks",
    "tasks_per_node": "--ntasks-per-node",
    "time_limit": "--time",
}
_NUMBERS = frozenset({"cpus_per_task", "tasks", "tasks_per_node", "time_limit"})
_OTHERS = frozenset({"environment", "exclusive", "nodes", "requeue"})
_EXCLUSIVE = ("exclusive", "oversubscribe", "user", "mcs")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DocumentRefusedError(Exception):
    """A document that the server does not take; ``errors`` is what it answers."""

    def __init__(self, *errors: dict[str, Any]) -> None:
        super().__init__(str(errors))
        self.errors = [*errors, {"error_code": PARSING, "error": "Failure during parsing"}]


def read_script(document: Mapping[str, Any]) -> str:
    """The script to queue. Raises DocumentRefusedError."""
    script, job = document.get("script"), document.get("job")
    if not isinstance(script, str) or not isinstance(job, dict):
        raise DocumentRefusedError({"error": "expected dictionaries of 'job' and a text 'script'"})
    _refuse(job)
    first, _, rest = script.partition("\n")
    body = "".join(line for line in rest.splitlines(keepends=True) if not line.startswith(DIRECTIVE))
    return f"{first}\n{_directives(job)}{_environment(job['environment'])}{body}"


def _refuse(job: Mapping[str, Any]) -> None:
    if unknown := sorted(job.keys() - _OPTIONS.keys() - _OTHERS):
        raise DocumentRefusedError({"description": f'Unknown key "{unknown[0]}"', "source": "hsearch_r"})
    for key, value in job.items():
        if key in _OPTIONS and (type(value) is not (int if key in _NUMBERS else str) or "\n" in str(value)):
            raise _unprocessed(key, "Unspecified error")
    if not isinstance(job.get("environment"), dict) or not job["environment"]:
        raise DocumentRefusedError({"error": "environment must be set", "error_code": NO_ENVIRONMENT})
    if "exclusive" in job and job["exclusive"] not in _EXCLUSIVE:
        raise _unprocessed("exclusive", "Invalid exclusive specification")
    nodes = job.get("nodes", [1, 1])
    if not isinstance(nodes, list) or len(nodes) not in (1, 2) or not all(type(number) is int for number in nodes):
        raise _unprocessed("nodes", "Unspecified error")


def _unprocessed(key: str, why: str) -> DocumentRefusedError:
    what = {"description": f'Unable to process key "{key}"', "error_number": UNKNOWN, "error": why}
    return DocumentRefusedError({**what, "source": "slurm_process_option_data"})


def _directives(job: Mapping[str, Any]) -> str:
    options = [f"{option}={shlex.quote(str(job[key]))}" for key, option in _OPTIONS.items() if key in job]
    if "nodes" in job:
        options.append(f"--nodes={job['nodes'][0]}")
    if job.get("exclusive") == "exclusive":
        options.append("--exclusive")
    if "requeue" in job:
        options.append("--requeue" if job["requeue"] else "--no-requeue")
    return "".join(f"{DIRECTIVE} {option}\n" for option in options)


def _environment(environment: Mapping[str, Any]) -> str:
    """A line that leaves the job what the document gives it, and Slurm's own.

    The first folder of the scheduler's PATH stays in front: it has the ``srun`` that a real site has in /usr/bin.
    """
    words = []
    for key, value in environment.items():
        if _VARIABLE.fullmatch(key):
            front = '"${PATH%%:*}":' if key == "PATH" else ""
            words.append(f"{key}={front}{shlex.quote(str(value))}")
    return f"unset HOME USER LOGNAME SHELL LANG; export {' '.join(words)}\n"
