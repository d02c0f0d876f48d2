"""What a transfer does: find the files, write them in place, compare them.

Belongs here: one pass over what a transfer task still has to do. Does not: when it runs and again (engine).

The codes of two faults are not stated in the SDK nor found in the public documentation, and are the twin's own:
VERIFY_CHECKSUM (tried again) and EXTERNAL_CHECKSUM_MISMATCH (ends the task). Decide on the status, not on them.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

from twin.globus.conditions import Access, ConditionsBoard, FaultCode
from twin.globus.documents import ALGORITHMS, FilterRule, TransferDocument, TransferItem
from twin.globus.storage import AccessDeniedError, CollectionDownError, Storage, to_wire
from twin.globus.task import Task, Work

LARGEST_CHUNK_BYTES = 1 << 20
CHUNKS_PER_SECOND = 20
SKIPPABLE = {"FILE_NOT_FOUND", "PERMISSION_DENIED"}
BY_ERRNO = {
    errno.ENOENT: "FILE_NOT_FOUND",
    errno.EACCES: "PERMISSION_DENIED",
    errno.EPERM: "PERMISSION_DENIED",
    errno.EISDIR: "IS_A_DIRECTORY",
    errno.ENOTDIR: "NOT_A_DIRECTORY",
    errno.ENOSPC: "QUOTA_EXCEEDED",
    errno.EDQUOT: "QUOTA_EXCEEDED",
}


class FileFaultError(Exception):
    """One file could not be worked on now; the task tries again."""

    def __init__(self, code: str, description: str, *, at_source: bool = False) -> None:
        super().__init__(description)
        self.code = code
        self.at_source = at_source


class FatalError(Exception):
    """The task fails at once."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


def as_fault(error: OSError, *, at_source: bool = False) -> FileFaultError:
    """What an operating system's error is to a task."""
    if isinstance(error, AccessDeniedError):
        return FileFaultError("PERMISSION_DENIED", str(error), at_source=at_source)
    if isinstance(error, CollectionDownError):
        return FileFaultError("CONNECT_FAILED", str(error))
    code = BY_ERRNO.get(error.errno or 0, "ENDPOINT_ERROR")
    return FileFaultError(code, f"{error.strerror or error}", at_source=at_source)


@dataclass(frozen=True)
class Copier:
    """Works on transfers, one pass at a time."""

    storage: Storage
    board: ConditionsBoard
    clock: Callable[[], datetime]

    def run(self, task: Task) -> None:
        """Copy what is left; whatever met a fault is left for the next pass.

        Raises StoppedError, and FatalError where the task must fail.
        """
        document = task.document
        assert isinstance(document, TransferDocument)  # noqa: S101
        if task.work is None:
            self._plan(task, document)
        for work in task.work or ():
            task.must_go_on(self.clock())
            if work.done:
                continue
            try:
                self._copy(task, document, work)
            except FileFaultError as fault:
                self._meet(task, document, work, fault)
            else:
                work.done = True
                task.progressed(self.clock())

    def _meet(self, task: Task, document: TransferDocument, work: Work, fault: FileFaultError) -> None:
        if document.fail_on_quota_errors and fault.code == "QUOTA_EXCEEDED":
            raise FatalError(fault.code, str(fault)) from fault
        if document.skip_source_errors and fault.at_source and fault.code in SKIPPABLE:
            work.done = True
            task.counters.subtasks_skipped_errors += 1
            task.skipped.append(_skipped(work, document.DATA[work.item], fault))
            task.event(self.clock(), "SKIPPED_ERRORS", "Paths were skipped", details=str(fault))
            return
        task.fault(self.clock(), fault.code, fault.code.replace("_", " ").capitalize(), f"{work.source}: {fault}")

    def _plan(self, task: Task, document: TransferDocument) -> None:
        work: list[Work] = []
        for index, item in enumerate(document.DATA):
            try:
                source = self.storage.local(document.source_endpoint, item.source_path, Access.READ)
            except (AccessDeniedError, CollectionDownError):
                source = None  # the pass over the files meets it again, and says so
            if source is not None and source.is_dir() and item.recursive is not False:
                task.counters.directories += 1
                work += self._folder(task, document, item, index, source)
            else:
                work.append(Work(item.source_path, item.destination_path, index))
        task.counters.files = len(work)
        task.work = work

    def _folder(
        self, task: Task, document: TransferDocument, item: TransferItem, index: int, source: Path
    ) -> Iterator[Work]:
        rules = document.filter_rules or ()
        for folder, folders, names in os.walk(source):
            below = Path(folder).relative_to(source)
            self._make_folder(document.destination_endpoint, _join(item.destination_path, below))
            kept = sorted(name for name in folders if _is_wanted(name, "dir", rules))
            folders[:] = [name for name in kept if not Path(folder, name).is_symlink()]
            task.counters.directories += len(folders)
            for name in sorted(names):
                if _is_wanted(name, "file", rules) and not Path(folder, name).is_symlink():
                    yield Work(_join(item.source_path, below / name), _join(item.destination_path, below / name), index)

    def _make_folder(self, collection: str, path: str) -> None:
        try:
            self._make_folders(self.storage.local(collection, path, Access.WRITE))
        except OSError:
            return  # the files in it meet the same obstacle, and say so

    def _copy(self, task: Task, document: TransferDocument, work: Work) -> None:
        assert work.source is not None  # noqa: S101
        item = document.DATA[work.item]
        fault = self.board.take_fault(work.source.rpartition("/")[2], work.target.rpartition("/")[2])
        if fault is not None and fault is not FaultCode.CORRUPT:
            raise FileFaultError(fault.value, f"a fault set for {work.source}", at_source=True)
        try:
            source = self.storage.local(document.source_endpoint, work.source, Access.READ)
            size = _size_of_file(source, must_be_folder=bool(item.recursive) and work.source == item.source_path)
        except OSError as error:
            raise as_fault(error, at_source=True) from error
        try:
            target = self.storage.local(document.destination_endpoint, work.target, Access.WRITE)
            if document.sync_level is not None and _is_same(source, target, item, document.sync_level):
                task.counters.files_skipped += 1
                task.counters.bytes_checksummed += size if document.sync_level == 3 else 0
                return
            if not self.storage.has_room(document.destination_endpoint, size - _size_or_zero(target)):
                raise FileFaultError("QUOTA_EXCEEDED", f"{size} bytes do not fit in the collection's quota")
            self._make_folders(target.parent)
            self._write(task, source, target, corrupt=fault is FaultCode.CORRUPT)
            self._verify(task, document, item, source, target)
            if document.preserve_timestamp:
                seconds = int(source.stat().st_mtime)
                os.utime(target, (seconds, seconds))
        except OSError as error:
            raise as_fault(error) from error
        task.counters.files_transferred += 1
        task.successes.append(_success(work))

    def _make_folders(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folders(folder.parent)
            folder.mkdir(exist_ok=True)
            folder.chmod(0o2777 & ~self._umask)

    @property
    def _umask(self) -> int:
        return int(self.board.now.umask, 8)

    def _write(self, task: Task, source: Path, target: Path, *, corrupt: bool) -> None:
        # Into the final name, as a GridFTP server does: a reader there sees the file grow.
        with source.open("rb") as reader, target.open("wb") as writer:
            target.chmod(0o666 & ~self._umask)
            while True:
                speed = self.board.now.bandwidth_bytes_per_s
                size = LARGEST_CHUNK_BYTES if speed is None else max(1, int(speed / CHUNKS_PER_SECOND))
                chunk = reader.read(min(size, LARGEST_CHUNK_BYTES))
                if corrupt:
                    chunk, corrupt = _corrupted(chunk), False
                if not chunk:
                    return
                task.must_go_on(self.clock())
                writer.write(chunk)
                writer.flush()
                task.counters.bytes_transferred += len(chunk)
                if speed is not None:
                    task.ended.wait(len(chunk) / speed)

    def _verify(self, task: Task, document: TransferDocument, item: TransferItem, source: Path, target: Path) -> None:
        if not document.verify_checksum and item.external_checksum is None:
            return
        at_source, at_target = _checksum(source, item), _checksum(target, item)
        task.counters.bytes_checksummed += target.stat().st_size
        if document.verify_checksum and at_source != at_target:
            raise FileFaultError("VERIFY_CHECKSUM", f"{at_source} at the source, {at_target} at the destination")
        expected = item.external_checksum
        if expected is not None and {at_source, at_target} != {expected.lower()}:
            seen = f"the source has {at_source}, the destination {at_target}"
            raise FatalError("EXTERNAL_CHECKSUM_MISMATCH", f"{expected} was given, {seen}")


def _size_of_file(path: Path, *, must_be_folder: bool) -> int:
    status = path.stat()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a directory, and the item is not recursive")
    if must_be_folder:
        raise NotADirectoryError(errno.ENOTDIR, "is no directory, and the item is recursive")
    with path.open("rb"):
        return status.st_size


def _size_or_zero(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _is_same(source: Path, target: Path, item: TransferItem, sync_level: int) -> bool:
    if not target.exists():
        return False
    if sync_level == 0:
        return True
    if source.stat().st_size != target.stat().st_size:
        return False
    if sync_level == 1:
        return True
    if sync_level == 2:
        return int(source.stat().st_mtime) <= int(target.stat().st_mtime)
    return _checksum(source, item) == _checksum(target, item)


def _checksum(path: Path, item: TransferItem) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, ALGORITHMS[item.checksum_algorithm or "MD5"]).hexdigest()


def _corrupted(chunk: bytes) -> bytes:
    return bytes([chunk[0] ^ 0xFF]) + chunk[1:] if chunk else b"\0"


def _is_wanted(name: str, kind: str, rules: tuple[FilterRule, ...]) -> bool:
    """The first rule that matches decides."""
    for rule in rules:
        if rule.type in (None, kind) and fnmatchcase(name, rule.name):
            return rule.method == "include"
    return True


def _join(root: str, below: Path) -> str:
    parts = [to_wire(part) for part in below.parts]
    return "/".join([root.rstrip("/"), *parts])


def _success(work: Work) -> dict[str, object]:
    return {"DATA_TYPE": "successful_transfer", "source_path": work.source, "destination_path": work.target}


def _skipped(work: Work, item: TransferItem, fault: FileFaultError) -> dict[str, object]:
    return {
        "DATA_TYPE": "skipped_error",
        "source_path": work.source,
        "destination_path": work.target,
        "error_code": fault.code,
        "error_details": str(fault),
        "is_directory": False,
        "is_symlink": False,
        "is_delete_destination_extra": False,
        "external_checksum": item.external_checksum,
        "checksum_algorithm": item.checksum_algorithm,
        "error_time": None,
    }
