"""Which folders of the acquisition machine are looked at in one tick: those where scans may have appeared, in turn.

Belongs here: the order, the bounds, and what one tick tells the next. Pure, given a way to look.
Does not: which files are complete (arrivals), or how a listing is made (resources.transfer).

A file that is added changes its folder's time, and a listing of raw/ shows the times of all the folders in it. So one
call tells where to look, but not everything: a folder in a folder changes no other's time, clocks are set back, and a
folder that is moved keeps its old time. For these there is a list of watched folders, and a slow sweep.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

CALLS_A_TICK = 40
"""Listings a tick, but for those by which the sweep finds its way back up; the service answers about 20 a second."""
_PENDING_CALLS, _CHANGED_CALLS, _WATCHED_CALLS = 18, 25, 30
"""How many calls have been made at most when each kind of folder is done with."""
_SWEEP_CALLS = 10
"""The sweep never ends, so it is slow: 5,000 folders in 600 ticks."""
_ENTRIES_A_PHASE = 8_000
"""A phase looks into no further folder after so many entries: 8,000 are judged in 0.2 s."""
_FAILURES_A_TICK = 3
_LONGEST = timedelta(seconds=20)
"""A tick is cut off at 60 s, and what it has seen is lost: with a slow service it looks at less."""
_OVERLAP_S = 600.0
"""A folder is looked at again while its time is this near: times are whole seconds, and clocks are set back."""
WATCHED_AT_MOST = 50
DEPTH_AT_MOST = 8
"""Folders deeper than this are not looked for: a link that leads upwards has no end."""


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a listing; times are the acquisition machine's, in whole seconds."""

    name: str
    is_folder: bool
    size_bytes: int
    modified: datetime


Look = Callable[[str], "Collection[Found] | None"]
"""List a folder below raw/; None where there is none. A failed listing raises LookFailedError: it is never empty."""


class LookFailedError(Exception):
    """A folder could not be listed; what is known of it stays as it is."""


@dataclass(frozen=True, slots=True)
class Trail:
    """Where the looking stands; its size does not grow with the number of folders or scans."""

    position: tuple[float, str] = (0.0, "")
    """Time and name of a folder in raw/: every folder up to it has been looked at since it changed."""
    watched: Mapping[str, float] = field(default_factory=dict)
    """Folders that are looked at in turn, the next one first, and when something last happened in each."""
    swept: str | None = None
    """The folder at which the sweep through everything stands."""


@dataclass(slots=True)
class Round:
    """One tick's looking: every folder is listed at most once, and the number of listings is bounded."""

    look: Look
    clock: Callable[[], datetime]
    listed: dict[str, Collection[Found]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    _folders: dict[str, Mapping[str, float]] = field(default_factory=dict)
    _entries: int = 0
    _most_calls: int = CALLS_A_TICK
    _most_entries: int = _ENTRIES_A_PHASE
    _began: datetime = field(init=False)
    _until: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock()
        self._until = self._began + _LONGEST

    def begin_phase(self, most_calls: int, share: float) -> None:
        """From here on look until so many calls have been made in this tick, or this share of its time has passed."""
        self._most_calls = most_calls
        self._until = self._began + _LONGEST * share
        self._most_entries = self._entries + _ENTRIES_A_PHASE

    @property
    def calls_left(self) -> int:
        """How many more listings this phase may make."""
        enough = self._entries >= self._most_entries or len(self.failed) >= _FAILURES_A_TICK
        return 0 if enough or self.clock() >= self._until else max(0, self._most_calls - self.calls)

    def open(self, folder: str) -> bool:
        """Look into a folder; whether that was tried, in this tick, and so need not wait for the next."""
        if folder not in self.listed and folder not in self.failed:
            if self.calls_left == 0:
                return False
            self.read(folder)
        return True

    def read(self, folder: str) -> Collection[Found]:
        """A folder's entries, whether or not there are calls left; none where it is gone or cannot be listed."""
        if folder not in self.listed and folder not in self.failed:
            self.calls += 1
            try:
                entries = self.look(folder)
            except LookFailedError as error:
                self.failed[folder] = str(error)
            else:
                if entries is None:
                    self.gone.add(folder)
                self.listed[folder] = entries or ()
                self._entries += len(self.listed[folder])
        return self.listed.get(folder, ())

    def folders(self, folder: str) -> Mapping[str, float]:
        """The folders in one that was listed, with their times."""
        if folder not in self._folders:
            deeper = folder.count("/") < DEPTH_AT_MOST - 1
            entries = [entry for entry in self.listed.get(folder, ()) if entry.is_folder and deeper]
            self._folders[folder] = {join(folder, entry.name): entry.modified.timestamp() for entry in entries}
        return self._folders[folder]


def look_around(trail: Trail, pending: Iterable[str], look: Look, clock: Callable[[], datetime]) -> tuple[Round, Trail]:
    """Look at raw/, at folders of ``pending`` files, at changed and watched ones, and a little further in the sweep.

    Of each kind those come first that have waited longest. A folder whose listing failed is watched until it can be
    listed. Where raw/ shows nothing at all, the disk is taken for absent and everything stays as it was. Raises
    LookFailedError where raw/ itself cannot be listed or is not there.
    """
    work = Round(look, clock)
    entries = work.read("")
    if "" in work.failed:
        raise LookFailedError(work.failed[""])
    if "" in work.gone:
        raise LookFailedError("the folder of raw scans is not there: is its disk mounted, and its path right?")
    if not entries:
        return work, trail
    work.begin_phase(_PENDING_CALLS, 0.45)
    for folder in pending:
        work.open(folder)
    now = clock().timestamp()
    work.begin_phase(_CHANGED_CALLS, 0.6)
    position = _look_at_changed(work, trail.position, now)
    work.begin_phase(_WATCHED_CALLS, 0.75)
    watched = _look_at_watched(work, trail, now)
    work.begin_phase(min(CALLS_A_TICK, work.calls + _SWEEP_CALLS), 1)
    return work, Trail(position, watched, _sweep(work, trail.swept))


def with_activity(watched: Mapping[str, float], folders: Iterable[str], now: float) -> dict[str, float]:
    """The watched folders, with those in which something happens now; if they are too many, the quietest are left out.

    Folders in raw/ itself need no watching: a listing of raw/ shows when they change.
    """
    updated = {**watched, **{folder: now for folder in folders if "/" in folder}}
    liveliest = set(sorted(updated, key=lambda folder: updated[folder], reverse=True)[:WATCHED_AT_MOST])
    return {folder: active for folder, active in updated.items() if folder in liveliest}


def join(folder: str, name: str) -> str:
    """The path of an entry of a folder; raw/ itself is the empty path."""
    return f"{folder}/{name}" if folder else name


def parent(path: str) -> str:
    """The folder that a path lies in."""
    return path.rpartition("/")[0]


def _look_at_changed(work: Round, position: tuple[float, str], now: float) -> tuple[float, str]:
    """List the folders in raw/ that changed after the position, in the order of their times; return the new position.

    Where there are more than there are calls, every other call goes to the newest (somebody is at the beamline) and the
    position moves with the oldest, so that nothing is passed over. It never moves beyond ``now``: a time in the future
    would hide every change until then.
    """
    folders = sorted((modified, folder) for folder, modified in work.folders("").items())
    due = [item for item in folders if item > position]
    waiting = [folder for _, folder in due if folder not in work.listed]
    if len(waiting) > work.calls_left:
        for oldest, newest in zip(waiting, reversed(waiting), strict=True):
            work.open(oldest)
            work.open(newest)
    reached = position
    for item in due:
        if not work.open(item[1]):
            break
        reached = item
    for modified, folder in reversed(folders):
        if position[0] - _OVERLAP_S <= modified <= position[0]:
            work.open(folder)
    return min(reached, (now, ""))


def _look_at_watched(work: Round, trail: Trail, now: float) -> dict[str, float]:
    """List watched folders in turn, those first that were discovered just now in what has been listed."""
    changed_since = trail.position[0] - _OVERLAP_S
    known = {folder: trail.watched.get(folder, now) for folder in [*trail.watched, *work.failed]}

    def discover(folders: Iterable[str]) -> Iterator[str]:
        for folder in folders:
            for path, modified in work.folders(folder).items():
                if "/" in path and modified >= changed_since and path not in known and path not in work.listed:
                    known[path] = now
                    yield path

    queue = deque([*discover([*work.listed]), *trail.watched])
    waiting: list[str] = []
    looked_at: list[str] = []
    while queue:
        folder = queue.popleft()
        if work.open(folder):
            looked_at.append(folder)
            queue.extendleft(discover([folder]))
        else:
            waiting.append(folder)
    in_turn = dict.fromkeys([*waiting, *looked_at, *work.failed])
    settled = {folder for folder in work.listed if folder in work.gone or "/" not in folder}
    return with_activity({folder: known[folder] for folder in in_turn if folder not in settled}, (), now)


def _sweep(work: Round, swept: str | None) -> str | None:
    """Look at the next folders of a walk through everything; after the last one it begins again."""
    while work.calls_left:
        following = _following(work, swept)
        if following is None:
            return None
        if not work.open(following):
            break
        swept = following
    return swept


def _following(work: Round, folder: str | None) -> str | None:
    """The folder after this one in a walk that visits a folder before those in it, by name."""
    inside, last = folder or "", ""
    while True:
        work.read(inside)
        after = min((path for path in work.folders(inside) if path > last), default=None)
        if after is not None or not inside:
            return after
        inside, last = parent(inside), inside
