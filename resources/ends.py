"""How remote work ends badly: the named error for each way, in words for people.

Belongs here: making those errors from what is known of a piece of work.
Does not: deciding that it has ended so (remote).
"""

from datetime import timedelta

from resources.errors import (
    DeadlineExceededError,
    PlatformError,
    UnknownStateError,
    WorkFailedError,
    WorkInterruptedError,
    WorkLostError,
)
from resources.work import Record


def why_not_done(what: str, record: Record) -> PlatformError:
    """Of work that its service has ended, and not well."""
    evidence = record.evidence or {}
    seen = f"{what} ended as {record.state} ({record.handle}): {evidence.get('detail', 'no detail')}"
    if evidence.get("interrupted"):
        return WorkInterruptedError(
            seen=seen,
            meaning="the service lost it, by no fault of its own",
            remedy="it is tried again by itself; if that goes on, ask the facility",
        )
    return WorkFailedError(
        seen=seen,
        meaning="its result was not made, or is not whole",
        remedy="mend what the message names, then run it again: a new attempt is made",
        evidence=evidence,
    )


def lost(what: str, record: Record, why: object) -> WorkLostError:
    """Of work that its service does not show (any more)."""
    return WorkLostError(
        seen=f"{what}: the service no longer knows {record.handle} ({why})",
        meaning="what became of it cannot be told",
        remedy="run it again: a new attempt is made, and nothing that exists is overwritten",
    )


def overdue(what: str, record: Record, waited: timedelta) -> DeadlineExceededError:
    """Of work that was waited for long enough."""
    return DeadlineExceededError(
        seen=f"{what} ({record.handle or 'never submitted'}) has not ended after {waited}",
        meaning="it is stuck, or its service is",
        remedy="look at it at the service; a new run attaches to it as long as it has not ended",
    )


def unknown(what: str, record: Record, word: str, waited: timedelta) -> UnknownStateError:
    """Of work whose state nobody here understands."""
    return UnknownStateError(
        seen=f"{what} ({record.handle}) is in a state that this program does not know, for {waited} now: {word}",
        meaning="it may be running, or have ended well or badly: nothing unknown is taken for either",
        remedy="look at it at the service, and let the state be added to the table of its client; a new run attaches "
        "to it as long as it has not ended",
    )
