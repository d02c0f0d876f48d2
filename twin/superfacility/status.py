"""The state of NERSC's systems and their outages, which anybody may read.

Belongs here: what /status shows, and changing it.
Does not: what an outage does to jobs and commands (scheduler.Pace).
"""

from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from twin.scheduler import Clock

StatusValue = Literal["active", "unavailable", "degraded", "other"]

SYSTEMS = {
    "perlmutter": ("Perlmutter", "compute"),
    "dtns": ("Data Transfer Nodes", "filesystem"),
    "global_homes": ("Global Homes", "filesystem"),
    "community_filesystem": ("Community File System (CFS)", "filesystem"),
    "globus": ("Globus", "service"),
    "archive": ("HPSS Archive (User)", "storage"),
}


NERSC_TIME = ZoneInfo("America/Los_Angeles")


class UnknownSystemError(LookupError):
    """A name that NERSC has no system for."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no system {name!r}; there are {sorted(SYSTEMS)}")


class Outage(BaseModel):
    """An outage, running or planned. Times are aware; the API shows them as NERSC's, with no word of that."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    start_at: AwareDatetime
    end_at: AwareDatetime | None = None
    description: str = "Scheduled Maintenance"
    notes: str = ""
    status: Literal["Active", "Cancelled", "Completed", "Extended", "Planned"] = "Planned"
    swo: str = Field(default="", description="what NERSC calls the kind of outage")
    update_at: AwareDatetime | None = None

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        times = {name: getattr(self, name) for name in ("start_at", "end_at", "update_at")}
        return self.model_dump(mode="json") | {name: time and _local(time) for name, time in times.items()}


class StatusBoard:
    """The state of every system. Outages whose status is Planned are the planned ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._systems: dict[str, dict[str, Any]] = {}
        self._outages: list[Outage] = []
        self.reset()

    def reset(self) -> None:
        """Every system active, no outages."""
        self._systems = {name: self._system(name, "active", "") for name in SYSTEMS}
        self.clear_outages()

    def set(self, name: str, status: StatusValue, note: str = "") -> None:
        """Raises UnknownSystemError."""
        self.system(name)
        self._systems[name] = self._system(name, status, note)

    def add(self, outage: Outage) -> None:
        """Raises UnknownSystemError."""
        self.system(outage.name)
        self._outages.append(outage)

    def clear_outages(self) -> None:
        self._outages.clear()

    def systems(self) -> list[dict[str, Any]]:
        return list(self._systems.values())

    def system(self, name: str) -> dict[str, Any]:
        """Raises UnknownSystemError."""
        if name not in self._systems:
            raise UnknownSystemError(name)
        return self._systems[name]

    def outages(self, name: str, *, planned: bool) -> list[dict[str, Any]]:
        """Raises UnknownSystemError."""
        self.system(name)
        return [
            outage.shown()
            for outage in self._outages
            if outage.name == name and (outage.status == "Planned") is planned
        ]

    def all_outages(self, *, planned: bool) -> list[list[dict[str, Any]]]:
        """A list for every system, also where it is empty."""
        return [self.outages(name, planned=planned) for name in SYSTEMS]

    def _system(self, name: str, status: StatusValue, note: str) -> dict[str, Any]:
        full_name, system_type = SYSTEMS[name]
        return {
            "name": name,
            "full_name": full_name,
            "description": "System Active" if status == "active" else note,
            "system_type": system_type,
            "notes": [note] if note else [],
            "status": status,
            "updated_at": _local(self._clock()),
        }


def _local(time: datetime) -> str:
    """Without its offset from UTC, as NERSC's documents have it."""
    return time.astimezone(NERSC_TIME).replace(tzinfo=None, microsecond=0).isoformat()
