"""What entries are called in the graph, and what is said about them there.

Belongs here: keys, specs and the check's spec. Does not: making an entry (assets).
"""

import warnings
from collections.abc import Iterable

import dagster as dg

from als_assets.naming import asset_key, scan_partitions
from beamlines.catalogue.identity import PLACE, RAW_ENTRY, reconstruction_entry
from beamlines.config import Beamline
from beamlines.layout import Copy

ENTRY = "entry"
"""The check: the catalogue has what it was sent."""


def raw_entry_key(beamline: Beamline) -> dg.AssetKey:
    """``bl832/scicat/raw``."""
    return dg.AssetKey([beamline.name, *RAW_ENTRY.split("/")])


def reconstruction_key(beamline: Beamline, facility: str) -> dg.AssetKey:
    """``bl832/scicat/<facility>_reconstruction``."""
    return dg.AssetKey([beamline.name, *reconstruction_entry(facility).split("/")])


def entry_spec(beamline: Beamline, key: dg.AssetKey, of: Iterable[Copy], what: str) -> dg.AssetSpec:
    """The asset of an entry, as people see it in the graph."""
    return dg.AssetSpec(
        key,
        deps=[asset_key(beamline, copy) for copy in of],
        description=f"{what} in the catalogue. Sent by this machine to SciCat; sent again, it is brought up to date.",
        group_name=PLACE,
        kinds={"scicat"},
        partitions_def=scan_partitions(beamline),
        skippable=True,
    )


def entry_check(beamline: Beamline, key: dg.AssetKey) -> dg.AssetCheckSpec:
    """The check of an entry, with partitions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            ENTRY,
            asset=key,
            description="What the catalogue has, read again, is what it was sent.",
            partitions_def=scan_partitions(beamline),
        )
