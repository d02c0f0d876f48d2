"""Globus Compute over HTTP as an endpoint needs it: it registers, and finds the service through a proxy.

Belongs here: the routes that only endpoints use, and the one address at which an endpoint looks for a service that is
on its own machine.
Does not: the clients' routes (app), or what an endpoint is told afterwards (endpoints).
"""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from twin.compute.app import Row

if TYPE_CHECKING:
    from twin.compute.endpoints import Endpoints

FIXED_ADDRESS = "localhost:5000"
"""With ``local_compute_services`` an endpoint knows no other, and its port may be taken: the twin is its HTTP proxy."""


def routes(endpoints: "Endpoints") -> Sequence[Row]:
    """For twin.compute.create_app."""

    def register(_: Request, document: Any) -> Any:
        return endpoints.register(str(uuid.uuid4()), document)

    def register_again(request: Request, document: Any) -> Any:
        return endpoints.register(request.path_params["endpoint"], document)

    return [("POST", "/v3/endpoints", register), ("PUT", "/v3/endpoints/{endpoint}", register_again)]


class Proxied:
    """An application that also answers what is meant for ``FIXED_ADDRESS``, below a path of its own."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = urlsplit(scope.get("path", ""))
        if asked.netloc == FIXED_ADDRESS:
            path = f"{self._path}{asked.path}"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)
