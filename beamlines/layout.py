"""Which path a copy has: one rule for every place, so that no two results share a path.

Belongs here: Artifact, Copy, and the names of products and manifests.
Does not: what makes a copy (als_assets), or how it is moved (resources).
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from beamlines.places import Location, Place, Role, Store
from beamlines.scans import PartitionKey, ScanId

LEGACY = "legacy"
"""The label of results that the system before this one has made: they lie where that one has put them."""
_READS_AS_LABELLED = re.compile(r".*\.[a-z0-9-]{0,32}", re.DOTALL)
_READS_AS_PRODUCT = re.compile(r"_*(?:rec|from_).*", re.DOTALL)
_READS_AS_RAW = re.compile(r".*\.h5(?:\.manifest\.json)?_*", re.DOTALL)


class Artifact(StrEnum):
    """What a copy is a copy of."""

    RAW = "raw"
    TIFF = "tiff"
    ZARR = "zarr"
    PREVIEW = "preview"
    COMPARISON = "comparison"


@dataclass(frozen=True, slots=True)
class Copy:
    """One artifact at one place: an asset. ``maker`` is the facility that reconstructed it, where one did."""

    place: Place
    artifact: Artifact
    maker: str | None = None

    @property
    def asset_name(self) -> str:
        """``tiff`` at its maker's own places, ``nersc_tiff`` elsewhere."""
        return str(self.artifact) if self._at_home else f"{self.maker}_{self.artifact}"

    @property
    def _at_home(self) -> bool:
        return self.maker is None or self.maker == self.place.facility

    def location(self, key: PartitionKey) -> Location:
        """The file (raw) or folder (products) of this copy for one partition."""
        if self.artifact is Artifact.RAW:
            return self.place.at(Store.RAW, self._raw_path(key))
        return self.place.at(Store.RESULTS, self._results_folder(key) / self._product_name(key))

    def manifest(self, key: PartitionKey) -> Location:
        """The list of this copy's files with sizes and SHA-256, beside the copy itself."""
        product = self.location(key)
        kind = {Artifact.RAW: "", Artifact.ZARR: ""}.get(self.artifact, f".{self.artifact}")
        return product.beside(f"{product.name}{kind}.manifest.json")

    def _raw_path(self, key: PartitionKey) -> PurePosixPath:
        """The scan's own path; but a folder that reads as a raw file, or as its manifest, gets an underscore more."""
        *folders, name = key.scan.path.split("/")
        if self.place.role is Role.ACQUISITION:
            return PurePosixPath(*folders, name)  # there it lies where it was written
        return PurePosixPath(*(f"{part}_" if _READS_AS_RAW.fullmatch(part) else part for part in folders), name)

    def scan_at(self, path: str) -> ScanId | None:
        """The scan whose raw file here lies at ``path`` below raw/; None where no scan's does.

        Raises InvalidScanPathError for what no scan is called.
        """
        *folders, name = path.split("/")
        own = (part[:-1] if part.endswith("_") and _READS_AS_RAW.fullmatch(part[:-1]) else part for part in folders)
        for scan in (ScanId(path), ScanId("/".join((*own, name)))):
            if self._raw_path(PartitionKey(scan)) == PurePosixPath(path):
                return scan
        return None

    def _results_folder(self, key: PartitionKey) -> PurePosixPath:
        if key.label == LEGACY:
            return PurePosixPath(key.scan.folder)
        # A user's folder called rec... would lie inside another scan's product: it gets an underscore more.
        parts = [f"_{part}" if _READS_AS_PRODUCT.fullmatch(part) else part for part in key.scan.folder.split("/")]
        folder = PurePosixPath(*parts)
        looks = self.artifact in (Artifact.PREVIEW, Artifact.COMPARISON)
        if not looks and self._at_home:
            return folder
        below = str(self.artifact if looks else self.maker)
        # Beside a facility's own results a user's folder could be called so too: none is called from_... (above).
        return folder / (below if self.place.facility is None else f"from_{below}")

    def _product_name(self, key: PartitionKey) -> str:
        name = key.scan.name if key.label == LEGACY else _unambiguous(key)
        return f"rec{name}" + (".zarr" if self.artifact is Artifact.ZARR else "")


def _unambiguous(key: PartitionKey) -> str:
    """``<name>`` or ``<name>.<label>``; a bare name that would read as a labelled one gets a dot at its end."""
    if key.label is not None:
        return f"{key.scan.name}.{key.label}"
    return f"{key.scan.name}." if _READS_AS_LABELLED.fullmatch(key.scan.name) else key.scan.name
