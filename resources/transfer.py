"""Transfer: copies that never overwrite, deletes, listings; each with evidence.

Belongs here: what is refused before anything moves, whose content lies at a destination, receipts.
Does not: Globus' calls (globus), tasks and their states (globus_tasks), the order of claim, submit and poll (remote),
which copies exist (als_assets).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from beamlines.flight import Subject, TestFile
from beamlines.places import Location
from resources.clock import Clock
from resources.copies import (
    CopyRequest as CopyRequest,
)
from resources.copies import (
    DeleteReceipt as DeleteReceipt,
)
from resources.copies import (
    Item as Item,
)
from resources.copies import (
    TransferReceipt as TransferReceipt,
)
from resources.copies import (
    common_folder,
    delete_receipt,
    transfer_receipt,
)
from resources.errors import DestinationOccupiedError, NotAllowedError, PlatformError
from resources.gate import Gate
from resources.globus import MOST_ENTRIES, Globus
from resources.globus import Entry as Entry
from resources.globus import EntryType as EntryType
from resources.globus import NotFoundError as NotFoundError
from resources.globus_tasks import AlreadyThere, GlobusCopy, GlobusDelete, GlobusTask
from resources.identities import Identities
from resources.proof import hash_file
from resources.remote import Attempt, Patience, Pulse, Remote, RemoteWork
from resources.work import Record, WorkKey, WorkState

if TYPE_CHECKING:
    from resources.ledger import Ledger  # its database library costs every importer 0.3 s

FEW = 8
"""Up to so many names in a folder are looked at one by one; more with one listing of the folder."""


@dataclass(frozen=True, slots=True)
class PendingCopy:
    """A copy that was begun."""

    request: CopyRequest
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class PendingDelete:
    """A deletion that was begun."""

    location: Location
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a folder, at most as many as were asked for."""

    folder: Location
    entries: tuple[Entry, ...]
    more: bool
    """True where the folder may hold more than ``entries``."""


class Transfer:
    """Moves and removes files between places for one worker process.

    Every method may raise ServiceUnavailableError or ServiceRefusedError. What is in flight when a worker dies is
    found again by the next one that begins the same work.
    """

    def __init__(
        self,
        identities: Identities,
        remote: Remote,
        ledger: "Ledger",
        gate: Gate,
        clock: Clock,
        patience: Patience,
    ) -> None:
        self.identities = identities
        self._globus = identities.transfers
        self._remote = remote
        self._ledger = ledger
        self._gate = gate
        self._clock = clock
        self._deadline = patience.deadline
        self._patience = replace(
            patience,
            # Globus shows a task as soon as it has accepted it, and a repeated submit makes no second one.
            appear=patience.first_poll,
            # A little more than the task itself is given, so that its end is seen and not only waited out.
            deadline=patience.deadline + 2 * patience.longest_poll,
        )

    def within(self, deadline: timedelta) -> "Transfer":
        """The same, but every task is given up after ``deadline``, by Globus itself too."""
        patience = replace(self._patience, deadline=deadline)
        return Transfer(self.identities, self._remote, self._ledger, self._gate, self._clock, patience)

    def as_who_transfers(self) -> "Transfer":
        """The same, but deletes too are asked for by the client that transfers: only to see that it may not."""
        identities = Identities(self._globus, self._globus)
        return Transfer(identities, self._remote, self._ledger, self._gate, self._clock, self._patience)

    # -- copies --------------------------------------------------------------------------------------------------

    def begin(self, request: CopyRequest, key: WorkKey) -> PendingCopy:
        """Start a copy, attach to it where it is under way, or find it done.

        Raises NotAllowedError before any request leaves; OtherInputError where the ledger shows a copy of other
        content; DestinationOccupiedError where something lies at the destination that is neither ours nor equal.
        """
        self._gate.check(request.subject, request.destination)
        if key.fingerprint != request.fingerprint:
            raise ValueError(f"key and request are of different inputs: {key.fingerprint}, {request.fingerprint}")
        self._ledger.refuse_other_work(key)
        found = self._look(request)
        work = self._work(request, key, found)
        attempt = self._remote.begin(work, key, self._patience, intact=lambda _: _is_whole(request, found))
        return PendingCopy(request, attempt)

    def finish(self, pending: PendingCopy, pulse: Pulse) -> TransferReceipt:
        """Wait for the end. Raises WorkFailedError, DeadlineExceededError, WorkLostError or EpochLostError."""
        record = self._remote.finish(pending.attempt, pulse)
        return transfer_receipt(pending.request, record, reused=pending.attempt.reused)

    def finish_each(
        self, pending: Sequence[PendingCopy], pulse: Pulse
    ) -> Iterator[tuple[PendingCopy, TransferReceipt | PlatformError]]:
        """Yield each copy when it has ended, with its receipt or its error, and poll the others meanwhile."""
        by_attempt = {id(copy.attempt): copy for copy in pending}
        for attempt in self._remote.finish_each([copy.attempt for copy in pending], pulse):
            copy, outcome = by_attempt[id(attempt)], attempt.outcome
            if outcome is not None:
                if isinstance(outcome, Record):
                    yield copy, transfer_receipt(copy.request, outcome, reused=attempt.reused)
                else:
                    yield copy, outcome

    def copy(self, request: CopyRequest, key: WorkKey, pulse: Pulse) -> TransferReceipt:
        """Begin and finish one copy."""
        return self.finish(self.begin(request, key), pulse)

    # -- deletes -------------------------------------------------------------------------------------------------

    def begin_delete(self, subject: Subject, location: Location, key: WorkKey, *, recursive: bool) -> PendingDelete:
        """Start to delete one file, or with ``recursive`` one folder; where nothing is left, find it done.

        Raises NotAllowedError for a place's own folders, and for a scan that nobody may touch. Whether this copy may be
        deleted was decided before.
        """
        _refuse_the_places_own(location)
        if isinstance(subject, TestFile) and (subject.made_at is None or subject.at(location.place) != location):
            raise ValueError(
                f"{location} is no test file of ours: only those that TestFile.unique has named are deleted"
            )
        self._gate.check_deletion(subject, location.place)
        globus = self._who_deletes(key)
        errand = GlobusDelete(globus, self._clock, location, recursive, self._deadline)
        work = GlobusTask(globus, errand, lambda: self._gate.check_deletion(subject, location.place))
        attempt = self._remote.begin(work, key, self._patience, intact=lambda _: self._is_gone(location))
        return PendingDelete(location, attempt)

    def finish_delete(self, pending: PendingDelete, pulse: Pulse) -> DeleteReceipt:
        """Wait for the end. Raises as ``finish``."""
        record = self._remote.finish(pending.attempt, pulse)
        return delete_receipt(pending.location, record)

    def delete(
        self, subject: Subject, location: Location, key: WorkKey, pulse: Pulse, *, recursive: bool
    ) -> DeleteReceipt:
        """Begin and finish one deletion."""
        return self.finish_delete(self.begin_delete(subject, location, key, recursive=recursive), pulse)

    def _who_deletes(self, key: WorkKey) -> Globus:
        """What is under way is gone on with as who has begun it: a deployment may have got its second client since."""
        before = self._ledger.last(key)
        begun = before is not None and before.in_flight and before.intent is not None
        return self.identities.of(before) if before is not None and begun else self.identities.deletes

    # -- looking -------------------------------------------------------------------------------------------------

    def stat(self, location: Location) -> Entry:
        """What lies at a location. Raises NotFoundError where nothing does."""
        return self._globus.stat(location.place.collection, location.on_collection)

    def entry_at(self, location: Location) -> Entry | None:
        """What lies at a location; None where nothing does."""
        try:
            return self.stat(location)
        except NotFoundError:
            return None

    def list(
        self,
        folder: Location,
        *,
        only: EntryType | None = None,
        modified_since: datetime | None = None,
        newest_first: bool = False,
        limit: int = MOST_ENTRIES,
        offset: int = 0,
    ) -> Listing:
        """The entries of a folder. Raises NotFoundError: a failed listing is never an empty one."""
        clauses = {"type": only, "last_modified": modified_since and f"{modified_since.astimezone(UTC).isoformat()},"}
        entries, more = self._globus.list(
            folder.place.collection,
            folder.on_collection,
            orderby="last_modified DESC,name" if newest_first else "name",
            filter_by="/".join(f"{field}:{value}" for field, value in clauses.items() if value) or None,
            limit=limit,
            offset=offset,
        )
        return Listing(folder, entries, more)

    # -- whose content lies there --------------------------------------------------------------------------------

    def _look(self, request: CopyRequest) -> dict[Location, Entry]:
        wanted = {item.destination.path: item.destination for item in request.items}
        root = common_folder(list(wanted))
        found: dict[Location, Entry] = {}
        self._look_below(Location(request.destination, root), wanted, found)
        return found

    def _look_below(
        self, folder: Location, wanted: Mapping[PurePosixPath, Location], found: dict[Location, Entry]
    ) -> None:
        """Find what of ``wanted`` is there, without looking below a folder that is not."""
        children = sorted({path.relative_to(folder.path).parts[0] for path in wanted})
        for name, entry in self._entries(folder, children).items():
            child = folder / name
            if child.path in wanted:
                found[wanted[child.path]] = entry
                continue
            below = {path: location for path, location in wanted.items() if child.path in path.parents}
            if entry.type is not EntryType.FOLDER:
                raise _occupied(child, f"a {entry.type} lies where a folder should be")
            self._look_below(child, below, found)

    def _entries(self, folder: Location, names: Sequence[str]) -> dict[str, Entry]:
        if len(names) <= FEW:
            return {name: entry for name in names if (entry := self.entry_at(folder / name)) is not None}
        try:
            listing = self.list(folder)
        except NotFoundError:
            return {}
        if listing.more:
            raise _occupied(folder, f"the folder holds {len(listing.entries)} entries or more and cannot be looked at")
        return {entry.name: entry for entry in listing.entries if entry.name in set(names)}

    def _work(self, request: CopyRequest, key: WorkKey, found: Mapping[Location, Entry]) -> RemoteWork:
        # Of our own remains nothing is believed where every file's SHA-256 is known: all is sent, and held against it.
        skip_equal = not all(item.sha256 for item in request.items)
        if found and not self._is_ours(request, key, found):
            self._refuse_unless_equal(request, found)
            if len(found) == len(request.items):
                return AlreadyThere(self._clock, len(found), sum(entry.size_bytes for entry in found.values()))
            skip_equal = True  # what is there was read, and is right: it is left alone
        errand = GlobusCopy(self._globus, self._clock, request.items, self._deadline, skip_equal=skip_equal)
        return GlobusTask(self._globus, errand, lambda: self._gate.check_now(request.subject, request.destination))

    def _is_ours(self, request: CopyRequest, key: WorkKey, found: Mapping[Location, Entry]) -> bool:
        for record in self._ledger.attempts(key.asset, key.partition):
            if record.state is WorkState.SUPERSEDED:
                return True
            if record.fingerprint == request.fingerprint:
                if record.state is WorkState.SUCCEEDED:
                    # Whatever was left unfinished before it is no excuse for what lies there now.
                    return _has_expected_sizes(request, found)
                if self._may_have_written(record, found):
                    return True
        return False

    def _may_have_written(self, record: Record, found: Mapping[Location, Entry]) -> bool:
        if record.state is WorkState.INTENT:
            return self._globus.find_task(record.name) is not None
        moved = (record.evidence or {}).get("bytes_transferred")
        return moved != 0 or all(entry.size_bytes == 0 for entry in found.values())

    def _refuse_unless_equal(self, request: CopyRequest, found: Mapping[Location, Entry]) -> None:
        for item in request.items:
            entry = found.get(item.destination)
            if entry is None:
                continue
            why = _why_not_equal(item, entry)
            if why is not None:
                raise _occupied(item.destination, why)

    def _is_gone(self, location: Location) -> bool:
        return self.entry_at(location) is None


def _why_not_equal(item: Item, entry: Entry) -> str | None:
    """Why what lies at an item's destination is not taken for the item; None where it was read and is equal."""
    if entry.type is not EntryType.FILE:
        return f"a {entry.type} lies there"
    if item.bytes is not None and entry.size_bytes != item.bytes:
        return f"a file of {entry.size_bytes} bytes lies there, not one of {item.bytes}"
    if item.sha256 is None or item.destination.place.mount is None:
        return f"a file of {entry.size_bytes} bytes lies there, and it cannot be compared from here"
    try:
        found = hash_file(item.destination.here).sha256
    except OSError as error:
        return f"a file lies there that cannot be read ({error.strerror})"
    return (
        None if found == item.sha256 else f"a file with SHA-256 {found[:12]}... lies there, not {item.sha256[:12]}..."
    )


def _occupied(location: Location, why: str) -> DestinationOccupiedError:
    return DestinationOccupiedError(
        seen=f"{location}: {why}",
        meaning="no copy of ours is recorded there, and nothing was touched",
        remedy="look at what it is; move it away, or delete it, and run the copy again",
    )


def _has_expected_sizes(request: CopyRequest, found: Mapping[Location, Entry]) -> bool:
    """Whether what lies there has the sizes that were copied; what is missing does not count against it."""
    expected = {item.destination: item.bytes for item in request.items}
    return all(
        entry.type is EntryType.FILE and expected[location] in (None, entry.size_bytes)
        for location, entry in found.items()
    )


def _is_whole(request: CopyRequest, found: Mapping[Location, Entry]) -> bool:
    return len(found) == len(request.items) and _has_expected_sizes(request, found)


def _refuse_the_places_own(location: Location) -> None:
    stores = location.place.stores.values()
    if any(location.path == store or location.path in store.parents for store in stores):
        raise NotAllowedError(
            seen=f"the deletion of {location} was asked for",
            meaning="it is a folder that the place itself consists of, not a copy",
            remedy="nothing was deleted; name a copy below it",
        )
