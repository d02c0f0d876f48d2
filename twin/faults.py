"""Faults in the twin's HTTP: errors, delays, lost responses and closed connections, and the log of requests.

Belongs here: what may go wrong between a client and any of the twin's services, and who asked for what, when.
Does not: what goes wrong inside a task or a job (globus.tasks, scheduler), requests that are held until somebody lets
them go (traps), or the routes that set faults (control).
"""

import asyncio
import json
import threading
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from twin.traps import DroppedError, Traps, through

Clock = Callable[[], datetime]

LOG_LENGTH = 20_000
CLOSE_CONNECTION = "close_connection"


class Fault(BaseModel):
    """What happens to the next requests that match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str
    """Shell pattern on ``METHOD /path``, as in ``POST /transfer/v0.10/transfer`` or ``GET */ls``."""
    times: int = Field(default=1, ge=1)
    skip: int = Field(default=0, ge=0)
    """So many requests that match pass before it."""
    status: int | None = Field(default=None, ge=100, le=599)
    """Answer with this status; None leaves the service's own answer, for a fault that only delays."""
    headers: dict[str, str] = {}
    body: Any = None
    """JSON of the answer; None for an error in the shape of Globus."""
    delay_s: float = Field(default=0, ge=0)
    after: bool = False
    """Execute the request first: its response is what gets lost or replaced."""
    drop: bool = False
    """Close the connection without any response."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.status is None and not self.drop and not self.delay_s:
            raise ValueError("a fault needs a status, drop or delay_s, else nothing would happen")
        if self.drop and self.status is not None:
            raise ValueError("a dropped connection has no status: give either drop or status")
        return self


@dataclass(frozen=True)
class Request:
    """One request that arrived. ``status`` is what the client was sent, None where the connection was closed."""

    request: str
    time: str
    status: int | None
    fault: bool


class FaultInjector:
    """The faults and the traps that wait for a request, and the log of requests. Safe to use from any thread."""

    def __init__(self, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self.traps = Traps()
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._log: deque[Request] = deque(maxlen=LOG_LENGTH)

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget every fault; the log stays."""
        with self._lock:
            self._faults.clear()

    def clear_log(self) -> None:
        with self._lock:
            self._log.clear()

    def faults(self) -> list[Fault]:
        """The faults that still wait, ``times`` and ``skip`` being how often."""
        with self._lock:
            return list(self._faults)

    def requests(self, match: str = "*") -> list[Request]:
        """What arrived, oldest first, where ``METHOD /path`` matches the shell pattern."""
        with self._lock:
            return [entry for entry in self._log if fnmatchcase(entry.request, match)]

    def take(self, request: str) -> Fault | None:
        """The first fault that matches and lets no more pass, used up by one."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if not fnmatchcase(request, fault.match):
                    continue
                if fault.skip:
                    self._faults[index] = fault.model_copy(update={"skip": fault.skip - 1})
                    continue
                if fault.times == 1:
                    del self._faults[index]
                else:
                    self._faults[index] = fault.model_copy(update={"times": fault.times - 1})
                return fault
        return None

    def record(self, request: str, status: int | None, *, fault: bool) -> None:
        with self._lock:
            self._log.append(Request(request, self._clock().isoformat(), status, fault))


def request_document(entry: Request) -> dict[str, Any]:
    """A log entry as the control API shows it."""
    return asdict(entry)


class FaultMiddleware:
    """Pure ASGI: the request's path is the whole path, before any mount takes its part off."""

    def __init__(self, app: ASGIApp, injector: FaultInjector) -> None:
        self._app = app
        self._injector = injector

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/control"):
            await self._app(scope, receive, send)
            return
        request = f"{scope['method']} {scope['path']}"
        fault = self._injector.take(request)
        noted = False

        def note(status: int | None) -> None:
            nonlocal noted
            if not noted:
                noted = True
                self._injector.record(request, status, fault=fault is not None)

        async def noting(message: Message) -> None:
            # Before it is sent: whoever has an answer finds the request in the log.
            if message["type"] == "http.response.start":
                note(message["status"])
            await send(message)

        async def served(scope: Scope, receive: Receive, send: Send) -> None:
            if fault is None:
                await self._app(scope, receive, send)
            else:
                await self._fail(fault, scope, receive, send, lambda: note(None))

        try:
            if traps := self._injector.traps.that_stop(request):
                await through(traps, request, served, scope, receive, noting)
            else:
                await served(scope, receive, noting)
        except DroppedError:
            note(None)
            await _close(scope, receive)
        finally:
            note(None)

    async def _fail(
        self, fault: Fault, scope: Scope, receive: Receive, send: Send, note_drop: Callable[[], None]
    ) -> None:
        replaced = fault.drop or fault.status is not None
        if fault.after and replaced:
            await self._app(scope, receive, _nowhere)
        elif replaced:
            await _read_body(receive)
        await asyncio.sleep(fault.delay_s)
        if fault.drop:
            note_drop()
            await _close(scope, receive)
        elif fault.status is None:
            await self._app(scope, receive, send)
        else:
            await _answer(fault.status, fault, scope["path"], send)


async def _nowhere(message: Message) -> None:
    """Take what a service sends and lose it."""


async def _read_body(receive: Receive) -> None:
    # A client that is still sending would see a reset instead of the answer.
    while (await receive()).get("more_body", False):
        pass


async def _close(scope: Scope, receive: Receive) -> None:
    """Close the connection; the server's protocol offers ``close_connection`` in the state of every request."""
    scope["state"][CLOSE_CONNECTION]()
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(status: int, fault: Fault, path: str, send: Send) -> None:
    body = fault.body
    if body is None:
        body = {
            "code": "ServiceUnavailable",
            "message": "A fault set through the twin's control API.",
            "request_id": uuid.uuid4().hex[:9],
            "resource": path,
        }
    content = json.dumps(body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content))}
    headers |= {name.lower(): value for name, value in fault.headers.items()}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})
