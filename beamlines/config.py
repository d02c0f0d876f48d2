"""A beamline as its YAML file states it: places, facilities, what is a scan, where scans may go.

Belongs here: the models of ``config/<beamline>.yaml`` and the check of one against itself.
Does not: what a facility is (facilities), addresses, mounts and credentials (deployment), or reading files
(resources.settings).
"""

import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import PurePosixPath
from typing import Any, Self, TypeVar
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from beamlines.catalogue.rules import CatalogueRules
from beamlines.decisions import Decision
from beamlines.facilities import FACILITY_KINDS, FacilityRules, Strict
from beamlines.places import NAME_PATTERN, AbsolutePath, Place, RelativePath, Role, Store
from beamlines.policy import ExportControl, send_on
from beamlines.retention import Retention, refuse_unsafe
from beamlines.scans import InvalidScanPathError, ScanId
from beamlines.standing import Standing

Model = TypeVar("Model", bound=BaseModel)
_SECRET = ("secret", "token", "address")
"""In the names of keys whose values no message shows: somebody may have written down what should only be named."""


class ConfigurationError(ValueError):
    """A configuration that cannot be used: one message with file, key, value and what is allowed."""


class ScanRules(Strict):
    """Which files on the acquisition machine are scans."""

    announced_below: AbsolutePath
    """The root that the acquisition program puts before ``raw/`` when it names a file."""
    place: str
    """Where scans appear."""
    first_copy: str
    """Where a new scan is copied to first, and read: on site."""
    ignore_folders: tuple[str, ...] = ()
    """Folders below raw/ that never hold scans."""


class FlightCheck(Strict):
    """A small file goes the way of every scan, so that a broken link is known before a scan needs it."""

    file: RelativePath
    """Below raw/ on the acquisition machine, in a folder that never holds scans."""
    deadline: timedelta = timedelta(minutes=15)
    """How long a hop may take: in this time a person would have looked."""
    cron: str = Field(pattern=r"^\S+ \S+ \S+ \S+ \S+$")
    """When: minute, hour, day, month, day of the week."""
    time_zone: str

    @field_validator("time_zone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("must be a time zone of the IANA's database, such as America/Los_Angeles")
        return name


class Replaced(Strict):
    """The system before this one: what must be off there before anything is deleted here."""

    work_pools: tuple[str, ...]
    """Of its Prefect server: whose deployments and runs count."""


class Beamline(Strict):
    """One beamline: everything about it that is the same in production and in the twin."""

    name: str = Field(pattern=r"^bl[0-9]+$")
    title: str
    scans: ScanRules
    places: dict[str, Place]
    facilities: dict[str, FacilityRules]
    preference: tuple[str, ...]
    """Facilities in the order in which they are asked to take new arrivals."""
    export_control: ExportControl
    retention: Retention = Retention()
    """Which copies go when; with nothing said, none ever does."""
    flight_check: FlightCheck | None = None
    """None where the beamline has none."""
    catalogue: CatalogueRules | None = None
    """None where scans are described in no catalogue."""
    replaces: Replaced | None = None
    """None where no other system ever did its work."""

    @field_validator("places", mode="before")
    @classmethod
    def _names_are_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return {k: {**v, "name": k} if isinstance(v, dict) else v for k, v in value.items()}
        return value

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        self._must_be(self.scans.place, "scans.place", Role.ACQUISITION, Store.RAW)
        self._must_be(self.scans.first_copy, "scans.first_copy", Role.DURABLE, Store.RAW, Store.RESULTS)
        for name, facility in self.facilities.items():
            here = f"facilities.{name}"
            if not re.fullmatch(NAME_PATTERN, name):
                raise ValueError(f"{here}: a facility is called by lower-case letters and digits, not {name!r}")
            if name.startswith("rec") or name in ("preview", "comparison"):
                raise ValueError(f"{here}: a facility cannot be called {name!r}, results lie under such names")
            self._places_must_fit(name, facility, here)
        if self.places[self.scans.first_copy].off_site:
            raise ValueError(f"scans.first_copy: {self.scans.first_copy} is off site: a scan is read on site first")
        if self.flight_check is not None and not self._is_ignored(self.flight_check.file.parent):
            raise ValueError(
                f"flight_check.file: {self.flight_check.file.parent} must be in scans.ignore_folders, "
                "or its files would be taken for scans"
            )
        if sorted(self.preference) != sorted(self.facilities):
            raise ValueError(f"preference must list each facility once: {sorted(self.facilities)}")
        self._folders_must_be_apart()
        refuse_unsafe(self.retention, self.places, self.facilities)
        return self

    def _places_must_fit(self, name: str, facility: FacilityRules, here: str) -> None:
        for result in facility.results:
            self._must_be(result, f"{here}.results", Role.DURABLE, Store.RESULTS)
        if facility.kind == "process":
            # It sees what this machine sees: the first copy, beside which it leaves its products.
            for key, place in (("raw", facility.raw), ("work", facility.work)):
                if place != self.scans.first_copy:
                    raise ValueError(f"{here}.{key}: a process works at scans.first_copy, {self.scans.first_copy}")
            return
        self._must_be(facility.work, f"{here}.work", Role.SCRATCH, Store.RAW, Store.RESULTS)
        if facility.raw != facility.work:
            self._must_be(facility.raw, f"{here}.raw", Role.DURABLE, Store.RAW)
        for key, place in (("raw", facility.raw), ("work", facility.work)):
            if self.places[place].facility != name:
                raise ValueError(f"{here}.{key}: jobs of {name} cannot see {place}: its facility is another")

    def _folders_must_be_apart(self) -> None:
        folders = [
            (f"{place.name}.{store}", place.collection, place.collection_root / path)
            for place in self.places.values()
            for store, path in place.stores.items()
        ]
        for (one, collection, folder), (other, another, below) in itertools.permutations(folders, 2):
            if collection == another and below.is_relative_to(folder):
                raise ValueError(f"places: {other} ({below}) lies in {one} ({folder}): copies would share paths")

    def _must_be(self, name: str, key: str, role: Role, *stores: Store) -> None:
        place = self.places.get(name)
        if place is None:
            raise ValueError(f"{key}: there is no place {name!r}; there are {sorted(self.places)}")
        missing = [store for store in stores if store not in place.stores]
        if place.role is not role or missing:
            raise ValueError(f"{key}: {name} must be a {role} place with {[str(s) for s in stores]} folders")

    def sends_on(self, scan: ScanId, facility: str, standing: Standing) -> Decision:
        """Whether an ingested scan may be at a facility, and goes through its branch by itself."""
        raw = self.places[self.facilities[facility].raw]
        allowed = self.export_control.may_be_at(scan, raw, standing)
        return send_on(standing, facility) if allowed.allowed else allowed

    def router(self, facility: str) -> str:
        """What the sensor is called that sends scans through a facility's branch: its switch is the branch's."""
        return f"{self.name}_route_to_{facility}"

    def why_not_a_scan(self, path: str) -> str | None:
        """Why a path below raw/ is no scan of this beamline; None where it is one."""
        if ignored := self._is_ignored(PurePosixPath(path).parent):
            return f"{ignored} is in scans.ignore_folders"
        try:
            ScanId(path)
        except InvalidScanPathError as error:
            return str(error)
        return None

    def _is_ignored(self, folder: PurePosixPath) -> str | None:
        """The entry of scans.ignore_folders that a folder below raw/ falls under."""
        return next((name for name in self.scans.ignore_folders if folder.is_relative_to(name)), None)


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where PyYAML was built with it: every command reads two such files, and waits for it."""


def parse_beamline(text: str, *, source: str) -> Beamline:
    """Read a beamline's YAML. Raises ConfigurationError with file, key, value and what is allowed."""
    value = load_mapping(text, source=source)
    rules = value.get("export_control")
    if isinstance(rules, dict) and "default" in rules:
        raise ConfigurationError(f"{source}: export_control.default: the deployment's file states it, not this one")
    return parse(Beamline, value, source=source)


def load_mapping(text: str, *, source: str) -> dict[str, Any]:
    """Read YAML that must be a mapping."""
    try:
        value = yaml.load(text, _LOADER)  # noqa: S506 both are safe
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{source}: not YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"{source}: must be a mapping of keys to values, is {type(value).__name__}")
    return value


def parse(model: type[Model], value: dict[str, Any], *, source: str) -> Model:
    """Validate one configuration; every error in one message, a line each."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False):
            key = ".".join(_as_written(item["loc"])) or "(whole file)"
            lines.append(f"  {key}: {item['msg']}{_shown(key, item['input'])}")
        raise ConfigurationError("\n".join([f"{source}: {len(lines)} error(s)", *lines])) from error


def _as_written(location: tuple[int | str, ...]) -> Iterator[str]:
    """Where a value stands in the file: pydantic names a facility's kind too, which is no key there."""
    for depth, part in enumerate(location):
        if not (depth == 2 and location[0] == "facilities" and part in FACILITY_KINDS):
            yield str(part)


def _shown(key: str, value: Any) -> str:
    """The refused value; but no whole section, in which a password may stand, and nothing of a secret."""
    hidden = isinstance(value, dict | list) or any(word in key for word in _SECRET)
    return "" if hidden else f" (is {value!r:.120})"
