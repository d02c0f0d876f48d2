"""NERSC's Superfacility API: one authenticated session, its requests, and its errors in this platform's words.

Belongs here: credentials, tokens, HTTP, the API's documents, submitting once.
Does not: what a job is or what its states mean (nersc, slurm).

Of sfapi_client only the authenticated session is used. Its job calls do not fit work that must not be started twice: it
repeats a submit whose response was lost, waits for a submit's task without end, and refuses states that it does not
know. Everything that it does on its own is switched off here: whoever calls decides what is asked again, and when.
"""

import base64
import json
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from beamlines.deployment import SuperfacilityService
from resources.clock import Clock
from resources.errors import CredentialsRefusedError, ServiceRefusedError, ServiceUnavailableError
from resources.facilities.job import FileTooLargeError
from resources.facilities.nersc_status import state_of
from resources.facilities.paths import askable, in_url, is_askable
from resources.facilities.service import Content, Entry, FacilityState, Health, read_each
from resources.facilities.slurm import NAMELESS

if TYPE_CHECKING:
    from sfapi_client import Client

SUBMIT_TASK_S = 60
"""A submit is a task of the API: sbatch itself, some seconds at most."""
SUBMIT_TASK_POLL_S = 0.5
KEY_MODE = 0o600
PUBLIC_TIMEOUT_S = 5
"""Of a question that is asked every minute."""

_NOT_ACCEPTED = (401, 403)
_UNAVAILABLE = (408, 425, 429)
_NO_TOKEN_NOW = ("server_error", "temporarily_unavailable", "missing_token", "unsupported_token_type")
"""The last two are Authlib's own words for an answer that holds neither a token nor an error, such as that of a gateway
that is asked too often."""
_NO_SUCH_FILE = "No such file or directory"
# What Slurm's commands say when they could not reach the controller: the request may have been carried out.
_CONTROLLER_AWAY = ("unable to contact", "socket timed out", "connection refused", "communication", "try again")


class _NotAcceptedError(Exception):
    """The token, or the client, is not accepted (any more)."""


class Superfacility:
    """One machine, as the API gives access to it. The session is made when it is first needed, and kept."""

    look_every = timedelta(seconds=30)

    def __init__(
        self, service: SuperfacilityService, machine: str, clock: Clock, links: PurePosixPath | None = None
    ) -> None:
        """``links`` is the folder in which jobs leave links to what the API cannot be asked for (see paths)."""
        self._links = links
        self._service = service
        self._machine = machine
        self._clock = clock
        self._client: Client | None = None

    # -- jobs ----------------------------------------------------------------------------------------------------

    def submit(self, script: str) -> str:
        """Queue a batch script, and return the job's id.

        ServiceUnavailableError means that nobody knows whether it was queued; ServiceRefusedError that it was not.
        """
        answer = self._call("post", f"compute/jobs/{self._machine}", data={"job": script, "isPath": False})
        if not answer.get("task_id"):
            self._refused_by_slurm("sbatch", answer.get("error"))
        result = self._await_task(str(answer["task_id"]))
        if result.get("status") == "error":
            self._refused_by_slurm("sbatch", result.get("error"))
        if not result.get("jobid"):
            self._unavailable(f"the task that submits the job names none ({result!r:.200})", None)
        return str(result["jobid"])

    def jobs(self, *, accounting: bool, **options: str) -> list[dict[str, Any]]:
        """Rows of sacct (``accounting``) or squeue; ``options`` are theirs, such as ``jobid`` or ``name``."""
        kwargs = [f"{name}={value}" for name, value in options.items()]
        params = {"sacct": accounting, "cached": False, "kwargs": kwargs}
        answer = self._call("get", f"compute/jobs/{self._machine}", params=params)
        if str(answer.get("status")).upper() != "OK":
            # squeue calls an id that has left the queue invalid; for accounting it is an empty table.
            if "invalid job id" in str(answer.get("error")).lower():
                return []
            self._refused_by_slurm("sacct" if accounting else "squeue", answer.get("error"))
        # A row without id, state or name shows no job: to whoever asks it is one that is not in the table (yet).
        rows = [row for row in answer.get("output") or [] if isinstance(row, dict)]
        return [row for row in rows if row.get("jobid") and row.get("state") and row.get("jobname") != NAMELESS]

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job."""
        self._call("delete", f"compute/jobs/{self._machine}/{quote(job_id, safe='')}")

    # -- the machine and the key ---------------------------------------------------------------------------------

    def state(self) -> FacilityState:
        """How it is, and which outages are announced. Anybody may ask that: no key is read, no session is made."""
        now = self._clock.now()
        shown = self._public(f"status/{self._machine}")
        if not isinstance(shown, dict):
            self._unavailable(f"it answered with a {type(shown).__name__} when asked how {self._machine} is", None)
        state = state_of(shown, self._public(f"status/outages/planned/{self._machine}"), now)
        if state.health is not Health.UNAVAILABLE:
            return state
        # One that has begun is planned no more, and stands among all that ever were.
        all_known = state_of(shown, self._public(f"status/outages/{self._machine}"), now)
        running = [one for one in all_known.outages if one.covers(now) and one not in state.outages]
        return replace(state, outages=(*running, *state.outages))

    def key_made_at(self) -> datetime:
        """When the key file was written. Raises CredentialsRefusedError for one that cannot be used."""
        return datetime.fromtimestamp(self._check_key_file().st_mtime, UTC)

    # -- files ---------------------------------------------------------------------------------------------------

    def list(self, path: str) -> list[Entry]:
        """The file, or what lies in the folder. Raises FileNotFoundError."""
        if not is_askable(path):
            raise FileNotFoundError(f"{self._machine} cannot be asked for {path!r}")
        answer = self._call("get", f"utilities/ls/{self._machine}/{in_url(path)}")
        if str(answer.get("status")).upper() != "OK":
            self._refused_file(path, answer.get("error"))
        entries = [
            Entry(str(entry["name"]), int(float(entry["size"])), str(entry["perms"]).startswith("d"))
            for entry in answer.get("entries") or []
        ]
        return [entry for entry in entries if entry.name not in (".", "..")]

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        """A file's content. Raises FileNotFoundError, and FileTooLargeError.

        Of a file that is too large nothing is sent, unless the path is a link.
        """
        path = path if self._links is None else askable(path, self._links)
        entries = self.list(path)
        size = entries[0].size_bytes if len(entries) == 1 else None
        if size is not None and size > limit_bytes:
            raise FileTooLargeError(f"{path!r} has {size} bytes, more than {limit_bytes}")
        url = f"utilities/download/{self._machine}/{in_url(path)}"
        answer = self._call("get", url, params={"binary": True})
        if str(answer.get("status")).upper() != "OK":
            self._refused_file(path, answer.get("error"))
        text = str(answer.get("file") or "")
        content = base64.b64decode(text) if answer.get("is_binary") else text.encode()
        if len(content) > limit_bytes:
            raise FileTooLargeError(f"{path!r} has {len(content)} bytes, more than {limit_bytes}")
        return content

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Mapping[str, Content]:
        return read_each(self, paths, limit_bytes=limit_bytes)

    def close(self) -> None:
        """Close the session; the next call makes a new one, with what is in the key file then."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # -- requests ------------------------------------------------------------------------------------------------

    def _call(self, verb: str, url: str, **arguments: Any) -> dict[str, Any]:
        try:
            return self._answer(verb, url, arguments)
        except _NotAcceptedError:
            # Refused before it was carried out, so that asking again is safe, also for a submit.
            self.close()
        try:
            return self._answer(verb, url, arguments)
        except _NotAcceptedError as error:
            self.close()
            raise CredentialsRefusedError(
                seen=f"the Superfacility API does not accept the credentials in {self._service.key_file} ({error})",
                meaning="the API client has probably expired: one that may submit jobs lives two days",
                remedy=f"make a new client at iris.nersc.gov and put its key into {self._service.key_file}, mode 0600",
            ) from error

    def _public(self, url: str) -> object:
        import httpx

        try:
            answer = httpx.get(f"{self._service.api_url.rstrip('/')}/{url}", timeout=PUBLIC_TIMEOUT_S)
            answer.raise_for_status()
            return answer.json()
        except httpx.HTTPStatusError as error:
            try:
                self._refused_by_http(error.response.status_code, error.response.text, url, error)
            except _NotAcceptedError:
                # Nobody was asked who they are: something else than the API answers.
                self._unavailable(f"HTTP {error.response.status_code} for {url}, which is public", error)
        except httpx.HTTPError as error:
            self._unavailable(f"{type(error).__name__} {error}".strip(), error)
        except json.JSONDecodeError as error:
            self._unavailable(f"it answered {url} with something that is not JSON", error)

    def _answer(self, verb: str, url: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        import httpx
        from authlib.common.errors import AuthlibBaseError

        try:
            document = getattr(self._session(), verb)(url, **arguments).json()
        except httpx.HTTPStatusError as error:
            self._refused_by_http(error.response.status_code, error.response.text, url, error)
        except AuthlibBaseError as error:
            if error.error in _NO_TOKEN_NOW:
                self._unavailable(f"no token was issued ({error})", error)
            raise _NotAcceptedError(str(error)) from error
        except httpx.HTTPError as error:
            self._unavailable(f"{type(error).__name__} {error}".strip(), error)
        except json.JSONDecodeError as error:
            self._unavailable(f"it answered {url} with something that is not JSON", error)
        except ValueError as error:
            self._unavailable(f"no token was issued ({error})", error)
        if document is None:
            return {}
        if not isinstance(document, dict):
            self._unavailable(f"it answered {url} with a {type(document).__name__}", None)
        return document

    def _session(self) -> "Client":
        if self._client is None:
            self._check_key_file()
            with warnings.catch_warnings():
                # Authlib announces the end of its support for httpx whenever it is imported, through its own filter.
                from authlib.deprecate import AuthlibDeprecationWarning

                warnings.simplefilter("ignore", AuthlibDeprecationWarning)
                from sfapi_client import Client
                from sfapi_client.exceptions import ClientKeyError

            try:
                client = Client(
                    key=self._service.key_file,
                    api_base_url=self._service.api_url,
                    token_url=self._service.token_url,
                )
            except (ClientKeyError, ValueError, KeyError, TypeError) as error:
                self._bad_key(f"it holds no client id and private key ({error})", error)
            for verb in ("get", "post", "delete"):
                # Undecorated: tenacity repeats each request up to ten times, POST too, for as long as a minute.
                setattr(client, verb, partial(getattr(Client, verb).__wrapped__, client))
            self._client = client
        return self._client

    def _await_task(self, task_id: str) -> dict[str, Any]:
        give_up = self._clock.now() + timedelta(seconds=SUBMIT_TASK_S)
        while True:
            task = self._call("get", f"tasks/{quote(task_id, safe='')}")
            state = str(task.get("status")).lower()
            if state == "completed":
                return self._task_result(task.get("result"))
            if state in ("failed", "cancelled") or self._clock.now() >= give_up:
                self._unavailable(f"the task that submits the job is {state} ({task.get('result')})", None)
            self._clock.sleep(SUBMIT_TASK_POLL_S)

    def _task_result(self, text: object) -> dict[str, Any]:
        try:
            result = json.loads(str(text))
        except json.JSONDecodeError as error:
            self._unavailable(f"a task's result is not JSON ({text!r:.200})", error)
        return result if isinstance(result, dict) else {}

    # -- what went wrong -----------------------------------------------------------------------------------------

    def _check_key_file(self) -> os.stat_result:
        path = Path(self._service.key_file)
        try:
            status = path.stat()
        except OSError as error:
            self._bad_key(f"it cannot be read ({error.strerror})", error)
        mode = stat.S_IMODE(status.st_mode)
        if mode != KEY_MODE:
            self._bad_key(f"it has mode {mode:04o}, and only 0600 is accepted: chmod 600 it", None)
        return status

    def _bad_key(self, what: str, cause: Exception | None) -> NoReturn:
        raise CredentialsRefusedError(
            seen=f"the key file {self._service.key_file} cannot be used: {what}",
            meaning="nothing can be submitted to NERSC, or asked after, without it",
            remedy="put the key of a Superfacility API client there, with mode 0600; it is read again at the next try",
        ) from cause

    def _refused_by_http(self, status: int, text: str, url: str, cause: Exception) -> NoReturn:
        if status in _NOT_ACCEPTED:
            raise _NotAcceptedError(f"HTTP {status}: {text:.200}") from cause
        if status in _UNAVAILABLE or status >= 500:
            self._unavailable(f"HTTP {status} for {url}", cause)
        raise ServiceRefusedError(
            seen=f"the Superfacility API refused {url} with HTTP {status}: {text:.500}",
            meaning="it does not take such a request",
            remedy="compare the request with its documentation at api.nersc.gov; asking again will not help",
        ) from cause

    def _refused_by_slurm(self, command: str, error: object) -> NoReturn:
        text = " ".join(str(error or "no reason given").split())
        if any(words in text.lower() for words in _CONTROLLER_AWAY):
            self._unavailable(f"{command}: {text:.500}", None)
        raise ServiceRefusedError(
            seen=f"Slurm at {self._machine} refused: {command}: {text:.500}",
            meaning="the job, or the question, does not fit the machine; nothing was queued",
            remedy="mend the facility's 'slurm' section in the beamline's file, or ask NERSC about the account",
        )

    def _refused_file(self, path: str, error: object) -> NoReturn:
        text = str(error or "no reason given")
        if _NO_SUCH_FILE in text:
            raise FileNotFoundError(f"{self._machine} has no {path!r}")
        raise ServiceRefusedError(
            seen=f"{self._machine} does not give {path!r}: {text:.500}",
            meaning="the file may be there, but this client may not read it, or not so",
            remedy="look at its mode and owner at the facility",
        )

    def _unavailable(self, what: str, cause: Exception | None) -> NoReturn:
        raise ServiceUnavailableError(
            seen=f"the Superfacility API gave no usable answer: {what}",
            meaning="NERSC, or the way to it, is down or busy",
            remedy="nothing to do at once: it is asked again; its state is at status.nersc.gov",
        ) from cause
