"""The way that the flight check's file takes: from the acquisition machine to every facility; then it is removed.

Belongs here: the hops, their order, and what became of each.
Does not: the job (flight_check), or how a file is copied (resources.transfer).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from als_assets.step import Stopwatch
from beamlines.config import Beamline, FlightCheck
from beamlines.flight import TestFile
from beamlines.places import Location, Place
from resources.clock import Clock
from resources.errors import PlatformError
from resources.proof import hash_file
from resources.remote import Pulse
from resources.responsible import who_must_act
from resources.transfer import CopyRequest, EntryType, Item, NotFoundError, PendingCopy, Transfer, TransferReceipt
from resources.work import WorkKey

SWEPT_AT_MOST = 10
FORGOTTEN_AFTER = timedelta(days=1)
"""What a check that was cut off has left behind is removed by a later one."""


@dataclass(frozen=True, slots=True)
class Hop:
    """From one place to the next; the first one stays on the acquisition machine, and goes through Globus too."""

    source: Location
    destination: Location

    def __str__(self) -> str:
        return f"{self.source.place.name} to {self.destination.place.name}"


@dataclass(frozen=True, slots=True)
class Landed:
    """A hop that arrived, and was verified there."""

    hop: Hop
    receipt: TransferReceipt
    seconds: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """What did not work, and who must act."""

    where: str
    error: PlatformError
    who: str

    def __str__(self) -> str:
        return f"{self.where}: {self.error} Who must act: {self.who}."


@dataclass(slots=True)
class Flight:
    """One check: one file, named by nothing else, on its way."""

    beamline: Beamline
    rules: FlightCheck
    transfer: Transfer
    clock: Clock
    pulse: Pulse
    file: TestFile
    sent: list[Location] = field(default_factory=list)
    """Where something was begun to be written, and is removed."""

    def fly(self) -> Iterator[Landed | Trouble]:
        """Yield each hop's end. What was begun is removed at last; a hop that fails ends only what depends on it."""
        scans, places = self.beamline.scans, self.beamline.places
        place, first = places[scans.place], places[scans.first_copy]
        original = TestFile(str(self.rules.file.parent), self.rules.file.name).at(place)
        for hop in (Hop(original, self.file.at(place)), Hop(self.file.at(place), self.file.at(first))):
            ended = self._hop(hop)
            yield ended
            if isinstance(ended, Trouble):
                break
        else:
            onward = [Hop(self.file.at(first), self.file.at(place)) for place in self._onward()]
            yield from self._hops_onward(onward)
        for location in self.sent:
            yield from self._remove(self.file, location)
        for one in (place, first, *self._onward()):
            yield from self._sweep(one)

    def _onward(self) -> list[Place]:
        """Where each facility's raw files go from the first copy, once."""
        names = dict.fromkeys(facility.raw for facility in self.beamline.facilities.values())
        return [self.beamline.places[name] for name in names if name != self.beamline.scans.first_copy]

    def _hop(self, hop: Hop) -> Landed | Trouble:
        watch = Stopwatch()
        try:
            size = self.transfer.stat(hop.source).size_bytes
            request = CopyRequest(self.file, (Item(hop.source, hop.destination, bytes=size),), self.file.key)
            pending = self.transfer.begin(request, self._key(hop))
            self.sent.append(hop.destination)
            receipt = self.transfer.finish(pending, self.pulse)
            self._verify(hop.destination, size)
        except (PlatformError, OSError) as error:
            return self._trouble(hop, error)
        return Landed(hop, receipt, watch.seconds)

    def _hops_onward(self, hops: Sequence[Hop]) -> Iterator[Landed | Trouble]:
        """All at once, with the SHA-256 of what lies on site."""
        watch = Stopwatch()
        begun: list[PendingCopy] = []
        hop_of: dict[int, Hop] = {}
        for hop in hops:
            try:
                found = hash_file(hop.source.here)
                item = Item(hop.source, hop.destination, sha256=found.sha256, bytes=found.bytes)
                copy = self.transfer.begin(CopyRequest(self.file, (item,), self.file.key), self._key(hop))
            except (PlatformError, OSError) as error:
                yield self._trouble(hop, error)
            else:
                self.sent.append(hop.destination)
                begun.append(copy)
                hop_of[id(copy)] = hop
        for copy, outcome in self.transfer.finish_each(begun, self.pulse):
            hop = hop_of[id(copy)]
            if isinstance(outcome, PlatformError):
                yield self._trouble(hop, outcome)
                continue
            try:
                self._verify(hop.destination, copy.request.bytes or 0)
            except PlatformError as error:
                yield self._trouble(hop, error)
            else:
                yield Landed(hop, outcome, watch.seconds)

    def _verify(self, location: Location, size: int) -> None:
        """Globus has compared checksums; that it lies there is seen by asking once more."""
        entry = self.transfer.stat(location)
        if (entry.type, entry.size_bytes) != (EntryType.FILE, size):
            raise PlatformError(
                seen=f"{location} is a {entry.type} of {entry.size_bytes} bytes, not a file of {size}",
                meaning="the transfer succeeded by its own account, and what lies there is something else",
                remedy="look at the place: something changes files there, or its listing is stale",
            )

    def _remove(self, file: TestFile, location: Location) -> Iterator[Trouble]:
        work = WorkKey(f"{self.beamline.name}/flight_check#remove {location.place.name}", file.key, "", "")
        try:
            self.transfer.delete(file, location, work, self.pulse, recursive=False)
        except PlatformError as error:
            place = location.place
            yield Trouble(f"removing {location}", error, who_must_act(error, [place], self.transfer.stat))

    def _sweep(self, place: Place) -> Iterator[Trouble]:
        """What checks that were cut off have left: a few at a time, and no more once one cannot be removed."""
        try:
            lefts = forgotten(self.transfer, self.file, place, self.clock)
        except PlatformError as error:
            who = who_must_act(error, [place], self.transfer.stat)
            yield Trouble(f"looking at {self.file.at(place).folder}", error, who)
            return
        for left in lefts[:SWEPT_AT_MOST]:
            troubles = list(self._remove(left, left.at(place)))
            yield from troubles
            if troubles:
                return

    def _key(self, hop: Hop) -> WorkKey:
        return WorkKey(f"{self.beamline.name}/flight_check#{hop}", self.file.key, "", self.file.key)

    def _trouble(self, hop: Hop, cause: PlatformError | OSError) -> Trouble:
        error = cause if isinstance(cause, PlatformError) else unreadable_here(hop.source, cause)
        sides = {side.place.name: side.place for side in (hop.source, hop.destination)}
        return Trouble(f"the hop {hop}", error, who_must_act(error, [*sides.values()], self.transfer.stat))


def forgotten(transfer: Transfer, like: TestFile, place: Place, clock: Clock) -> list[TestFile]:
    """Test files beside ``like`` at a place that are older than a day: whoever made them was cut off."""
    try:
        entries = transfer.list(like.at(place).folder, only=EntryType.FILE).entries
    except NotFoundError:
        return []
    files = [TestFile(like.folder, entry.name, like.store) for entry in entries]
    return [file for file in files if file.made_at is not None and file.made_at < clock.now() - FORGOTTEN_AFTER]


def unreadable_here(location: Location, error: OSError) -> PlatformError:
    """What Globus has brought to a place and this machine cannot read at the place's mount."""
    return PlatformError(
        seen=f"{location} cannot be read on this machine ({error.strerror})",
        meaning="the mount here shows another folder than the collection, or its modes keep this account out",
        remedy="compare the place's mount in the deployment's file with its collection, and the file's mode",
    )
