"""Deletion certificates: what was deleted, by which rule, and on what evidence; kept for good.

Belongs here: the table ``certificates``, to which entries are added and nothing else is done; who may begin.
Does not: what makes the chain of entries whole (chain), deciding or proving (beamlines.deletion, als_assets.retention).

A certificate is begun before anything is deleted, and ended once: done, or given up. What has begun and not ended is
found after a crash. Whoever begins has read the end of the log first, and only then looked: two that look at once want
the same next number, and the second looks again (docs/decisions/0003-the-ledger.md has the same for remote work).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from resources import chain
from resources.chain import EMPTY, Head, Link, What, canonical
from resources.database import Database, certificates
from resources.errors import PlatformError

_ROWS_AT_ONCE = 1_000


class DeletionRefusedError(PlatformError):
    """This copy must not be deleted on this evidence. Nothing was written, and nothing may be deleted."""


class DeletionOpenError(DeletionRefusedError):
    """Its deletion has begun already, and has not ended."""


class KeeperGoesError(DeletionRefusedError):
    """A copy that should keep it is itself being deleted."""


class KeepsAnotherError(DeletionRefusedError):
    """It is itself what keeps another copy that is being deleted."""


class EvidenceOldError(DeletionRefusedError):
    """Something was begun or ended for it, or for a keeper, after the keepers were read."""


class NoKeeperOfItError(DeletionRefusedError):
    """What should keep it is the copy itself, or belongs to another scan."""


class DeletedBeforeError(DeletionRefusedError):
    """The very same record of it was deleted before."""


class DeletionEndedError(PlatformError):
    """A deletion that has ended cannot end again."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """A copy that was read again and found equal to its manifest, just before."""

    asset: str
    """``<place>/<asset>``."""
    partition: str
    checksum: str
    """SHA-256 of its manifest, or of the one file that it is."""
    read: str
    """When, in ISO 8601."""
    job: str
    """The id of the job that has read it, or who did."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What is to be deleted, and why it may be."""

    asset: str
    """``<place>/<asset>``."""
    partition: str
    storage_id: int
    """Of the record that says that the copy is there."""
    path: str
    bytes: int
    files: int
    rule: Mapping[str, Any]
    """As it stands in the configuration; JSON."""
    reason: str
    keepers: tuple[Keeper, ...]
    author: str
    """The person, or the run."""
    note: str = ""

    @property
    def scan(self) -> str:
        """The key of its scan."""
        return _scan(self.partition)


@dataclass(frozen=True, slots=True)
class End:
    """How a deletion has ended."""

    sequence: int
    what: What
    at: datetime
    said: Mapping[str, Any]
    """``receipts`` of what is done, ``why`` of what was given up."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """One deletion, with its end where it has one."""

    sequence: int
    deletion: Deletion
    begun: datetime
    end: End | None = None

    @property
    def state(self) -> What:
        """What it has come to."""
        return What.BEGUN if self.end is None else self.end.what


@dataclass(frozen=True, slots=True)
class Gone:
    """The newest deletion of a copy, in short."""

    sequence: int
    storage_id: int
    """Of the record that it deleted: a newer record says that the copy is there again."""
    state: What
    at: datetime
    """Of its end, or of its beginning where it has none."""


class Certificates:
    """The log of deletions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- writing -------------------------------------------------------------------------------------------------

    def head(self) -> Head:
        """How far the log goes, to be asked before the first keeper is read; and to be noted elsewhere."""
        with self._database.reading() as connection:
            return _head(connection)

    def begin(self, deletion: Deletion, *, seen: Head, at: datetime) -> Certificate:
        """Write that a copy will be deleted now. Raises a DeletionRefusedError, and then nothing was written.

        ``seen`` is the head of the log before the first keeper was read: what has happened since to the copy or to its
        keepers is in no proof.
        """
        _must_be_kept_by_others(deletion)
        document = canonical(_document(deletion))
        while True:
            with self._database.reading() as connection:
                head = _head(connection)  # before looking: what comes after it takes its next number
                _must_be_free(deletion, _of_scan(connection, deletion.scan), seen)
            fields = {"what": str(What.BEGUN), "of": None, **_subject(deletion), "at": _text(at), "document": document}
            written = self._append(chain.linked(head, fields))
            if written is not None:
                return _certificate(written, None)

    def finish(self, certificate: Certificate, receipts: Sequence[Mapping[str, Any]], at: datetime) -> Certificate:
        """The copy is gone. Raises DeletionEndedError."""
        return self._end(certificate, What.DONE, {"receipts": [dict(receipt) for receipt in receipts]}, at)

    def give_up(self, certificate: Certificate, why: str, at: datetime) -> Certificate:
        """The copy is not to be deleted any more; some of it may be gone. Raises DeletionEndedError."""
        return self._end(certificate, What.GIVEN_UP, {"why": why}, at)

    def _end(self, certificate: Certificate, what: What, said: Mapping[str, Any], at: datetime) -> Certificate:
        document = canonical(said)
        while True:
            with self._database.reading() as connection:
                head = _head(connection)
                begun = _must_be_open(connection, certificate)
            subject = {name: getattr(begun, name) for name in ("scan", "asset", "partition", "storage_id")}
            fields = {"what": str(what), "of": begun.sequence, **subject, "at": _text(at), "document": document}
            written = self._append(chain.linked(head, fields))
            if written is not None:
                return _certificate(begun, written)

    def _append(self, link: Link) -> Link | None:
        """The entry, or None where another process was first: look again."""
        try:
            with self._database.writing() as connection:
                connection.execute(sa.insert(certificates).values(asdict(link)))
        except IntegrityError:
            if self.head().entries < link.sequence:
                raise  # nobody was first: it is another fault, and looking again would find the same for ever
            return None
        return link

    # -- reading -------------------------------------------------------------------------------------------------

    def open(self) -> list[Certificate]:
        """What has begun and not ended, the oldest first: to be gone on with after a crash."""
        end = certificates.alias()
        ended = sa.select(end.c.sequence).where(end.c.of == certificates.c.sequence).exists()
        return self._begun(certificates.c.what == What.BEGUN, ~ended)

    def of(self, partition: str) -> list[Certificate]:
        """Every deletion of a copy of the partition's scan, under whatever label, the oldest first."""
        with self._database.reading() as connection:
            return _of_scan(connection, _scan(partition))

    def deleted_since(self, when: datetime, asset: str | None = None) -> list[Certificate]:
        """What was deleted at that time or later, of one asset or of all; in the order in which it began."""
        end = certificates.alias()
        done = sa.select(end.c.of).where(end.c.what == What.DONE, end.c.at >= _text(when))
        of_asset = [] if asset is None else [certificates.c.asset == asset]
        return self._begun(certificates.c.sequence.in_(done), *of_asset)

    def done_after(self, sequence: int, limit: int) -> list[tuple[int, str, str]]:
        """The next deletions that were completed after an entry: number of the end, asset and partition; in order."""
        table = certificates.c
        query = sa.select(table.sequence, table.asset, table.partition)
        query = query.where(table.what == What.DONE, table.sequence > sequence).order_by(table.sequence).limit(limit)
        with self._database.engine.connect() as connection:
            return [(number, asset, partition) for number, asset, partition in connection.execute(query)]

    def gone(self, asset: str) -> dict[str, Gone]:
        """The newest deletion of each partition of an asset. No document is read: 100,000 take a second."""
        names = ("sequence", "of", "what", "partition", "storage_id", "at")
        query = sa.select(*(certificates.c[name] for name in names)).where(certificates.c.asset == asset)
        found: dict[str, Gone] = {}
        with self._database.reading() as connection:
            for sequence, of, what, partition, storage_id, at in connection.execute(
                query.order_by(certificates.c.sequence)
            ):
                beginning = sequence if of is None else of
                if of is None or found[partition].sequence == of:
                    found[partition] = Gone(beginning, storage_id, What(what), datetime.fromisoformat(at))
        return found

    def _begun(self, *where: sa.ColumnElement[bool]) -> list[Certificate]:
        begun, end = certificates.alias("begun"), certificates.alias("ended")
        chosen = sa.select(certificates.c.sequence).where(*where)
        query = sa.select(begun, end).outerjoin(end, end.c.of == begun.c.sequence).where(begun.c.sequence.in_(chosen))
        width = len(certificates.c)
        with self._database.reading() as connection:
            rows = [tuple(row) for row in connection.execute(query.order_by(begun.c.sequence))]
        return [_certificate(Link(*row[:width]), None if row[width] is None else Link(*row[width:])) for row in rows]

    # -- the chain -----------------------------------------------------------------------------------------------

    def verify(self, known: Head | None = None) -> Head:
        """Go along all that was ever written; the head it ends with. Raises ChainBrokenError (chain.verify)."""
        return chain.verify(self._links(0), known=known)

    def export(self, after: int = 0) -> Iterator[str]:
        """The lines of a file that can be verified without this database (chain.verify_lines), without line ends."""
        return (link.line for link in self._links(after))

    def _links(self, after: int) -> Iterator[Link]:
        """All after one, a portion at a time: between them nothing is kept open, and what was written does not move."""
        query = sa.select(certificates).order_by(certificates.c.sequence).limit(_ROWS_AT_ONCE)
        while True:
            with self._database.reading() as connection:
                links = [Link(*row) for row in connection.execute(query.where(certificates.c.sequence > after))]
            yield from links
            if len(links) < _ROWS_AT_ONCE:
                return
            after = links[-1].sequence


# -- who may begin -----------------------------------------------------------------------------------------------


def _must_be_kept_by_others(deletion: Deletion) -> None:
    for keeper in deletion.keepers:
        if (keeper.asset, keeper.partition) == (deletion.asset, deletion.partition):
            _refuse(NoKeeperOfItError, deletion, "it is named as its own keeper", "nothing would be left")
        if _scan(keeper.partition) != deletion.scan:
            seen = f"{keeper.asset} of {keeper.partition} is named as its keeper"
            _refuse(NoKeeperOfItError, deletion, seen, "that is a copy of another scan")


def _must_be_free(deletion: Deletion, known: Sequence[Certificate], seen: Head) -> None:
    """``known`` are all certificates of its scan."""
    copy, keepers = (deletion.asset, deletion.partition), _copies(deletion.keepers)
    for other in known:
        that, is_open = (other.deletion.asset, other.deletion.partition), other.end is None
        named = f"{that[0]} of {that[1]} (certificate {other.sequence}, {other.state})"
        if is_open and that == copy:
            _refuse(DeletionOpenError, deletion, f"there is {named}", "its deletion has begun and not ended")
        if is_open and that in keepers:
            _refuse(KeeperGoesError, deletion, f"its keeper is {named}", "that is being deleted itself")
        if is_open and copy in _copies(other.deletion.keepers):
            _refuse(KeepsAnotherError, deletion, f"it keeps {named}", "two copies must not vouch for each other and go")
        if that == copy and other.state is What.DONE and other.deletion.storage_id == deletion.storage_id:
            _refuse(DeletedBeforeError, deletion, f"there is {named}", "the same record was deleted before")
        last = other.sequence if other.end is None else other.end.sequence
        if (that == copy or that in keepers) and last > seen.entries:
            _refuse(EvidenceOldError, deletion, f"there is {named}", "that has changed since its keepers were read")


def _refuse(kind: type[DeletionRefusedError], deletion: Deletion, seen: str, meaning: str) -> NoReturn:
    raise kind(
        seen=f"{deletion.asset} of {deletion.partition} was to be deleted: {seen}",
        meaning=meaning,
        remedy="nothing was deleted; the next pass decides anew, with a new proof",
    )


def _must_be_open(connection: sa.Connection, certificate: Certificate) -> Link:
    """The entry that began it, as the log has it."""
    which = sa.or_(certificates.c.sequence == certificate.sequence, certificates.c.of == certificate.sequence)
    rows = connection.execute(sa.select(certificates).where(which).order_by(certificates.c.sequence))
    begun, *ends = [Link(*row) for row in rows]
    if ends:
        raise DeletionEndedError(
            seen=f"certificate {certificate.sequence} ({begun.asset} of {begun.partition}) is {ends[0].what} "
            f"since {ends[0].at}",
            meaning="another process has gone on with this deletion and ended it",
            remedy="nothing to do: look at what it has written (als retention)",
        )
    return begun


# -- rows --------------------------------------------------------------------------------------------------------


def _head(connection: sa.Connection) -> Head:
    query = sa.select(certificates.c.sequence, certificates.c.hash).order_by(certificates.c.sequence.desc()).limit(1)
    row = connection.execute(query).one_or_none()
    return EMPTY if row is None else Head(*row)


def _of_scan(connection: sa.Connection, scan: str) -> list[Certificate]:
    query = sa.select(certificates).where(certificates.c.scan == scan).order_by(certificates.c.sequence)
    links = [Link(*row) for row in connection.execute(query)]
    ends = {link.of: link for link in links if link.of is not None}
    return [_certificate(link, ends.get(link.sequence)) for link in links if link.of is None]


def _certificate(begun: Link, end: Link | None) -> Certificate:
    return Certificate(
        begun.sequence,
        _deletion(begun),
        datetime.fromisoformat(begun.at),
        None if end is None else _as_end(end),
    )


def _as_end(end: Link) -> End:
    return End(end.sequence, What(end.what), datetime.fromisoformat(end.at), json.loads(end.document))


def _subject(deletion: Deletion) -> dict[str, Any]:
    return {
        "scan": deletion.scan,
        "asset": deletion.asset,
        "partition": deletion.partition,
        "storage_id": deletion.storage_id,
    }


def _document(deletion: Deletion) -> dict[str, Any]:
    document = asdict(deletion)
    for name in ("asset", "partition", "storage_id"):  # they have columns of their own
        del document[name]
    return document


def _deletion(begun: Link) -> Deletion:
    document = json.loads(begun.document)
    keepers = tuple(Keeper(**keeper) for keeper in document.pop("keepers"))
    return Deletion(begun.asset, begun.partition, begun.storage_id, keepers=keepers, **document)


def _copies(keepers: Sequence[Keeper]) -> set[tuple[str, str]]:
    return {(keeper.asset, keeper.partition) for keeper in keepers}


def _scan(partition: str) -> str:
    return partition.partition("@")[0]


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
