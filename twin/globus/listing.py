"""Filters, order and pages of the lists that Transfer returns: of files and of tasks.

Belongs here: the query language of ``operation_ls`` and ``task_list``. Does not: where the entries come from.

Grammar (docs.globus.org/api/transfer): ``field:value,value/field:value``; clauses of one filter must all hold, of
several filters one must. Text: ``=exact``, ``~pattern``, ``!not``, ``!~not pattern``, without a sign exact. Numbers:
``=``, ``<``, ``>``, ``<=``, ``>=``. Times: ``from,until`` with either left out. A backslash takes the next character as
it is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

Entry = Mapping[str, Any]
Clause = Callable[[Entry], bool]

NUMBERS = {"size"}
TIMES = {"last_modified", "request_time", "completion_time"}


class InvalidQueryError(ValueError):
    """A filter or an order that the service does not know."""


def select(entries: Iterable[Entry], filters: Sequence[str], fields: frozenset[str]) -> list[Entry]:
    """The entries that pass. Raises InvalidQueryError."""
    parsed = [_filter(text, fields) for text in filters if text]
    if not parsed:
        return list(entries)
    return [entry for entry in entries if any(all(clause(entry) for clause in clauses) for clauses in parsed)]


def order(entries: list[Entry], by: str, fields: frozenset[str]) -> list[Entry]:
    """Sort by ``field [ASC|DESC],...``. Raises InvalidQueryError."""
    for term in reversed([term for term in by.split(",") if term]):
        field, _, direction = term.strip().partition(" ")
        if field not in fields or direction.upper() not in ("", "ASC", "DESC"):
            raise InvalidQueryError(f"cannot order by {term!r}")
        entries = sorted(entries, key=lambda entry: _sortable(entry[field]), reverse=direction.upper() == "DESC")
    return entries


def _sortable(value: Any) -> tuple[bool, Any]:
    return (value is not None, value)


def _filter(text: str, fields: frozenset[str]) -> list[Clause]:
    return [_clause(part, fields) for part in _split(text, "/")]


def _clause(text: str, fields: frozenset[str]) -> Clause:
    field, colon, values = text.partition(":")
    if not colon or field not in fields:
        raise InvalidQueryError(f"cannot filter by {text!r}")
    alternatives = _split(values, ",")
    if field in TIMES:
        return _between(field, alternatives)
    if field in NUMBERS:
        bounds = [_bound(value) for value in alternatives]
        return lambda entry: all(bound(entry[field]) for bound in bounds)
    wanted = [_text(value) for value in alternatives if not value.startswith("!")]
    unwanted = [_text(value[1:]) for value in alternatives if value.startswith("!")]
    return lambda entry: (
        (not wanted or any(test(entry[field]) for test in wanted)) and not any(test(entry[field]) for test in unwanted)
    )


def _text(value: str) -> Callable[[str | None], bool]:
    if value.startswith("~"):
        # Backslashes were only for our own separators; fnmatch has no escapes.
        pattern = _unescape(value[1:])
        return lambda text: text is not None and fnmatchcase(text, pattern)
    exact = _unescape(value.removeprefix("="))
    return lambda text: text == exact


def _bound(value: str) -> Callable[[int], bool]:
    tests: dict[str, Callable[[int, int], bool]] = {
        "<=": lambda a, b: a <= b,
        ">=": lambda a, b: a >= b,
        "<": lambda a, b: a < b,
        ">": lambda a, b: a > b,
        "=": lambda a, b: a == b,
        "": lambda a, b: a == b,
    }
    sign = next(sign for sign in tests if value.startswith(sign))
    try:
        number = int(value[len(sign) :])
    except ValueError:
        raise InvalidQueryError(f"{value!r} is no number") from None
    return lambda found: tests[sign](found, number)


def _between(field: str, values: list[str]) -> Clause:
    start, end = (*values, "")[:2]
    first = _moment(start) if start else datetime.min.replace(tzinfo=UTC)
    last = _moment(end) if end else datetime.max.replace(tzinfo=UTC)
    return lambda entry: entry[field] is not None and first <= _moment(entry[field]) <= last


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidQueryError(f"{text!r} is no ISO 8601 time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _split(text: str, separator: str) -> list[str]:
    parts = [""]
    escaped = False
    for character in text:
        if character == separator and not escaped:
            parts.append("")
        else:
            parts[-1] += character
        escaped = character == "\\" and not escaped
    return parts


def _unescape(text: str) -> str:
    plain = ""
    escaped = False
    for character in text:
        escaped = character == "\\" and not escaped
        if not escaped:
            plain += character
    return plain
