"""The named errors of the outside world: what was seen, what it means, what to do.

Belongs here: errors that more than one client raises.
Does not: errors about identities and configuration (beamlines).
"""

from collections.abc import Mapping
from typing import Any


class PlatformError(Exception):
    """A failure that people are shown: what was seen, what it means, what to do."""

    def __init__(self, *, seen: str, meaning: str, remedy: str) -> None:
        super().__init__(" ".join(text.rstrip(". ") + "." for text in (seen, _capital(meaning), _capital(remedy))))
        self.seen = seen
        self.meaning = meaning
        self.remedy = remedy


def _capital(text: str) -> str:
    """The first letter as a sentence has it; ``seen`` may begin with a name, which stays as it is."""
    return text[:1].upper() + text[1:]


class ServiceUnavailableError(PlatformError):
    """The service gave no usable answer (connection, time-out, 429, 5xx): asking again later may help.

    After a submit it means that nobody knows whether the work was started.
    """


class LedgerUnavailableError(ServiceUnavailableError):
    """The platform's own database gave no usable answer: nothing is done to remote work until it does."""


class ServiceRefusedError(PlatformError):
    """The service understood and said no (credentials, consent, permission, a malformed request): a person must act."""


class CredentialsRefusedError(ServiceRefusedError):
    """The service does not accept who asks (secret, key, consent): those who run this platform must act."""


class NotAllowedError(PlatformError):
    """Policy forbids it: the scan may not go there."""


class WorkFailedError(PlatformError):
    """Remote work ended, and not well. The final state is in the message; ``evidence`` is what the ledger keeps."""

    def __init__(self, *, seen: str, meaning: str, remedy: str, evidence: Mapping[str, Any] | None = None) -> None:
        super().__init__(seen=seen, meaning=meaning, remedy=remedy)
        self.evidence = evidence or {}


class WorkInterruptedError(PlatformError):
    """Remote work was ended by no fault of its own (its node failed, it was preempted): a new attempt is the remedy."""


class WorkLostError(PlatformError):
    """Remote work that was started cannot be found any more."""


class UnknownStateError(PlatformError):
    """Remote work is in a state that no table of ours knows, and stays there. It was left alone."""


class DeadlineExceededError(PlatformError):
    """Remote work did not end in the time that it was given."""


class OtherSettingsError(PlatformError):
    """The same partition was made, or is being made, with other settings. What is there is as good as before."""


class OtherInputError(PlatformError):
    """The same partition was made, or is being made, from another input."""


class EpochLostError(PlatformError):
    """Another worker has taken this work over: this one must stop without touching it."""


class DestinationOccupiedError(PlatformError):
    """Other content lies where a copy should go. Nothing was overwritten."""


class CopyNotIntactError(PlatformError):
    """A copy was read again and is not what its manifest says."""


class SourceChangedError(PlatformError):
    """A source is not the file that was decided about: its size or time differs."""


class NoNoteError(PlatformError):
    """A person decides something and does not say why."""


def must_have_note(note: str, what: str) -> None:
    """Raise NoNoteError where somebody wants to do something (``what``) and does not say why."""
    if not note.strip():
        raise NoNoteError(
            seen=f"somebody wants to {what} without a note",
            meaning="whoever looks at it in a year could not know why",
            remedy="say why, in a few words",
        )
