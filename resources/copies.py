"""What is asked of Transfer, and the evidence that it gives: requests and receipts, plain values.

Belongs here: Item, CopyRequest, TransferReceipt, DeleteReceipt, and making receipts out of the ledger's records.
Does not: moving or deleting anything (transfer), or what a task's state means (globus_tasks).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from beamlines.flight import Subject, TestFile
from beamlines.places import Location, Place
from resources.work import Record


@dataclass(frozen=True, slots=True)
class Item:
    """One file to copy, with its SHA-256 and size in bytes where they are known."""

    source: Location
    destination: Location
    sha256: str | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """Files of one scan to copy, all from one place to one other: one Globus task, however many they are.

    ``fingerprint`` says what the input is, so that a copy of other content is never taken for this one.
    Raises ValueError for items that are none, of several places, or at one destination twice; and for anything that is
    called a test file and is none.
    """

    subject: Subject
    items: tuple[Item, ...]
    fingerprint: str

    def __post_init__(self) -> None:
        places = {(item.source.place.name, item.destination.place.name) for item in self.items}
        if len(places) != 1:
            raise ValueError(f"a copy has items, and all go from one place to one other, not {sorted(places)}")
        if len({item.destination.on_collection for item in self.items}) != len(self.items):
            raise ValueError("two items of a copy have the same destination")
        if isinstance(self.subject, TestFile) and any(not _is_test_file(item, self.subject) for item in self.items):
            raise ValueError(f"only files in {self.subject.folder} are copied as test files")

    @property
    def destination(self) -> Place:
        return self.items[0].destination.place

    @property
    def bytes(self) -> int | None:
        """The sum of the sizes; None where one is not known."""
        sizes = [item.bytes for item in self.items]
        return None if None in sizes else sum(size or 0 for size in sizes)


def _is_test_file(item: Item, file: TestFile) -> bool:
    return all(side.folder == file.at(side.place).folder for side in (item.source, item.destination))


@dataclass(frozen=True, slots=True)
class TransferReceipt:
    """Evidence of a copy. Times are UTC; ``task_id`` is None where nothing had to be sent."""

    task_id: str | None
    submission_id: str | None
    label: str
    source: str
    destination: str
    files: int
    bytes: int
    bytes_checksummed: int
    files_skipped: int
    """Files that were equal at the destination already."""
    verified_by: str
    requested: datetime
    completed: datetime
    seconds: float
    effective_bytes_per_second: int
    faults: int
    reused: bool = False
    """It was copied before, as said here, and lies there still: nothing was sent or read now."""

    def to_json(self) -> dict[str, Any]:
        return _json(asdict(self))


@dataclass(frozen=True, slots=True)
class DeleteReceipt:
    """Evidence of a deletion: the task succeeded, and afterwards nothing lay there."""

    task_id: str
    submission_id: str | None
    label: str
    location: str
    requested: datetime
    completed: datetime

    def to_json(self) -> dict[str, Any]:
        return _json(asdict(self))


def transfer_receipt(request: CopyRequest, record: Record, *, reused: bool = False) -> TransferReceipt:
    """The receipt of a copy that succeeded, out of its record in the ledger."""
    evidence = record.evidence or {}
    adopted = int(evidence.get("adopted_files") or 0)
    skipped = int(evidence.get("files_skipped") or 0) + adopted
    requested, completed = _time(evidence["request_time"]), _time(evidence["completion_time"])
    moved = evidence.get("bytes_transferred") or evidence.get("bytes") or 0
    return TransferReceipt(
        task_id=evidence.get("task_id"),
        submission_id=(record.intent or {}).get("submission_id"),
        label=record.name,
        source=_said(request, lambda item: item.source),
        destination=_said(request, lambda item: item.destination),
        files=len(request.items),
        bytes=int(moved) if request.bytes is None else request.bytes,
        bytes_checksummed=int(evidence.get("bytes_checksummed") or evidence.get("bytes") or 0),
        files_skipped=skipped,
        verified_by=_verified_by(request, adopted, skipped),
        requested=requested,
        completed=completed,
        seconds=(completed - requested) / timedelta(seconds=1),
        effective_bytes_per_second=int(evidence.get("effective_bytes_per_second") or 0),
        faults=int(evidence.get("faults") or 0),
        reused=reused,
    )


def delete_receipt(location: Location, record: Record) -> DeleteReceipt:
    """The receipt of a deletion that succeeded, out of its record in the ledger."""
    evidence = record.evidence or {}
    return DeleteReceipt(
        task_id=str(evidence["task_id"]),
        submission_id=(record.intent or {}).get("submission_id"),
        label=record.name,
        location=str(location),
        requested=_time(evidence["request_time"]),
        completed=_time(evidence["completion_time"]),
    )


def _verified_by(request: CopyRequest, adopted: int, skipped: int) -> str:
    if adopted:
        return "sha256, read again at the destination"
    # Whether an external checksum is looked at for a file that was skipped is not documented.
    if not skipped and all(item.sha256 for item in request.items):
        return "external sha256"
    return "globus checksum"


def _said(request: CopyRequest, side: Callable[[Item], Location]) -> str:
    locations = [side(item) for item in request.items]
    if len(locations) == 1:
        return str(locations[0])
    return str(Location(locations[0].place, common_folder([location.path for location in locations])))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _json(value: dict[str, Any]) -> dict[str, Any]:
    return {name: item.isoformat() if isinstance(item, datetime) else item for name, item in value.items()}


def common_folder(paths: Sequence[PurePosixPath]) -> PurePosixPath:
    """The deepest folder that all the paths lie in."""
    return next(parent for parent in paths[0].parents if all(parent in path.parents for path in paths))
