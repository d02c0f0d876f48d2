"""The Superfacility API over HTTP.

Belongs here: routes, who may use them, and the documents that they answer.
Does not: what jobs, files, tasks and tokens are (scheduler, files, tasks, tokens), or what is set from outside
(control).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twin.scheduler import Clock, Cluster, JobQuery, Scheduler, SlurmError
from twin.superfacility.files import Files, PathRefusedError
from twin.superfacility.status import StatusBoard, UnknownSystemError
from twin.superfacility.tasks import Tasks
from twin.superfacility.tokens import TokenIssuer, TokenRefusedError

Endpoint = Callable[[Request], Awaitable[Response]]


class Superfacility:
    """NERSC, as far as its API shows it."""

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        roots: Sequence[Path],
        public_keys: Mapping[str, Mapping[str, Any]],
        clock: Clock,
        cluster: Cluster | None = None,
    ) -> None:
        """``roots``: the folders that are served; ``public_keys``: JWK of each client, by its id (create_key)."""
        self.scheduler = scheduler
        self.cluster = cluster or Cluster()
        self.files = Files(roots, self.cluster)
        self.tokens = TokenIssuer(public_keys, clock)
        self.tasks = Tasks(clock)
        self.status = StatusBoard(clock)

    def submit(self, job: str, args: list[str], *, is_path: bool) -> dict[str, Any]:
        """The result of a task that submits a job."""
        try:
            script = self.files.script(job) if is_path else job
            job_id = self.scheduler.sbatch(script, args)
        except SlurmError as error:
            return {"status": "error", "jobid": None, "error": str(error)}
        except PathRefusedError as error:
            return {"status": "error", "jobid": None, "error": f"sbatch: error: Unable to open file {job}: {error}"}
        return {"status": "ok", "jobid": str(job_id), "error": None}

    def cancel(self, job_id: str) -> dict[str, Any]:
        """The result of a task that cancels a job."""
        try:
            self.scheduler.scancel(_job_id(job_id))
        except SlurmError as error:
            return {"status": "error", "output": None, "error": str(error)}
        return {"status": "ok", "output": "", "error": None}

    def jobs(self, arguments: Sequence[str], *, sacct: bool) -> dict[str, Any]:
        """Jobs from one of the two tables; ``arguments`` are ``key=value``, as in ``jobid=1,2`` or ``user=alsdev``."""
        try:
            query = _query(arguments, self.cluster)
            rows = self.scheduler.sacct(query) if sacct else self.scheduler.squeue(query)
        except SlurmError as error:
            return {"status": "ERROR", "output": [], "error": str(error)}
        return {"status": "OK", "output": rows, "error": None}


def create_app(superfacility: Superfacility) -> Starlette:
    """The API; its base URL is where it is mounted, its token URL is ``<base>/token``."""
    routes = [*_open_routes(superfacility), *_compute_routes(superfacility), *_file_routes(superfacility)]
    app = Starlette(routes=routes)
    app.add_exception_handler(TokenRefusedError, _token_refused)
    app.add_exception_handler(UnknownSystemError, _unknown_system)
    app.add_exception_handler(_InvalidRequestError, _invalid_request)
    return app


def _open_routes(superfacility: Superfacility) -> list[Route]:
    status = superfacility.status

    async def token(request: Request) -> Response:
        async with request.form() as sent:
            form = {key: str(value) for key, value in sent.items()}
        return JSONResponse(superfacility.tokens.issue(form, str(request.url)), headers={"cache-control": "no-store"})

    async def systems(_: Request) -> Response:
        return JSONResponse(status.systems())

    async def system(request: Request) -> Response:
        return JSONResponse(status.system(request.path_params["name"]))

    def outages(*, planned: bool) -> Endpoint:
        async def endpoint(request: Request) -> Response:
            name = request.path_params.get("name")
            found = status.all_outages(planned=planned) if name is None else status.outages(name, planned=planned)
            return JSONResponse(found)

        return endpoint

    return [
        Route("/token", token, methods=["POST"]),
        Route("/status", systems),
        Route("/status/outages", outages(planned=False)),
        Route("/status/outages/planned", outages(planned=True)),
        Route("/status/outages/planned/{name}", outages(planned=True)),
        Route("/status/outages/{name}", outages(planned=False)),
        Route("/status/{name}", system),
    ]


def _compute_routes(superfacility: Superfacility) -> list[Route]:
    guarded = _guarded_by(superfacility)

    async def submit(request: Request) -> Response:
        _require_machine(request, superfacility)
        async with request.form() as form:
            job, is_path = form.get("job"), str(form.get("isPath", "")).lower()
            args = [str(argument) for argument in form.getlist("args")]
        if not isinstance(job, str) or is_path not in ("true", "false"):
            raise _InvalidRequestError("job", "isPath")
        work = superfacility.tasks.run
        task_id = await run_in_threadpool(work, lambda: superfacility.submit(job, args, is_path=is_path == "true"))
        return JSONResponse({"task_id": task_id, "status": "OK", "error": None})

    async def jobs(request: Request) -> Response:
        _require_machine(request, superfacility)
        arguments = request.query_params.getlist("kwargs")
        if "job_id" in request.path_params:
            arguments.append(f"jobid={request.path_params['job_id']}")
        sacct = request.query_params.get("sacct", "false").lower() == "true"
        return JSONResponse(await run_in_threadpool(lambda: superfacility.jobs(arguments, sacct=sacct)))

    async def cancel(request: Request) -> Response:
        _require_machine(request, superfacility)
        job_id = request.path_params["job_id"]
        task_id = await run_in_threadpool(superfacility.tasks.run, lambda: superfacility.cancel(job_id))
        return JSONResponse({"task_id": task_id, "status": "OK", "error": None})

    async def task(request: Request) -> Response:
        document = superfacility.tasks.document(request.path_params["task_id"])
        return JSONResponse({"detail": "Task not found"}, 404) if document is None else JSONResponse(document)

    async def tasks(_: Request) -> Response:
        return JSONResponse({"tasks": superfacility.tasks.documents()})

    return [
        Route("/compute/jobs/{machine}", guarded(submit), methods=["POST"]),
        Route("/compute/jobs/{machine}", guarded(jobs)),
        Route("/compute/jobs/{machine}/{job_id}", guarded(jobs)),
        Route("/compute/jobs/{machine}/{job_id}", guarded(cancel), methods=["DELETE"]),
        Route("/tasks", guarded(tasks)),
        Route("/tasks/{task_id}", guarded(task)),
    ]


def _file_routes(superfacility: Superfacility) -> list[Route]:
    guarded = _guarded_by(superfacility)
    files = superfacility.files

    async def ls(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(files.ls, _path(request, superfacility)))

    async def download(request: Request) -> Response:
        binary = request.query_params.get("binary", "false").lower() == "true"
        path = _path(request, superfacility)
        return JSONResponse(await run_in_threadpool(lambda: files.download(path, binary=binary)))

    async def upload(request: Request) -> Response:
        async with request.form() as form:
            sent = form.get("file")
            if not isinstance(sent, UploadFile):
                raise _InvalidRequestError("file")
            content = await sent.read()
        return JSONResponse(await run_in_threadpool(files.upload, _path(request, superfacility), content))

    async def account(_: Request) -> Response:
        user, uid = superfacility.cluster.user, superfacility.cluster.uid
        return JSONResponse({"uid": uid, "name": user, "firstname": "ALS", "lastname": "Collaboration", "email": ""})

    async def clients(_: Request) -> Response:
        known = superfacility.tokens.clients.values()
        return JSONResponse(
            [
                {"name": "twin", "clientId": one.client_id, "expiresAt": one.expires_at.isoformat(), "comments": ""}
                for one in known
            ]
        )

    return [
        Route("/utilities/ls/{machine}/{path:path}", guarded(ls)),
        Route("/utilities/download/{machine}/{path:path}", guarded(download)),
        Route("/utilities/upload/{machine}/{path:path}", guarded(upload), methods=["PUT"]),
        Route("/account/clients", guarded(clients)),
        Route("/account", guarded(account)),
        Route("/account/", guarded(account)),
    ]


def _guarded_by(superfacility: Superfacility) -> Callable[[Endpoint], Endpoint]:
    def guarded(endpoint: Endpoint) -> Endpoint:
        async def checked(request: Request) -> Response:
            # 403, not 401: seen from the real service, and sfapi_client does not ask for a new token on either.
            if not superfacility.tokens.accepts(request.headers.get("authorization", "")):
                return JSONResponse({"detail": "Could not validate credentials"}, 403)
            return await endpoint(request)

        return checked

    return guarded


class _InvalidRequestError(Exception):
    def __init__(self, *fields: str, text: str = "field required") -> None:
        self.detail = [{"loc": ["body", field], "msg": text, "type": "value_error"} for field in fields]


def _require_machine(request: Request, superfacility: Superfacility) -> None:
    if request.path_params["machine"] != superfacility.cluster.name:
        raise _InvalidRequestError("machine", text=f"the only machine is {superfacility.cluster.name}")


def _path(request: Request, superfacility: Superfacility) -> str:
    _require_machine(request, superfacility)
    return "/" + str(request.path_params["path"]).lstrip("/")


def _query(arguments: Sequence[str], cluster: Cluster) -> JobQuery:
    known = {"jobid", "user", "partition", "name", "starttime"}
    values = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := sorted(set(values) - known):
        raise SlurmError(f"unrecognized option '--{unknown[0]}'")
    ids = values.get("jobid")
    since = values.get("starttime")
    return JobQuery(
        job_ids=None if ids is None else frozenset(_job_id(text) for text in ids.split(",")),
        user=values.get("user"),
        partition=values.get("partition"),
        name=values.get("name"),
        since=None if since is None else _moment(since, cluster),
    )


def _job_id(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise SlurmError(f"Invalid job id specified: {text}")
    return int(text)


def _moment(text: str, cluster: Cluster) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SlurmError(f"sacct: error: Invalid time specification (pos=0): {text}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=cluster.zone)


async def _token_refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, TokenRefusedError)  # noqa: S101
    return JSONResponse(error.document, error.status)


async def _unknown_system(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 404)


async def _invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, _InvalidRequestError)  # noqa: S101
    return JSONResponse({"detail": error.detail}, 422)
