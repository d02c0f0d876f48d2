"""A chain of entries, each with the hash of the one before: what was written once cannot be changed unseen.

Belongs here: the form of an entry and of its line in an exported file, and what makes a chain whole. Pure.
Does not: the table (database), or what the entries say (certificates).

Whoever can write the whole chain anew can make another that is whole in itself. So a head that was noted elsewhere is
worth more than the chain alone: with it, a chain that was cut short or made anew is found too.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import NoneType
from typing import Any

from resources.errors import PlatformError

ORIGIN = "0" * 64
"""Stands for the hash of the entry before the first."""


class ChainBrokenError(PlatformError):
    """An entry does not follow from the one before: somebody, or something, has changed what was written."""

    def __init__(self, sequence: int, wrong: str) -> None:
        super().__init__(
            seen=f"entry {sequence} of the deletion certificates does not fit: {wrong}",
            meaning="what was deleted, and on what evidence, cannot be believed from there on",
            remedy="delete nothing more; compare with an exported file or a backup, and find out who changed it",
        )
        self.sequence = sequence
        self.wrong = wrong


class What(StrEnum):
    """What an entry says of a deletion."""

    BEGUN = "begun"
    DONE = "done"
    GIVEN_UP = "given-up"


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain goes, and the hash of its last entry."""

    entries: int
    hash: str


EMPTY = Head(0, ORIGIN)


@dataclass(frozen=True, slots=True)
class Link:
    """One entry as it is stored: all of it but ``hash`` is in the hash."""

    sequence: int
    what: str
    of: int | None
    """The sequence of the beginning that an end belongs to."""
    scan: str
    asset: str
    partition: str
    storage_id: int
    at: str
    """ISO 8601 in UTC, with microseconds."""
    document: str
    """Canonical JSON."""
    previous: str
    hash: str

    @property
    def line(self) -> str:
        """The line of an exported file."""
        return canonical(asdict(self))

    @property
    def head(self) -> Head:
        """The head of the chain that ends here."""
        return Head(self.sequence, self.hash)

    @classmethod
    def of_line(cls, line: str, sequence: int) -> "Link":
        """Read a line of an exported file. Raises ChainBrokenError where it is not exactly as it was written."""
        try:
            fields = json.loads(line)
            link = cls(**fields)
            typed = type(fields["sequence"]) is int and type(fields["of"]) in (int, NoneType)
            same = typed and link.line == line.removesuffix("\n")
        except (ValueError, TypeError, RecursionError) as error:
            raise ChainBrokenError(sequence, f"its line is no entry ({error})") from error
        if not same:
            raise ChainBrokenError(sequence, "its line is not in the form in which it was written")
        return link


def canonical(value: Any) -> str:
    """Equal values are equal texts of ASCII: names that are no UTF-8 are escapes. Raises ValueError or TypeError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def linked(head: Head, fields: Mapping[str, Any]) -> Link:
    """The next entry after a head. ``fields`` are all but sequence, previous and hash."""
    entry = {**fields, "sequence": head.entries + 1, "previous": head.hash}
    return Link(**entry, hash=_hash(entry))


def verify(links: Iterable[Link], *, after: Head = EMPTY, known: Head | None = None) -> Head:
    """Go along a chain, or along what comes ``after`` a head; the head that it ends with.

    ``known`` is a head that was noted before: the chain must hold it. Of what began before ``after`` only the number is
    looked at. A byte is kept for each entry, and nothing else. Raises ChainBrokenError for the first that does not fit.
    """
    head, phases = after, _Phases(after.entries)
    for link in links:
        _must_follow(head, link)
        phases.take(link)
        head = link.head
        _must_be_known(head, known)
    if known is not None and head.entries < known.entries:
        raise ChainBrokenError(head.entries + 1, f"it is missing: there were {known.entries} entries")
    return head


def verify_lines(lines: Iterable[str], *, after: Head = EMPTY, known: Head | None = None) -> Head:
    """``verify`` for the lines of an exported file."""
    return verify(_links(lines, after.entries + 1), after=after, known=known)


def _links(lines: Iterable[str], first: int) -> Iterator[Link]:
    for sequence, line in enumerate(lines, first):
        yield Link.of_line(line, sequence)


def _must_follow(head: Head, link: Link) -> None:
    expected = head.entries + 1
    if link.sequence != expected:
        raise ChainBrokenError(expected, f"there is a gap: the next entry is {link.sequence}")
    if link.previous != head.hash:
        raise ChainBrokenError(expected, "it names another entry before it (previous)")
    entry = asdict(link)
    del entry["hash"]
    if link.hash != _hash(entry):
        raise ChainBrokenError(expected, "its content is not what its hash was made from")


def _must_be_known(head: Head, known: Head | None) -> None:
    if known is not None and head.entries == known.entries and head.hash != known.hash:
        raise ChainBrokenError(head.entries, "another hash was noted for it: the chain was made anew")


class _Phases:
    """What each beginning has come to: a byte for each entry."""

    _NONE, _BEGUN, _ENDED = range(3)

    def __init__(self, before: int) -> None:
        self._before = before
        self._known = bytearray()

    def take(self, link: Link) -> None:
        if link.what == What.BEGUN and link.of is None:
            self._known.append(self._BEGUN)
            return
        if link.what not in (What.DONE, What.GIVEN_UP):
            raise ChainBrokenError(link.sequence, f"{link.what!r} with a beginning of {link.of} is no kind of entry")
        self._known.append(self._NONE)
        self._end(link)

    def _end(self, link: Link) -> None:
        of = link.of or 0
        if 0 < of <= self._before:
            return
        place = of - self._before - 1
        phase = self._known[place] if 0 <= place < len(self._known) else self._NONE
        if phase == self._NONE:
            raise ChainBrokenError(link.sequence, f"it is an end without a beginning ({link.of})")
        if phase == self._ENDED:
            raise ChainBrokenError(link.sequence, f"it is a second end of {link.of}")
        self._known[place] = self._ENDED


def _hash(entry: Mapping[str, Any]) -> str:
    # What a damaged table gives (bytes) has some hash, too, and it is another one.
    text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()
