"""Files on the machine, as the API's utilities show, send and take them.

Belongs here: which paths are served, and the documents of ls, download and upload. Refusals are texts in a document
with status ERROR, in the words of the program that meets them; the two limits' texts are our own.
Does not: HTTP (app). Large files go through Globus.
"""

import base64
import os
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from twin.scheduler import Cluster

Document = dict[str, Any]


class PathRefusedError(Exception):
    """A path that is not served; the text is what the program on the machine says."""


class Files:
    """The folders that the API's user may see. Every other path is refused, and so is a link that leads out."""

    def __init__(self, roots: Sequence[Path], cluster: Cluster, *, limit_bytes: int = 10 * 1024**2) -> None:
        """``limit_bytes``: the largest file that download and upload take."""
        self._roots = tuple(root.resolve() for root in roots)
        self._cluster = cluster
        self.limit_bytes = limit_bytes

    def ls(self, path: str) -> Document:
        """The file, or what is in the folder with ``.`` and ``..``, as ``ls -la`` has it."""
        try:
            here = self._served(path, follow=False)
            if here.is_dir() and not here.is_symlink():
                names = [(here, "."), (here.parent, ".."), *((child, child.name) for child in sorted(here.iterdir()))]
                entries = [self._entry(child, name) for child, name in names]
            else:
                entries = [self._entry(here, path)]
        except (PathRefusedError, OSError) as error:
            return _error(f"ls: cannot access '{path}': {_reason(error)}", entries=[])
        return {"status": "OK", "entries": entries, "error": None}

    def download(self, path: str, *, binary: bool) -> Document:
        """The file's text, or its bytes in base64."""
        try:
            content = self._content(self._served(path))
            text = base64.b64encode(content).decode() if binary else content.decode()
        except (PathRefusedError, OSError, UnicodeDecodeError) as error:
            return _error(f"cat: {path}: {_reason(error)}", file=None, is_binary=binary)
        return {"status": "OK", "file": text, "is_binary": binary, "error": None}

    def upload(self, path: str, content: bytes) -> Document:
        """Write the file, whole or not at all; its folder must exist."""
        try:
            if len(content) > self.limit_bytes:
                raise PathRefusedError(f"File too large ({len(content)} bytes; the limit is {self.limit_bytes})")
            here = self._served(path)
            partial = here.with_name(f".{here.name}.partial")
            partial.write_bytes(content)
            partial.replace(here)
        except (PathRefusedError, OSError) as error:
            return _error(f"cannot create '{path}': {_reason(error)}", output=None)
        return {"status": "OK", "output": None, "error": None}

    def script(self, path: str) -> str:
        """A batch script that is submitted by its path. Raises PathRefusedError."""
        try:
            return self._content(self._served(path)).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise PathRefusedError(_reason(error)) from error

    def _served(self, path: str, *, follow: bool = True) -> Path:
        wanted = Path(path)
        if "\0" in path or not wanted.is_absolute():
            raise PathRefusedError("No such file or directory")
        real = wanted.resolve() if follow else wanted.parent.resolve() / wanted.name
        if wanted.name == ".." or not any(real.is_relative_to(root) for root in self._roots):
            raise PathRefusedError("Permission denied")
        return real

    def _content(self, path: Path) -> bytes:
        size = path.stat().st_size
        if size > self.limit_bytes:
            raise PathRefusedError(f"File too large ({size} bytes; the limit is {self.limit_bytes}): use Globus")
        return path.read_bytes()

    def _entry(self, path: Path, name: str) -> Document:
        status = path.lstat()
        shown = f"{name} -> {path.readlink()}" if stat.S_ISLNK(status.st_mode) else name
        return {
            "perms": stat.filemode(status.st_mode),
            "hardlinks": status.st_nlink,
            "user": self._cluster.user,
            "group": self._cluster.user,
            "size": status.st_size,
            "date": datetime.fromtimestamp(status.st_mtime, self._cluster.zone).strftime("%Y-%m-%dT%H:%M:%S"),
            "name": os.fsencode(shown).decode(errors="replace"),
        }


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _error(text: str, **empty: Any) -> Document:
    return {"status": "ERROR", "error": text, **empty}
