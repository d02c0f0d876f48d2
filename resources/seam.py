"""What a service must offer so that its work is carried through: the seam between one service and all of them.

Belongs here: the protocols that resources.remote is written against.
Does not: the values that cross them (waiting, work), or any implementation (globus_tasks, facilities.batch).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

from resources.waiting import RemoteStatus
from resources.work import Record


class Shared(Protocol):
    """A service that tells of several pieces of work in one answer."""

    def look(self, handles: Sequence[str], /) -> Mapping[str, Any]:
        """What it says of each of these, by handle; of what it leaves out it is asked again, one by one."""


class RemoteWork(Protocol):
    """One piece of work as one service knows it. Every method may raise ServiceUnavailableError."""

    @property
    def shared(self) -> Shared | None:
        """Whom to ask where several are waited for together: one object a service. None: each is asked by itself."""

    def prepare(self, name: str, /) -> dict[str, Any]:
        """What must be stored before the submit, so that the work can be found again."""

    def find(self, name: str, intent: dict[str, Any], /) -> str | None:
        """The handle of work that was submitted under this name before; None where the service knows none."""

    def permit(self) -> None:
        """Called just before every submit. Raises NotAllowedError where, at this moment, nothing may be sent."""

    def submit(self, name: str, intent: dict[str, Any], /) -> str:
        """Start it and return the service's handle. ServiceUnavailableError means: perhaps started."""

    def status(self, handle: str, seen: Any = None, /) -> RemoteStatus:
        """How it stands, by what ``shared`` has just said of it; without that, the service is asked.

        It changes nothing at the service. Raises LookupError where that does not know the handle (yet, or any more).
        """

    def expected(self, before: Sequence[Record], /) -> timedelta | None:
        """How long it takes from its start, judged by earlier successes of its kind; None where they do not tell."""

    def cancel(self, handle: str, /) -> None:
        """Ask the service to end it; returns when the request was accepted, not when it has ended."""

    def describe(self) -> str:
        """What it is, for messages, without user text where that must not leave the site."""


class Pulse(Protocol):
    """Called at every poll with the newest status. It may raise to stop waiting (the run was cancelled)."""

    def __call__(self, record: Record, status: RemoteStatus, /) -> None: ...
