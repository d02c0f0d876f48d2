"""What a delete does.

Belongs here: one pass over what a delete task still has to do. Does not: when it runs and again (engine).
"""

import errno
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from twin.globus.conditions import Access, ConditionsBoard, FaultCode
from twin.globus.copying import FileFaultError, as_fault
from twin.globus.documents import DeleteDocument
from twin.globus.storage import Storage
from twin.globus.task import Task, Work


@dataclass(frozen=True)
class Deleter:
    """Works on deletes, one pass at a time."""

    storage: Storage
    board: ConditionsBoard
    clock: Callable[[], datetime]

    def run(self, task: Task) -> None:
        """Delete what is left; whatever met a fault is left for the next pass. Raises StoppedError."""
        document = task.document
        assert isinstance(document, DeleteDocument)  # noqa: S101
        if task.work is None:
            task.work = [Work(None, item.path, index) for index, item in enumerate(document.DATA)]
            task.counters.files = len(task.work)
        for work in task.work:
            task.must_go_on(self.clock())
            if work.done:
                continue
            try:
                self._delete(document, work.target)
            except FileFaultError as fault:
                description = fault.code.replace("_", " ").capitalize()
                task.fault(self.clock(), fault.code, description, f"{work.target}: {fault}")
            else:
                work.done = True
                task.progressed(self.clock())

    def _delete(self, document: DeleteDocument, path: str) -> None:
        fault = self.board.take_fault(path.rstrip("/").rpartition("/")[2])
        if fault is not None and fault is not FaultCode.CORRUPT:
            raise FileFaultError(fault.value, f"a fault set for {path}")
        try:
            # A link is deleted, never followed.
            local = self.storage.local(document.endpoint, path, Access.WRITE, follow=False)
            self._must_not_be_a_root(document.endpoint, local)
            if local.is_symlink() or local.is_file():
                local.unlink()
            elif local.is_dir() and document.recursive:
                shutil.rmtree(local)
            elif local.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a directory, and the delete is not recursive")
            else:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        except FileNotFoundError as error:
            if not document.ignore_missing:
                raise as_fault(error) from error
        except OSError as error:
            raise as_fault(error) from error

    def _must_not_be_a_root(self, collection: str, local: Path) -> None:
        if any(local == mount.directory for mount in self.storage.collection(collection).mounts):
            raise PermissionError(errno.EACCES, "is the root of the collection")
