"""What an entry is put together of: the file's own words, manifests, records and pictures.

Belongs here: entries made of what lies on this machine.
Does not: which values of a file are told (beamlines.catalogue), or sending anything (resources.catalogue).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from beamlines.catalogue import cleaning
from beamlines.catalogue.entries import Described, Entry, Found, ListedFile, Made, Picture, Taken, Whereabouts
from beamlines.catalogue.identity import derived_pid, raw_pid
from beamlines.catalogue.ingesters import INGESTERS
from beamlines.catalogue.rules import CatalogueRules
from beamlines.layout import Copy
from beamlines.manifest import Manifest
from beamlines.places import Location
from beamlines.scans import PartitionKey, ScanId
from resources import proof
from resources.errors import WorkFailedError
from resources.program import run_program

FORMAT = "DX"
_READING_LIMIT = timedelta(minutes=2)
_THUMBNAIL = "thumbnail_png"


@dataclass(frozen=True, slots=True)
class Describer:
    """Puts entries of one beamline together."""

    beamline: str
    rules: CatalogueRules
    pid_prefix: str

    def raw_pid(self, scan: ScanId) -> str:
        return raw_pid(self.pid_prefix, self.beamline, scan)

    def derived_pid(self, key: PartitionKey, facility: str) -> str:
        return derived_pid(self.pid_prefix, self.beamline, key, facility)

    def described(self, file: Location, scan: ScanId, not_whole: str | None) -> Described:
        """What the scan's file says. Of one that is not whole, and says nothing, the name alone."""
        try:
            values = _read(file)
        except WorkFailedError:
            if not_whole is None:
                raise
            values = {}
        said = INGESTERS[self.rules.ingester](values, scan, self.rules.group)
        if not_whole is None:
            return said
        return replace(said, metadata={**said.metadata, "not_whole": cleaning.text(not_whole)})

    def raw(
        self, scan: ScanId, said: Described, file: Location, manifest: Manifest, where: Whereabouts, png: str | None
    ) -> Entry:
        """The entry of a scan, whose file lies here."""
        # As the acquisition machine had it: whoever copied the file has kept its time.
        taken = datetime.fromtimestamp(int(file.here.stat().st_mtime), UTC)
        content = manifest.files[0]
        return Entry(
            pid=self.raw_pid(scan),
            name=said.name,
            description=said.description,
            keywords=said.keywords,
            owner=said.owner,
            contact_email=said.contact_email,
            owner_group=said.owner_group,
            access_groups=said.access_groups,
            created=taken,
            whereabouts=where,
            metadata=said.metadata,
            files=(ListedFile(_shown(file.name), content.bytes, content.sha256, taken),),
            origin=Taken(said.investigator, self.rules.instrument, said.proposal, FORMAT),
            picture=None if png is None else Picture("first look", png),
        )

    def derived(
        self,
        key: PartitionKey,
        facility: str,
        said: Described,
        products: Sequence[tuple[Copy, Manifest]],
        made: datetime,
        program_from: str | None,
        where: Whereabouts,
        *,
        shows: bool,
    ) -> Entry:
        """The entry of a reconstruction, whose products lie here."""
        first = products[0][1]
        programs = [f"{manifest.program.name} {manifest.program.version}" for _, manifest in products]
        known = [] if program_from is None else [cleaning.text(program_from)]
        png = first.results.get(_THUMBNAIL) if shows else None
        label = "" if key.label is None else f" ({key.label})"
        return Entry(
            pid=self.derived_pid(key, facility),
            name=f"{said.name} reconstructed at {facility}{label}",
            description=f"Reconstruction at {facility}{label}: {said.description}",
            keywords=(*said.keywords, "reconstruction", facility),
            owner=said.owner,
            contact_email=said.contact_email,
            owner_group=said.owner_group,
            access_groups=said.access_groups,
            created=made,
            whereabouts=where,
            metadata={
                "facility": facility,
                "label": key.label or "",
                **{str(copy.artifact): _results(manifest) for copy, manifest in products},
            },
            files=tuple(
                ListedFile(_shown(f"{copy.location(key).name}/{file.path}"), file.bytes, file.sha256, made)
                for copy, manifest in products
                for file in manifest.files
            ),
            origin=Made(
                said.investigator,
                (self.raw_pid(key.scan),),
                tuple(dict.fromkeys([*programs, *known])),
                _value({**first.settings}),
            ),
            picture=Picture("reconstructed slice", png) if isinstance(png, str) else None,
        )


def first_look(preview: Copy, key: PartitionKey) -> str | None:
    """The picture of a scan that was made when it came, as a PNG in base64; None where there is none."""
    listing = preview.manifest(key)
    if not listing.here.exists():
        return None
    png = proof.read_manifest(listing).results.get(_THUMBNAIL)
    return png if isinstance(png, str) else None


def _read(file: Location) -> dict[str, Found]:
    said = run_program(["metadata", str(file.here)], limit=_READING_LIMIT, progress=lambda _: None).result
    return {path: Found(stated["value"], stated["unit"]) for path, stated in said["values"].items()}


def _results(manifest: Manifest) -> Any:
    facts = {name: value for name, value in manifest.results.items() if name != _THUMBNAIL}
    return {"files": manifest.total_files, "bytes": manifest.total_bytes, **_value(facts)}


def _value(said: Mapping[str, Any]) -> Any:
    # Settings have few names, and they are all told.
    return {cleaning.text(name): cleaning.value(value) for name, value in said.items()}


def _shown(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()
