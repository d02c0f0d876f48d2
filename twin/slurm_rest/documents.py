"""Jobs, nodes and reservations as v0.0.38 shows them. Only fields that a client could want are here.

Belongs here: from rows of sacct and squeue to the two documents of a job: the controller's, and accounting's.
Does not: which jobs are shown (app).

As the real server (Slurm 22.05): a job that waits has the time when it may start for its start, one that runs its limit
for its end; and accounting says SUCCESS and 0 of a job that ended with an exit code of its own.
"""

from datetime import datetime, timedelta
from typing import Any

from twin.scheduler import Cluster, Row

META = {
    "plugin": {"type": "openapi/v0.0.38", "name": "Slurm OpenAPI v0.0.38"},
    "Slurm": {"version": {"major": 22, "micro": 8, "minor": 5}, "release": "22.05.8"},
}
"""Of the server whose answers these are."""

_SIGNALS = {9: "Killed", 15: "Terminated"}


def controller_job(recorded: Row, queued: Row | None, cluster: Cluster) -> dict[str, Any]:
    """A job as the controller shows it, while it is in the queue and for some minutes after."""
    exit_code, signal = _ended_with(recorded)
    submitted = seconds(recorded["submit"], cluster)
    started, ended = seconds(recorded["start"], cluster), seconds(recorded["end"], cluster)
    minutes = int(recorded["timelimitraw"] or 0)
    state = queued["state"] if queued else _state(recorded)
    if queued and started:
        ended = started + minutes * 60
    return {
        "account": recorded["account"],
        "batch_host": _nodes(recorded),
        "cluster": recorded["cluster"],
        "comment": recorded["comment"],
        "current_working_directory": recorded["workdir"],
        "derived_exit_code": 0,
        "eligible_time": seconds(recorded["eligible"], cluster),
        "end_time": ended,
        "exit_code": exit_code << 8 | signal,
        "features": recorded["constraints"],
        "job_id": int(recorded["jobid"]),
        "job_state": state,
        "name": recorded["jobname"],
        "node_count": int(recorded["nnodes"]),
        "nodes": _nodes(recorded),
        "partition": recorded["partition"],
        "qos": recorded["qos"],
        "start_time": started or (submitted if queued else ended),
        "state_reason": recorded["reason"],
        "submit_time": submitted,
        "time_limit": minutes,
        "user_id": int(recorded["uid"]),
        "user_name": recorded["user"],
    }


def accounted_job(recorded: Row, cluster: Cluster) -> dict[str, Any]:
    """A job as accounting shows it."""
    _, signal = _ended_with(recorded)
    exit_code: dict[str, Any] = {"status": "SUCCESS", "return_code": 0}
    if signal:
        name = _SIGNALS.get(signal, "Unknown")
        exit_code = {"status": "SIGNALED", "return_code": None, "signal": {"signal_id": signal, "name": name}}
    return {
        "account": recorded["account"],
        "cluster": recorded["cluster"],
        "comment": {"administrator": None, "job": recorded["comment"], "system": None},
        "exit_code": exit_code,
        "job_id": int(recorded["jobid"]),
        "name": recorded["jobname"],
        "nodes": recorded["nodelist"],
        "partition": recorded["partition"],
        "qos": recorded["qos"],
        "state": {"current": _state(recorded), "reason": "None"},
        "steps": [],
        "time": {
            "elapsed": int(recorded["elapsedraw"]),
            "eligible": seconds(recorded["eligible"], cluster),
            "end": seconds(recorded["end"], cluster),
            "limit": int(recorded["timelimitraw"] or 0),
            "start": seconds(recorded["start"], cluster) or None,
            "submission": seconds(recorded["submit"], cluster),
        },
        "user": recorded["user"],
        "working_directory": recorded["workdir"],
    }


def node(name: str, *, up: bool) -> dict[str, Any]:
    """A node that is up and idle, or drained."""
    flags = [] if up else ["DRAIN"]
    return {"name": name, "hostname": name, "state": "idle", "state_flags": flags, "reason": "" if up else "drained"}


def reservation(name: str, start: datetime, end: datetime, node_list: str) -> dict[str, Any]:
    """A maintenance that was announced."""
    return {
        "name": name,
        "flags": ["MAINT", "IGNORE_JOBS", "SPEC_NODES"],
        "start_time": int(start.timestamp()),
        "end_time": int(end.timestamp()),
        "node_list": node_list,
        "users": "root",
    }


def seconds(printed: str, cluster: Cluster) -> int:
    """A time of a table in seconds since 1970; 0 for one that is not known."""
    moment = read_time(printed, cluster)
    return 0 if moment is None else int(moment.timestamp())


def read_time(text: str, cluster: Cluster) -> datetime | None:
    """A time as Slurm prints it and takes it: local to the cluster, without a zone, or ``uts`` and seconds."""
    if text.startswith("uts") and text[3:].isdigit():
        return datetime.fromtimestamp(int(text[3:]), cluster.zone)
    try:
        return datetime.fromisoformat(text).replace(tzinfo=cluster.zone)
    except ValueError:
        return None


REMEMBERED = timedelta(minutes=5)
"""For how long the controller shows a job that has ended (Slurm's MinJobAge)."""


def _state(recorded: Row) -> str:
    return recorded["state"].split(" ")[0]


def _nodes(recorded: Row) -> str:
    return "" if recorded["nodelist"] == "None assigned" else recorded["nodelist"]


def _ended_with(recorded: Row) -> tuple[int, int]:
    exit_code, _, signal = recorded["exitcode"].partition(":")
    return int(exit_code), int(signal)
