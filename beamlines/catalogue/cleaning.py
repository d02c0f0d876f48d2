"""What texts and values of people and files become before a catalogue shows them: clean, and never longer than said.

Belongs here: that, for texts, e-mail addresses, groups, names' terms, and values of a file.
Does not: which field gets which (the ingesters).
"""

import math
import re
import unicodedata
from collections.abc import Mapping

from beamlines.catalogue.entries import Value

TEXT_CHARACTERS = 1_000
NAME_CHARACTERS = 200
VALUES = 24
"""Of a list: what a file holds thousands of was sampled before."""
_TERMS, _TERM_CHARACTERS = 20, 50
_DEPTH = 4
_GROUP_CHARACTERS = 100
NO_EMAIL = "unknown@example.com"
"""SciCat refuses an entry without an address."""
_JOINERS = ("\u200c", "\u200d")
"""Parts of words and emoji, though they are control characters by their class."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LOCAL = r"[A-Za-z0-9_%+-]+(?:\.[A-Za-z0-9_%+-]+)*"
_EMAIL = re.compile(
    rf"(?<![A-Za-z0-9._%+-])({_LOCAL})@((?:{_LABEL}\.)+[A-Za-z]{{2,24}})(?![A-Za-z0-9@-]|\.[A-Za-z0-9])"
)
_SPLIT = re.compile(r"[\W_]+")
_LOOKED_AT = 1_000
"""Of what should be an address: more would only cost time."""


def text(said: object, most: int = TEXT_CHARACTERS) -> str:
    """A text on one line, without what is no character to read; empty where nothing is left, or where it was none."""
    if not isinstance(said, str):
        return ""
    # Four times as much as is kept, before anything is done with it: a file may say megabytes.
    sendable = said[: 4 * most].encode("utf-8", "backslashreplace").decode()
    shown = "".join(_shown(character) for character in unicodedata.normalize("NFC", sendable))
    return " ".join(shown.split())[:most].strip()


def email(said: object) -> str:
    """The first address in a text, in lower case; ``NO_EMAIL`` where there is none."""
    found = _EMAIL.search(said[:_LOOKED_AT]) if isinstance(said, str) else None
    if found is None or len(found[1]) > 64 or len(found[2]) > 190:
        return NO_EMAIL
    return found[0].lower()


def group(said: object) -> str | None:
    """The name of a group, without any space; None where the text can be none."""
    found = text(said, 2 * _GROUP_CHARACTERS)
    return found if found and len(found) <= _GROUP_CHARACTERS and " " not in found else None


def terms(name: str) -> tuple[str, ...]:
    """The words of a scan's name, each once, without those that are only digits."""
    words = (word[:_TERM_CHARACTERS] for word in _SPLIT.split(text(name)))
    return tuple(dict.fromkeys(word for word in words if word and not word.isdigit()))[:_TERMS]


def value(found: object, depth: int = _DEPTH) -> Value:
    """A value as JSON has it: what is no number is null, texts are clean, and lists end."""
    if isinstance(found, str):
        return text(found)
    if isinstance(found, bool) or found is None:
        return found
    if isinstance(found, int):
        # JavaScript, and MongoDB with it, has whole numbers up to 2 to the 53; larger ones are told as text.
        return found if abs(found) <= 2**53 else str(found)[:NAME_CHARACTERS]
    if isinstance(found, float):
        return found if math.isfinite(found) else None
    if depth == 0:
        return None
    if isinstance(found, Mapping):
        items = list(found.items())[:VALUES]
        return {text(key, NAME_CHARACTERS): value(item, depth - 1) for key, item in items}
    if isinstance(found, list | tuple):
        return [value(item, depth - 1) for item in found[:VALUES]]
    return None


def _shown(character: str) -> str:
    return " " if unicodedata.category(character).startswith("C") and character not in _JOINERS else character
