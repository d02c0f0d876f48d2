"""What the catalogue holds, on disk: a file a dataset, with its lists of files and its attachments.

Belongs here: reading and writing them whole. Does not: what may be written (models, service).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

Document = dict[str, Any]


class Store:
    """Datasets by their pids. Not safe to use from several threads: whoever uses it has a lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        held = [json.loads(file.read_text()) for file in folder.glob("*.json")]
        self._held: dict[str, Document] = {one["dataset"]["pid"]: one for one in held}

    def get(self, pid: str) -> Document | None:
        """``dataset``, ``origdatablocks`` and ``attachments`` of one; None where there is none."""
        return self._held.get(pid)

    def all(self) -> list[Document]:
        """The newest first."""
        return sorted(self._held.values(), key=lambda one: str(one["dataset"]["createdAt"]), reverse=True)

    def put(self, one: Document) -> None:
        pid = one["dataset"]["pid"]
        self._held[pid] = one
        file = self._file(pid)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(one))
        partial.replace(file)

    def remove(self, pid: str) -> None:
        if self._held.pop(pid, None) is not None:
            self._file(pid).unlink()

    def _file(self, pid: str) -> Path:
        return self._folder / f"{hashlib.sha256(pid.encode()).hexdigest()}.json"
