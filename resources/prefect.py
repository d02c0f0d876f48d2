"""The system that this one replaces, as its Prefect server shows it: what is still switched on there.

Belongs here: reading that server's REST API (Prefect 3; checked against 3.9). Nothing is ever changed there.
Does not: what must be off before something is deleted here (als_assets.operations.cutover).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx

from resources.errors import CredentialsRefusedError, ServiceUnavailableError

_PAGE = 200
"""The most that the server gives at once."""
_TIMEOUT_S = 30
_WAITING = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that has not ended: it will start by itself, or is at work."""

    name: str
    state: str
    starts: datetime | None


@dataclass(frozen=True, slots=True)
class Prefect:
    """One server, by the address of its API, such as ``http://host:4200/api``."""

    url: str
    key: str | None = field(default=None, repr=False)

    def pools(self, names: Collection[str]) -> list[str]:
        """Which of these work pools there are."""
        return sorted(str(pool["name"]) for pool in self._all("work_pools/filter", {}) if pool["name"] in names)

    def online_workers(self, pools: Collection[str]) -> list[str]:
        """The workers of these pools that have said lately that they live: paused deployments' runs run on them too."""
        found = [
            f"{worker['name']} of {pool}"
            for pool in pools
            for worker in self._all(f"work_pools/{quote(pool, safe='')}/workers/filter", {})
            if worker.get("status") == "ONLINE"
        ]
        return sorted(found)

    def active_deployments(self, pools: Collection[str]) -> list[str]:
        """The deployments in these work pools, or in none any more, that are not paused."""
        found = self._all("deployments/filter", {})
        return sorted(str(one["name"]) for one in found if _counts(one, pools) and not one.get("paused"))

    def waiting_runs(self, pools: Collection[str]) -> list[WaitingRun]:
        """The runs in these work pools, or in none any more, that have not ended; the next to start first."""
        found = self._all("flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": list(_WAITING)}}}})
        runs = [
            WaitingRun(str(run["name"]), str(run["state_type"]).lower(), _time(run.get("expected_start_time")))
            for run in found
            if _counts(run, pools)
        ]
        return sorted(runs, key=lambda run: (run.starts is None, run.starts, run.name))

    def _all(self, path: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self._ask(path, {**wanted, "limit": _PAGE, "offset": len(found)})
            found += page
            if len(page) < _PAGE:
                return found

    def _ask(self, path: str, document: dict[str, Any]) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.key.strip()}"} if self.key else {}
        try:
            answer = httpx.post(f"{self.url.rstrip('/')}/{path}", json=document, headers=headers, timeout=_TIMEOUT_S)
            if answer.status_code in (401, 403):
                raise CredentialsRefusedError(
                    seen=f"the Prefect server at {self._said} does not let this in (HTTP {answer.status_code})",
                    meaning="what is still switched on there cannot be told",
                    remedy="give its key in PREFECT_API_KEY",
                )
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            # Not the error's own text: it may hold the address with a password, or the key.
            raise self._unavailable(_kind(error)) from None
        if not isinstance(found, list):
            raise self._unavailable(f"{path} answered with a {type(found).__name__}")
        return found

    @property
    def _said(self) -> str:
        """The address without a user and a password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def _unavailable(self, why: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            seen=f"the Prefect server at {self._said} gives no usable answer ({why})",
            meaning="a server that is silent may still have runs that delete files",
            remedy="give the address of its API (it ends with /api), or look yourself that it is gone for good",
        )


def _counts(document: dict[str, Any], pools: Collection[str]) -> bool:
    # What has lost its pool may be anybody's: it counts until somebody has looked.
    pool = document.get("work_pool_name")
    return pool is None or pool in pools


def _kind(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return type(error).__name__


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
