"""Keepers, read again just before something is deleted: here where their place is mounted, else by a facility's job.

Belongs here: who can read which copy, all of them at once, and a verdict for every one that was asked for.
Does not: what a job does (facilities.checksums), what a verdict means for a deletion (beamlines.deletion), or the copy
that is to go (candidates).
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from beamlines.config import Beamline
from beamlines.deletion import Found
from beamlines.manifest import Manifest
from resources.clock import Clock
from resources.facilities import Facility
from resources.facilities.checksums import LARGEST_MANIFEST_BYTES, ChecksumJob, read_there
from resources.proof import compare_here
from resources.remote import Pulse
from resources.rereading import Asked, NoVerdictError, Reread, proven, shown, unread, usable_manifest

AT_ONCE_HERE = 2
"""More would only let a disk's heads travel, and other work wait."""

Progress = Callable[[int, int], None]
"""Called with the copies that were read here and the bytes so far, from several threads, one at a time."""


@dataclass(frozen=True, slots=True)
class KeeperReader:
    """Reads copies again, wherever they are."""

    beamline: Beamline
    facilities: Mapping[str, Facility]
    clock: Clock
    at_once_here: int = AT_ONCE_HERE

    def read(
        self, asked: Sequence[Asked], occasion: str, pulse: Pulse, progress: Progress = lambda *_: None
    ) -> list[Reread]:
        """The verdicts on all that was asked for, in that order. ``occasion`` is of this pass alone.

        What keeps one from being read is its verdict. Raises EpochLostError where another worker has taken the pass
        over, and whatever ``pulse`` and ``progress`` raise: then nothing is read any longer.
        """
        here = [n for n, one in enumerate(asked) if one.copy.place.mount is not None]
        verdicts: dict[int, Reread] = {}
        tally = _Tally(progress)
        with ThreadPoolExecutor(self.at_once_here, thread_name_prefix="keepers") as pool:
            try:
                reading = {n: pool.submit(self._read_here, asked[n], tally) for n in here}
                for facility, there in self._elsewhere(asked).items():
                    readings = self._read_there(facility, [asked[n] for n in there], occasion, pulse)
                    verdicts |= dict(zip(there, readings, strict=True))
                verdicts |= {n: future.result() for n, future in reading.items()}
            except BaseException:
                tally.stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [verdicts[n] for n in range(len(asked))]

    def _elsewhere(self, asked: Sequence[Asked]) -> dict[str | None, list[int]]:
        by_facility: dict[str | None, list[int]] = {}
        for number, one in enumerate(asked):
            if one.copy.place.mount is None:
                by_facility.setdefault(one.copy.place.facility, []).append(number)
        return by_facility

    def _read_there(self, name: str | None, asked: Sequence[Asked], occasion: str, pulse: Pulse) -> list[Reread]:
        facility = None if name is None else self.facilities.get(name)
        if name is None or facility is None:
            who = "no facility's jobs see it" if name is None else f"there is no facility {name} now"
            return [unread(one, f"{one.copy.place.name} is not mounted here, and {who}") for one in asked]
        job = ChecksumJob.at(self.beamline, name, occasion, asked)
        return read_there(job, facility, pulse, self.clock)

    def _read_here(self, asked: Asked, tally: "_Tally") -> Reread:
        began = self.clock.now()
        try:
            manifest, content = _held_against(asked, tally)
        except NoVerdictError as error:
            return Reread(asked, error.found, f"{error} (read here)", began=began, ended=self.clock.now())
        finally:
            tally.one_more()
        return proven(asked, manifest, content, "read again here", began=began, ended=self.clock.now())


@dataclass(slots=True)
class _Tally:
    """How much was read by all threads together, and whether they are to stop."""

    progress: Progress
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    copies: int = 0
    bytes: int = 0

    def more(self, count: int) -> None:
        if self.stop.is_set():
            raise _StoppedError
        with self.lock:
            self.bytes += count
            self.progress(self.copies, self.bytes)

    def one_more(self) -> None:
        with self.lock:
            self.copies += 1
            self.progress(self.copies, self.bytes)


class _StoppedError(Exception):
    """The pass was ended: what this thread would have found out is asked for by nobody."""


def _held_against(asked: Asked, tally: _Tally) -> tuple[Manifest, bytes]:
    """The manifest that the copy equals. Raises NoVerdictError where it does not, or where that cannot be told."""
    copy = asked.copy.location(asked.key)
    try:
        # Of a mount that is gone nothing is called missing.
        store = asked.store.here.resolve(strict=True)
        there = copy.here.is_symlink() or copy.here.exists()
        is_straight = copy.folder.here.resolve() == store / copy.folder.path.relative_to(asked.store.path)
        if there:
            with asked.copy.manifest(asked.key).here.open("rb") as file:
                content = file.read(LARGEST_MANIFEST_BYTES)
    except OSError as error:
        raise NoVerdictError(Found.UNREAD, f"{error.filename!r}: {error.strerror}") from error
    if not there:
        raise NoVerdictError(Found.DIFFERENT, f"missing: there is no {copy}")
    if copy.here.is_symlink():
        raise NoVerdictError(Found.DIFFERENT, "a link lies in its place, which is not the copy")
    if not is_straight:
        raise NoVerdictError(Found.UNREAD, "a folder that it lies in is a link")
    manifest = usable_manifest(asked, content)
    read = 0

    def progressed(total: int) -> None:
        nonlocal read
        tally.more(total - read)
        read = total

    compared = compare_here(copy, manifest, progress=progressed)
    if compared.differences:
        raise NoVerdictError(Found.DIFFERENT, f"it differs from its manifest: {shown(list(compared.differences))}")
    if compared.unread:
        raise NoVerdictError(Found.UNREAD, shown(list(compared.unread)))
    return manifest, content
