"""Globus Compute over HTTP, as far as a client needs it that submits and polls.

Belongs here: routes, tokens, and how a refusal reads. Does not: what tasks are (service), or what endpoints ask for
(registration).
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from twin.compute.service import Compute, ComputeError
from twin.globus.auth import COMPUTE, TokenIssuer

Handler = Callable[[Request, Any], Any]
Row = tuple[str, str, Handler]
"""Method, path, and what answers."""


def create_app(compute: Compute, issuer: TokenIssuer, more: Sequence[Row] = ()) -> Starlette:
    """The service for the clients of ``issuer``, with ``more`` than clients use."""

    def version(_: Request, __: Any) -> Any:
        return {"api": "1.0.0", "min_sdk_version": "2.0.0", "min_ep_version": "2.0.0", "min_endpoint_version": "2.0.0"}

    def register(_: Request, document: Any) -> Any:
        return {"function_uuid": compute.register_function(document)}

    def submit(request: Request, document: Any) -> Any:
        return compute.submit(request.path_params["endpoint"], document)

    def task(request: Request, _: Any) -> Any:
        return compute.task(request.path_params["task"])

    def batch(_: Request, document: Any) -> Any:
        return {"response": "batch", "results": {task: compute.task(task) for task in document["task_ids"]}}

    def group(request: Request, _: Any) -> Any:
        return compute.group(request.path_params["group"])

    def status(request: Request, _: Any) -> Any:
        return compute.endpoint_status(request.path_params["endpoint"])

    table: list[Row] = [
        ("GET", "/v2/version", version),
        ("POST", "/v3/functions", register),
        ("POST", "/v3/endpoints/{endpoint}/submit", submit),
        ("GET", "/v2/tasks/{task}", task),
        ("POST", "/v2/batch_status", batch),
        ("GET", "/v2/taskgroup/{group}", group),
        ("GET", "/v2/endpoints/{endpoint}/status", status),
        *more,
    ]
    return Starlette(
        routes=[Route(path, _guarded(handler, issuer), methods=[method]) for method, path, handler in table],
        exception_handlers={ComputeError: _refuse, json.JSONDecodeError: _malformed},
    )


def _guarded(handler: Handler, issuer: TokenIssuer) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = issuer.find(value) if scheme == "Bearer" else None
        if token is None:
            raise ComputeError(401, 1, "Unauthorized: the token is not active")
        if COMPUTE not in token.services:
            raise ComputeError(403, 2, f"Forbidden: the token is not for {COMPUTE}")
        body = await request.body()
        document = json.loads(body) if body else None
        return JSONResponse(await run_in_threadpool(handler, request, document))

    return endpoint


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ComputeError)  # noqa: S101
    document = {"status": "Failed", "code": error.code, "reason": str(error), "http_status_code": error.status}
    return JSONResponse(document, error.status)


async def _malformed(_: Request, error: Exception) -> Response:
    return JSONResponse({"status": "Failed", "code": 5, "reason": str(error), "http_status_code": 422}, 422)
