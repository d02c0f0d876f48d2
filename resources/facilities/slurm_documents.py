"""Documents of the Slurm REST API: a job as it is asked for and as it is shown, in the shapes of every known version.

Belongs here: pure functions, one per shape of a field. v0.0.38 has bare words and numbers; from v0.0.40 on states are
lists of a word and its flags, and numbers are objects of ``set``, ``infinite`` and ``number``.
Does not: requests (slurm_rest), or what a state means (slurm).

Seen with Slurm 22.05 (v0.0.38): ``#SBATCH`` lines of a script are not read, so that everything is said in the document;
accounting says exit code 0 of a job that ended with 3 (its state is right, as are signals); a job that waits has the
time at which it may start for its start, and one that runs has its limit for its end.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from resources.facilities.job import JobSpec
from resources.facilities.service import Outage
from resources.facilities.slurm import STATES, SlurmRow, slurm_of, split_nodes
from resources.remote import TERMINAL, JobState

Document = Mapping[str, Any]

_VERSION = re.compile(r"v0\.0\.(\d+)")
_WORDS_AND_NUMBERS = 38
"""The last version with bare words and numbers."""
_OBJECTS = 40
"""The first one with lists and objects throughout; what lies between is neither, and not taken."""
_NO_VALUES = (0xFFFFFFFE, 0xFFFFFFFF)
"""Slurm's NO_VAL and INFINITE, where an old version shows them as numbers."""
_NOT_USABLE = frozenset({"DOWN", "ERROR", "UNKNOWN", "DRAIN", "FAIL", "NOT_RESPONDING", "MAINTENANCE", "POWERED_DOWN"})


def has_objects(version: str) -> bool:
    """Whether a version has lists and objects. Raises ValueError for a version that is not known."""
    match = _VERSION.fullmatch(version)
    number = int(match[1]) if match else 0
    if number != _WORDS_AND_NUMBERS and number < _OBJECTS:
        raise ValueError(f"{version!r} is no version that is spoken here: v0.0.38, and v0.0.40 and later")
    return number >= _OBJECTS


def job_request(
    version: str, job: JobSpec, name: str, script: str, environment: Mapping[str, str], partition: str | None
) -> dict[str, Any]:
    """What is posted to submit a job: all that the ``#SBATCH`` lines of ``script`` say, said again."""
    asked = slurm_of(job)
    logs = str(asked.logs)
    minutes = -(-asked.time_limit // timedelta(minutes=1))
    request: dict[str, Any] = {
        "name": name,
        "comment": name,
        "account": asked.account,
        "qos": asked.queue,
        "tasks_per_node": 1,
        "cpus_per_task": asked.cpus_per_task,
        "current_working_directory": logs,
        "standard_output": f"{logs}/%x_%j.out",
        "standard_error": f"{logs}/%x_%j.err",
        **({"constraints": asked.constraint} if asked.constraint else {}),
        **({"partition": partition} if partition else {}),
    }
    if has_objects(version):
        request |= {
            "minimum_nodes": asked.nodes,
            "maximum_nodes": asked.nodes,
            "time_limit": {"set": True, "infinite": False, "number": minutes},
            "environment": [f"{key}={value}" for key, value in environment.items()],
            **({"shared": ["none"]} if asked.exclusive else {}),
        }
        return {"job": {**request, "script": script}}
    request |= {
        "nodes": [asked.nodes, asked.nodes],
        "time_limit": minutes,
        "environment": dict(environment),
        **({"exclusive": "exclusive"} if asked.exclusive else {}),
    }
    return {"job": request, "script": script}


def read_job(document: Document) -> SlurmRow:
    """A job as the controller or as accounting shows it, told apart by the document: S3M shows one for the other.

    Raises KeyError where it has no id or no state.
    """
    return _controlled(document) if "job_state" in document else _accounted(document)


def word(shown: object) -> str:
    """One word for a state: what is bare, or of a list the last that is no end, as a flag says more than its base.

    ``["CANCELLED", "COMPLETING"]`` is COMPLETING, and ``["FAILED", "REQUEUED"]`` is not over.
    """
    words = [str(one).upper() for one in (shown if isinstance(shown, list) else [shown])]
    if not words or not all(words):
        raise KeyError("a job without a state")
    going_on = [one for one in words if STATES.get(one, JobState.UNKNOWN) not in TERMINAL]
    return going_on[-1] if going_on else words[0]


def number(shown: object) -> int | None:
    """A number, bare or as an object; None where none is set."""
    if isinstance(shown, Mapping):
        shown = shown.get("number") if shown.get("set") and not shown.get("infinite") else None
    if isinstance(shown, bool) or not isinstance(shown, int) or shown in _NO_VALUES:
        return None
    return shown


def moment(shown: object) -> datetime | None:
    """A time, in seconds since 1970; None for 0, which stands for none."""
    seconds = number(shown)
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def usable_nodes(nodes: Sequence[Document]) -> int:
    """How many nodes work, or could."""
    return sum(not (_node_words(node) & _NOT_USABLE) for node in nodes)


def maintenance(reservations: Sequence[Document]) -> tuple[Outage, ...]:
    """The reservations that are a maintenance, as outages."""
    outages = []
    for one in reservations:
        start, end = moment(one.get("start_time")), moment(one.get("end_time"))
        if start is not None and "MAINT" in {str(flag).upper() for flag in one.get("flags") or []}:
            outages.append(Outage(start, end, f"maintenance (reservation {one.get('name')})"))
    return tuple(sorted(outages, key=lambda outage: outage.start))


def _controlled(document: Document) -> SlurmRow:
    state = word(document["job_state"])
    return _row(
        document,
        state,
        _ended_with(document.get("exit_code"), state),
        submitted=document.get("submit_time"),
        started=document.get("start_time"),
        ended=document.get("end_time"),
    )


def _accounted(document: Document) -> SlurmRow:
    state = word(document["state"]["current"])
    exit_code, signal = _ended_with(document.get("exit_code"), state)
    if state == "FAILED" and not exit_code and not signal:
        exit_code = None  # not true: see above
    times = document.get("time") or {}
    return _row(
        document,
        state,
        (exit_code, signal),
        submitted=times.get("submission"),
        started=times.get("start"),
        ended=times.get("end"),
    )


def _row(
    document: Document,
    state: str,
    ended_with: tuple[int | None, int | None],
    *,
    submitted: object,
    started: object,
    ended: object,
) -> SlurmRow:
    nodes = split_nodes(document.get("nodes"))
    meaning = STATES.get(state, JobState.UNKNOWN)
    # Of a job that waits, or never ran, the start is a guess; a node is none.
    has_run = bool(nodes) and meaning not in (JobState.QUEUED, JobState.HELD)
    return SlurmRow(
        job_id=str(number(document["job_id"])),
        name=str(document.get("name") or ""),
        state=state,
        exit_code=ended_with[0],
        signal=ended_with[1],
        submitted=moment(submitted),
        started=moment(started) if has_run else None,
        ended=moment(ended) if meaning in TERMINAL else None,
        nodes=nodes,
    )


def _ended_with(shown: object, state: str) -> tuple[int | None, int | None]:
    """Exit code and signal: of a status of ``wait``, of a word with numbers, or of lists with objects."""
    if STATES.get(state) not in TERMINAL:
        return None, None
    if not isinstance(shown, Mapping) or "number" in shown:
        status = number(shown)
        return (None, None) if status is None else (status >> 8, status & 0x7F)
    signal = shown.get("signal") or {}
    killed_by = number(signal.get("signal_id", signal.get("id")))
    return number(shown.get("return_code")) or 0, killed_by or 0


def _node_words(node: Document) -> set[str]:
    state = node.get("state")
    words = state if isinstance(state, list) else [state, *(node.get("state_flags") or [])]
    return {str(one).upper() for one in words}
