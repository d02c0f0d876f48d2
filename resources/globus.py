"""Globus Transfer as calls that return plain values and raise the platform's own errors.

Belongs here: the flags of every submit, names on the wire.
Does not: credentials and errors (globus_session), what may be copied, or what a task's state means for a copy
(transfer). The SDK is imported inside methods.
"""

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from resources.errors import PlatformError
from resources.globus_session import GlobusSession, Login, unavailable
from resources.globus_session import NotFoundError as NotFoundError

if TYPE_CHECKING:
    import globus_sdk

MOST_TASKS = 1_000
"""What one page of tasks can hold; an identity has 100 at most that have not ended."""
MOST_ENTRIES = 100_000
"""What one listing can return at most (docs.globus.org/api/transfer/file_operations)."""
TASKS_A_REQUEST = 100
"""Their ids stand in the address, where servers take 8,000 characters; 1,000 tasks is the service's own limit."""
_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"


class EntryType(StrEnum):
    """What lies at a path, in the service's own words."""

    FILE = "file"
    FOLDER = "dir"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies at a path. The service gives times in whole seconds, and a folder's size means nothing."""

    name: str
    type: EntryType
    size_bytes: int
    modified: datetime
    mode: str | None = None
    """Octal, without leading zeros; None where the collection does not say."""
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Paths:
    """One file of a transfer: two paths as their collections name them, and the SHA-256 that both must have."""

    source: str
    destination: str
    sha256: str | None


class Globus:
    """Globus Transfer as one confidential client, which sees its own tasks alone.

    Threads may share it: each has its own connection and token.

    ``data_access`` names the mapped collections whose ``data_access`` consent every token must carry.
    """

    def __init__(
        self,
        login: Login,
        *,
        transfer_url: str | None = None,
        data_access: Collection[str] = (),
        retries: int = 2,
        http_timeout_s: float = 60,
    ) -> None:
        self.client_id = login.client_id
        consents = sorted(data_access)

        def connect(app: "globus_sdk.ClientApp", how: dict[str, Any]) -> "globus_sdk.TransferClient":
            from globus_sdk import TransferClient

            client = TransferClient(app=app, base_url=transfer_url, **how)
            if consents:
                client.add_app_data_access_scope(consents)
            return client

        self._session = GlobusSession(login, connect, retries=retries, http_timeout_s=http_timeout_s)

    # -- looking -------------------------------------------------------------------------------------------------

    def stat(self, collection: str, path: str) -> Entry:
        """What lies at ``path``. Raises NotFoundError where there is nothing."""
        what = f"stat of {path!r} on collection {collection}"
        return _entry(what, self._call(what, lambda client: client.operation_stat(collection, to_wire(path))))

    def list(
        self, collection: str, path: str, *, orderby: str | None, filter_by: str | None, limit: int, offset: int
    ) -> tuple[tuple[Entry, ...], bool]:
        """At most ``limit`` entries of a folder, and whether there may be more. Raises NotFoundError.

        ``orderby`` and ``filter_by`` are in the service's language; user text does not belong into a filter.
        """
        what = f"listing of {path!r} on collection {collection}"
        options = {"orderby": orderby, "filter": filter_by, "limit": limit, "offset": offset}
        given = {name: value for name, value in options.items() if value is not None}
        page = self._call(
            what, lambda client: client.operation_ls(collection, to_wire(path), query_params=given), needs="DATA"
        )
        entries = tuple(_entry(what, document) for document in page["DATA"])
        return entries, len(entries) >= limit

    def make_folder(self, collection: str, path: str) -> None:
        """Make one folder, at once. One that is there stays as it is; raises NotFoundError where its parent is not."""
        what = f"making of {path!r} on collection {collection}"
        try:
            self._call(what, lambda client: client.operation_mkdir(collection, to_wire(path)))
        except PlatformError:
            # What a collection says of a folder that is there differs from one to the other: a look tells.
            if self.stat(collection, path).type is not EntryType.FOLDER:
                raise

    # -- tasks ---------------------------------------------------------------------------------------------------

    def new_submission_id(self) -> str:
        """The id with which a submit may be repeated: the second one answers with the task of the first."""
        answer = self._call("submission id", lambda client: client.get_submission_id(), needs="value")
        return str(answer["value"])

    def submit_transfer(
        self,
        source: str,
        destination: str,
        paths: Sequence[Paths],
        *,
        skip_equal: bool,
        label: str,
        submission_id: str,
        deadline: datetime,
    ) -> str:
        """Start copying files from one collection to another; the id of the task.

        What is sent is compared by checksum afterwards. With ``skip_equal`` a file that equals its source is not sent
        again; a damaged source, too, equals the damaged copy that an earlier, failed attempt has left of it.
        """
        from globus_sdk import MISSING, TransferData

        document = TransferData(
            source,
            destination,
            sync_level="checksum" if skip_equal else MISSING,
            verify_checksum=True,
            preserve_timestamp=True,
            fail_on_quota_errors=True,
            skip_source_errors=False,
            **_submission(label, submission_id, deadline),
        )
        for item in paths:
            document.add_item(
                to_wire(item.source),
                to_wire(item.destination),
                recursive=False,
                external_checksum=item.sha256 or MISSING,
                checksum_algorithm="SHA256",
            )
        answer = self._call(f"transfer {label}", lambda client: client.submit_transfer(document), needs="task_id")
        return str(answer["task_id"])

    def submit_delete(
        self, collection: str, path: str, *, recursive: bool, label: str, submission_id: str, deadline: datetime
    ) -> str:
        """Start deleting one path, where it still is; the id of the task."""
        from globus_sdk import DeleteData

        document = DeleteData(
            collection,
            recursive=recursive,
            ignore_missing=True,
            interpret_globs=False,
            **_submission(label, submission_id, deadline),
        )
        document.add_item(to_wire(path))
        answer = self._call(f"delete {label}", lambda client: client.submit_delete(document), needs="task_id")
        return str(answer["task_id"])

    def find_task(self, label: str) -> str | None:
        """The newest task with exactly this label; None where there is none."""
        page = self._call(
            f"look-up of {label}",
            lambda client: client.task_list(filter={"label": f"={label}"}, orderby="request_time DESC", limit=10),
            needs="DATA",
        )
        return next((str(task["task_id"]) for task in page["DATA"] if task["label"] == label), None)

    def unended_tasks(self, prefix: str) -> tuple[dict[str, Any], ...]:
        """Every task that has not ended and whose label begins so, the newest first, of at most ``MOST_TASKS``."""
        page = self._call(
            f"look-up of {prefix}*",
            lambda client: client.task_list(
                filter={"status": "ACTIVE,INACTIVE"}, orderby="request_time DESC", limit=MOST_TASKS
            ),
            needs="DATA",
        )
        return tuple(task for task in page["DATA"] if str(task.get("label") or "").startswith(prefix))

    def task(self, task_id: str) -> dict[str, Any]:
        """The task's document. Raises LookupError where the service has no such task."""
        return self._call(f"state of task {task_id}", lambda client: client.get_task(task_id), needs="status")

    def look(self, task_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The documents of those of these tasks that the service lists, in one request for every hundred."""
        found: dict[str, dict[str, Any]] = {}
        for first in range(0, len(task_ids), TASKS_A_REQUEST):
            found |= self._listed(task_ids[first : first + TASKS_A_REQUEST])
        return found

    def _listed(self, task_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        ids = ",".join(task_ids)
        what = f"state of {len(task_ids)} tasks"
        page = self._call(
            what, lambda client: client.task_list(filter={"task_id": ids}, limit=len(task_ids)), needs="DATA"
        )
        return {str(task["task_id"]): task for task in page["DATA"] if "status" in task}

    def cancel(self, task_id: str) -> None:
        """Ask for the task's end; a task that has ended stays as it is."""
        self._call(f"cancelling of task {task_id}", lambda client: client.cancel_task(task_id))

    def close(self) -> None:
        """Close this thread's connection."""
        self._session.close()

    def _call(
        self,
        what: str,
        ask: Callable[["globus_sdk.TransferClient"], "globus_sdk.GlobusHTTPResponse"],
        needs: str = "DATA_TYPE",
    ) -> dict[str, Any]:
        return self._session.call(what, ask, needs)


# -- names on the wire -------------------------------------------------------------------------------------------


def to_wire(path: str) -> str:
    """A path as the service wants it: a part that is no UTF-8 as Latin-1 after U+FFFD.

    Source: docs.globus.org/api/transfer/file_operations, "Path Encoding".
    """
    return "/".join(_part_to_wire(part) for part in path.split("/"))


def _part_to_wire(part: str) -> str:
    try:
        part.encode()
    except UnicodeEncodeError:
        return _UNDECODABLE + os.fsencode(part).decode("latin-1")
    return part


def from_wire(name: str) -> str:
    """The inverse of ``to_wire`` for one name."""
    if not name.startswith(_UNDECODABLE):
        return name
    try:
        return os.fsdecode(name[1:].encode("latin-1"))
    except UnicodeEncodeError:
        return name  # a file that is truly called so


def _entry(what: str, document: dict[str, Any]) -> Entry:
    try:
        kind = document["type"]
        return Entry(
            name=from_wire(document["name"]),
            type=EntryType(kind) if kind in (EntryType.FILE, EntryType.FOLDER) else EntryType.OTHER,
            size_bytes=int(document["size"]),
            modified=datetime.fromisoformat(document["last_modified"]).astimezone(UTC),
            mode=(document.get("permissions") or "").lstrip("0") or None,
            group=document.get("group"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise unavailable(what, f"an entry that cannot be read ({error!r})") from error


def _submission(label: str, submission_id: str, deadline: datetime) -> dict[str, Any]:
    """What every submit has. Nobody is e-mailed: the address would be the service account's."""
    return {
        "label": label,
        "submission_id": submission_id,
        "deadline": deadline,
        "notify_on_succeeded": False,
        "notify_on_failed": False,
        "notify_on_inactive": False,
    }
