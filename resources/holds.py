"""Holds: what no rule may delete until a person releases it: single copies, scans, and folders of scans.

Belongs here: the tables ``holds``, ``scan_holds`` and ``hold_releases``, and what covers a copy.
Does not: deciding about deletions, which asks here.

Who holds a scan that somebody else holds too has a hold of their own: releasing the one leaves the other.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from beamlines.scans import InvalidPartitionKeyError, InvalidScanPathError, ScanId
from resources.database import Database, batches, hold_releases, holds, insert_new, scan_holds
from resources.errors import PlatformError, must_have_note


class NotHoldableError(PlatformError):
    """A text that names no scan, or no folder below ``raw/``."""


class UnusableExpiryError(PlatformError):
    """A hold that would never hold, or an end that could be any hour."""


class NotHeldError(PlatformError):
    """Nothing is held that could be released."""


class HoldKind(StrEnum):
    """What is held."""

    COPY = "copy"
    SCAN = "scan"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Hold:
    """Why one copy is held, by whom, since when."""

    asset: str
    partition: str
    since: datetime
    author: str
    note: str

    def __str__(self) -> str:
        return f"the copy {self.asset} of {self.partition} {_held(self.author, self.since, None, self.note)}"


@dataclass(frozen=True, slots=True)
class ScanHold:
    """Why all copies of a scan, or of every scan below a folder, are held."""

    id: int
    kind: HoldKind
    target: str
    """The key of the scan, or of the folder in the same form."""
    since: datetime
    until: datetime | None
    """None: until it is released. From that very moment on it holds nothing any more."""
    author: str
    note: str

    def is_expired(self, now: datetime) -> bool:
        """Whether it has come to its end. It is listed until it is released."""
        return self.until is not None and self.until <= now

    def __str__(self) -> str:
        return f"the {self.kind} {self.target} {_held(self.author, self.since, self.until, self.note)}"


@dataclass(frozen=True, slots=True)
class Release:
    """A hold that is no more, and who said so, when and why."""

    kind: HoldKind
    asset: str | None
    """Of a copy."""
    target: str
    """The partition of a copy; else as it was held."""
    since: datetime
    until: datetime | None
    author: str
    note: str
    released: datetime
    released_by: str
    why: str


@dataclass(frozen=True, slots=True)
class HeldNow:
    """All that is held at one moment, to be asked about very many copies."""

    copies: Mapping[tuple[str, str], Hold]
    """By ``<place>/<asset>`` and partition."""
    scans: Mapping[str, Sequence[ScanHold]]
    folders: Mapping[str, Sequence[ScanHold]]

    def covering(self, asset: str, partition: str) -> list[str]:
        """The holds that cover a copy, in words. The asset may be named with its beamline or without."""
        scan = _scan(partition)
        copy = self.copies.get((_name(asset), partition))
        found: list[Hold | ScanHold] = [] if copy is None else [copy]
        found += self.scans.get(scan, ())
        if self.folders:
            for folder in _folders_of(scan):
                found += self.folders.get(folder, ())
        return [str(hold) for hold in found]


class Holds:
    """What is held, and what was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- holding -------------------------------------------------------------------------------------------------

    def hold(self, asset: str, partitions: Iterable[str], *, author: str, note: str, at: datetime) -> None:
        """Hold copies of one asset. What is held already stays as it is."""
        rows = [
            {"asset": asset, "partition": partition, "since": at, "author": author, "note": note}
            for partition in partitions
        ]
        with self._database.writing() as connection:
            insert_new(connection, holds, rows)

    def hold_scan(self, scan: str, *, author: str, note: str, at: datetime, until: datetime | None = None) -> ScanHold:
        """Hold every copy of a scan, by its key, also those of re-reconstructions. Raises NotHoldableError."""
        try:
            target = ScanId.from_key(scan).key
        except InvalidPartitionKeyError as error:
            raise _not_holdable("scan", scan, str(error)) from error
        return self._hold(HoldKind.SCAN, target, author, note, at, until)

    def hold_folder(
        self, folder: str, *, author: str, note: str, at: datetime, until: datetime | None = None
    ) -> ScanHold:
        """Hold every scan below a folder of ``raw/``, now and later. Raises NotHoldableError.

        It is the folder of that very name: ``*`` stands for nothing else.
        """
        try:
            target = ScanId(f"{folder}/{_ANY}.h5").key.removesuffix(f"/{_ANY}")
        except InvalidScanPathError as error:
            raise _not_holdable("folder", folder, str(error)) from error
        return self._hold(HoldKind.FOLDER, target, author, note, at, until)

    def _hold(
        self, kind: HoldKind, target: str, author: str, note: str, at: datetime, until: datetime | None
    ) -> ScanHold:
        must_have_note(note, f"hold a {kind}")
        _must_be_to_come(until, at)
        row = {"kind": str(kind), "target": target, "since": at, "until": until, "author": author, "note": note}
        with self._database.writing() as connection:
            made = connection.execute(sa.insert(scan_holds).values(row))  # no RETURNING: SQLite has it since 3.35
            return _scan_hold(connection.execute(_by_id(*(made.inserted_primary_key or ()))).mappings().one())

    # -- releasing -----------------------------------------------------------------------------------------------

    def release(self, hold: int, *, author: str, note: str, at: datetime) -> Release:
        """Release the hold of a scan or a folder, by its number. Raises NotHeldError."""
        must_have_note(note, "release a hold")
        with self._database.writing() as connection:
            row = connection.execute(_by_id(hold)).mappings().one_or_none()
            if row is None or connection.execute(sa.delete(scan_holds).where(scan_holds.c.id == hold)).rowcount != 1:
                raise _not_held(f"hold {hold} was to be released, and there is none")
            was = _scan_hold(row)
            release = Release(was.kind, None, was.target, was.since, was.until, was.author, was.note, at, author, note)
            _record(connection, [release])
        return release

    def release_copies(self, asset: str, partitions: Collection[str], *, author: str, note: str, at: datetime) -> None:
        """Release copies of one asset, all or none. Raises NotHeldError."""
        must_have_note(note, "release copies")
        with self._database.writing() as connection:
            for some in batches(sorted({*partitions})):
                chosen = holds.c.asset == asset, holds.c.partition.in_(some)
                found = {
                    row["partition"]: row for row in connection.execute(sa.select(holds).where(*chosen)).mappings()
                }
                missing = [partition for partition in some if partition not in found]
                if missing or connection.execute(sa.delete(holds).where(*chosen)).rowcount != len(some):
                    named = missing[0] if missing else some[0]
                    raise _not_held(f"{asset} of {named} was to be released with others, and is not held by itself")
                _record(connection, (_copy_release(found[name], author, note, at) for name in some))

    # -- reading -------------------------------------------------------------------------------------------------

    def active(self, now: datetime, partitions: Collection[str] | None = None) -> HeldNow:
        """All that holds at this moment; of single copies those of all partitions, or of some."""
        scans: defaultdict[str, list[ScanHold]] = defaultdict(list)
        folders: defaultdict[str, list[ScanHold]] = defaultdict(list)
        for hold in self.listed():
            if not hold.is_expired(now):
                (folders if hold.kind is HoldKind.FOLDER else scans)[hold.target].append(hold)
        query = sa.select(holds)
        if partitions is not None:
            query = query.where(holds.c.partition.in_(partitions))
        with self._database.reading() as connection:
            rows = connection.execute(query)
            copies = {(_name(row[0]), row[1]): Hold(*row) for row in rows}
        return HeldNow(copies, dict(scans), dict(folders))

    def listed(self) -> list[ScanHold]:
        """The holds of scans and folders that nobody has released, also those that have expired."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(scan_holds).order_by(scan_holds.c.id)).mappings()
            return [_scan_hold(row) for row in rows]

    def of(self, partition: str) -> list[Hold]:
        """The holds on copies of one partition."""
        query = sa.select(holds).where(holds.c.partition == partition).order_by(holds.c.asset)
        with self._database.reading() as connection:
            return [Hold(**row) for row in connection.execute(query).mappings()]

    def count(self) -> int:
        """How many copies are held."""
        with self._database.reading() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(holds)).scalar_one())

    def released(self, scan: str) -> list[Release]:
        """What once held copies of a scan, by its key, and holds them no more; in order."""
        column = hold_releases.c
        labelled = column.target.startswith(f"{scan}@", autoescape=True)
        query = sa.select(hold_releases).where(
            sa.or_(
                sa.and_(column.kind == HoldKind.COPY, sa.or_(column.target == scan, labelled)),
                sa.and_(column.kind == HoldKind.SCAN, column.target == scan),
                sa.and_(column.kind == HoldKind.FOLDER, column.target.in_([*_folders_of(scan)])),
            )
        )
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(column.id)).mappings()
            # SQLite's LIKE takes A for a.
            return [_release(row) for row in rows if row["kind"] != HoldKind.COPY or _scan(row["target"]) == scan]


_ANY = "x"


def _by_id(hold: int) -> sa.Select[tuple[object, ...]]:
    return sa.select(scan_holds).where(scan_holds.c.id == hold)


def _must_be_to_come(until: datetime | None, at: datetime) -> None:
    if until is None:
        return
    if until.tzinfo is None:
        raise UnusableExpiryError(
            seen=f"a hold was to end at {until.isoformat()}",
            meaning="without a time zone that could be any hour of a day",
            remedy="name the time with its zone, as in 2026-01-01T12:00:00Z",
        )
    if until <= at:
        raise UnusableExpiryError(
            seen=f"a hold was to end at {until.isoformat()}, and it is {at.isoformat()}",
            meaning="it would hold nothing",
            remedy="name a time that is still to come, or none: then it holds until it is released",
        )


def _not_holdable(kind: str, name: str, why: str) -> NotHoldableError:
    return NotHoldableError(
        seen=f"{name!r} was to be held as a {kind}: {why}",
        meaning=f"no {kind} below raw/ is called that, so nothing would be held",
        remedy="name a folder by its path below raw/, as in BLS-00564_x/first; a scan by its key, without a label",
    )


def _not_held(seen: str) -> NotHeldError:
    return NotHeldError(
        seen=seen,
        meaning="it was released before, or it is held in another way: as a copy, a scan or a folder",
        remedy="nothing was released; look at what is held (als hold)",
    )


def _record(connection: sa.Connection, releases: Iterable[Release]) -> None:
    rows = [{**asdict(release), "kind": str(release.kind)} for release in releases]
    if rows:
        connection.execute(sa.insert(hold_releases), rows)


def _copy_release(row: sa.RowMapping, author: str, note: str, at: datetime) -> Release:
    was = Hold(**row)
    return Release(HoldKind.COPY, was.asset, was.partition, was.since, None, was.author, was.note, at, author, note)


def _release(row: sa.RowMapping) -> Release:
    fields = {name: value for name, value in row.items() if name != "id"}
    return Release(**{**fields, "kind": HoldKind(row["kind"])})


def _scan_hold(row: sa.RowMapping) -> ScanHold:
    return ScanHold(**{**row, "kind": HoldKind(row["kind"])})


def _scan(partition: str) -> str:
    return partition.partition("@")[0]


def _name(asset: str) -> str:
    """``<place>/<asset>``, also of a whole asset key, in which the beamline comes first."""
    return "/".join(asset.split("/")[-2:])


def _folders_of(scan: str) -> Iterator[str]:
    """The folder of a scan, the one above it, and so on."""
    while "/" in scan:
        scan = scan.rpartition("/")[0]
        yield scan


def _held(author: str, since: datetime, until: datetime | None, note: str) -> str:
    end = "" if until is None else f" until {until.isoformat(timespec='seconds')}"
    return f"is held by {author} since {since.isoformat(timespec='seconds')}{end}: {note}"
