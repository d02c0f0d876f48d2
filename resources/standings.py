"""The standings of scans, kept: restrictions, changes, aborted scans, and who said so when, with which note.

Belongs here: reading and changing the tables ``scans`` and ``scan_log``; every change that a person makes is logged.
Does not: what a standing means (beamlines.standing, beamlines.policy), or copies (Dagster knows those).

They are not in Dagster's event log because a wipe there must not lift a restriction, and because a sensor asks for
thousands at once (docs/decisions/0008-standings.md).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from beamlines.decisions import Reason
from beamlines.standing import SeenFile, Standing
from resources.database import Database, batches, insert_new, scan_log, scans
from resources.errors import must_have_note


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a scan's history."""

    at: datetime
    what: str
    detail: str
    author: str
    note: str


class Standings:
    """What is known of each scan apart from its copies. Scans are named by their keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading -------------------------------------------------------------------------------------------------

    def of(self, scan: str) -> Standing:
        """The standing of one scan; the empty one where nothing was ever recorded."""
        return self.of_many([scan]).get(scan, Standing())

    def of_many(self, keys: Collection[str]) -> dict[str, Standing]:
        """The standings of those scans of which something was recorded."""
        found: dict[str, Standing] = {}
        with self._database.reading() as connection:
            for some in batches(sorted(keys)):
                rows = connection.execute(sa.select(scans).where(scans.c.scan.in_(some))).mappings()
                found |= {row["scan"]: _standing(row) for row in rows}
        return found

    def restricted(self) -> list[str]:
        """The scans that somebody, or something beside them, has restricted."""
        query = sa.select(scans.c.scan).where(scans.c.restricted.is_not(None)).order_by(scans.c.scan)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def history(self, scan: str) -> list[Entry]:
        """What was recorded of a scan, in order."""
        query = sa.select(scan_log).where(scan_log.c.scan == scan).order_by(scan_log.c.id)
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings()
            return [Entry(row["at"], row["what"], row["detail"], row["author"], row["note"]) for row in rows]

    # -- what the platform sees ----------------------------------------------------------------------------------

    def arrived(self, files: Iterable[tuple[str, SeenFile]]) -> None:
        """Scans were taken for complete, and this is how their files looked."""
        rows = [{"key": key, "size": file.size_bytes, "time": file.modified} for key, file in files]
        if not rows:
            return
        update = sa.update(scans).where(scans.c.scan == sa.bindparam("key"))
        with self._database.writing() as connection:
            insert_new(connection, scans, [{"scan": row["key"]} for row in rows])
            connection.execute(update.values(size_bytes=sa.bindparam("size"), modified=sa.bindparam("time")), rows)

    def announced(
        self, scan: str, *, export_control: bool, withheld_from: frozenset[str], author: str, at: datetime
    ) -> None:
        """What an announcement says of a scan beside that it is finished. It can restrict, and never lift."""
        if withheld_from:
            self._change(scan, withheld_from=sorted(withheld_from))
        if export_control:
            self.restrict(scan, Reason.RESTRICTED_WHEN_ANNOUNCED, author=author, note="", at=at)

    def inspected(self, scan: str, *, proposal: str | None, aborted: str | None) -> None:
        """What the file itself says."""
        self._change(scan, proposal=proposal, aborted=aborted)

    def changed(self, scan: str, how: str, *, at: datetime) -> None:
        """A scan's file is not what it was. The first change is what counts, until a person decides."""
        log = _log(scan, "changed", how, "the platform", "", at)
        self._change(scan, scans.c.changed.is_(None), log=log, changed=how)

    # -- what people decide --------------------------------------------------------------------------------------

    def restrict(self, scan: str, reason: Reason, *, author: str, note: str, at: datetime) -> None:
        """Keep a scan on site. The first reason stands; every word of an operator is in the history."""
        if reason is Reason.RESTRICTED_BY_OPERATOR:
            must_have_note(note, "restrict a scan")
        log = _log(scan, "restricted", str(reason), author, note, at)
        if not self._change(scan, scans.c.restricted.is_(None), log=log, restricted=str(reason), lifted=False):
            self._write(log if reason is Reason.RESTRICTED_BY_OPERATOR else None)

    def lift(self, scan: str, *, author: str, note: str, at: datetime) -> None:
        """An operator says that a scan is not export controlled. The configuration's rules still hold."""
        must_have_note(note, "lift the restriction of a scan")
        self._change(scan, log=_log(scan, "lifted", "", author, note, at), restricted=None, lifted=True)

    def accept(self, scan: str, file: SeenFile, *, author: str, note: str, at: datetime) -> None:
        """An operator says that this is how the scan's file may look: it is not changed any more."""
        must_have_note(note, "accept the change of a scan")
        log = _log(scan, "accepted", str(file), author, note, at)
        self._change(scan, log=log, changed=None, size_bytes=file.size_bytes, modified=file.modified)

    def note(self, scan: str, what: str, detail: str, *, author: str, note: str, at: datetime) -> None:
        """Add to a scan's history something that changes nothing about its standing."""
        must_have_note(note, "record something of a scan")
        self._write(_log(scan, what, detail, author, note, at))

    def carry_over(self, other: "Standings") -> int:
        """Take over what was decided about scans, and by whom, from another database; how many scans are new here.

        How their files looked is not taken: whoever finds them here sees that anew. Repeated, it changes nothing.
        """
        with other._database.reading() as connection:
            rows = connection.execute(sa.select(scans)).mappings().all()
            log = connection.execute(sa.select(scan_log).order_by(scan_log.c.id)).mappings().all()
        kept = ("scan", "proposal", "restricted", "lifted", "withheld_from")
        with self._database.writing() as connection:
            here = set(connection.execute(sa.select(scans.c.scan)).scalars())
            new = [row for row in rows if row["scan"] not in here and _is_decided(row)]
            insert_new(connection, scans, [{name: row[name] for name in kept} for row in new])
            keys = {row["scan"] for row in new}
            entries = [{**entry} for entry in log if entry["scan"] in keys]
            for entry in entries:
                del entry["id"]
            if entries:
                connection.execute(sa.insert(scan_log), entries)
        return len(new)

    # -- SQL -----------------------------------------------------------------------------------------------------

    def _change(
        self, scan: str, *where: sa.ColumnElement[bool], log: dict[str, Any] | None = None, **values: Any
    ) -> bool:
        """Change a scan's row, made where it is missing, and log it, together; False where ``where`` did not hold."""
        with self._database.writing() as connection:
            insert_new(connection, scans, [{"scan": scan}])
            changed = connection.execute(sa.update(scans).where(scans.c.scan == scan, *where).values(**values))
            if changed.rowcount == 1 and log is not None:
                connection.execute(sa.insert(scan_log).values(log))
            return changed.rowcount == 1

    def _write(self, log: dict[str, Any] | None) -> None:
        if log is not None:
            with self._database.writing() as connection:
                connection.execute(sa.insert(scan_log).values(log))


def _standing(row: sa.RowMapping) -> Standing:
    return Standing(
        file=None if row["size_bytes"] is None else SeenFile(row["size_bytes"], row["modified"]),
        proposal=row["proposal"],
        restricted=None if row["restricted"] is None else Reason(row["restricted"]),
        lifted=row["lifted"],
        withheld_from=frozenset(row["withheld_from"] or ()),
        changed=row["changed"],
        aborted=row["aborted"],
    )


def _is_decided(row: sa.RowMapping) -> bool:
    return bool(row["restricted"] is not None or row["lifted"] or row["withheld_from"])


def _log(scan: str, what: str, detail: str, author: str, note: str, at: datetime) -> dict[str, Any]:
    return {"scan": scan, "at": at, "what": what, "detail": detail, "author": author, "note": note}
