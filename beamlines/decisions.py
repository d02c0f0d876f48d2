"""Decisions: yes or no, with a named reason.

Belongs here: Reason and Decision.
Does not: what is decided, and by what (policy, standing).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Every reason that a decision can have; stored with evidence, so a word here is never renamed."""

    ON_SITE = "on-site"
    UNRESTRICTED = "unrestricted"
    RESTRICTED_FOLDER = "restricted-folder"
    RESTRICTED_PROPOSAL = "restricted-proposal"
    RESTRICTED_WHEN_ANNOUNCED = "restricted-when-announced"
    RESTRICTED_BY_SIDECAR = "restricted-by-sidecar"
    RESTRICTED_BY_OPERATOR = "restricted-by-operator"
    RESTRICTED_BY_DEFAULT = "restricted-by-default"
    PROPOSAL_UNKNOWN = "proposal-unknown"
    UNCHANGED = "unchanged"
    CHANGED = "changed-after-it-was-complete"
    ABORTED = "aborted"
    WITHHELD = "not-to-be-sent"
    PREFERRED = "preferred-facility"
    NOT_PREFERRED = "another-facility-is-preferred"
    NOT_NEW = "not-a-new-arrival"
    SWITCHED_OFF = "skipped-by-operator"
    WAITING_FOR_RAW = "waiting-for-the-raw-copy"
    OUTAGE = "waiting-for-the-end-of-an-outage"
    HANDED_ON = "handed-on"
    AGED = "old-enough-and-kept-elsewhere"
    NO_RULE = "no-rule"
    NOT_RECORDED = "not-recorded-as-there"
    TOO_YOUNG = "too-young"
    HELD = "held"
    IN_FLIGHT = "work-in-flight"
    UNKNOWN = "something-is-not-known"
    SUSPECT = "suspect"
    NO_KEEPER = "not-enough-keepers"
    KEEPER_DIFFERS = "a-keeper-differs-from-its-manifest"
    KEEPER_NOT_READ = "a-keeper-could-not-be-read"
    CANDIDATE_CHANGED = "the-copy-itself-has-changed"
    CATALOGUE_DISAGREES = "the-catalogue-disagrees"
    CLOCK = "a-clock-is-wrong"
    ROOM_ENOUGH = "room-enough"
    BRAKE = "waits-for-a-person"
    DRY_RUN = "dry-run"


WAITING = (Reason.WAITING_FOR_RAW, Reason.OUTAGE)
"""Reasons of what is not decided yet."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, why, and in words what that means for this scan. Deliberately not usable as a bare bool."""

    allowed: bool
    reason: Reason
    detail: str

    @classmethod
    def yes(cls, reason: Reason, detail: str) -> Self:
        return cls(True, reason, detail)

    @classmethod
    def no(cls, reason: Reason, detail: str) -> Self:
        return cls(False, reason, detail)

    def __bool__(self) -> bool:
        raise TypeError("a Decision has a reason: ask for .allowed, and pass the reason on")

    def __str__(self) -> str:
        return f"{'yes' if self.allowed else 'no'} ({self.reason}): {self.detail}"
