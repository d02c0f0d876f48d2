"""What remote work is in the ledger's words: its key, its states, one attempt's record, and the answers to a claim.

Belongs here: values that every client of the outside world handles.
Does not: the table that keeps them (ledger), which needs a database's library that most importers do not.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from resources.owner import Owner


class WorkState(StrEnum):
    """Where a piece of remote work stands. INTENT is written before the submit, SUBMITTED right after it."""

    INTENT = "intent"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    SUPERSEDED = "superseded"
    """A person has decided that what it copied is not what is wanted."""


FACILITY = "facility"
"""Of an intent: where the work is a job."""
CLIENT = "client"
"""Of an intent: as which client of Globus' a task is asked for. Nobody else can see it."""
IN_FLIGHT = (WorkState.INTENT, WorkState.SUBMITTED)


@dataclass(frozen=True, slots=True)
class Worker:
    """The process that works on a run of Dagster's, by its own words."""

    owner: Owner
    heartbeat: datetime


@dataclass(frozen=True, slots=True)
class WorkKey:
    """What makes two pieces of remote work the same: asset, partition key, settings and input fingerprint."""

    asset: str
    partition: str
    settings: str
    fingerprint: str

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for the key in the ledger."""
        text = json.dumps([self.asset, self.partition, self.settings, self.fingerprint])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Record:
    """One row: one attempt at one piece of remote work."""

    key: str
    attempt: int
    asset: str
    partition: str
    settings: str
    fingerprint: str
    state: WorkState
    epoch: int
    owner: Owner
    heartbeat: datetime
    intent: dict[str, Any] | None
    handle: str | None
    evidence: dict[str, Any] | None
    created: datetime
    updated: datetime
    installation: str
    """Of the database that keeps it."""

    @property
    def name(self) -> str:
        """The name under which the outside world knows this attempt: it carries the key and no user text.

        And the database: a new one must not take what another has started, perhaps elsewhere, for its own.
        """
        return f"als-{self.installation}-{self.key}-{self.attempt}"

    @property
    def facility(self) -> str | None:
        """The facility whose job it is; None for a transfer, and for what was never ready to be submitted."""
        return (self.intent or {}).get(FACILITY)

    @property
    def client(self) -> str | None:
        """The client of Globus' whose task it is; None for a job, and for what was begun before there were two."""
        return (self.intent or {}).get(CLIENT)

    @property
    def said(self) -> str:
        """What it is, in words."""
        return f"{self.asset} of {self.partition} [{self.handle or 'not submitted yet'}]"

    @property
    def in_flight(self) -> bool:
        return self.state in IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Claimed:
    """This worker owns the attempt, newly made or taken over from a dead worker."""

    record: Record


@dataclass(frozen=True, slots=True)
class Watching:
    """A living worker owns the attempt: attach to its result, touch nothing."""

    record: Record


@dataclass(frozen=True, slots=True)
class AlreadyDone:
    """The same work succeeded before: look whether its result is intact; if not, claim again with ``redo``."""

    record: Record
