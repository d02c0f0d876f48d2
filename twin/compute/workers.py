"""Where tasks run: what the service needs of it, and what passes between the two.

Belongs here: the ``Workers`` protocol and a task's outcome. Processes of this machine fit it (processes), and so do
real endpoints behind a message broker (endpoints).
Does not: what a task goes through (service).
"""

from collections.abc import Mapping
from typing import Any, Protocol

Outcome = Mapping[str, Any]
"""What the service shows of a task that has ended: ``result`` or ``exception``, and perhaps ``details``."""


class Workers(Protocol):
    """Every method is called by one thread at a time, and answers at once."""

    def knows(self, endpoint: str) -> bool:
        """Whether an endpoint of this id has ever been there."""
        ...

    def is_online(self, endpoint: str) -> bool:
        """Whether it takes tasks now; they wait at the service where it does not."""
        ...

    def begin(self, task: Mapping[str, Any], function: str) -> None:
        """Hand a task over: ``function`` and the task's ``payload`` are as the client has serialized them."""
        ...

    def outcome(self, task: Mapping[str, Any]) -> Outcome | None:
        """How a task that was handed over has ended; None as long as nobody has said so."""
        ...

    def kill(self, task: Mapping[str, Any]) -> None:
        """End every process of the task that is within reach here."""
        ...


def words_of_loss(error: str) -> str:
    """What an engine tells of a task that has not come back: between two rules, with the error above the second."""
    return f"{'+' * 68}\nTraceback (most recent call last):\n  ...\n{error}\n{'-' * 68}"
