"""Globus Transfer as calls that return plain values and raise the platform's own errors.

Belongs here: the SDK's clients, credentials, the flags of every submit, names on the wire, and what an error means.
Does not: what may be copied, or what a task's state means for a copy (transfer). The SDK is imported inside methods.
"""

import os
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from beamlines.config import ConfigurationError
from resources.errors import (
    CredentialsRefusedError,
    PlatformError,
    ServiceRefusedError,
    ServiceUnavailableError,
)

if TYPE_CHECKING:
    import globus_sdk

APP_NAME = "als-data-platform"
LONGEST_RETRY_AFTER_S = 120
"""The SDK's own limit of 10 s would ask again long before a service that said when to."""
MOST_ENTRIES = 100_000
"""What one listing can return at most (docs.globus.org/api/transfer/file_operations)."""
TASKS_A_REQUEST = 100
"""Their ids stand in the address, where servers take 8,000 characters; 1,000 tasks is the service's own limit."""
_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
_NO_SUCH_PATH = ("NotFound", "ClientError.NotFound")
_NO_SUCH_TASK = ("TaskNotFound", "ClientError.TaskNotFound")


class NotFoundError(PlatformError):
    """Nothing lies at a path. An answer of the service, never a guess."""


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
    """Globus Transfer for one confidential client. Threads may share it: each has its own connection and token.

    ``secret`` is asked before every call, so that a rotated secret needs no restart. Addresses that are None are the
    SDK's own. ``data_access`` names the mapped collections whose ``data_access`` consent every token must carry.
    """

    def __init__(
        self,
        *,
        client_id: str,
        secret: Callable[[], str],
        auth_url: str | None = None,
        transfer_url: str | None = None,
        data_access: Collection[str] = (),
        retries: int = 2,
        http_timeout_s: float = 60,
    ) -> None:
        self._client_id = client_id
        self._secret = secret
        self._auth_url = auth_url
        self._transfer_url = transfer_url
        self._data_access = sorted(data_access)
        self._retries = retries
        self._http_timeout_s = http_timeout_s
        self._connections = threading.local()

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
        """Close this thread's connections."""
        connection = getattr(self._connections, "connection", None)
        if connection is not None:
            connection.close()
            del self._connections.connection

    # -- the SDK -------------------------------------------------------------------------------------------------

    def _call(
        self,
        what: str,
        ask: Callable[["globus_sdk.TransferClient"], "globus_sdk.GlobusHTTPResponse"],
        needs: str = "DATA_TYPE",
    ) -> dict[str, Any]:
        """The answer's document, which has the field ``needs``. Raises PlatformError, or LookupError for a task."""
        from globus_sdk import GlobusAPIError, GlobusError, NetworkError

        client = self._client()
        try:
            document = ask(client).data
        except NetworkError as error:
            raise _unavailable(what, f"no answer ({error})") from error
        except GlobusAPIError as error:
            raise _translated(what, error) from error
        except GlobusError as error:
            raise _refused(
                what, str(error), "the SDK would not send it", "check the client's id and secret in the deployment"
            ) from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            # What the SDK raises where Globus Auth answers 200 with something else, as a proxy's login page.
            raise _unavailable(what, f"an answer that the SDK cannot read ({type(error).__name__})") from error
        if not isinstance(document, dict) or needs not in document:
            raise _unavailable(what, f"an answer without {needs!r}")
        return document

    def _client(self) -> "globus_sdk.TransferClient":
        try:
            secret = self._secret()
        except ConfigurationError as error:
            raise CredentialsRefusedError(
                seen=f"Globus: the client's secret cannot be used: {error}",
                meaning="nothing can be asked of Globus without it",
                remedy="put it there as the message says; it is read again at the next try",
            ) from error
        connection: _Connection | None = getattr(self._connections, "connection", None)
        if connection is None or connection.secret != secret:
            self.close()
            connection = self._connections.connection = self._connect(secret)
        return connection.client

    def _connect(self, secret: str) -> "_Connection":
        from globus_sdk import ClientApp, ConfidentialAppAuthClient, GlobusAppConfig, TransferClient
        from globus_sdk.transport import RequestsTransport, RetryConfig

        def retry() -> RetryConfig:
            return RetryConfig(max_retries=self._retries, max_sleep=LONGEST_RETRY_AFTER_S)

        transport = RequestsTransport(http_timeout=self._http_timeout_s)
        login = ConfidentialAppAuthClient(
            self._client_id, secret, base_url=self._auth_url, transport=transport, retry_config=retry()
        )
        app = ClientApp(APP_NAME, login_client=login, config=GlobusAppConfig(token_storage="memory"))  # noqa: S106
        client = TransferClient(app=app, base_url=self._transfer_url, transport=transport, retry_config=retry())
        if self._data_access:
            client.add_app_data_access_scope(self._data_access)
        return _Connection(secret, app, client, transport)


@dataclass(slots=True, repr=False)
class _Connection:
    secret: str
    app: "globus_sdk.ClientApp"
    client: "globus_sdk.TransferClient"
    transport: Any

    def close(self) -> None:
        self.client.close()
        self.app.close()
        self.transport.close()


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
        raise _unavailable(what, f"an entry that cannot be read ({error!r})") from error


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


# -- errors ------------------------------------------------------------------------------------------------------


def _translated(what: str, error: "globus_sdk.GlobusAPIError") -> Exception:
    code, status = error.code or "", error.http_status
    said = f"HTTP {status} {code}".strip() + (f": {_one_line(error.message)}" if error.message else "")
    if status == 404 and code in _NO_SUCH_PATH:
        return NotFoundError(
            seen=f"Globus, {what}: {said}", meaning="nothing lies there", remedy="check the path, or make it first"
        )
    if status == 404 and code in _NO_SUCH_TASK:
        return LookupError(f"Globus, {what}: {said}")
    if error.info.consent_required:
        scopes = ", ".join(error.info.consent_required.required_scopes or [])
        return CredentialsRefusedError(
            seen=f"Globus, {what}: {said}",
            meaning="the collection asks for a consent that the client does not have",
            remedy=f"set data_access_consent for the place, or consent to {scopes}",
        )
    if "PermissionDenied" in code or status == 403:
        return _refused(what, said, "the client may not do that there", "give the client the role or permission")
    if status in (400, 401) and (status == 401 or "invalid_client" in error.text):
        return CredentialsRefusedError(
            seen=f"Globus, {what}: {said}",
            meaning="the credentials are not accepted",
            remedy="renew the client's secret",
        )
    if status in (408, 409, 429) or status >= 500 or (status == 404 and not code):
        return _unavailable(what, said)
    return _refused(what, said, "the request is not acceptable as it is", "look at what the service says")


def _refused(what: str, said: str, meaning: str, remedy: str) -> PlatformError:
    return ServiceRefusedError(seen=f"Globus, {what}: {said}", meaning=meaning, remedy=remedy)


def _unavailable(what: str, said: str) -> PlatformError:
    return ServiceUnavailableError(
        seen=f"Globus, {what}: {said}",
        meaning="the service, or the server of the collection, gave no usable answer",
        remedy="ask again later; see status.globus.org and the facility's status page",
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
