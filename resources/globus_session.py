"""One confidential client at Globus: its credentials, its connections, and what its services' errors mean.

Belongs here: logging in, asking once, and errors in this platform's words. The SDK is imported inside methods.
Does not: what is asked of Transfer (globus), or of Compute (facilities.compute).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

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
_NO_SUCH_PATH = ("NotFound", "ClientError.NotFound")
_NO_SUCH_TASK = ("TaskNotFound", "ClientError.TaskNotFound")

Client = TypeVar("Client")


class NotFoundError(PlatformError):
    """Nothing lies at a path. An answer of the service, never a guess."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks. ``secret`` is read before every call; an address that is None is the SDK's own."""

    client_id: str
    secret: Callable[[], str]
    auth_url: str | None = None


class GlobusSession(Generic[Client]):
    """Connections to one service of Globus. Threads may share it: each has its own connection and token."""

    def __init__(
        self,
        login: Login,
        connect: "Callable[[globus_sdk.ClientApp, dict[str, Any]], Client]",
        *,
        retries: int,
        http_timeout_s: float,
    ) -> None:
        """``connect`` makes the service's client from an app and the keyword arguments of its transport.

        ``retries`` is for what may be asked twice: a service whose submits are not idempotent has none.
        """
        self._login = login
        self._connect_client = connect
        self._retries = retries
        self._http_timeout_s = http_timeout_s
        self._connections = threading.local()

    def call(self, what: str, ask: "Callable[[Client], globus_sdk.GlobusHTTPResponse]", needs: str) -> dict[str, Any]:
        """The answer's document, which has the field ``needs``. Raises PlatformError, or LookupError for a task."""
        from globus_sdk import GlobusAPIError, GlobusError, NetworkError

        client = self._client()
        try:
            document = ask(client).data
        except NetworkError as error:
            raise unavailable(what, f"no answer ({error})") from error
        except GlobusAPIError as error:
            raise _translated(what, error, self._login.client_id) from error
        except GlobusError as error:
            raise _refused(
                what, str(error), "the SDK would not send it", "check the client's id and secret in the deployment"
            ) from error
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            # What the SDK raises where Globus Auth answers 200 with something else, as a proxy's login page.
            raise unavailable(what, f"an answer that the SDK cannot read ({type(error).__name__})") from error
        if not isinstance(document, dict) or needs not in document:
            raise unavailable(what, f"an answer without {needs!r}")
        return document

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._connections, "connection", None)
        if connection is not None:
            connection.close()
            del self._connections.connection

    def _client(self) -> Client:
        try:
            secret = self._login.secret()
        except ConfigurationError as error:
            raise CredentialsRefusedError(
                seen=f"Globus: the secret of client {self._login.client_id} cannot be used: {error}",
                meaning="nothing can be asked of Globus as that client without it",
                remedy="put it there as the message says; it is read again at the next try",
            ) from error
        connection: _Connection[Client] | None = getattr(self._connections, "connection", None)
        if connection is None or connection.secret != secret:
            self.close()
            connection = self._connections.connection = self._connect(secret)
        return connection.client

    def _connect(self, secret: str) -> "_Connection[Client]":
        from globus_sdk import ClientApp, ConfidentialAppAuthClient, GlobusAppConfig
        from globus_sdk.transport import RequestsTransport, RetryConfig

        def retry(times: int) -> RetryConfig:
            return RetryConfig(max_retries=times, max_sleep=LONGEST_RETRY_AFTER_S)

        transport = RequestsTransport(http_timeout=self._http_timeout_s)
        # A token may be asked for twice whatever it is for.
        login = ConfidentialAppAuthClient(
            self._login.client_id,
            secret,
            base_url=self._login.auth_url,
            transport=transport,
            retry_config=retry(max(self._retries, 2)),
        )
        app = ClientApp(APP_NAME, login_client=login, config=GlobusAppConfig(token_storage="memory"))  # noqa: S106
        client = self._connect_client(app, {"transport": transport, "retry_config": retry(self._retries)})
        return _Connection(secret, app, client, transport)


@dataclass(slots=True, repr=False)
class _Connection(Generic[Client]):
    secret: str
    app: "globus_sdk.ClientApp"
    client: Client
    transport: Any

    def close(self) -> None:
        self.app.close()
        self.transport.close()


# -- errors ------------------------------------------------------------------------------------------------------


def _translated(what: str, error: "globus_sdk.GlobusAPIError", client_id: str) -> Exception:
    code, status = error.code or "", error.http_status
    # Compute says why in a field of its own.
    reason = (error.raw_json or {}).get("reason")
    message = error.message or (reason if isinstance(reason, str) else "")
    said = f"HTTP {status} {code}".strip() + (f": {_one_line(message)}" if message else "")
    if status == 404 and code in _NO_SUCH_PATH:
        return NotFoundError(
            seen=f"Globus, {what}: {said}", meaning="nothing lies there", remedy="check the path, or make it first"
        )
    if status == 404 and (code in _NO_SUCH_TASK or reason is not None):
        return LookupError(f"Globus, {what}: {said}")
    if error.info.consent_required:
        scopes = ", ".join(error.info.consent_required.required_scopes or [])
        return CredentialsRefusedError(
            seen=f"Globus, {what}: {said}",
            meaning=f"the collection asks for a consent that client {client_id} does not have",
            remedy=f"set data_access_consent for the place, or consent to {scopes}",
        )
    if "PermissionDenied" in code or status == 403:
        return _refused(
            what, said, f"client {client_id} may not do that there", "give that client the role or permission"
        )
    if status in (400, 401) and (status == 401 or "invalid_client" in error.text):
        return CredentialsRefusedError(
            seen=f"Globus, {what}: {said}",
            meaning=f"the credentials of client {client_id} are not accepted",
            remedy="renew the secret of that client",
        )
    if status in (408, 409, 429) or status >= 500 or (status == 404 and not code):
        return unavailable(what, said)
    return _refused(what, said, "the request is not acceptable as it is", "look at what the service says")


def _refused(what: str, said: str, meaning: str, remedy: str) -> PlatformError:
    return ServiceRefusedError(seen=f"Globus, {what}: {said}", meaning=meaning, remedy=remedy)


def unavailable(what: str, said: str) -> PlatformError:
    """The error of an answer that cannot be used."""
    return ServiceUnavailableError(
        seen=f"Globus, {what}: {said}",
        meaning="the service, or the server of the collection, gave no usable answer",
        remedy="ask again later; see status.globus.org and the facility's status page",
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
