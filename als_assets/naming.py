"""What an asset of a copy is called in the graph, and what is said about it there.

Belongs here: asset keys, groups, kinds, partitions.
Does not: paths (beamlines.layout), or what makes an asset.
"""

from collections.abc import Iterable

import dagster as dg

from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy

KINDS: dict[Artifact, set[str]] = {
    Artifact.RAW: {"hdf5"},
    Artifact.TIFF: {"tiff"},
    Artifact.ZARR: {"zarr"},
    Artifact.PREVIEW: {"png"},
    Artifact.COMPARISON: {"png"},
}
WHAT: dict[Artifact, str] = {
    Artifact.RAW: "The raw scan, one Data Exchange HDF5 file",
    Artifact.TIFF: "The reconstructed volume, one float32 TIFF a slice",
    Artifact.ZARR: "The reconstructed volume as an OME-Zarr pyramid",
    Artifact.PREVIEW: "The first look: three reconstructed slices",
    Artifact.COMPARISON: "Two results of a scan side by side: three slices of each, and their difference",
}


def asset_key(beamline: Beamline, copy: Copy) -> dg.AssetKey:
    """``bl832/<place>/<artifact>``."""
    return dg.AssetKey([beamline.name, copy.place.name, copy.asset_name])


def status_key(beamline: Beamline, facility: str) -> dg.AssetKey:
    """``bl832/<facility>/status``."""
    return dg.AssetKey([beamline.name, facility, "status"])


def scan_partitions(beamline: Beamline) -> dg.DynamicPartitionsDefinition:
    """A partition a scan, or a labelled re-reconstruction of one."""
    return dg.DynamicPartitionsDefinition(name=f"{beamline.name}_scans")


def asset_spec(
    beamline: Beamline, copy: Copy, deps: Iterable[Copy] = (), *, skippable: bool = False, made_by: str
) -> dg.AssetSpec:
    """The asset of a copy, as people see it in the graph."""
    return dg.AssetSpec(
        asset_key(beamline, copy),
        deps=[asset_key(beamline, dep) for dep in deps],
        description=f"{WHAT[copy.artifact]}, at {copy.place.name} ({copy.place.role}). {made_by}",
        group_name=copy.place.name,
        kinds=KINDS[copy.artifact],
        tags={"role": str(copy.place.role), "artifact": str(copy.artifact)},
        partitions_def=scan_partitions(beamline),
        skippable=skippable,
    )
