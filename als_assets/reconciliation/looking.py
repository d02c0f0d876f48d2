"""Looking through a place by one listing a folder, beside what is recorded there.

Belongs here: which folders are listed, what cannot be, and what is recorded in each.
Does not: the comparison (beamlines.reconciliation), or what follows of it (reconciler).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath
from sys import intern

from als_assets.walking import entries_in, may_hold_copies, walk
from beamlines.config import Beamline
from beamlines.layout import LEGACY, Artifact, Copy
from beamlines.places import Place, Store
from beamlines.reconciliation import Compared, Expected, Finding, Lying, Shape, compare
from beamlines.scans import PartitionKey
from resources.errors import PlatformError, ServiceUnavailableError
from resources.recorded import Recorded, RecordedCopy
from resources.transfer import Entry, EntryType, NotFoundError, Transfer

_SHAPES = {EntryType.FILE: Shape.FILE, EntryType.FOLDER: Shape.FOLDER, EntryType.OTHER: Shape.OTHER}
MOST_UNANSWERED = 5
"""After so many folders one after the other without an answer the place is not asked any more."""


@dataclass(slots=True)
class _Recorded:
    """What has a record in one folder, in short: of 100,000 scans all that is expected would be 50 MB."""

    assets: set[str] = field(default_factory=set)
    scans: set[str] = field(default_factory=set)
    count: int = 0
    """Of copies that no certificate says are gone."""


@dataclass(slots=True)
class Look:
    """One walk through a place."""

    beamline: Beamline
    copies: Mapping[str, Copy]
    """Of the graph, by name."""
    place: Place
    transfer: Transfer
    recorded: Recorded
    now: datetime
    newest: int = -1
    """The id of the newest record that was known when it began."""
    folders: int = 0
    unreachable: dict[str, str] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)
    """Of these, stores' own folders, and those below which something is recorded."""
    _unanswered: int = 0

    def through(self) -> Iterator[Compared]:
        """Each folder, compared; and then what is recorded in folders that the walk has not come to."""
        recorded = self._recorded_by_folder()
        for store in self.place.stores:
            yield from self._store(store, recorded)
        self.unknown = self._unknown(recorded)
        for folder, there in recorded.items():
            if any(_lies_in(folder, other) for other in self.unreachable):
                yield Compared(unsettled=there.count)
            else:
                yield compare(Store.RESULTS, folder, self._expected(folder, there), {}, self.now)

    def _unknown(self, recorded: Mapping[str, _Recorded]) -> set[str]:
        own = {str(root) for root in self.place.stores.values()}
        closed = own & self.unreachable.keys()
        with_records = [folder for folder, there in recorded.items() if there.count]
        return closed | {other for other in self.unreachable if any(_lies_in(folder, other) for folder in with_records)}

    def _recorded_by_folder(self) -> dict[str, _Recorded]:
        """In which folder something has a record here, and of which scans. The records are read with their folder."""
        found: defaultdict[str, _Recorded] = defaultdict(_Recorded)
        for record in self.recorded.at_place(self.place.name):
            self.newest = max(self.newest, record.storage_id)
            if (copy := self.copies.get(record.asset)) is not None:
                folder = found[_folder_of(copy, record)]
                folder.assets.add(record.asset)
                folder.scans.add(intern(record.scan))
                folder.count += not record.gone
        return found

    def _expected(self, folder: str, there: _Recorded | None) -> dict[str, Expected]:
        """Every copy that has a record in one folder, by its name."""
        if there is None:
            return {}
        records = [
            (self.copies[record.asset], record)
            for records in self.recorded.of_scans(there.scans, there.assets)
            for record in records
        ]
        expected = [_one_expected(copy, record) for copy, record in records if _folder_of(copy, record) == folder]
        return {one.name: one for one in expected}

    def _store(self, store: Store, recorded: dict[str, _Recorded]) -> Iterator[Compared]:
        root = self.place.stores[store]
        is_recorded = any(_lies_in(folder, str(root)) and there.count for folder, there in recorded.items())
        expected: dict[str, Expected] = {}

        def entries_of(below: str) -> list[Entry] | None:
            nonlocal expected
            folder = str(root / below)
            # Before it is listed: what is recorded meanwhile is there, and what is deleted meanwhile is judged again.
            read = self._expected(folder, recorded.get(folder))
            entries = self._entries(store, below, must_show_something=is_recorded)
            if entries is not None:
                expected = read
                recorded.pop(folder, None)
            return entries

        def enters(path: str, entry: Entry) -> bool:
            return may_hold_copies(self.beamline, store, path, entry)

        for below, entries in walk("", entries_of, enters):
            self.folders += 1
            lying = {entry.name: Lying(_SHAPES[entry.type], entry.size_bytes, entry.modified) for entry in entries}
            compared = compare(store, str(root / below), expected, lying, self.now)
            ours = tuple(finding for finding in compared.findings if self._could_be_ours(store, finding))
            yield replace(compared, findings=ours)

    def _entries(self, store: Store, below: str, *, must_show_something: bool) -> list[Entry] | None:
        """What is in a folder; None, and why, where that cannot be told."""
        folder = str(self.place.stores[store] / below)
        if self._unanswered >= MOST_UNANSWERED:
            return self._cannot(folder, "not asked: the place has stopped answering")
        try:
            entries = entries_in(self.transfer, self.place.at(store, below))
        except NotFoundError as error:
            if below:
                return None  # removed meanwhile: whatever is recorded in it is looked for once more
            return self._cannot(folder, f"the store's own folder is not there ({error.seen})")
        except ServiceUnavailableError as error:
            self._unanswered += 1
            return self._cannot(folder, error.seen)
        except PlatformError as error:
            return self._cannot(folder, error.seen)
        self._unanswered = 0
        if not below and not entries and must_show_something:
            return self._cannot(folder, "it shows nothing at all, as a server does that is dying")
        return entries

    def _cannot(self, folder: str, why: str) -> list[Entry] | None:
        self.unreachable[folder] = why
        return None

    def _could_be_ours(self, store: Store, finding: Finding) -> bool:
        """Whether a raw file can be a scan: others are nobody's business here."""
        if finding.expected is not None or store is Store.RESULTS:
            return True
        path = PurePosixPath(finding.path).relative_to(self.place.stores[store])
        return self.beamline.why_not_a_scan(str(path)) is None


def _one_expected(copy: Copy, record: RecordedCopy) -> Expected:
    key, is_file = PartitionKey.parse(record.partition), copy.artifact is Artifact.RAW
    without = key.label == LEGACY or copy.artifact is Artifact.COMPARISON
    return Expected(
        asset=record.asset,
        partition=record.partition,
        storage_id=record.storage_id,
        name=copy.location(key).name,
        manifest=None if without else copy.manifest(key).name,
        shape=Shape.FILE if is_file else Shape.FOLDER,
        size_bytes=record.bytes if is_file and record.files else None,
        recorded=record.recorded,
        gone=record.gone,
    )


def _folder_of(copy: Copy, record: RecordedCopy) -> str:
    return str(copy.location(PartitionKey.parse(record.partition)).folder.path)


def _lies_in(folder: str, above: str) -> bool:
    return PurePosixPath(folder).is_relative_to(above)
