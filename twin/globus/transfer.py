"""The Globus Transfer API, version 0.10, over HTTP.

Belongs here: routes, tokens and consents, and the documents of submissions and tasks.
Does not: the work on tasks (engine), operations on files (operations).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twin.globus.auth import TRANSFER, TRANSFER_ALL, Token, TokenIssuer
from twin.globus.documents import DeleteDocument, TransferDocument
from twin.globus.engine import Engine, IdenticalTransferError, TooManyPendingError, UnknownSubmissionError
from twin.globus.errors import ServiceError, refuse, result
from twin.globus.operations import Operations, number, queried, validated
from twin.globus.task import Kind, Task
from twin.world import UnknownCollectionError

TASK_FIELDS = frozenset({"task_id", "type", "status", "label", "request_time", "completion_time"})
TASKS_AT_MOST = 1000
MARKED_PAGE = 100


@dataclass(frozen=True)
class Call:
    """A request whose token was good."""

    request: Request
    token: Token
    body: bytes

    def document(self) -> Any:
        """Raises ServiceError."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ServiceError(400, "ClientError.BadRequest", f"The body is no JSON: {error}") from error

    def argument(self, name: str) -> str:
        return str(self.request.path_params[name])


Handler = Callable[[Call], Response]


def create_app(engine: Engine, issuer: TokenIssuer, deletes: str | None = None) -> Starlette:
    """Transfer for the clients of ``issuer``; the engine is started and closed by whoever made it.

    ``deletes`` is the one client that may delete; None: all may.
    """
    service = Service(engine, issuer, Operations(engine.storage), deletes)
    task, operation = "/v0.10/task/{task}", "/v0.10/operation/endpoint/{collection}"
    table: list[tuple[str, str, Handler]] = [
        ("GET", "/v0.10/submission_id", service.submission_id),
        ("POST", "/v0.10/transfer", service.submit_transfer),
        ("POST", "/v0.10/delete", service.submit_delete),
        ("GET", "/v0.10/task_list", service.task_list),
        ("GET", task, service.task),
        ("POST", f"{task}/cancel", service.cancel),
        ("GET", f"{task}/event_list", service.event_list),
        ("GET", f"{task}/successful_transfers", service.successful_transfers),
        ("GET", f"{task}/skipped_errors", service.skipped_errors),
        ("GET", f"{operation}/ls", service.ls),
        ("GET", f"{operation}/stat", service.stat),
        ("POST", f"{operation}/mkdir", service.mkdir),
        ("POST", f"{operation}/rename", service.rename),
    ]
    routes = [Route(path, _authorized(handler, issuer), methods=[method]) for method, path, handler in table]
    return Starlette(routes=routes, exception_handlers={ServiceError: refuse})


def _authorized(handler: Handler, issuer: TokenIssuer) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if not value:
            raise ServiceError(401, "ClientError.AuthenticationFailed", "No credentials supplied")
        token = issuer.find(value) if scheme == "Bearer" else None
        if token is None or TRANSFER not in token.services:
            raise ServiceError(401, "AuthenticationFailed", "Token is not active, or not for this service")
        return await run_in_threadpool(handler, Call(request, token, await request.body()))

    return endpoint


@dataclass(frozen=True)
class Service:
    """One method a route. Each may raise ServiceError."""

    engine: Engine
    issuer: TokenIssuer
    operations: Operations
    deletes: str | None

    def submission_id(self, _: Call) -> Response:
        return JSONResponse({"DATA_TYPE": "submission_id", "value": self.engine.issue_submission_id()})

    def submit_transfer(self, call: Call) -> Response:
        document = validated(TransferDocument, call.document())
        if not document.DATA:
            raise ServiceError(400, "ClientError.BadRequest.NoTransferItems", "A transfer requires at least one item")
        self._must_consent(call, document.source_endpoint, document.destination_endpoint)
        return self._submit(call, document)

    def submit_delete(self, call: Call) -> Response:
        document = validated(DeleteDocument, call.document())
        if not document.DATA:
            raise ServiceError(400, "ClientError.BadRequest.NoDeleteItems", "A delete requires at least one item")
        self._must_consent(call, document.endpoint)
        others_may = document.endpoint in self.engine.board.now.others_may_delete
        if self.deletes not in (None, call.token.identity) and not others_may:
            message = f"You do not have permission to delete on collection '{document.endpoint}'"
            raise ServiceError(403, "PermissionDenied", message)
        return self._submit(call, document)

    def _submit(self, call: Call, document: TransferDocument | DeleteDocument) -> Response:
        try:
            task, is_known = self.engine.submit(call.token.identity, document)
        except UnknownSubmissionError as error:
            message = f"Invalid submission_id {document.submission_id!r}: it was not issued to this client"
            raise ServiceError(400, "ClientError.BadRequest", message) from error
        except TooManyPendingError as error:
            raise ServiceError(409, "TooManyPendingJobs", str(error)) from error
        except IdenticalTransferError as error:
            raise ServiceError(409, "Conflict", str(error)) from error
        kind = task.kind.lower()
        message = f"The {kind} has been accepted and a task has been created and queued for execution"
        if is_known:
            message = f"The submission_id was used before: this is the {kind} that it made"
        return result(
            call.request,
            f"{kind}_result",
            "Duplicate" if is_known else "Accepted",
            message,
            200 if is_known else 202,
            submission_id=document.submission_id,
            task_id=task.id,
            task_link={
                "DATA_TYPE": "link",
                "href": f"/v0.10/task/{task.id}?format=json",
                "rel": "related",
                "resource": "task",
                "title": "related task",
            },
        )

    def task(self, call: Call) -> Response:
        return JSONResponse(self._find(call).task_document(self.engine.clock()))

    def task_list(self, call: Call) -> Response:
        query = call.request.query_params
        limit, offset = number(query, "limit", 10, 0, TASKS_AT_MOST), number(query, "offset", 0, 0, None)
        now = self.engine.clock()
        documents = [task.task_document(now) for task in self.engine.tasks() if task.owner == call.token.identity]
        found = queried(documents, query, TASK_FIELDS, default_order="request_time DESC")
        return JSONResponse(_page("task_list", found, limit, offset))

    def cancel(self, call: Call) -> Response:
        if self.engine.cancel(self._find(call)):
            return result(call.request, "result", "Canceled", "The task has been cancelled successfully.")
        message = "The task completed before the cancel request was processed."
        return result(call.request, "result", "TaskComplete", message)

    def event_list(self, call: Call) -> Response:
        query = call.request.query_params
        limit, offset = number(query, "limit", 10, 0, TASKS_AT_MOST), number(query, "offset", 0, 0, None)
        task = self._find(call)
        with task.lock:
            events = list(task.events)
        return JSONResponse(_page("event_list", events, limit, offset))

    def successful_transfers(self, call: Call) -> Response:
        task = self._find(call)
        if task.kind is not Kind.TRANSFER:
            raise ServiceError(400, "ClientError.BadRequest", f"Task {task.id} is no transfer")
        return JSONResponse(_marked("successful_transfers", task, task.successes, call))

    def skipped_errors(self, call: Call) -> Response:
        task = self._find(call)
        return JSONResponse(_marked("skipped_errors", task, task.skipped, call))

    def ls(self, call: Call) -> Response:
        return JSONResponse(self.operations.ls(self._consented(call), call.request.query_params))

    def stat(self, call: Call) -> Response:
        return JSONResponse(self.operations.stat(self._consented(call), call.request.query_params))

    def mkdir(self, call: Call) -> Response:
        self.operations.mkdir(self._consented(call), call.document())
        return result(call.request, "mkdir_result", "DirectoryCreated", "The directory was created successfully", 202)

    def rename(self, call: Call) -> Response:
        self.operations.rename(self._consented(call), call.document())
        return result(call.request, "result", "FileRenamed", "File or directory renamed successfully")

    def _find(self, call: Call) -> Task:
        # A task is visible to the identity that has submitted it (docs.globus.org/api/transfer/task, 1.1).
        task = self.engine.find(call.argument("task"))
        if task is None or task.owner != call.token.identity:
            raise ServiceError(404, "TaskNotFound", f"No such task '{call.argument('task')}'")
        return task

    def _consented(self, call: Call) -> str:
        collection = call.argument("collection")
        self._must_consent(call, collection)
        return collection

    def _must_consent(self, call: Call, *collections: str) -> None:
        missing = []
        for identifier in collections:
            try:
                collection = self.engine.storage.collection(identifier)
            except UnknownCollectionError as error:
                raise ServiceError(404, "EndpointNotFound", f"No such endpoint '{identifier}'") from error
            if collection.needs_data_access and identifier not in call.token.data_access:
                missing.append(f"{TRANSFER_ALL}[*https://auth.globus.org/scopes/{identifier}/data_access]")
        if missing:
            raise ServiceError(403, "ConsentRequired", "Missing required data_access consent", required_scopes=missing)


def _page(data_type: str, entries: list[Any], limit: int, offset: int) -> dict[str, Any]:
    page = entries[offset : offset + limit]
    return {
        "DATA_TYPE": data_type,
        "DATA": page,
        "length": len(page),
        "limit": limit,
        "offset": offset,
        "total": len(entries),
    }


def _marked(data_type: str, task: Task, entries: list[dict[str, Any]], call: Call) -> dict[str, Any]:
    marker = number(call.request.query_params, "marker", 0, 0, None)
    with task.lock:
        page = entries[marker : marker + MARKED_PAGE]
        following = marker + MARKED_PAGE if marker + MARKED_PAGE < len(entries) else None
    return {"DATA_TYPE": data_type, "DATA": page, "marker": marker, "next_marker": following}
