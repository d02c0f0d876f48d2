"""A deployment: the addresses, prefixes, mounts and names of secrets that turn a beamline's file into a running system.

Belongs here: the model of ``config/twin.yaml`` and ``config/production.yaml``, and applying one to a beamline.
Does not: reading files, the environment or secrets (resources.settings).
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from beamlines.config import Beamline, ConfigurationError, load_mapping, parse
from beamlines.facilities import FacilityRules, SlurmResources, Strict
from beamlines.messages import Kind, Rate
from beamlines.places import GIVEN, AbsolutePath, Place, RelativePath, Role
from beamlines.policy import ExportDefault
from beamlines.retention import Retention
from beamlines.scans import ScanId

_VARIABLE = re.compile(r"\$\{(?P<name>[A-Z][A-Z0-9_]*)(?::-(?P<default>[^}]*))?\}")


class SecretName(Strict):
    """Where a secret is found, never the secret itself: an environment variable, or a file of mode 0600."""

    env: str | None = None
    file: AbsolutePath | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("name either 'env' or 'file'")
        return self

    @property
    def said(self) -> str:
        """Where it is, in words."""
        return f"the environment variable {self.env}" if self.file is None else str(self.file)


class GlobusClient(Strict):
    """A confidential client of Globus Auth."""

    client_id: str
    client_secret: SecretName


class GlobusService(GlobusClient):
    """Globus Auth, Transfer and Compute; with no addresses, the SDK's own (production) are used."""

    auth_url: str | None = None
    transfer_url: str | None = None
    compute_url: str | None = None
    deletes: GlobusClient | None = None
    """Another client, which asks for every delete. None: the one that transfers does, and nothing goes by rule."""

    @model_validator(mode="after")
    def _are_two(self) -> Self:
        if self.deletes is not None and self.deletes.client_id == self.client_id:
            raise ValueError(
                "deletes.client_id is the client that transfers: another one is needed, with rights of its own"
            )
        return self


class SuperfacilityService(Strict):
    """NERSC's Superfacility API; the key file holds client id and private key and has mode 0600."""

    api_url: str
    token_url: str
    key_file: AbsolutePath


class SlurmRestService(Strict):
    """A Slurm REST API, by name of a facility of that kind."""

    controller_url: str
    """With its version, as in ``https://host/slurm/v0.0.38``."""
    accounting_url: str | None = None
    """``.../slurmdb/v0.0.38``; None where none is offered: then a job is known for some minutes after its end only."""
    version: str = Field(pattern=r"^v\d+\.\d+\.\d+$")
    """Of both: field names differ by version."""
    user: str | None = None
    """Goes with the token as slurmrestd wants it; None where the header ``Authorization`` carries it."""
    token: SecretName
    partition: str | None = None
    """Of every job; None for the cluster's default."""


class CatalogueService(Strict):
    """The SciCat of this system."""

    url: str
    """Of its API, with the version, as in ``https://host/api/v3``."""
    page: str
    """Of its pages, to which an entry's pid is added, as in ``https://host/datasets``."""
    username: str
    password: SecretName
    pid_prefix: str = Field(pattern=r"^[A-Za-z0-9.]+(/[A-Za-z0-9.]+)*$")
    """Before each pid. Changed, every scan would get a second entry beside its first."""


class FacilityHere(Strict):
    """A facility of the beamline's file, as this deployment has it; what is not said holds as it stands there."""

    enabled: bool = True
    collection: str | None = Field(default=None, pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
    """Of its places, where the beamline's file leaves it to be given."""
    root: AbsolutePath | None = None
    """Of its places, both as Globus and as jobs see it, likewise."""
    allocation: str | None = Field(default=None, pattern=r"^[a-z0-9_-]+$")
    """The account that its jobs are charged to, likewise."""

    @property
    def given(self) -> dict[str, Any]:
        return {"collection": self.collection, "root": self.root, "allocation": self.allocation}


class Timing(Strict):
    """How often the outside world is asked, and when waiting is given up."""

    sensor_interval_s: int = Field(ge=1)
    quiet_time_s: float = Field(gt=0)
    """A file is complete when neither its size nor its time has changed between listings for this long."""
    poll_first_s: float = Field(gt=0)
    poll_longest_s: float = Field(gt=0)
    """Remote work is asked after at intervals that grow from the first to the longest."""
    transfer_deadline_s: float = Field(gt=0)
    queue_deadline_s: float = Field(gt=0)
    """How long a job may wait in a queue; its time limit comes on top."""
    retry_first_s: float = Field(default=30, gt=0)
    """A step whose service did not answer is tried again after this long, then after twice as long: six times."""

    @model_validator(mode="after")
    def _polls_get_slower(self) -> Self:
        if self.poll_longest_s < self.poll_first_s:
            raise ValueError("poll_longest_s must not be less than poll_first_s")
        return self


class RetentionHere(Strict):
    """Retention at one place, as this deployment has it."""

    enforce: bool = False
    """Only where this is true anything is deleted; else a pass says what it would delete."""


class Shadow(Strict):
    """Beside another system that still does the work: folders of our own everywhere, and nothing is deleted."""

    folder: RelativePath
    """Put before every folder of every place but the acquisition machine's, where scans are only read."""

    @field_validator("folder")
    @classmethod
    def _is_one(cls, folder: PurePosixPath) -> PurePosixPath:
        if not folder.parts:
            raise ValueError("must be a folder: with none this would be no shadow")
        return folder


class ExportControlHere(Strict):
    """What a deployment must state of export control: the rules themselves are the beamline's."""

    default: ExportDefault
    """What holds for a scan of which no rule and nobody says anything."""


class Recipient(Strict):
    """Somebody who is told, by whatever service the address names."""

    address: SecretName
    """Where the address is found, as apprise writes one: most hold a password or a token."""
    kinds: tuple[Kind, ...] = Field(min_length=1)
    folders: tuple[str, ...] = ()
    """Shell patterns on the folder below ``raw/``; a scan in such a folder, or below one, is among them."""
    proposals: tuple[str, ...] = ()
    """Such as ``BLS-00564``. With neither folders nor proposals it is told of every scan."""

    @property
    def hears_of_all(self) -> bool:
        """Whether it is told of every scan. What it hears then says nothing of whose a scan is."""
        return not (self.folders or self.proposals)

    def wants(self, kind: Kind, scan: ScanId | None, proposal: str | None) -> bool:
        """Whether it is told this of a scan, whose file names that proposal; or of what is about no scan."""
        if kind not in self.kinds:
            return False
        if self.hears_of_all:
            return True
        return scan is not None and (self._by_folder(scan) or bool({proposal, scan.describe().proposal} & self._named))

    @property
    def _named(self) -> AbstractSet[str | None]:
        return {*self.proposals}

    def _by_folder(self, scan: ScanId) -> bool:
        return any(fnmatchcase(scan.folder, one) or fnmatchcase(scan.folder, f"{one}/*") for one in self.folders)


class Messages(Strict):
    """Who is told what. With nothing configured nobody is told anything."""

    recipients: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")], Recipient] = Field(default_factory=dict)
    an_hour: int = Field(default=12, ge=0)
    """So many messages a recipient gets by themselves; 0: digests alone."""
    digest_every: timedelta = Field(default=timedelta(minutes=15), gt=timedelta(0))
    """Of more than that come digests, so often."""

    @property
    def rate(self) -> Rate:
        return Rate(self.an_hour, self.digest_every)


class MetricsHere(Strict):
    """Where metrics are served for a Prometheus server."""

    address: str = "127.0.0.1"
    """The loopback: whoever reaches it reads how much is done here, and no scan's name."""
    port: int = Field(default=9832, ge=0, le=65535)
    """0: a free one, which the command says."""


class Deployment(Strict):
    """One running system: a beamline, and what only this system has."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    beamline: str
    """The beamline's file, beside this one."""
    ledger: str
    """SQLAlchemy URL of the ledger's database."""
    ui: str
    """Address under which people reach the Dagster UI, for links."""
    globus: GlobusService
    superfacility: SuperfacilityService | None = None
    slurm_rest: dict[str, SlurmRestService] = Field(default_factory=dict)
    catalogue: CatalogueService | None = None
    """None where this system tells no catalogue anything."""
    facilities: dict[str, FacilityHere] = Field(default_factory=dict)
    prefixes: dict[str, AbsolutePath] = Field(default_factory=dict)
    """By facility, or by place where no facility owns it: what stands before every path that programs there see."""
    mounts: dict[str, AbsolutePath] = Field(default_factory=dict)
    """By place: where the machine that runs Dagster sees its root."""
    export_control: ExportControlHere
    retention: dict[str, RetentionHere] = Field(default_factory=dict)
    """By place."""
    shadow: Shadow | None = None
    messages: Messages = Messages()
    metrics: MetricsHere = MetricsHere()
    timing: Timing

    @model_validator(mode="after")
    def _rules_do_not_delete_as_who_transfers(self) -> Self:
        enforced = [name for name, here in self.retention.items() if here.enforce]
        if enforced and self.globus.deletes is None:
            raise ValueError(
                f"retention.{enforced[0]}.enforce: nothing is deleted by rule as the client that transfers, whose "
                "secret could then delete everything: give 'globus.deletes', or say enforce: false"
            )
        return self

    @property
    def shadow_folder(self) -> str:
        """Empty for a deployment that is in charge."""
        return "" if self.shadow is None else str(self.shadow.folder)

    def in_charge(self, place: Place) -> list[Place]:
        """In the shadow: a place as the system in charge has it. Else none: it is the same one."""
        if self.shadow is None:
            return []
        stores = {store: path.relative_to(self.shadow.folder) for store, path in place.stores.items()}
        return [place.model_copy(update={"stores": stores})]

    def apply_to(self, beamline: Beamline) -> Beamline:
        """The beamline as this deployment has it.

        Facilities that are not enabled are absent from it, with their places. Raises ConfigurationError for a name that
        does not exist, an enabled facility that lacks something, or a first copy that this machine cannot see.
        """
        for key, known in (
            ("prefixes", {place.facility or place.name for place in beamline.places.values()}),
            ("mounts", set(beamline.places)),
            ("facilities", set(beamline.facilities)),
            ("retention", set(beamline.retention.places)),
            ("slurm_rest", {name for name, rules in beamline.facilities.items() if rules.kind == "slurm-rest"}),
        ):
            unknown = sorted(set(getattr(self, key)) - known)
            if unknown:
                raise ConfigurationError(f"{self.name}: {key}.{unknown[0]}: no such name; there are {sorted(known)}")
        first_copy = beamline.scans.first_copy
        if first_copy not in self.mounts and beamline.places[first_copy].mount is None:
            raise ConfigurationError(
                f"{self.name}: mounts.{first_copy}: scans.first_copy is read on this machine, and needs a mount"
            )
        if self.shadow is not None:
            self._shadow_must_be_apart(beamline)
        if self.catalogue is not None and beamline.catalogue is None:
            raise ConfigurationError(f"{self.name}: catalogue: {self.beamline} does not say how scans are described")
        enabled = [name for name in beamline.facilities if self._here(name).enabled]
        places = {
            name: self._place(self._given(place))
            for name, place in beamline.places.items()
            if place.facility not in set(beamline.facilities) - set(enabled)
        }
        facilities = {name: self._facility(name, beamline.facilities[name], set(places)) for name in enabled}
        export_control = beamline.export_control.model_copy(update={"default": self.export_control.default})
        return beamline.model_copy(
            update={
                "places": places,
                "facilities": facilities,
                "preference": tuple(name for name in beamline.preference if name in facilities),
                "export_control": export_control,
                "catalogue": None if self.catalogue is None else beamline.catalogue,
                "retention": self._retention(beamline.retention, set(places)),
            }
        )

    def _retention(self, retention: Retention, places: AbstractSet[str]) -> Retention:
        """Of the places that there are; a rule keeps keepers that there are not, which then are never proven."""
        kept = {
            name: rules.model_copy(update={"enforce": self.retention.get(name, RetentionHere()).enforce})
            for name, rules in retention.places.items()
            if name in places
        }
        rules = [
            rule.model_copy(update={"copies": tuple(c for c in rule.copies if c.partition("/")[0] in places)})
            for rule in retention.rules
        ]
        return Retention.model_construct(places=kept, rules=tuple(rule for rule in rules if rule.copies))

    def _here(self, facility: str) -> FacilityHere:
        return self.facilities.get(facility, FacilityHere())

    def _given(self, place: Place) -> Place:
        """A place with what the beamline's file leaves to be given filled in."""
        if place.facility is None or place.collection != GIVEN:
            return place
        here = self._here(place.facility)
        missing = [name for name, value in here.given.items() if value is None]
        if missing:
            raise ConfigurationError(
                f"{self.name}: facilities.{place.facility}: cannot be enabled before {' and '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} given; until then it stays 'enabled: false'"
            )
        return place.model_copy(
            update={
                "collection": here.collection,
                "collection_root": _below_given(place.collection_root, here),
                "posix_root": _below_given(place.posix_root, here),
            }
        )

    def _shadow_must_be_apart(self, beamline: Beamline) -> None:
        folder = self.shadow_folder
        if self.catalogue is not None:
            raise ConfigurationError(
                f"{self.name}: catalogue: a shadow leaves the catalogue to the system in charge, or every scan would "
                "have two entries there"
            )
        for place in beamline.places.values():
            for store, path in place.stores.items():
                if path.is_relative_to(folder) or PurePosixPath(folder).is_relative_to(path):
                    raise ConfigurationError(
                        f"{self.name}: shadow.folder: {folder} is not apart from {store} of {place.name} ({path})"
                    )

    def _place(self, place: Place) -> Place:
        root = self._prefixed(place.facility or place.name, place.posix_root)
        changes: dict[str, Any] = {"posix_root": root, "mount": self.mounts.get(place.name, place.mount)}
        if self.shadow is not None and place.role is not Role.ACQUISITION:
            changes["stores"] = {store: self.shadow.folder / path for store, path in place.stores.items()}
        return place.model_copy(update=changes)

    def _facility(self, name: str, facility: FacilityRules, places: AbstractSet[str]) -> FacilityRules:
        here = self._here(name)
        owner = facility.work if facility.kind == "process" else name
        resources = facility.resources.model_copy(
            update={"logs": self._prefixed(owner, _below_given(facility.resources.logs, here))}
        )
        if isinstance(resources, SlurmResources) and resources.account == GIVEN:
            resources = resources.model_copy(update={"account": here.allocation})
        program = facility.program
        if program.environment is not None:
            found = self._prefixed(owner, _below_given(program.environment, here))
            program = program.model_copy(update={"environment": found})
        # Results are kept wherever that can be: not at a facility that this deployment does not have.
        results = tuple(place for place in facility.results if place in places)
        changes: dict[str, Any] = {"resources": resources, "program": program, "results": results}
        return facility.model_copy(update=changes)

    def _prefixed(self, name: str, path: PurePosixPath) -> PurePosixPath:
        prefix = self.prefixes.get(name)
        return path if prefix is None else prefix / path.relative_to("/")


def _below_given(path: PurePosixPath, here: FacilityHere) -> PurePosixPath:
    """A path whose first part is ``/given``, below the root that is given."""
    below = PurePosixPath("/", GIVEN)
    return here.root / path.relative_to(below) if here.root is not None and path.is_relative_to(below) else path


def parse_deployment(text: str, *, source: str, environment: Mapping[str, str]) -> Deployment:
    """Read a deployment's YAML; ``${NAME}`` and ``${NAME:-default}`` are taken from ``environment``, as shells do.

    Raises ConfigurationError, also for a variable that is unset or empty and has no default.
    """
    value = _fill(load_mapping(text, source=source), environment, source)
    return parse(Deployment, value, source=source)


def _fill(value: Any, environment: Mapping[str, str], source: str) -> Any:
    # After YAML has been read, so that no value of a variable can change the file's structure.
    if isinstance(value, dict):
        return {key: _fill(item, environment, source) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, environment, source) for item in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        found = environment.get(match["name"]) or match["default"]
        if found is None:
            raise ConfigurationError(
                f"{source}: the environment variable {match['name']} is not set and has no default"
            )
        return found

    if "${" in _VARIABLE.sub("", value):
        raise ConfigurationError(f"{source}: {value!r}: variables are ${{NAME}} or ${{NAME:-default}}, in capitals")

    return _VARIABLE.sub(variable, value)
