"""The catalogue as this platform uses it: an entry is put there, again and again, and there is always one of it.

Belongs here: the order of the calls, so that whatever is lost on the way can be sent again; and the refusal of what
must not be shown. Does not: one call (session), SciCat's fields (documents), or what an entry says.

Nothing here rests on an answer that came: what is there is read, only what differs is sent, and lists and pictures
that are there twice (two workers at once, a lost answer) are made one again by whoever looks next.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from beamlines.catalogue.entries import Entry, Whereabouts
from beamlines.catalogue.rules import Restricted
from beamlines.scans import ScanId
from beamlines.standing import may_be_touched
from resources.catalogue import documents
from resources.catalogue.documents import Document, differences
from resources.catalogue.session import EntryExistsError, NoEntryError, ScicatSession
from resources.errors import NotAllowedError
from resources.gate import Gate

Shape = TypeVar("Shape", dict[str, Any], list[Any])
Same = Callable[[Document, Document], bool]
BLOCKS, PICTURES = "origdatablocks", "attachments"


@dataclass(frozen=True, slots=True)
class Put:
    """What became of an entry."""

    created: bool
    sent: int
    """How many changes were sent; none where all was there and right."""
    differs: tuple[str, ...]
    """Where, read again afterwards, it is not what was meant. Empty where all is well."""


class Catalogue:
    """Entries at one SciCat. ``close`` it."""

    def __init__(self, session: ScicatSession, gate: Gate, restricted: Restricted, pid_prefix: str, page: str) -> None:
        """``page``: what people open for an entry, before its pid."""
        self._session = session
        self._gate = gate
        self._restricted = restricted
        self.pid_prefix = pid_prefix
        self._page = page

    def page_of(self, pid: str) -> str:
        """Where people see an entry."""
        return f"{self._page.rstrip('/')}/{quote(pid, safe='')}"

    def must_be_absent(self, scan: ScanId) -> bool:
        """Whether nothing of a scan may stand in the catalogue, by what is known and what lies beside it now.

        Raises ServiceUnavailableError where that cannot be seen: a sidecar that nobody can see may be there.
        """
        self._gate.take_in(scan)
        return self._restricted is Restricted.ABSENT and self._gate.is_restricted(scan)

    def may_show_picture(self, scan: ScanId) -> bool:
        """Whether a picture of a scan may stand there, by what is known."""
        return not self._gate.is_restricted(scan)

    # -- entries -------------------------------------------------------------------------------------------------

    def find(self, pid: str) -> Document | None:
        """The dataset with a pid; None where there is none."""
        try:
            # Of what is not there some versions say 404, others answer nothing.
            found = self._session.call("an entry is read", lambda client: _readable(client.datasets_get_one(pid), dict))
        except NoEntryError:
            return None
        return found or None

    def put(self, scan: ScanId, entry: Entry) -> Put:
        """Make the entry be there as it is meant. Said again, it changes nothing.

        Raises NotAllowedError for what must not be shown, and what a session raises.
        """
        self._must_be_allowed(scan, entry)
        document, changes = documents.dataset(entry), 0
        found = self.find(entry.pid)
        created = found is None and self._create(document)
        changes += created
        if not created:
            changes += self._bring_up_to_date(document)
        changes += self._make_be(entry.pid, BLOCKS, [*documents.blocks(entry.files)], _same_block, lambda _: True)
        meant = documents.attachment(entry)
        changes += self._make_be(entry.pid, PICTURES, [meant] if meant else [], _same_picture, _is_ours)
        if changes:
            # The service counts files and bytes by itself while lists come and go.
            changes += self._bring_up_to_date(document)
        if self._restricted is Restricted.ABSENT and self._gate.is_restricted(scan):
            # Restricted while it was sent: who restricts a scan has looked for it before it was there.
            self.withdraw(entry.pid)
            self._must_be_allowed(scan, entry)
        return Put(created, changes, tuple(self._differences(entry, document)))

    def move(self, pid: str, where: Whereabouts) -> Put:
        """Say where the data lie now, of an entry whose file can be read here no more; all else stays as it is."""
        found = self.find(pid)
        if found is None:
            raise NoEntryError(
                seen=f"SciCat has no entry {pid}",
                meaning="the scan was never described there, and its file is not here to be read",
                remedy="materialize its first copy, and then this again",
            )
        document = documents.moved(found, where)
        return Put(False, self._send_changes(pid, document, found), tuple(differences(document, self.find(pid) or {})))

    def withdraw(self, pid: str) -> bool:
        """Take an entry away with all that belongs to it; whether there was something. Said again, it goes on."""
        there = self.find(pid) is not None
        if there:
            for kind in (PICTURES, BLOCKS):
                for item in self._list(pid, kind):
                    self._delete(pid, kind, item)
            self._gone("an entry is deleted", lambda client: client.datasets_delete(pid))
        return there

    # -- parts ---------------------------------------------------------------------------------------------------

    def _must_be_allowed(self, scan: ScanId, entry: Entry) -> None:
        touched = may_be_touched(self._gate.standings.of(scan.key))
        if not touched.allowed:
            raise NotAllowedError(
                seen="the entry of a scan was to be changed in the catalogue",
                meaning=f"that is not allowed: {touched}",
                remedy="nothing was sent; decide about the scan first (als scan accept)",
            )
        hidden = self._gate.is_restricted(scan)
        if hidden and (self._restricted is Restricted.ABSENT or entry.picture is not None):
            raise NotAllowedError(
                seen="something of a restricted scan was to be shown in the catalogue",
                meaning="the configuration does not allow it (catalogue.restricted)",
                remedy="nothing was sent; who decided what about it is shown by `als scan show`",
            )

    def _create(self, document: Document) -> bool:
        """Whether it was created now; not where another worker was first, or an answer was lost."""
        try:
            self._session.call("an entry is made", lambda client: client.datasets_create(_body(document)))
        except EntryExistsError:
            return False
        return True

    def _bring_up_to_date(self, document: Document) -> int:
        found = self.find(document["pid"])
        return self._send_changes(document["pid"], documents.update(document), found or {})

    def _send_changes(self, pid: str, document: Document, found: Document) -> int:
        wrong = {name: value for name, value in document.items() if differences({name: value}, found)}
        if not wrong:
            return 0
        self._session.call("an entry is changed", lambda client: client.datasets_update(_body(wrong), pid))
        return 1

    def _make_be(
        self,
        pid: str,
        kind: str,
        meant: Sequence[Document],
        is_same: Same,
        is_ours: Callable[[Document], bool],
    ) -> int:
        """Make each of what is meant be there once, and nothing else of ours; how many changes that took."""
        there, changes = self._list(pid, kind), 0
        missing = [one for one in meant if not any(is_same(one, item) for item in there)]
        for one in missing:
            self._add(pid, kind, one)
            changes += 1
        if missing:
            there = self._list(pid, kind)  # another worker may have done the same meanwhile
        # Whoever looks keeps the one with the least id, so that two who look at once keep the same.
        keep: list[Document] = []
        for item in sorted(there, key=_id):
            if not is_ours(item):
                continue
            if any(is_same(one, item) for one in meant) and not any(is_same(kept, item) for kept in keep):
                keep.append(item)
            else:
                self._delete(pid, kind, item)
                changes += 1
        return changes

    def _list(self, pid: str, kind: str) -> list[Document]:
        where = _at(pid, kind)
        found = self._session.call(f"{kind} are listed", lambda client: _readable(client.ask("get", where), list))
        return found or []

    def _add(self, pid: str, kind: str, one: Document) -> None:
        if kind == BLOCKS:
            self._session.call(
                "a list of files is added", lambda client: client.datasets_origdatablock_create(pid, _body(one))
            )
        else:
            self._session.call("a picture is added", lambda client: client.datasets_attachment_create(_body(one)))

    def _delete(self, pid: str, kind: str, item: Document) -> None:
        where = f"{_at(pid, kind)}/{quote(_id(item), safe='')}"
        self._gone(f"one of the {kind} is deleted", lambda client: client.ask("delete", where))

    def _gone(self, what: str, ask: Any) -> None:
        try:
            self._session.call(what, ask)
        except NoEntryError:
            return  # another worker's, or an answer that was lost

    def _differences(self, entry: Entry, document: Document) -> list[str]:
        """What was put there, read again: the entry, its lists and its picture."""
        wrong = differences(document, self.find(entry.pid) or {})
        lists, meant = self._list(entry.pid, BLOCKS), [*documents.blocks(entry.files)]
        if not _each_once(meant, lists, _same_block):
            wrong.append(BLOCKS)
        pictures = [item for item in self._list(entry.pid, PICTURES) if _is_ours(item)]
        picture = documents.attachment(entry)
        if not _each_once([picture] if picture else [], pictures, _same_picture):
            wrong.append(PICTURES)
        return wrong

    def close(self) -> None:
        """Close the connection."""
        self._session.close()


def _readable(answer: Any, kind: type[Shape]) -> Shape | None:
    """The answer, if it is of this kind, or nothing. A proxy's page is neither: raises ValueError."""
    if answer is None or isinstance(answer, kind):
        return answer
    raise ValueError(f"{type(answer).__name__} instead of {kind.__name__}")


def _at(pid: str, kind: str) -> str:
    return f"Datasets/{quote(pid, safe='')}/{kind}"


def _id(item: Document) -> str:
    return str(item.get("_id") or item.get("id") or "")


def _is_ours(item: Document) -> bool:
    """People add pictures of their own, and keep them."""
    return str(item.get("caption", "")).startswith(documents.OUR_CAPTION)


def _same_picture(one: Document, other: Document) -> bool:
    return all(one.get(name) == other.get(name) for name in ("caption", "thumbnail"))


def _same_block(one: Document, other: Document) -> bool:
    return one.get("chkAlg") == other.get("chkAlg") and _files(one) == _files(other)


def _files(block: Document) -> set[tuple[Any, ...]]:
    return {(file.get("path"), file.get("size"), file.get("chk")) for file in block.get("dataFileList") or ()}


def _each_once(meant: Sequence[Document], there: Sequence[Document], is_same: Same) -> bool:
    same = sum(is_same(one, item) for one, item in itertools.product(meant, there))
    return len(meant) == len(there) == same


def _body(document: Document) -> Any:
    from pydantic import BaseModel, ConfigDict

    class Body(BaseModel):
        """What pyscicat takes: something with ``model_dump``."""

        model_config = ConfigDict(extra="allow")

    return Body(**document)
