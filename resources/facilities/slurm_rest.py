"""Jobs through the Slurm REST API: slurmrestd's, or one that mirrors it, as OLCF's S3M does.

Belongs here: HTTP, the token, which of the two tables is asked, and the API's errors in this platform's words.
Does not: the shapes of its documents (slurm_documents), or what a job's end means (batch).

Seen with slurmrestd of Slurm 22.05: the HTTP status says little. An unknown job and a refused one are a 500 whose
document has the reason's number; a token that the controller does not accept is a 500 with the number -1, and one that
accounting does not accept a 200 with an error in it. So the document is read first. Nothing is repeated here: whoever
calls decides what is asked again, and when.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

from resources.clock import Clock
from resources.errors import CredentialsRefusedError, ServiceRefusedError, ServiceUnavailableError
from resources.facilities.job import JobSpec
from resources.facilities.service import FacilityState, Health, JobSeen
from resources.facilities.slurm import NAMELESS, SlurmRow, log_paths, render_script, slurm_of
from resources.facilities.slurm_documents import (
    has_objects,
    job_request,
    maintenance,
    number,
    read_job,
    usable_nodes,
)
from resources.remote import TERMINAL

if TYPE_CHECKING:
    from httpx import Client, Response

TIMEOUT_S = 60.0
"""Of one request: slurmrestd waits for an absent controller for 9 to 18 seconds (seen) before it says so."""
CLOCKS_MAY_DIFFER = timedelta(hours=1)
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
"""All that a job finds, beyond Slurm's own variables: the API takes none over, and refuses a job with none."""

_NOT_ACCEPTED = (401, 403)
_UNAVAILABLE = (408, 425, 429)
# Numbers of slurm_errno.h. No such job, and an empty table:
_NOTHING = frozenset({2017, 9003})
# Protocol authentication, access denied, user id missing, credentials invalid and what belongs to them:
_CREDENTIALS = frozenset({1007, 2002, 2010, *range(6000, 6010)})
# Communication with one of the daemons, which may be away, and what nobody knows anything of:
_AWAY = frozenset({-1, *range(1000, 1007), *range(1800, 1806), *range(5000, 5006), *range(7000, 7004)})
# The controller's own reasons, and the REST server's for a document: only these say that nothing was queued.
_REFUSALS = frozenset({*range(2000, 3000), *range(9000, 10000)})


class _NothingFoundError(Exception):
    """Slurm knows no such job."""


class SlurmRest:
    """A JobService. One connection is kept; ``close`` it.

    Args:
        controller_url: of the controller's API, with its version, as in ``https://host/slurm/v0.0.38``.
        accounting_url: of accounting's, ``.../slurmdb/v0.0.38``; None where none is offered. Then a job can be asked
            after only as long as the controller remembers it, some minutes after its end.
        version: of both.
        token: reads the secret, each time it is used.
        token_source: where that is, for people.
        user: whose name goes with the token, as slurmrestd wants it; None for the header ``Authorization``.
        partition: of every job; None for the cluster's default.
    """

    def __init__(
        self,
        controller_url: str,
        accounting_url: str | None,
        version: str,
        *,
        token: Callable[[], str],
        token_source: str,
        user: str | None,
        clock: Clock,
        partition: str | None = None,
        environment: Mapping[str, str] = ENVIRONMENT,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Raises ValueError for a version that is not known."""
        has_objects(version)
        self._controller_url = controller_url.rstrip("/")
        self._accounting_url = accounting_url.rstrip("/") if accounting_url else None
        self._version = version
        self._token = token
        self._token_source = token_source
        self._user = user
        self._clock = clock
        self._partition = partition
        self._environment = dict(environment)
        self._timeout_s = timeout_s
        self._client: Client | None = None

    # -- jobs ----------------------------------------------------------------------------------------------------

    def submit(self, job: JobSpec, name: str) -> str:
        script = render_script(job, name)
        request = job_request(self._version, job, name, script, self._environment, self._partition)
        answer = self._ask("POST", f"{self._controller_url}/job/submit", body=request)
        job_id = answer.get("job_id") or (answer.get("result") or {}).get("job_id")
        if not job_id:
            self._unavailable(f"it took the job, and named no id ({answer!r:.200})", None)
        return str(job_id)

    def find(self, name: str, *, since: datetime) -> str | None:
        # Accounting shows a job that the controller has forgotten, the controller one that accounting knows not yet.
        rows = [row for row in self._accounted(since, job_name=name) if row.name == name]
        rows = rows or [row for row in self._controlled("jobs") if row.name == name]
        after = since - CLOCKS_MAY_DIFFER
        ids = [row.job_id for row in rows if row.submitted is None or row.submitted >= after]
        return min(ids, key=lambda job_id: (len(job_id), job_id), default=None)

    def job(self, job_id: str) -> JobSeen:
        # The controller first: accounting closes the record of a job that is queued again, and misses exit codes.
        where = f"job/{quote(job_id, safe='')}"
        rows = self._controlled(where) or self._recorded(where)
        found = [row for row in rows if row.job_id == job_id]
        if not found:
            raise LookupError(f"Job not found: {job_id}")
        return max(found, key=_submitted).seen

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        rows = {row.job_id: row for row in self._accounted(since)}
        rows |= {row.job_id: row for row in self._controlled("jobs")}
        after = since - CLOCKS_MAY_DIFFER
        return [
            row.seen
            for row in rows.values()
            if row.name.startswith(prefix) and (row.job_state not in TERMINAL or _submitted(row) >= after)
        ]

    def cancel(self, job_id: str) -> None:
        # What the controller knows nothing of has ended.
        with suppress(_NothingFoundError):
            self._ask("DELETE", f"{self._controller_url}/job/{quote(job_id, safe='')}")

    def log_paths(self, job: JobSpec, seen: JobSeen) -> tuple[str, str]:
        return log_paths(slurm_of(job), seen.name, seen.job_id)

    # -- the machine and the token -------------------------------------------------------------------------------

    def state(self) -> FacilityState:
        if not any(_answers(ping) for ping in self._list(f"{self._controller_url}/ping", "pings")):
            return FacilityState(Health.UNAVAILABLE, "its controller does not answer")
        nodes = self._list(f"{self._controller_url}/nodes", "nodes")
        outages = maintenance(self._list(f"{self._controller_url}/reservations", "reservations"))
        usable = usable_nodes(nodes)
        why = f"{usable} of {len(nodes)} nodes can be used"
        if not usable:
            return FacilityState(Health.UNAVAILABLE, why, outages)
        return FacilityState(Health.DEGRADED if 2 * usable < len(nodes) else Health.ACTIVE, why, outages)

    def credentials_until(self) -> datetime | None:
        return expiry(self._read_token())

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    # -- tables --------------------------------------------------------------------------------------------------

    def _controlled(self, where: str) -> list[SlurmRow]:
        return self._rows(self._controller_url, where)

    def _accounted(self, since: datetime, **options: str) -> list[SlurmRow]:
        # ``uts`` is the one form of a time that has no zone to guess.
        after = int((since - CLOCKS_MAY_DIFFER).timestamp())
        options |= {"start_time": f"uts{after}", "skip_steps": "true"}
        return self._recorded("jobs", **options)

    def _recorded(self, where: str, **options: str) -> list[SlurmRow]:
        rows = self._rows(self._accounting_url, where, **options)
        return [row for row in rows if row.name != NAMELESS]

    def _rows(self, url: str | None, where: str, **options: str) -> list[SlurmRow]:
        if url is None:
            return []
        shown = self._list(f"{url}/{where}", "jobs", options)
        try:
            return [read_job(one) for one in shown]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            self._unavailable(f"it shows a job in a shape that is not known ({type(error).__name__}: {error})", error)

    def _list(self, url: str, key: str, options: Mapping[str, str] | None = None) -> list[Mapping[str, Any]]:
        try:
            document = self._ask("GET", url, params=options)
        except _NothingFoundError:
            return []
        # An empty list says that there is nothing; a document without any says nothing.
        if not isinstance(document.get(key), list):
            self._unavailable(f"it answered {url} without any {key}", None)
        return list(document[key])

    # -- requests ------------------------------------------------------------------------------------------------

    def _ask(
        self, verb: str, url: str, *, params: Mapping[str, str] | None = None, body: object = None
    ) -> dict[str, Any]:
        import httpx

        headers = self._headers()
        try:
            answer = self._session().request(verb, url, params=params or None, json=body, headers=headers)
        except httpx.HTTPError as error:
            self._unavailable(f"{type(error).__name__} {error}".strip(), error)
        document = _document(answer)
        errors = [one for one in document.get("errors") or [] if isinstance(one, dict)]
        if errors and not document.get("job_id"):
            self._refused_by_slurm(verb, url, answer.status_code, errors)
        if not answer.is_success:
            self._refused_by_http(answer, url)
        if not document:
            self._unavailable(f"it answered {url} with something that is no document", None)
        return document

    def _session(self) -> "Client":
        if self._client is None:
            import httpx

            self._client = httpx.Client(timeout=self._timeout_s)
        return self._client

    def _headers(self) -> dict[str, str]:
        token = self._read_token()
        until = expiry(token)
        if until is not None and until <= self._clock.now():
            self._not_accepted(f"the token in {self._token_source} has ended at {until:%Y-%m-%d %H:%M} UTC", None)
        if self._user is None:
            return {"Authorization": token}
        return {"X-SLURM-USER-NAME": self._user, "X-SLURM-USER-TOKEN": token}

    def _read_token(self) -> str:
        try:
            token = self._token()
        except ValueError as error:
            self._not_accepted(str(error), error)
        if not token or not token.isascii() or not token.isprintable():
            self._not_accepted(f"{self._token_source} holds no token: empty, or with characters that none has", None)
        return token

    # -- what went wrong -----------------------------------------------------------------------------------------

    def _refused_by_slurm(self, verb: str, url: str, status: int, errors: Sequence[Mapping[str, Any]]) -> NoReturn:
        """Raise what the errors in a document mean."""
        numbers = {number(one.get("error_number", one.get("error_code"))) for one in errors}
        said = "; ".join(
            " ".join(str(one.get(key)) for key in ("error", "description") if one.get(key)) for one in errors
        )
        if numbers & _NOTHING and verb != "POST":
            raise _NothingFoundError(said)
        if numbers & _CREDENTIALS or status in _NOT_ACCEPTED:
            self._not_accepted(
                f"the Slurm REST API does not accept the token in {self._token_source} ({said:.300})", None
            )
        if numbers & _AWAY or status in _UNAVAILABLE or (status >= 500 and not numbers & _REFUSALS):
            self._unavailable(f"{url}: {said:.500}", None)
        raise ServiceRefusedError(
            seen=f"Slurm refused {url}: {said:.500}",
            meaning="the job, or the question, does not fit the machine; nothing was queued",
            remedy="mend the facility's resources in the beamline's file, or ask the facility about the account",
        )

    def _refused_by_http(self, answer: "Response", url: str) -> NoReturn:
        status, text = answer.status_code, " ".join(answer.text.split())
        if status in _NOT_ACCEPTED:
            what = f"the Slurm REST API does not accept the token in {self._token_source} (HTTP {status}: {text:.200})"
            self._not_accepted(what, None)
        if status in _UNAVAILABLE or status >= 500:
            self._unavailable(f"HTTP {status} for {url}", None)
        raise ServiceRefusedError(
            seen=f"the Slurm REST API refused {url} with HTTP {status}: {text:.500}",
            meaning=f"it does not take such a request, or has no version {self._version}",
            remedy="compare address and version with the facility's documentation; asking again will not help",
        )

    def _not_accepted(self, what: str, cause: Exception | None) -> NoReturn:
        raise CredentialsRefusedError(
            seen=what,
            meaning="nothing can be submitted there, or asked after, without a token that is accepted",
            remedy=f"get a new token from the facility and put it into {self._token_source}: it is read each time",
        ) from cause

    def _unavailable(self, what: str, cause: Exception | None) -> NoReturn:
        raise ServiceUnavailableError(
            seen=f"the Slurm REST API gave no usable answer: {what}",
            meaning="the facility, or the way to it, is down or busy; old versions say so of a token, too, that they "
            "do not accept",
            remedy="nothing to do at once: it is asked again; if it goes on, ask the facility, and look at the token",
        ) from cause


def expiry(token: str) -> datetime | None:
    """When a token ends, where it is a JWT that says so; its signature is the service's affair."""
    parts = token.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def _document(answer: "Response") -> dict[str, Any]:
    """The answer's JSON, where it is an object; else an empty one."""
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _answers(ping: Mapping[str, Any]) -> bool:
    return bool(ping.get("responding")) or str(ping.get("ping", ping.get("pinged"))).upper() == "UP"


def _submitted(row: SlurmRow) -> datetime:
    return row.submitted or datetime.fromtimestamp(0, UTC)
