"""Paths of files at a facility, as its API over HTTP can be asked for them.

Belongs here: a path in a URL, and the way round for paths that cannot be in one.
Does not: the requests (superfacility), or where files lie (beamlines.layout).

A service of the usual make takes the rest of a URL for the path: it decodes that as UTF-8, and its pattern ends at a
line feed. A file whose path has other bytes, or a line feed, is asked for through a link with a plain name, which the
job that made the file leaves in the folder of its logs.
"""

import hashlib
import os
from pathlib import PurePosixPath
from urllib.parse import quote


def in_url(path: str) -> str:
    """A path as it may stand in a URL: user text has ``?``, ``#`` and ``%`` in it."""
    return quote(os.fsencode(path))


def is_askable(path: str) -> bool:
    """Whether a service over HTTP can be asked for this path itself."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\n" not in path


def askable(path: str, logs: PurePosixPath) -> str:
    """The path to ask for: the path itself, or the link to it that a job leaves in ``logs``."""
    return path if is_askable(path) else f"{logs}/to-{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}"
