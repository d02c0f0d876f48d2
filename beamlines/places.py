"""Places where copies lie, and locations in them.

Belongs here: Place, Location, and how a location reads on a collection, in a job and on this machine.
Does not: which path a copy has (layout), or how bytes move (resources).
"""

import stat
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

NAME_PATTERN = r"[a-z][a-z0-9]*"
GIVEN = "given"
"""Stands where only a deployment can tell: its ``facilities.<name>`` must give it, or the facility stays disabled."""


class Role(StrEnum):
    """What a place is for, and whether a copy there may be the last one."""

    ACQUISITION = "acquisition"
    DURABLE = "durable"
    SCRATCH = "scratch"


class Store(StrEnum):
    """The two kinds of folder that a place has."""

    RAW = "raw"
    RESULTS = "results"


class NotAtPlaceError(ValueError):
    """A location that the place cannot hold, or that cannot be seen from here."""


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{str(path)!r} must be an absolute path without '..'")
    return path


def _relative(path: PurePosixPath) -> PurePosixPath:
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{str(path)!r} must be a path below the place's root, without '..'")
    return path


def _mode(text: str) -> str:
    if not all(digit in "01234567" for digit in text) or stat.S_IMODE(int(text, 8)) != int(text, 8):
        raise ValueError(f"{text!r} must be an octal file mode in quotes, such as '2775'")
    return text


AbsolutePath = Annotated[PurePosixPath, AfterValidator(_absolute)]
RelativePath = Annotated[PurePosixPath, AfterValidator(_relative)]
Mode = Annotated[str, AfterValidator(_mode)]


class Place(BaseModel):
    """A storage location.

    ``collection_root`` and ``posix_root`` name the same folder: the first as Globus sees it on ``collection``, the
    second as programs that run there see it. They differ (at ALCF ``/data`` is ``/eagle/IRIBeta/als/data``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=f"^{NAME_PATTERN}$")
    collection: str = Field(pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|given)$")
    """Its id; ``given`` where only a deployment can tell, with roots below ``/given`` (deployment.FacilityHere)."""
    collection_root: AbsolutePath
    posix_root: AbsolutePath
    mount: AbsolutePath | None = None
    """Where the machine that runs Dagster sees the same folder; None where it does not."""
    role: Role
    off_site: bool
    """True where a copy has left the Advanced Light Source: export control applies."""
    facility: str | None = None
    """The facility whose jobs see this place; None for the beamline's own machines."""
    stores: dict[Store, RelativePath]
    dir_mode: Mode = "2775"
    file_mode: Mode = "664"
    group: str | None = None
    contact: str = ""
    """Who runs it, and is asked when it does not answer or refuses."""
    data_access_consent: bool = False
    """True only for mapped collections of a Globus Connect Server that ask for the ``data_access`` scope."""

    @model_validator(mode="after")
    def _only_a_facility_is_given(self) -> Self:
        if self.collection == GIVEN and self.facility is None:
            raise ValueError("collection: only of a facility's place can it be left to be given")
        return self

    @model_validator(mode="after")
    def _stores_are_apart(self) -> Self:
        for store, folder in self.stores.items():
            for other, another in self.stores.items():
                if store is not other and another.is_relative_to(folder):
                    raise ValueError(f"stores.{other} ({another}) lies in stores.{store} ({folder})")
        return self

    @model_validator(mode="after")
    def _one_umask_leads_to_both_modes(self) -> Self:
        fitting = 0o666 & int(self.dir_mode, 8)
        if int(self.file_mode, 8) != fitting:
            raise ValueError(
                f"file_mode {self.file_mode} does not go with dir_mode {self.dir_mode}: files that jobs write there "
                f"would get {fitting:o}"
            )
        return self

    @property
    def run_by(self) -> str:
        """Who runs it, in words."""
        return self.contact or f"whoever runs {self.name}"

    @property
    def umask(self) -> str:
        """With which programs there write, in octal: it leads to both modes."""
        return f"{0o777 & ~int(self.dir_mode, 8):04o}"

    def at(self, store: Store, path: PurePosixPath | str) -> "Location":
        """The location of ``path`` in one of the place's two stores. Raises NotAtPlaceError."""
        if store not in self.stores:
            raise NotAtPlaceError(f"{self.name} has no {store} folder: it has {[str(store) for store in self.stores]}")
        return Location(self, self.stores[store] / path)


class Location:
    """A path below the root of a place."""

    __slots__ = ("path", "place")

    def __init__(self, place: Place, path: PurePosixPath) -> None:
        if path.is_absolute() or ".." in path.parts:
            raise NotAtPlaceError(f"{str(path)!r} would leave {place.name}: a location is relative, without '..'")
        self.place = place
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Location) and (self.place, self.path) == (other.place, other.path)

    def __hash__(self) -> int:
        return hash((self.place.name, self.path))

    def __str__(self) -> str:
        return f"{self.place.name}:{self.posix}"

    __repr__ = __str__

    def __truediv__(self, part: str) -> "Location":
        return Location(self.place, self.path / part)

    def beside(self, name: str) -> "Location":
        """The location of ``name`` in the same folder."""
        return Location(self.place, self.path.parent / name)

    @property
    def folder(self) -> "Location":
        """The folder that it lies in."""
        return Location(self.place, self.path.parent)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def on_collection(self) -> str:
        """The path that Globus is given."""
        return str(self.place.collection_root / self.path)

    @property
    def posix(self) -> str:
        """The path that a program at the place is given."""
        return str(self.place.posix_root / self.path)

    @property
    def here(self) -> Path:
        """The path on this machine. Raises NotAtPlaceError where the place is not mounted."""
        if self.place.mount is None:
            raise NotAtPlaceError(
                f"{self} cannot be read from here: {self.place.name} has no 'mount' in the deployment's file"
            )
        return Path(self.place.mount / self.path)
