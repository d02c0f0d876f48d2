"""What Globus has to work under: speed, delays, quotas, forbidden folders, collections that are down, faulty files.

Belongs here: the values that the control API changes while the twin runs.
Does not: what they lead to (storage, copying, tasks), or faults of HTTP (twin.faults).
"""

import threading
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from beamlines.places import AbsolutePath


class Access(StrEnum):
    READ = "read"
    WRITE = "write"


class Denied(BaseModel):
    """A folder where the client may not read or not write, whatever the file system says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    collection: str
    prefix: AbsolutePath
    access: frozenset[Access] = frozenset(Access)

    def covers(self, collection: str, path: PurePosixPath, access: Access) -> bool:
        return collection == self.collection and access in self.access and path.is_relative_to(self.prefix)


class FaultCode(StrEnum):
    """What a single file can run into. CORRUPT changes a byte on the way."""

    FILE_NOT_FOUND = "FILE_NOT_FOUND"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    CORRUPT = "CORRUPT"
    ENDPOINT_ERROR = "ENDPOINT_ERROR"


class TaskFault(BaseModel):
    """What happens to the file called ``name`` the next ``times`` times that a task comes to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    code: FaultCode
    times: int = Field(default=1, ge=1)


class Conditions(BaseModel):
    """All that holds at one moment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bandwidth_bytes_per_s: float | None = Field(default=None, gt=0)
    """Of each task; None for as fast as the disk."""
    start_delay_s: float = Field(default=0, ge=0)
    """How long a task waits in the queue at least."""
    retry_delay_s: float = Field(default=0.5, gt=0)
    """How long a task backs off after a fault; the service takes minutes."""
    quota_bytes: dict[str, int] = {}
    """By collection."""
    umask: str = Field(default="0002", pattern=r"^0[0-7]{3}$")
    """With which the collections' servers write; folders inherit their group."""
    denied: tuple[Denied, ...] = ()
    others_may_delete: frozenset[str] = frozenset()
    """Collections where every client may delete, also beside one that is there for that alone."""
    down: frozenset[str] = frozenset()
    """Collections that do not answer."""


class ConditionsBoard:
    """The conditions of now, and the faults that wait for a file. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Conditions()
        self._faults: list[TaskFault] = []

    @property
    def now(self) -> Conditions:
        with self._lock:
            return self._now

    def change(self, changes: Mapping[str, Any]) -> Conditions:
        """Replace the values that are named. Raises pydantic.ValidationError, and then nothing changes."""
        with self._lock:
            self._now = Conditions.model_validate(self._now.model_dump() | dict(changes))
            return self._now

    def reset(self) -> None:
        """The conditions of a fresh twin, without faults."""
        with self._lock:
            self._now = Conditions()
            self._faults.clear()

    def add_fault(self, fault: TaskFault) -> None:
        with self._lock:
            self._faults.append(fault)

    def clear_faults(self) -> None:
        with self._lock:
            self._faults.clear()

    def faults(self) -> list[TaskFault]:
        with self._lock:
            return list(self._faults)

    def take_fault(self, *names: str) -> FaultCode | None:
        """The first fault of a file of one of these names, used up by one."""
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fault.name in names:
                    if fault.times == 1:
                        del self._faults[index]
                    else:
                        self._faults[index] = fault.model_copy(update={"times": fault.times - 1})
                    return fault.code
        return None
