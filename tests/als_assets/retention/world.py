"""A world in memory that a pass goes through: what truly lies where, and a Globus and a reader of keepers over it.

Belongs here: the truth, and the two clients that show it, lose it, fail, or die with their worker.
Does not: what happens in it, or what must always be true (test_never_loses).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from beamlines.config import Beamline
from beamlines.deletion import Found
from beamlines.layout import Artifact, Copy
from beamlines.places import Location, Role
from beamlines.retention import name_of
from beamlines.scans import PartitionKey
from resources.globus import Entry, EntryType, NotFoundError
from resources.remote import Pulse
from resources.rereading import Asked, Reread
from resources.testing import outage

Where = tuple[str, str]
"""``<place>/<asset>`` and partition."""


class DiedError(BaseException):
    """The worker is dead: nothing of it goes on, and nothing is tidied up."""


class LostError(AssertionError):
    """What must never be."""


@dataclass(frozen=True, slots=True)
class Lying:
    """One copy as it truly is."""

    content: str
    """Stands for its bytes."""
    written: datetime
    damaged: bool = False
    manifest: str | None = "whole"
    """None where it is missing."""

    @property
    def size(self) -> int:
        return 10 + len(self.content)

    @property
    def sha256(self) -> str:
        return sha256(self.content.encode()).hexdigest()


@dataclass
class World:
    """Everything that lies anywhere."""

    beamline: Beamline
    copies: Mapping[str, Copy]
    time: datetime
    lying: dict[Where, Lying] = field(default_factory=dict)
    truth: dict[str, str] = field(default_factory=dict)
    """By scan: what it was when it was last complete, as people have accepted it."""
    away: set[str] = field(default_factory=set)
    """Places that do not answer."""
    dying: set[str] = field(default_factory=set)
    """Places that list empty folders."""
    dies_after: int | None = None
    """So many calls, of a client or of the clock."""
    meanwhile: Callable[[], None] | None = None
    """What happens while keepers are read, once."""
    reads_for: timedelta = timedelta()
    """How long keepers are read."""
    last_moment: Callable[[], None] | None = None
    """What happens when everything was asked, and before the certificate is begun, once."""
    read_at: dict[Where, datetime] = field(default_factory=dict)
    """When the bytes of a copy were read last."""
    must_be: Callable[[Where, Lying], None] = lambda *_: None
    """Asked of every copy in the very moment in which it is deleted."""

    # -- the clock -----------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        self.call()
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def a_last_moment(self) -> None:
        """Everything was asked, and nothing is begun yet."""
        if self.last_moment is not None:
            happens, self.last_moment = self.last_moment, None
            happens()

    def call(self) -> None:
        """One more call; the worker may be dead before it comes to anything."""
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after < 0:
                self.dies_after = None
                raise DiedError

    # -- the truth -----------------------------------------------------------------------------------------------

    def location(self, where: Where) -> Location:
        return self.copies[where[0]].location(PartitionKey.parse(where[1]))

    def is_intact(self, where: Where) -> bool:
        """Whether a copy is what its scan is, or what its program has made."""
        found = self.lying.get(where)
        if found is None or found.damaged:
            return False
        return not where[0].endswith("/raw") or found.content == self.truth[where[1]]

    def intact_raw(self, scan: str, *, on_site: bool = False) -> list[str]:
        """The durable places that have a scan as it was when it was complete."""
        places = self.beamline.places
        return [
            name
            for name, copy in self.copies.items()
            if copy.artifact is Artifact.RAW and copy.place.role is Role.DURABLE and self.is_intact((name, scan))
            if not (on_site and places[copy.place.name].off_site)
        ]

    def at(self, collection: str, path: str) -> tuple[Where, str] | None:
        """Which copy a path of Globus' means, and what of it: the copy, its manifest, or a file in it."""
        for where in self.lying.keys() | self._known():
            copy, key = self.copies[where[0]], PartitionKey.parse(where[1])
            if copy.place.collection == collection:
                if copy.location(key).on_collection == path.rstrip("/"):
                    return where, "copy"
                if copy.manifest(key).on_collection == path:
                    return where, "manifest"
        return None

    def _known(self) -> set[Where]:
        labelled = {f"{scan}@again" for scan in self.truth}
        return {
            (name, partition)
            for name, copy in self.copies.items()
            for partition in (*self.truth, *(() if copy.artifact is Artifact.RAW else labelled))
        }


@dataclass(eq=False)
class WorldsGlobus:
    """What Transfer asks of Globus."""

    world: World
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    client_id: str = "of this world"
    refuses: int = 0
    """So many submits are lost with their answers, or never arrive, in turn."""

    def new_submission_id(self) -> str:
        self.world.call()
        return f"submission {len(self.tasks)}"

    def find_task(self, label: str) -> str | None:
        self.world.call()
        return label if label in self.tasks else None

    def submit_delete(self, collection: str, path: str, *, label: str, **_: Any) -> str:
        self.world.call()
        if self.refuses % 2:
            self.refuses -= 1
            raise outage()
        if label in self.tasks:
            raise LostError(f"{label} was submitted twice")
        found = self._reached(collection, path)
        self._delete(found)
        now = self.world.time.isoformat()
        self.tasks[label] = {
            "task_id": label,
            "label": label,
            "status": "SUCCEEDED",
            "request_time": now,
            "completion_time": now,
        }
        self.world.call()
        if self.refuses:
            self.refuses -= 1
            raise outage()
        return label

    def task(self, handle: str) -> dict[str, Any]:
        self.world.call()
        return self.tasks[handle]

    def cancel(self, handle: str) -> None:
        """All have ended by then."""

    def stat(self, collection: str, path: str) -> Entry:
        self.world.call()
        where, what = self._reached(collection, path)
        found = self.world.lying.get(where)
        is_there = found is not None and (what == "copy" or found.manifest is not None)
        if found is None or not is_there:
            raise NotFoundError(seen=path, meaning="nothing lies there", remedy="")
        return _entry(path, found)

    def list(self, collection: str, path: str, **_: Any) -> tuple[tuple[Entry, ...], bool]:
        self.world.call()
        where, _what = self._reached(collection, path)
        found = self.world.lying.get(where)
        if where[0].partition("/")[0] in self.world.dying:
            return (), False
        if found is None:
            raise NotFoundError(seen=path, meaning="nothing lies there", remedy="")
        return (_entry("a.tif", found),), False

    def _reached(self, collection: str, path: str) -> tuple[Where, str]:
        found = self.world.at(collection, path)
        if found is None:
            raise LostError(f"{path} on {collection} is nobody's")
        if found[0][0].partition("/")[0] in self.world.away:
            raise outage()
        return found

    def _delete(self, found: tuple[Where, str]) -> None:
        where, what = found
        lying = self.world.lying.get(where)
        if lying is not None and what == "manifest":
            raise LostError(f"the manifest of {where} was deleted, and the copy lies there")
        if lying is not None:
            self.world.must_be(where, lying)
            del self.world.lying[where]


def _entry(path: str, found: Lying) -> Entry:
    return Entry(path.rpartition("/")[2], EntryType.FILE, found.size, found.written)


@dataclass(frozen=True)
class WorldsReader:
    """What a pass asks of a KeeperReader."""

    world: World

    def read(
        self, asked: Sequence[Asked], _occasion: str, _pulse: Pulse, progress: Callable[[int, int], None]
    ) -> list[Reread]:
        self.world.call()
        progress(0, 0)
        if self.world.meanwhile is not None:
            happens, self.world.meanwhile = self.world.meanwhile, None
            happens()
        read = [self._one(one) for one in asked]
        self.world.time += self.world.reads_for
        self.world.call()
        return read

    def _one(self, asked: Asked) -> Reread:
        where = (name_of(asked.copy), str(asked.key))
        found, began = self.world.lying.get(where), self.world.time
        self.world.read_at[where] = began
        if asked.copy.place.name in self.world.away:
            return Reread(asked, Found.UNREAD, "it does not answer")
        if found is None or found.damaged:
            return Reread(asked, Found.DIFFERENT, "it is not what its manifest lists")
        if found.manifest is None:
            return Reread(asked, Found.UNREAD, "it has no manifest")
        if asked.sha256 not in (None, found.sha256):
            return Reread(asked, Found.DIFFERENT, "its manifest lists another SHA-256")
        return Reread(
            asked, Found.EQUAL, "read", 1, found.size, found.sha256, began=began, ended=began + self.world.reads_for
        )


def damaged(lying: Lying) -> Lying:
    """A flipped bit: no listing shows it."""
    return replace(lying, damaged=True)


BEGINNING = datetime(2026, 3, 1, tzinfo=UTC)
