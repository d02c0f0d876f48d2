"""The system that this one replaces, as its Prefect server shows it: what is still switched on there.

Belongs here: reading that server's REST API (Prefect 3; checked against 3.9). Nothing is ever changed there.
Does not: what must be off before something is deleted here (als_assets.operations.cutover).
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from resources.errors import CredentialsRefusedError, ServiceUnavailableError

_PAGE = 200
"""The most that the server gives at once."""
_TIMEOUT_S = 30
_WAITING = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED")


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
    key: str | None = None

    def active_deployments(self, pools: Collection[str]) -> list[str]:
        """The deployments in these work pools that are not paused. Raises ServiceUnavailableError."""
        found = self._all("deployments", {})
        return sorted(str(one["name"]) for one in found if one.get("work_pool_name") in pools and not one.get("paused"))

    def waiting_runs(self, pools: Collection[str]) -> list[WaitingRun]:
        """The runs in these work pools that have not ended, the next to start first."""
        found = self._all("flow_runs", {"flow_runs": {"state": {"type": {"any_": list(_WAITING)}}}})
        runs = [
            WaitingRun(str(run["name"]), str(run["state_type"]).lower(), _time(run.get("expected_start_time")))
            for run in found
            if run.get("work_pool_name") in pools
        ]
        return sorted(runs, key=lambda run: (run.starts is None, run.starts, run.name))

    def _all(self, what: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self._ask(f"{what}/filter", {**wanted, "limit": _PAGE, "offset": len(found)})
            found += page
            if len(page) < _PAGE:
                return found

    def _ask(self, path: str, document: dict[str, Any]) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            answer = httpx.post(f"{self.url.rstrip('/')}/{path}", json=document, headers=headers, timeout=_TIMEOUT_S)
            if answer.status_code in (401, 403):
                raise CredentialsRefusedError(
                    seen=f"the Prefect server at {self.url} does not let this in (HTTP {answer.status_code})",
                    meaning="what is still switched on there cannot be told",
                    remedy="give its key in PREFECT_API_KEY",
                )
            answer.raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        if not isinstance(found, list):
            raise self._unavailable(f"{path} answered with a {type(found).__name__}")
        return found

    def _unavailable(self, why: str) -> ServiceUnavailableError:
        return ServiceUnavailableError(
            seen=f"the Prefect server at {self.url} gives no usable answer ({why})",
            meaning="a server that is silent may still have runs that delete files",
            remedy="give the address of its API (it ends with /api), or look yourself that it is gone for good",
        )


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
