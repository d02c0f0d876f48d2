"""Traps: one request of many is stopped at a known moment, and whoever set the trap says how it goes on.

Belongs here: waiting for the nth request that matches, holding it, letting it go.
Does not: errors and lost responses that need nobody to decide (faults), or the routes that set traps (control).

For whoever must act at an exact moment of somebody else's call, such as ending the process that makes it.
"""

import asyncio
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_HOLD_S = 60.0
"""A trap that nobody opens lets its request go on after this long."""
_LOOK_S = 0.005


class Moment(StrEnum):
    """Where on its way a request is stopped."""

    ARRIVED = "arrived"
    """Read in full, and not executed."""
    EXECUTED = "executed"
    """Executed, its answer not sent."""
    ANSWERED = "answered"
    """Its answer is sent; it is not held, only reported."""


class Release(StrEnum):
    """How a request that is held goes on."""

    GO_ON = "go_on"
    DROP = "drop"
    """The connection is closed: what was not executed never is, and what was executed is never answered."""


class Trap(BaseModel):
    """Which request is stopped, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    match: str
    """Shell pattern on ``METHOD /path``."""
    nth: int = Field(default=1, ge=1)
    """Of the requests that match and arrive after the trap was set."""
    moment: Moment = Moment.ARRIVED


@dataclass
class SetTrap:
    """A trap that was set. Used from any thread."""

    id: int
    trap: Trap
    seen: int = 0
    request: str | None = None
    """What was caught."""
    _caught: threading.Event = field(default_factory=threading.Event, repr=False)
    _release: Release | None = None

    @property
    def caught(self) -> bool:
        return self._caught.is_set()

    @property
    def released(self) -> Release | None:
        return self._release

    def await_catch(self, timeout_s: float) -> bool:
        """Wait until the request is at its moment; False where it was not in time."""
        return self._caught.wait(timeout_s)

    def release(self, how: Release = Release.GO_ON) -> None:
        """Let the request go; a trap that has caught nothing yet will not hold it."""
        self._release = how

    def counts(self, request: str) -> bool:
        """Whether this request, just arrived, is the one to stop."""
        if not fnmatchcase(request, self.trap.match):
            return False
        self.seen += 1
        return self.seen == self.trap.nth

    def spring(self, request: str) -> None:
        self.request = request
        self._caught.set()

    def document(self) -> dict[str, Any]:
        """The trap as the control API shows it."""
        about = {"id": self.id, "seen": self.seen, "caught": self.caught, "request": self.request}
        return {**self.trap.model_dump(mode="json"), **about, "released": self._release}


class Traps:
    """The traps that are set. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: list[SetTrap] = []
        self._last_id = 0

    def set(self, trap: Trap) -> SetTrap:
        with self._lock:
            self._last_id += 1
            made = SetTrap(self._last_id, trap)
            self._set.append(made)
            return made

    def get(self, identifier: int) -> SetTrap:
        """Raises LookupError."""
        with self._lock:
            for trap in self._set:
                if trap.id == identifier:
                    return trap
        raise LookupError(f"no trap {identifier} is set")

    def all(self) -> list[SetTrap]:
        with self._lock:
            return list(self._set)

    def clear(self) -> None:
        """Take every trap away; what they hold goes on."""
        with self._lock:
            for trap in self._set:
                if trap.released is None:
                    trap.release()
            self._set.clear()

    def that_stop(self, request: str) -> list[SetTrap]:
        """The traps for which this request, just arrived, is the one."""
        with self._lock:
            return [trap for trap in self._set if trap.counts(request)]


class DroppedError(Exception):
    """Whoever set the trap wants the connection closed."""


async def through(traps: list[SetTrap], request: str, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Take one request through its traps. Raises DroppedError where its connection is to be closed."""
    receive = _read_before(await _read_all(receive), receive)
    await _hold_each(traps, Moment.ARRIVED, request)
    if any(trap.trap.moment is Moment.EXECUTED for trap in traps):
        answer: list[Message] = []
        await app(scope, receive, _into(answer))
        await _hold_each(traps, Moment.EXECUTED, request)
        for message in answer:
            await send(message)
    else:
        await app(scope, receive, send)
    for trap in traps:
        if trap.trap.moment is Moment.ANSWERED:
            trap.spring(request)


async def _hold_each(traps: list[SetTrap], moment: Moment, request: str) -> None:
    for trap in traps:
        if trap.trap.moment is moment:
            trap.spring(request)
            waited = 0.0
            while trap.released is None and waited < LONGEST_HOLD_S:
                await asyncio.sleep(_LOOK_S)
                waited += _LOOK_S
            if trap.released is Release.DROP:
                raise DroppedError(request)


async def _read_all(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _read_before(body: bytes, receive: Receive) -> Receive:
    """The body again, for the service: by the time that it asks, its client may be dead and the server know nothing."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return read


def _into(answer: list[Message]) -> Callable[[Message], Any]:
    async def keep(message: Message) -> None:
        answer.append(message)

    return keep
