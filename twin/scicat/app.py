"""The API over HTTP, under ``/api/v3``, and beside it the pages.

Belongs here: routes, and how a refusal is answered. Does not: what is done (service), or how pages look (page).

A pid has a slash, which clients send escaped: so the path is split before it is unescaped.
"""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_plus

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from twin.scicat import page
from twin.scicat.models import Document, RefusedError
from twin.scicat.service import ProblemError, Scicat

LARGEST_BYTES = 16 * 1024**2
_API = "/api/v3/"
_PARTS = ("origdatablocks", "attachments")


def create_app(scicat: Scicat) -> Starlette:
    """The API at ``/api/v3``, a list of all datasets at ``/``, and one at ``/datasets/<pid>``."""

    async def api(request: Request) -> Response:
        body = await request.body()
        try:
            return await run_in_threadpool(_answer, scicat, request, body)
        except ProblemError as problem:
            return JSONResponse(problem.document, problem.status)
        except RefusedError as refused:
            return JSONResponse({"statusCode": 400, "message": refused.messages, "error": "Bad Request"}, 400)

    async def overview(request: Request) -> Response:
        return HTMLResponse(page.overview(scicat.all(), str(request.url)), headers=page.HEADERS)

    async def one(request: Request) -> Response:
        pid = unquote_plus(_raw(request).rpartition("/datasets/")[2])
        found = next((held for held in scicat.all() if held["dataset"]["pid"] == pid), None)
        text = page.missing(pid) if found is None else page.dataset(found)
        return HTMLResponse(text, 404 if found is None else 200, headers=page.HEADERS)

    methods = ["GET", "POST", "PATCH", "DELETE"]
    return Starlette(
        routes=[
            Route(f"{_API}{{rest:path}}", api, methods=methods),
            Route("/datasets/{pid:path}", one),
            Route("/", overview),
        ]
    )


def _answer(scicat: Scicat, request: Request, body: bytes) -> Response:
    parts = [unquote_plus(part) for part in _raw(request).partition(_API)[2].split("/")]
    # Express looks at no capitals.
    parts[0] = parts[0].lower()
    if len(body) > LARGEST_BYTES:
        raise ProblemError(413, "Payload Too Large", "request entity too large")
    if parts == ["auth", "login"]:
        return JSONResponse(scicat.log_in(_document(body)), 201)
    scicat.must_be_known(request.headers.get("authorization", "").removeprefix("Bearer "))
    handler = _handler(scicat, request.method, parts)
    if handler is None:
        raise ProblemError(404, "Not Found", f"Cannot {request.method} /{'/'.join(parts)}")
    return JSONResponse(handler(body), 201 if request.method == "POST" else 200)


def _handler(scicat: Scicat, method: str, parts: list[str]) -> Callable[[bytes], Any] | None:
    if parts[0] != "datasets":
        return None
    match (method, parts[1:]):
        case ("POST", []):
            return lambda body: scicat.create(_document(body))
        case ("GET", []):
            return lambda _: [one["dataset"] for one in scicat.all()]
        case ("GET", [pid]):
            return lambda _: scicat.dataset(pid)
        case ("PATCH", [pid]):
            return lambda body: scicat.update(pid, _document(body))
        case ("DELETE", [pid]):
            return lambda _: scicat.delete(pid)
        case ("GET", [pid, part]) if part in _PARTS:
            return lambda _: scicat.parts(pid, part)
        case ("POST", [pid, "origdatablocks"]):
            return lambda body: scicat.add_block(pid, _document(body))
        case ("POST", [pid, "attachments"]):
            return lambda body: scicat.add_picture(pid, _document(body))
        case ("DELETE", [pid, part, identifier]) if part in _PARTS:
            return lambda _: scicat.remove(pid, part, identifier)
    return None


def _document(body: bytes) -> Document:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise RefusedError(["Unexpected token in JSON"]) from error
    if not isinstance(found, dict):
        raise RefusedError(["the body must be an object"])
    return found


def _raw(request: Request) -> str:
    return bytes(request.scope["raw_path"]).decode("ascii", "replace")
