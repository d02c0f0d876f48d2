"""Taking back what has left the site of a scan that is restricted by now: an operator's explicit act.

Belongs here: the proof of what stays, one deletion after another, and the record of both.
Does not: deciding it (a person does), retention (which deletes by rule), or finding what has left (restrict).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg

from als_assets.naming import asset_key
from als_assets.operations.restrict import Left, There
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey, ScanId
from resources import proof
from resources.clock import Clock
from resources.copies import DeleteReceipt
from resources.errors import PlatformError
from resources.proof import Proof
from resources.standings import Standings
from resources.transfer import Transfer
from resources.work import WorkKey

WITHDRAWN = "withdrawn"
"""The word under which it stands in the scan's history."""


class NotRestrictedError(PlatformError):
    """A scan that may be off site is not withdrawn: what is deleted of it, and when, is for retention to say."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """One copy that is gone, by which deletions."""

    left: Left
    receipts: tuple[DeleteReceipt, ...]


def prove_keeper(beamline: Beamline, scan: ScanId, standings: Standings, clock: Clock) -> Proof:
    """Read the raw copy on site of a restricted scan again, now, against its manifest.

    It keeps the scan itself; products can be made of it again, with the settings that the graph has recorded. Raises
    NotRestrictedError, CopyNotIntactError, ManifestError or OSError: then nothing may be deleted.
    """
    if beamline.export_control.restriction(scan, standings.of(scan.key)) is None:
        raise NotRestrictedError(
            seen=f"{scan.key} is not restricted",
            meaning="it may lie off site",
            remedy="restrict it first, if it must not",
        )
    keeper, key = Copy(beamline.places[beamline.scans.first_copy], Artifact.RAW), PartitionKey(scan)
    return proof.prove_here(keeper.location(key), proof.read_manifest(keeper.manifest(key)), clock=clock)


def withdraw(
    beamline: Beamline,
    scan: ScanId,
    lefts: list[Left],
    keeper: Proof,
    transfer: Transfer,
    standings: Standings,
    instance: dg.DagsterInstance,
    clock: Clock,
    *,
    author: str,
    note: str,
) -> Iterator[Withdrawn]:
    """Delete what has left, copy by copy, each recorded before it is deleted and after. ``keeper`` was proven just now.

    Raises what a deletion raises; run again, it goes on.
    """
    for left in lefts:
        if left.there is not There.NO:
            standings.note(
                scan.key, WITHDRAWN, _certificate(left, keeper, "begun"), author=author, note=note, at=clock.now()
            )
            receipts = tuple(_delete(beamline, left, transfer))
            done = _certificate(left, keeper, "done", receipts)
            standings.note(scan.key, WITHDRAWN, done, author=author, note=note, at=clock.now())
            yield Withdrawn(left, receipts)
        instance.report_runless_asset_event(_observation(beamline, left, keeper, author, note))


def _delete(beamline: Beamline, left: Left, transfer: Transfer) -> Iterator[DeleteReceipt]:
    asset = asset_key(beamline, left.copy).to_user_string()
    # The manifest goes last: while it is there, what is left of a product can be told.
    for what, location in (("", left.copy.location(left.key)), (" manifest", left.copy.manifest(left.key))):
        work = WorkKey(f"{asset}#withdraw{what}", str(left.key), "", "")
        recursive = not what and left.copy.artifact is not Artifact.RAW
        silent: Callable[..., None] = lambda *_: None  # noqa: E731
        yield transfer.delete(left.key.scan, location, work, silent, recursive=recursive)


def _certificate(left: Left, keeper: Proof, state: str, receipts: tuple[DeleteReceipt, ...] = ()) -> str:
    document = {
        "state": state,
        "copy": str(left.copy.location(left.key)),
        "partition": str(left.key),
        "keeper": keeper.to_json(),
        "receipts": [receipt.to_json() for receipt in receipts],
    }
    return json.dumps(document, sort_keys=True)


def _observation(beamline: Beamline, left: Left, keeper: Proof, author: str, note: str) -> dg.AssetObservation:
    return dg.AssetObservation(
        asset_key(beamline, left.copy),
        partition=str(left.key),
        description="Withdrawn: the scan must stay on site, and this copy was deleted.",
        metadata={
            "state": dg.MetadataValue.text("deleted"),
            "by": dg.MetadataValue.text(author),
            "note": dg.MetadataValue.text(note),
            "keeper": dg.MetadataValue.json(keeper.to_json()),
        },
    )
