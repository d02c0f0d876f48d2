"""One account at a SciCat: its token, its calls, and what the service's errors mean.

Belongs here: logging in, asking once, and errors in this platform's words. pyscicat is imported inside methods.
Does not: what is asked (catalogue), or the documents (documents).

Of pyscicat the calls are used, and not its way of sending them: that sets no limit to a login, puts the token into the
address, where errors and proxies' logs show it, and its error has no status. So its one method that sends is our own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from beamlines.config import ConfigurationError
from resources.errors import CredentialsRefusedError, PlatformError, ServiceRefusedError, ServiceUnavailableError

if TYPE_CHECKING:
    from pyscicat.client import ScicatClient

TIMEOUT_S = 30.0
_NOT_ACCEPTED = (401, 403)
_UNAVAILABLE = (408, 425, 429)
_SAID_CHARACTERS = 400

Answer = TypeVar("Answer")


class EntryExistsError(PlatformError):
    """An entry with this pid is there already."""


class NoEntryError(PlatformError):
    """There is nothing under this pid, or this id. An answer of the service, never a guess."""


class AnsweredError(Exception):
    """An answer other than 2xx, as it came."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {' '.join(text.split())[:_SAID_CHARACTERS]}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks. ``password`` is read at each login."""

    username: str
    password: Callable[[], str]


class ScicatSession:
    """Calls under one account. A token is kept until it is not accepted any more. ``close`` it."""

    def __init__(self, url: str, account: Account, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._account = account
        self._timeout_s = timeout_s
        self._client: ScicatClient | None = None

    def call(self, what: str, ask: "Callable[[ScicatClient], Answer]") -> Answer:
        """The answer of a call. A token that is not accepted any more is renewed once.

        Raises EntryExistsError, NoEntryError, or another PlatformError.
        """
        fresh = self._client is None
        try:
            return self._once(what, ask)
        except AnsweredError as error:
            if fresh or error.status not in _NOT_ACCEPTED:
                self._translate(what, error)
        # A token ends in the middle of anything. SciCat says 403 where it takes us for nobody.
        self.close()
        try:
            return self._once(what, ask)
        except AnsweredError as error:
            self._translate(what, error)

    def close(self) -> None:
        """Forget the token, and close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _once(self, what: str, ask: "Callable[[ScicatClient], Answer]") -> Answer:
        from requests import RequestException

        try:
            return ask(self._logged_in())
        except RequestException as error:
            # Not the exception's own text: that has the address, and whatever stands in it.
            raise self._unavailable(what, f"no usable answer ({type(error).__name__})") from error
        except (AssertionError, KeyError, TypeError, AttributeError, ValueError) as error:
            # What pyscicat raises where a 2xx is something else, as a proxy's login page.
            raise self._unavailable(what, f"an answer that cannot be read ({type(error).__name__})") from error

    def _logged_in(self) -> "ScicatClient":
        if self._client is None:
            client = _client(self.url, self._timeout_s)
            try:
                client.log_in(self._account.username, self._account.password())
            except ConfigurationError as error:
                client.close()
                raise CredentialsRefusedError(
                    seen=f"SciCat: the account's password cannot be used: {error}",
                    meaning="nothing can be asked of the catalogue without it",
                    remedy="put it there as the message says; it is read again at the next try",
                ) from error
            except AnsweredError as error:
                client.close()
                if error.status in (400, *_NOT_ACCEPTED):
                    raise CredentialsRefusedError(
                        seen=f"SciCat, login as {self._account.username}: {error}",
                        meaning="the account or its password is not accepted",
                        remedy="renew the password; it is read again at the next try",
                    ) from error
                self._translate("login", error)
            except BaseException:
                client.close()
                raise
            self._client = client
        return self._client

    def _translate(self, what: str, error: AnsweredError) -> NoReturn:
        seen, status = f"SciCat, {what}: {error}", error.status
        if status == 409:
            raise EntryExistsError(seen=seen, meaning="it is there already", remedy="bring it up to date") from error
        if status == 404:
            raise NoEntryError(seen=seen, meaning="nothing is there", remedy="make it first") from error
        if status in _UNAVAILABLE or status >= 500:
            raise self._unavailable(what, str(error)) from error
        if status == 401:
            raise CredentialsRefusedError(
                seen=seen, meaning="the account is not accepted", remedy="renew its password"
            ) from error
        if status == 403:
            raise ServiceRefusedError(
                seen=seen,
                meaning="the account may not do that",
                remedy="the catalogue's administrators must allow it (docs/catalogue.md says what is needed)",
            ) from error
        raise ServiceRefusedError(
            seen=seen, meaning="the request is not acceptable as it is", remedy="look at what the service says"
        ) from error

    def _unavailable(self, what: str, said: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            seen=f"SciCat, {what}: {said}",
            meaning="the catalogue, or the way to it, is down; nothing else waits for it",
            remedy="it is asked again later; see whether its page answers",
        )


def _client(url: str, timeout_s: float) -> Any:
    """A client of pyscicat that sends in our own way."""
    import requests
    from pyscicat.client import ScicatClient

    class Client(ScicatClient):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(url, token="none yet", timeout_seconds=timeout_s)  # noqa: S106
            self._session = requests.Session()
            self._headers: dict[str, str] = {}

        def log_in(self, username: str, password: str) -> None:
            answer = self._send("post", "auth/login", {"username": username, "password": password}).json()
            self._headers = {"Authorization": f"Bearer {answer.get('access_token') or answer['id']}"}

        def ask(self, method: str, endpoint: str) -> Any:
            """What pyscicat has no call for."""
            return self._call_endpoint(cmd=method, endpoint=endpoint, operation=endpoint)

        def close(self) -> None:
            self._session.close()

        def _send_to_scicat(self, cmd: str, endpoint: str, data: Any = None) -> requests.Response:
            return self._send(cmd, endpoint, None if data is None else data.model_dump(exclude_none=True))

        def _send(self, method: str, endpoint: str, body: Any) -> requests.Response:
            response = self._session.request(
                method, f"{url}/{endpoint}", json=body, headers=self._headers, timeout=timeout_s, allow_redirects=False
            )
            if not 200 <= response.status_code < 300:
                raise AnsweredError(response.status_code, response.text)
            return response

    return Client()
