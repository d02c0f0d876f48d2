"""Looking through a place by one listing a folder, beside what is recorded there.

Belongs here: which folders are listed, what cannot be, and what is recorded in each.
Does not: the comparison (beamlines.reconciliation), or what follows of it (reconciler).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath

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
    _unanswered: int = 0

    def through(self) -> Iterator[Compared]:
        """Each folder, compared; and then what is recorded in folders that the walk has not come to."""
        expected = self._expected()
        for store in self.place.stores:
            yield from self._store(store, expected)
        for folder, copies in expected.items():
            if any(_lies_in(folder, other) for other in self.unreachable):
                yield Compared(unsettled=sum(not copy.gone for copy in copies.values()))
            else:
                yield compare(Store.RESULTS, folder, copies, {}, self.now)

    def _expected(self) -> dict[str, dict[str, Expected]]:
        """Every copy that has a record here, by its folder and by its name."""
        expected: defaultdict[str, dict[str, Expected]] = defaultdict(dict)
        for record in self.recorded.at_place(self.place.name):
            self.newest = max(self.newest, record.storage_id)
            if (copy := self.copies.get(record.asset)) is not None:
                one = _one_expected(copy, record)
                folder = copy.location(PartitionKey.parse(record.partition)).folder
                expected[str(folder.path)][one.name] = one
        return expected

    def _store(self, store: Store, expected: dict[str, dict[str, Expected]]) -> Iterator[Compared]:
        root = self.place.stores[store]
        is_recorded = any(
            _lies_in(folder, str(root)) and any(not copy.gone for copy in copies.values())
            for folder, copies in expected.items()
        )

        def entries_of(below: str) -> list[Entry] | None:
            return self._entries(store, below, must_show_something=is_recorded)

        def enters(path: str, entry: Entry) -> bool:
            return may_hold_copies(self.beamline, store, path, entry)

        for below, entries in walk("", entries_of, enters):
            self.folders += 1
            folder = str(root / below)
            lying = {entry.name: Lying(_SHAPES[entry.type], entry.size_bytes, entry.modified) for entry in entries}
            compared = compare(store, folder, expected.pop(folder, {}), lying, self.now)
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


def _lies_in(folder: str, above: str) -> bool:
    return PurePosixPath(folder).is_relative_to(above)
