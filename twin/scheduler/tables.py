"""Jobs as squeue and sacct print them: names of columns, forms of times, words for what is not known.

Belongs here: from a JobRecord to the rows that the Superfacility API hands on. Every value is text; times are local to
the cluster and carry no zone (``2026-11-22T06:30:00``), as on the real machine.
Does not: which jobs are shown (scheduler.local).
"""

from datetime import datetime, timedelta

from twin.scheduler import Cluster, JobRecord, JobState, Row

_COMPACT = {
    JobState.PENDING: "PD",
    JobState.CONFIGURING: "CF",
    JobState.RUNNING: "R",
    JobState.COMPLETING: "CG",
}
# The accounting database learns of a start and of an end, not of what lies between.
_ACCOUNTED = {JobState.CONFIGURING: "PENDING", JobState.COMPLETING: "RUNNING"}


def sacct_row(job: JobRecord, cluster: Cluster, now: datetime) -> Row:
    """One line of ``sacct -X -P -o ALL``."""
    request = job.request
    elapsed = _elapsed(job, now)
    cpus = str(_cpus(job))
    return {
        "account": request.account,
        "alloccpus": cpus if job.started else "0",
        "allocnodes": str(len(job.nodes)),
        "alloctres": f"billing={cpus},cpu={cpus},node={request.nodes}" if job.started else "",
        "cluster": cluster.name,
        "comment": request.comment,
        "constraints": request.constraint,
        "derivedexitcode": "0:0",
        "elapsed": _duration(elapsed),
        "elapsedraw": str(int(elapsed.total_seconds())),
        "eligible": _time(job.eligible, cluster),
        "end": _time(job.ended, cluster),
        "exitcode": f"{job.exit_code}:{job.signal}",
        "group": cluster.user,
        "gid": str(cluster.uid),
        "jobid": str(job.job_id),
        "jobidraw": str(job.job_id),
        "jobname": request.name,
        "ncpus": cpus,
        "nnodes": str(request.nodes),
        "nodelist": ",".join(job.nodes) or "None assigned",
        "partition": cluster.partition,
        "qos": request.qos,
        "reason": "None",
        "reqcpus": cpus,
        "reqnodes": str(request.nodes),
        "reqtres": f"billing={cpus},cpu={cpus},node={request.nodes}",
        "start": _time(job.started, cluster),
        "state": _accounted_state(job),
        "submit": _time(job.submitted, cluster),
        "timelimit": _limit(request.time_limit),
        "timelimitraw": "" if request.time_limit is None else str(request.time_limit // timedelta(minutes=1)),
        "uid": str(cluster.uid),
        "user": cluster.user,
        "workdir": job.workdir,
    }


def squeue_row(job: JobRecord, cluster: Cluster, command: str, now: datetime) -> Row:
    """One line of ``squeue -o %all``."""
    request = job.request
    elapsed = _elapsed(job, now)
    reason = "Resources" if job.state is JobState.PENDING else "None"
    limit_at = None if job.started is None or request.time_limit is None else job.started + request.time_limit
    return {
        "account": request.account,
        "array_job_id": str(job.job_id),
        "array_task_id": "N/A",
        "command": command,
        "comment": request.comment or "(null)",
        "contiguous": "0",
        "cpus": str(_cpus(job)),
        "dependency": "(null)",
        "end_time": _time(limit_at, cluster, unknown="N/A"),
        "exec_host": job.nodes[0] if job.nodes else "n/a",
        "features": request.constraint,
        "group": cluster.user,
        "jobid": str(job.job_id),
        "name": request.name,
        "nodelist": ",".join(job.nodes),
        "nodelist(reason)": ",".join(job.nodes) or f"({reason})",
        "nodes": str(request.nodes),
        "over_subscribe": "NO" if request.exclusive else "OK",
        "partition": cluster.partition,
        "priority": "0.00001",
        "qos": request.qos,
        "reason": reason,
        "s:c:t": "*:*:*",
        "st": _COMPACT[job.state],
        "start_time": _time(job.started, cluster, unknown="N/A"),
        "state": job.state.value,
        "submit_time": _time(job.submitted, cluster),
        "time": _duration(elapsed, short=True),
        "time_left": _limit(None if request.time_limit is None else request.time_limit - elapsed, short=True),
        "time_limit": _limit(request.time_limit, short=True),
        "uid": str(cluster.uid),
        "user": cluster.user,
        "work_dir": job.workdir,
    }


def _accounted_state(job: JobRecord) -> str:
    if job.state is JobState.CANCELLED:
        return f"CANCELLED by {job.cancelled_by}"
    return _ACCOUNTED.get(job.state, job.state.value)


def _cpus(job: JobRecord) -> int:
    request = job.request
    return request.nodes * request.tasks_per_node * request.cpus_per_task


def _elapsed(job: JobRecord, now: datetime) -> timedelta:
    return timedelta() if job.started is None else max(timedelta(), (job.ended or now) - job.started)


def _time(moment: datetime | None, cluster: Cluster, unknown: str = "Unknown") -> str:
    return unknown if moment is None else moment.astimezone(cluster.zone).strftime("%Y-%m-%dT%H:%M:%S")


def _limit(limit: timedelta | None, *, short: bool = False) -> str:
    return "UNLIMITED" if limit is None else _duration(limit, short=short)


def _duration(duration: timedelta, *, short: bool = False) -> str:
    """``[days-]hh:mm:ss`` as sacct has it; squeue leaves out leading zeros (``0:07``, ``1:02:03``)."""
    seconds = max(0, int(duration.total_seconds()))
    days, rest = divmod(seconds, 86400)
    hours, minutes, seconds = rest // 3600, rest // 60 % 60, rest % 60
    if days:
        return f"{days}-{hours:02}:{minutes:02}:{seconds:02}"
    if not short:
        return f"{hours:02}:{minutes:02}:{seconds:02}"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
