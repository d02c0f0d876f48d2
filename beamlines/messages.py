"""What people are told, in which words, and when many messages become one.

Belongs here: kinds of messages, their text from plain values, ``plain`` for what others have written, the rate. Pure.
Does not: who is told (deployment), what has happened (sensors.messages), or sending (resources.notifier).

A message is plain text of plain letters: no service has any markup to find in it, whatever it takes for markup
(docs/decisions/0020-telling-people.md).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import quote

from beamlines.scans import PartitionKey

MOST_LINES = 20
"""Of flags, and of messages in a digest."""
_LONGEST = 300
"""Characters of one text of others."""
_KEPT = frozenset(" .,;:'+-=/%()_~?")
"""Beside letters and digits. What is not among them has a meaning in some markup, mentions somebody, or hides."""
_NAME_OF_A_HOST = re.compile(r"(?<=\w)\.(?=[^\W\d_]{2})")
_NOT_BEFORE_SPACE = re.compile(r":(?=[^\s\d])")
_STRUCK_THROUGH = re.compile(r"~(?=~)")
_HOUR = timedelta(hours=1)

Item = TypeVar("Item")


class Kind(StrEnum):
    """What there is to be told; stored, so a word here is never renamed."""

    SAFE_AND_SEEN = "safe_and_seen"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class News:
    """Something that a recipient is to be told: what it is about, and no words."""

    recipient: str
    kind: Kind
    about: str
    """A scan's key; of what failed the run's id."""
    branch: str
    """Of what is done: the facility. Else nothing."""
    run: str
    """The run that did it, or that failed."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """News that are due."""

    id: int
    news: News
    since: datetime
    failures: int
    """How often it has certainly not arrived."""
    lost: int
    """How often nobody knows whether it has."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: a title, and lines of text. A link is a line's end."""

    title: str
    lines: tuple[str, ...] = ()

    @property
    def body(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses in our own UI: no message has any other."""

    ui: str
    """Where people reach it, as the deployment says."""

    def asset(self, path: Sequence[str], key: PartitionKey) -> str:
        """The page of a scan's copy."""
        asset = "/".join(quote(part, safe="") for part in path)
        return f"{self._root}/assets/{asset}?view=partitions&partition={quote(str(key), safe='')}"

    def run(self, run: str) -> str:
        """The page of a run."""
        return f"{self._root}/runs/{quote(run, safe='')}"

    @property
    def runs(self) -> str:
        """The page of all runs."""
        return f"{self._root}/runs"

    @property
    def _root(self) -> str:
        return self.ui.rstrip("/")


def plain(text: str, longest: int = _LONGEST) -> str:
    """Text of others (names, errors, what a file says) as it can be sent to anybody, wherever it is shown.

    One line of letters, digits and the punctuation that no markup knows; each byte of anything else is ``~XX``, as in
    partition keys. Nothing in it reads as an address, so that no program makes a link of it.
    """
    line = " ".join(text.split())
    line = line if len(line) <= longest else f"{line[:longest].rstrip()} ..."
    line = "".join(char if char.isalnum() or char in _KEPT else _escaped(char) for char in line)
    for what in (_NAME_OF_A_HOST, _NOT_BEFORE_SPACE, _STRUCK_THROUGH):
        line = what.sub(lambda match: _escaped(match[0]), line)
    return line


def _escaped(char: str) -> str:
    return "".join(f"~{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


# -- what is said ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Result:
    """A result of a scan on site."""

    name: str
    """``<place>/<asset>``."""
    link: str
    until: date | None
    """Before this day no rule lets it go; None where none ever does."""


def safe_and_seen(key: PartitionKey, flags: Sequence[str], missing: str | None, link: str) -> Message:
    """A scan is on site and verified, and was looked at; ``missing`` says what of it is, where it is not whole."""
    how = "safe" if missing is None else "safe, but not whole"
    looks = [f"First look: {link}"] if missing is None else [f"Not whole: {plain(missing)}. {link}"]
    return Message(
        f"{plain(str(key))} is {how}",
        ("It is on site, and every byte of it is verified.", *_flags(flags), *looks),
    )


def _flags(flags: Sequence[str]) -> list[str]:
    if not flags:
        return ["No flags."]
    return _bounded([f"Flag: {plain(flag)}" for flag in flags])


def done(key: PartitionKey, facility: str, results: Sequence[Result]) -> Message:
    """Everything that a facility makes of a scan is where it belongs."""
    lines = [f"{result.name}, {_until(result.until)}: {result.link}" for result in results]
    return Message(f"{plain(str(key))} is done", (f"Reconstructed at {facility}, copied and verified.", *lines))


def _until(day: date | None) -> str:
    return "kept for good" if day is None else f"kept until {day.isoformat()} at least"


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that has ended badly."""

    job: str
    error: str
    """Its name."""
    said: str
    """What it says: what was seen, what it means, what to do."""


def failed(failure: Failure, key: PartitionKey | None, link: str) -> Message:
    """A run has failed, with the error's name; of one scan, or of none."""
    of = [] if key is None else [f"Scan: {plain(str(key))}"]
    error = f"{plain(failure.error)}: {plain(failure.said, 1_000)}"
    return Message(f"{plain(failure.job)} has failed", (*of, error, f"The run: {link}"))


def failed_unsaid(job: str, link: str) -> Message:
    """A run has failed about which nothing may be said: neither a scan nor a reason."""
    return Message(f"{plain(job)} has failed", (f"Why is said in the UI alone. The run: {link}",))


def restricted() -> Message:
    """All that is ever said of a restricted scan."""
    return Message("A restricted scan has arrived", ("Nothing more is said of it in messages.",))


def digest(messages: Sequence[Message], link: str) -> Message:
    """Many messages as one: their titles."""
    titles = _bounded([message.title for message in messages])
    return Message(f"{len(messages)} messages in one", (*titles, f"All of it: {link}"))


def trial(recipient: str) -> Message:
    """What a person sends to see whether a recipient can be reached."""
    return Message("A test", (f"Messages for {plain(recipient)} arrive here.",))


def _bounded(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"... and {more} more"] if more > 0 else [])]


# -- how many ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rate:
    """How often somebody is disturbed."""

    an_hour: int
    """So many messages by themselves."""
    digest_every: timedelta
    """And above that one that holds all others, so often."""


@dataclass(frozen=True, slots=True)
class Told:
    """What somebody was told lately."""

    alone: Sequence[datetime] = ()
    """When, of messages that went by themselves."""
    digests: Sequence[datetime] = ()
    """When, of those that held many."""


def portions(waiting: Sequence[Item], told: Told, rate: Rate, now: datetime) -> list[list[Item]]:
    """What is sent now of what waits, a list a message: each by itself, or all in a digest, or nothing yet."""
    room = rate.an_hour - sum(now - at < _HOUR for at in told.alone)
    if len(waiting) <= room:
        return [[item] for item in waiting]
    if any(now - at < rate.digest_every for at in told.digests):
        return []
    return [[*waiting]]
