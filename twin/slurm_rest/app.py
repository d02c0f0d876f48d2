"""The Slurm REST API over HTTP.

Belongs here: routes, who may use them, which jobs they show, and the errors that they answer.
Does not: what jobs are (scheduler), shapes of documents (documents, submission), or what is set from outside (control).

One thing differs from the real server: a token that is not good is 401 everywhere, as newer servers and S3M have it;
slurmrestd of 22.05 answers that only where there is none, and otherwise an error without a name.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from twin.scheduler import Clock, Cluster, JobQuery, Scheduler, SlurmError
from twin.slurm_rest import documents
from twin.slurm_rest.documents import META, REMEMBERED
from twin.slurm_rest.submission import DocumentRefusedError, read_script
from twin.slurm_rest.tokens import SlurmTokens

VERSION = "v0.0.38"
NODES = 4

Answer = tuple[dict[str, Any], int]

_NOT_FOUND = {"error_number": 2017, "error": "Invalid job id specified"}
_EMPTY = {"error_number": 9003, "error": "Nothing found with query", "description": "Nothing found"}
_CONTROLLER_AWAY = {"error_number": -1, "error": "Unspecified error"}
_DATABASE_AWAY = {"error_number": 7000, "error": "Unable to connect to database"}
_UNREADABLE = {"error_number": 9000, "error": "Query empty or not RFC7320 compliant"}
# What sbatch and scancel say, by the numbers that the server answers.
_REASONS = {
    "Unable to contact slurm controller": 1800,
    "Invalid partition name specified": 2000,
    "Requested node configuration is not available": 2014,
    "Invalid feature specification": 2029,
    "Invalid account or account/partition combination specified": 2045,
    "Invalid qos specification": 2066,
}


@dataclass
class SlurmRest:
    """A facility with a Slurm REST API, as far as that shows it."""

    scheduler: Scheduler
    cluster: Cluster
    tokens: SlurmTokens
    clock: Clock
    nodes_up: Callable[[], int]
    """How many of the nodes work now."""
    remembered: timedelta = REMEMBERED
    """For how long the controller shows a job that has ended; then only accounting does."""
    maintenance: dict[str, tuple[datetime, datetime]] = field(default_factory=dict)
    """Reservations by name: from when to when."""

    def reset(self) -> None:
        self.remembered = REMEMBERED
        self.maintenance.clear()

    # -- the controller ------------------------------------------------------------------------------------------

    def ping(self) -> Answer:
        try:
            self.scheduler.squeue(JobQuery())
        except SlurmError:
            return _errors(_CONTROLLER_AWAY)
        return {"errors": [], "pings": [{"hostname": "twin", "ping": "UP", "status": 0, "mode": "primary"}]}, 200

    def submit(self, document: dict[str, Any]) -> Answer:
        try:
            job_id = self.scheduler.sbatch(read_script(document))
        except DocumentRefusedError as refused:
            return {"errors": refused.errors}, 400
        except SlurmError as error:
            return _errors(_reason(error, "error_code"))
        return {"errors": [], "job_id": job_id, "step_id": "BATCH", "job_submit_user_msg": ""}, 200

    def jobs(self, job_id: int | None) -> Answer:
        """What the controller knows: the queue, and for some minutes what has left it."""
        now = self.clock()
        ids = None if job_id is None else frozenset({job_id})
        try:
            queued = {row["jobid"]: row for row in self.scheduler.squeue(JobQuery(job_ids=ids))}
            recorded = self.scheduler.sacct(JobQuery(job_ids=ids, since=now - self.remembered))
        except SlurmError:
            return _errors(_CONTROLLER_AWAY, jobs=[])
        shown = [
            documents.controller_job(row, queued.get(row["jobid"]), self.cluster)
            for row in recorded
            if row["jobid"] in queued or documents.seconds(row["end"], self.cluster) >= _since(now - self.remembered)
        ]
        if job_id is not None and not shown:
            return _errors({**_NOT_FOUND, "description": f"Unable to find JobId={job_id}"}, jobs=[])
        return {"errors": [], "jobs": shown}, 200

    def cancel(self, job_id: int) -> Answer:
        try:
            self.scheduler.scancel(job_id)
        except SlurmError as error:
            found = {**_NOT_FOUND, "description": f"unable to kill JobId={job_id}: {_NOT_FOUND['error']}"}
            return _errors(found if "Invalid job id" in str(error) else _reason(error, "error_number"))
        return {"errors": []}, 200

    def nodes(self) -> Answer:
        up = self.nodes_up()
        names = [f"{self.cluster.name}{index:05}" for index in range(1, max(NODES, up) + 1)]
        return {"errors": [], "nodes": [documents.node(name, up=at < up) for at, name in enumerate(names)]}, 200

    def reservations(self) -> Answer:
        every = f"{self.cluster.name}[00001-{NODES:05}]"
        shown = [documents.reservation(name, *when, every) for name, when in self.maintenance.items()]
        return {"errors": [], "reservations": shown}, 200

    # -- accounting ----------------------------------------------------------------------------------------------

    def accounted(self, query: JobQuery, names: frozenset[str] | None) -> Answer:
        try:
            rows = self.scheduler.sacct(query)
        except SlurmError:
            return {"errors": [_DATABASE_AWAY], "jobs": []}, 200
        shown = [documents.accounted_job(row, self.cluster) for row in rows if names is None or row["jobname"] in names]
        return {"errors": [] if shown else [_EMPTY], "jobs": shown}, 200


def create_app(api: SlurmRest) -> Starlette:
    """The API; it is mounted where ``/slurm/{version}`` and ``/slurmdb/{version}`` are asked for."""

    async def submit(request: Request) -> Answer:
        try:
            document = json.loads(await request.body())
        except ValueError:
            document = None
        return await run_in_threadpool(api.submit, document if isinstance(document, dict) else {})

    async def job(request: Request) -> Answer:
        return await _with_id(request, api.jobs)

    async def cancel(request: Request) -> Answer:
        return await _with_id(request, api.cancel)

    async def accounted(request: Request) -> Answer:
        given = request.query_params
        names = frozenset(given["job_name"].split(",")) if given.get("job_name") else None
        since = documents.read_time(given.get("start_time", "uts0"), api.cluster)
        if since is None:
            return _errors({**_UNREADABLE, "description": "Unable to parse time format", "source": "start_time"})
        return await run_in_threadpool(api.accounted, JobQuery(since=since), names)

    async def accounted_job(request: Request) -> Answer:
        return await _with_id(request, lambda job_id: api.accounted(JobQuery(job_ids=frozenset({job_id})), None))

    def simply(answer: Callable[[], Answer]) -> Callable[[Request], Awaitable[Answer]]:
        async def endpoint(_: Request) -> Answer:
            return await run_in_threadpool(answer)

        return endpoint

    table = [
        ("GET", "ping", simply(api.ping)),
        ("GET", "nodes", simply(api.nodes)),
        ("GET", "reservations", simply(api.reservations)),
        ("POST", "job/submit", submit),
        ("GET", "jobs", simply(lambda: api.jobs(None))),
        ("GET", "job/{job_id}", job),
        ("DELETE", "job/{job_id}", cancel),
    ]
    accounting = [("GET", "jobs", accounted), ("GET", "job/{job_id}", accounted_job)]
    mounts = [
        Mount(f"/{name}/{VERSION}", routes=[Route(f"/{path}", _guarded(api, e), methods=[v]) for v, path, e in routes])
        for name, routes in (("slurm", table), ("slurmdb", accounting))
    ]
    return Starlette(routes=mounts, exception_handlers={404: _no_such_address})


def _guarded(
    api: SlurmRest, endpoint: Callable[[Request], Awaitable[Answer]]
) -> Callable[[Request], Awaitable[Response]]:
    async def checked(request: Request) -> Response:
        if not api.tokens.accepts(request.headers):
            return PlainTextResponse("Authentication failure", 401)
        document, status = await endpoint(request)
        return JSONResponse({"meta": META, **document}, status)

    return checked


async def _with_id(request: Request, answer: Callable[[int], Answer]) -> Answer:
    text = request.path_params["job_id"]
    if not text.isascii() or not text.isdigit():
        return {"errors": [{"error_number": 9002, "error": f"Unable to find JobId={text}"}]}, 400
    return await run_in_threadpool(answer, int(text))


def _errors(*errors: dict[str, Any], **more: Any) -> Answer:
    return {"errors": list(errors), **more}, 500


def _reason(error: SlurmError, key: str) -> dict[str, Any]:
    text = str(error).splitlines()[-1]
    number = next((number for words, number in _REASONS.items() if words in text), 2000 + 57)
    return {key: number, "error": text.rpartition(": ")[2]}


def _since(moment: datetime) -> int:
    return int(moment.timestamp())


async def _no_such_address(_: Request, __: Exception) -> Response:
    return PlainTextResponse("Unable find requested URL. Please view /openapi/v3 for API reference.", 404)
