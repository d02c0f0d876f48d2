"""Where the data of an entry lie now, and what became of copies that are gone.

Belongs here: reading that off records and certificates of deletions.
Does not: looking at the places themselves (reconciliation), or how it is told (beamlines.catalogue.entries).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from als_assets.evidence import sendable
from als_assets.naming import asset_key
from beamlines.catalogue.entries import Lying, Whereabouts
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.places import Role
from beamlines.retention import name_of
from beamlines.scans import PartitionKey
from resources.chain import What

if TYPE_CHECKING:
    from resources.certificates import Certificate, Certificates  # the database's library costs every importer 0.3 s


def durable(copies: Sequence[Copy]) -> list[Copy]:
    """The copies that people are told of, those on site first: scratch is gone before anybody looks."""
    kept = [copy for copy in copies if copy.place.role is Role.DURABLE]
    return sorted(kept, key=lambda copy: copy.place.off_site)


def whereabouts(
    instance: dg.DagsterInstance,
    certificates: "Certificates",
    beamline: Beamline,
    copies: Sequence[Copy],
    key: PartitionKey,
) -> Whereabouts | None:
    """Where those copies lie that were ever recorded; None where none was."""
    deleted = certificates.of(str(key))
    found = [lying for copy in copies if (lying := _lying(instance, deleted, beamline, copy, key)) is not None]
    return Whereabouts(tuple(found)) if found else None


def _lying(
    instance: dg.DagsterInstance, deleted: "Sequence[Certificate]", beamline: Beamline, copy: Copy, key: PartitionKey
) -> Lying | None:
    wanted = dg.AssetRecordsFilter(asset_key(beamline, copy), asset_partitions=[str(key)])
    records = instance.fetch_materializations(wanted, limit=1).records
    if not records:
        return None
    lies = Lying(
        what=str(copy.artifact),
        place=copy.place.name,
        path=sendable(copy.location(key).posix),
        on_site=not copy.place.off_site,
    )
    for certificate in reversed(deleted):
        of = certificate.deletion
        same = (of.asset, of.partition) == (name_of(copy), str(key)) and of.storage_id >= records[0].storage_id
        if same and certificate.state is What.DONE and certificate.end is not None:
            at = certificate.end.at
            said = f"was deleted on {at:%Y-%m-%d} by certificate {certificate.sequence}"
            return Lying(lies.what, lies.place, lies.path, lies.on_site, gone=said, gone_at=at)
    return lies
