"""Adopting what lies at a place already: old scans, and the old system's results, become part of the graph.

Belongs here: what is found there, what is refused, and how the rest is recorded.
Does not: copying, deleting or starting anything: nothing of that follows from an adoption.

It is resumable: each folder is done for good, and what the graph has is left alone.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import dagster as dg

from als_assets.naming import asset_key, scan_partitions
from als_assets.operations.past_events import report_all
from als_assets.raw import PROGRAM
from als_assets.walking import PRODUCT, entries_in, folders_of_makers, may_hold_copies, walk
from beamlines.config import Beamline
from beamlines.layout import LEGACY, Artifact, Copy
from beamlines.manifest import Manifest
from beamlines.places import Location, Place, Role, Store
from beamlines.policy import Arrival
from beamlines.scans import InvalidScanPathError, PartitionKey, ScanId
from beamlines.standing import SeenFile, Standing
from resources import proof
from resources.clock import Clock
from resources.errors import PlatformError
from resources.transfer import Entry, EntryType, NotFoundError, Transfer

if TYPE_CHECKING:
    from resources.holds import Holds  # their database library costs every import of the graph 0.3 s
    from resources.standings import Standings

NOTE = "adopted: held until somebody releases it"
_ZARR = ".zarr"
_KEYS_A_QUERY = 1_000


class NotAdoptableError(PlatformError):
    """A place, or a folder of it, that cannot be registered."""


class Outcome(StrEnum):
    """What became of one thing that was found."""

    ADOPTED = "adopted"
    KNOWN = "known already"
    OWN = "made by this platform"
    VIOLATION = "restricted, and off site"
    MISPLACED = "where the platform would not look for it"


@dataclass(frozen=True, slots=True)
class Found:
    """One raw file, or one folder of results."""

    copy: Copy
    key: PartitionKey
    location: Location
    size_bytes: int | None
    """None for results: what is in their folders is not looked at."""
    modified: datetime


@dataclass(slots=True)
class Tally:
    """What has been found and done so far."""

    folders: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    bytes: int = 0
    """Of the raw files that were adopted."""
    violations: list[Found] = field(default_factory=list)
    misplaced: list[Found] = field(default_factory=list)

    @property
    def found(self) -> int:
        """How many raw files and results."""
        return sum(self.outcomes.values())

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in self.outcomes.items())
        return f"{self.folders} folders, {outcomes or 'nothing found'}"


@dataclass(frozen=True, slots=True)
class Adoption:
    """One adoption: what is looked at, and where everything is kept."""

    beamline: Beamline
    copies: Sequence[Copy]
    place: Place
    make_manifests: bool
    transfer: Transfer
    instance: dg.DagsterInstance
    standings: "Standings"
    holds: "Holds"
    clock: Clock
    author: str

    def __post_init__(self) -> None:
        if not self._here:
            raise NotAdoptableError(
                seen=f"no asset of the graph lies at {self.place.name}",
                meaning="what lies there belongs to no branch of this beamline",
                remedy=f"register one of {sorted({copy.place.name for copy in self.copies})}",
            )
        if self.make_manifests and self.place.mount is None:
            raise NotAdoptableError(
                seen=f"manifests were asked for at {self.place.name}, which is not mounted on this machine",
                meaning="its files cannot be read from here",
                remedy="register it without manifests, or where it is mounted",
            )

    @property
    def _here(self) -> list[Copy]:
        """The copies at this place. The old system's results do not tell who made them: the first branch has them."""
        first = self.beamline.preference[0]
        return [copy for copy in self.copies if copy.place == self.place and copy.maker in (None, first)]

    def run(self, folder: str, progress: Callable[[Tally], None]) -> Tally:
        """Look through a folder below ``raw/`` and the results, or all of them where it is empty."""
        tally = Tally()
        for store, look, wanted in (
            (Store.RAW, self._raw, {Artifact.RAW}),
            (Store.RESULTS, self._results, {Artifact.TIFF, Artifact.ZARR}),
        ):
            copies = [copy for copy in self._here if copy.artifact in wanted]
            for below, entries in self._walk(store, folder) if copies else ():
                found = look(below, entries)
                for copy in copies:
                    self._take_in([item for item in found if item.copy == copy], tally)
                tally.folders += 1
                progress(tally)
        if tally.folders == 0:
            raise NotAdoptableError(
                seen=f"there is no folder {folder!r} at {self.place.name}",
                meaning="nothing was looked at",
                remedy="name a folder below raw/, or none for everything",
            )
        return tally

    # -- looking -------------------------------------------------------------------------------------------------

    def _walk(self, store: Store, folder: str) -> Iterator[tuple[str, list[Entry]]]:
        """Every folder of a store; not those that hold no scans, nor products, nor what this platform has put apart."""
        own = folders_of_makers(self.beamline)

        def enters(path: str, entry: Entry) -> bool:
            ours = store is Store.RESULTS and entry.name in own
            return not ours and may_hold_copies(self.beamline, store, path, entry)

        def entries_of(below: str) -> list[Entry] | None:
            try:
                return entries_in(self.transfer, self.place.at(store, below))
            except NotFoundError:
                return None  # a folder of the other store, or one that was removed meanwhile

        return walk(folder, entries_of, enters)

    def _raw(self, below: str, entries: Iterable[Entry]) -> list[Found]:
        copy = Copy(self.place, Artifact.RAW)
        return [
            Found(copy, PartitionKey(scan), self.place.at(Store.RAW, path), entry.size_bytes, entry.modified)
            for entry in entries
            if entry.type is EntryType.FILE
            for path in [str(PurePosixPath(below, entry.name))]
            if self.beamline.why_not_a_scan(path) is None
            for scan in [copy.scan_at(path) or ScanId(path)]
        ]

    def _results(self, below: str, entries: Sequence[Entry]) -> list[Found]:
        names = {entry.name for entry in entries}
        by_artifact = {copy.artifact: copy for copy in self._here}
        found = []
        for entry in entries:
            name = entry.name.removesuffix(_ZARR)
            artifact = Artifact.TIFF if name == entry.name else Artifact.ZARR
            if entry.type is not EntryType.FOLDER or not name.startswith(PRODUCT) or artifact not in by_artifact:
                continue
            try:
                key = PartitionKey(ScanId(str(PurePosixPath(below, f"{name.removeprefix(PRODUCT)}.h5"))), LEGACY)
            except InvalidScanPathError:
                continue
            copy = by_artifact[artifact]
            if copy.manifest(key).name not in names:  # else this platform's own program has made it
                location = self.place.at(Store.RESULTS, str(PurePosixPath(below, entry.name)))
                found.append(Found(copy, key, location, None, entry.modified))
        return found

    # -- recording -----------------------------------------------------------------------------------------------

    def _take_in(self, found: Sequence[Found], tally: Tally) -> None:
        """Adopt what may be adopted. The event comes last: where it is, everything before it is too."""
        if not found:
            return
        asset = asset_key(self.beamline, found[0].copy)
        standings = self.standings.of_many({item.key.scan.key for item in found})
        known = self._known(asset, [str(item.key) for item in found])
        adopted: list[Found] = []
        for item in found:
            outcome = self._judge(item, standings.get(item.key.scan.key, Standing()), known)
            tally.outcomes[outcome] += 1
            if outcome is Outcome.ADOPTED:
                adopted.append(item)
                tally.bytes += item.size_bytes or 0
            elif outcome is Outcome.VIOLATION:
                tally.violations.append(item)
                self._report_violation(asset, item)
            elif outcome is Outcome.MISPLACED:
                tally.misplaced.append(item)
        if adopted:
            keys = [str(item.key) for item in adopted]
            self.holds.hold(asset.to_user_string(), keys, author=self.author, note=NOTE, at=self.clock.now())
            if self.place.role is Role.ACQUISITION:
                self.standings.arrived(
                    (item.key.scan.key, SeenFile(item.size_bytes or 0, item.modified)) for item in adopted
                )
            self.instance.add_dynamic_partitions(str(scan_partitions(self.beamline).name), keys)
            report_all(self.instance, [self._event(asset, item) for item in adopted], self.clock.now())

    def _judge(self, item: Found, standing: Standing, known: set[str]) -> Outcome:
        if not self.beamline.export_control.may_be_at(item.key.scan, self.place, standing).allowed:
            return Outcome.VIOLATION
        if str(item.key) in known:
            return Outcome.KNOWN
        if item.copy.location(item.key) != item.location:
            return Outcome.MISPLACED
        return Outcome.ADOPTED

    def _known(self, asset: dg.AssetKey, keys: Sequence[str]) -> set[str]:
        kind = dg.DagsterEventType.ASSET_MATERIALIZATION
        known: set[str] = set()
        for start in range(0, len(keys), _KEYS_A_QUERY):
            some = {*keys[start : start + _KEYS_A_QUERY]}
            known |= set(self.instance.get_latest_storage_id_by_partition(asset, kind, partitions=some))
        return known

    def _event(self, asset: dg.AssetKey, item: Found) -> dg.AssetMaterialization:
        location = item.copy.location(item.key)
        metadata: dict[str, dg.MetadataValue[Any]] = {
            "path": dg.MetadataValue.path(_sendable(location.posix)),
            "scan": dg.MetadataValue.text(_sendable(item.key.scan.path)),
            "modified": dg.MetadataValue.timestamp(item.modified.timestamp()),
            "arrival": dg.MetadataValue.text(str(Arrival.ADOPTED)),
            "checksum_evidence": dg.MetadataValue.text("none: it was not read"),
        }
        if item.size_bytes is not None:
            metadata |= {"files": dg.MetadataValue.int(1), "bytes": dg.MetadataValue.int(item.size_bytes)}
        else:
            made_by = "the system before this one; at which facility, its path does not tell"
            metadata["made_by"] = dg.MetadataValue.text(made_by)
        manifest = self._manifest(item) if item.copy.artifact is Artifact.RAW else None
        if manifest is not None:
            metadata["sha256"] = dg.MetadataValue.text(manifest.files[0].sha256)
            metadata["checksum_evidence"] = dg.MetadataValue.text("sha256, in its manifest; read when that was written")
        return dg.AssetMaterialization(
            asset, partition=str(item.key), description="Adopted: it lay there already.", metadata=metadata
        )

    def _manifest(self, item: Found) -> Manifest | None:
        """The manifest of a raw file on this machine: the one that is there, or one that is asked for; else None."""
        if self.place.mount is None:
            return None
        listing = item.copy.manifest(item.key)
        if listing.here.exists():
            return proof.read_manifest(listing)
        if not self.make_manifests:
            return None
        manifest = proof.make_raw_manifest(item.copy.location(item.key), program=PROGRAM)
        proof.write_manifest(listing, manifest)
        return manifest

    def _report_violation(self, asset: dg.AssetKey, item: Found) -> None:
        where, at = f"{asset.to_user_string()} at {self.place.name}", self.clock.now()
        self.standings.note(item.key.scan.key, "violation", where, author=self.author, note="found off site", at=at)
        self.instance.report_runless_asset_event(
            dg.AssetObservation(
                asset,
                partition=str(item.key),
                description="Violation: a restricted scan lies off site. It was not adopted (als scan withdraw).",
                metadata={"violation": dg.MetadataValue.text("export control")},
            )
        )


def _sendable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
