"""How the Globus services refuse.

Belongs here: the error that a request ends with, and its document. Does not: faults of tasks (globus.tasks).
"""

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class ServiceError(Exception):
    """A request that Transfer refuses. ``code`` is what clients decide on."""

    def __init__(self, status: int, code: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.more = more


def request_id() -> str:
    return secrets.token_urlsafe(7)[:9]


def result(request: Request, data_type: str, code: str, message: str, status: int = 200, **more: Any) -> JSONResponse:
    """The document with which Transfer answers an operation."""
    document = {
        "DATA_TYPE": data_type,
        "code": code,
        "message": message,
        "request_id": request_id(),
        "resource": resource(request),
        **more,
    }
    return JSONResponse(document, status)


def resource(request: Request) -> str:
    """The request's path as Transfer names it, without what stands before its root here."""
    return request.url.path.removeprefix(str(request.scope.get("root_path", "")))


async def refuse(request: Request, error: Exception) -> Response:
    """Starlette's handler for ServiceError."""
    assert isinstance(error, ServiceError)  # noqa: S101  (Starlette types every handler for any exception)
    document = {
        "code": error.code,
        "message": str(error),
        "request_id": request_id(),
        "resource": resource(request),
        **error.more,
    }
    return JSONResponse(document, error.status)
