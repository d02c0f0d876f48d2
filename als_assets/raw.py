"""Raw scans: the file on the acquisition machine, its first verified copy, and copies of that copy.

Belongs here: the assets whose artifact is the raw file.
Does not: how a scan is found (sensors), or what is made of it (branch, preview).
"""

import errno
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import dagster as dg

from als_assets import checks, evidence, records
from als_assets.naming import asset_key, asset_spec
from als_assets.step import Stopwatch, refusal, remote_step
from beamlines.config import Beamline
from beamlines.layout import LEGACY, Copy
from beamlines.manifest import Manifest, Program
from beamlines.places import Location, Place, Role
from beamlines.policy import Arrival
from beamlines.scans import InvalidPartitionKeyError, PartitionKey
from beamlines.standing import SeenFile
from resources import proof
from resources.clock import Clock
from resources.errors import PlatformError, SourceChangedError
from resources.gate import Gate
from resources.program import run_program
from resources.remote import Pulse, Remote
from resources.transfer import CopyRequest, Item, Transfer, TransferReceipt
from resources.work import WorkKey

PROGRAM = Program(name="als-data-platform", version=version("als-data-platform"))
"""Who writes the manifest of a raw file."""
GLOBUS_POOL = "globus_transfer"
_INSPECTION_LIMIT = timedelta(minutes=5)

Events = Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]


def arrival_spec(beamline: Beamline, copy: Copy) -> dg.AssetSpec:
    """The raw file where it appears: recorded by a sensor, made by nobody here."""
    return asset_spec(beamline, copy, made_by="Recorded when the file is complete.")


def first_copy(beamline: Beamline, source: Copy, target: Copy) -> dg.AssetsDefinition:
    """The asset that copies a new scan to where it is first read, and writes its manifest.

    One that was deleted by a rule is copied back from where it is kept, once the acquisition machine has it no more.
    """
    this = asset_key(beamline, target)

    def make(step: _Step, clock: Clock) -> _Made:
        key, transfer = step.key, step.transfer
        origin, here = source.location(key), target.location(key)
        announced = _announced(step)
        if target.manifest(key).here.exists() and step.transfer.entry_at(origin) is None:
            return _copied_back(beamline, step, target, announced)
        _must_be_unchanged(step, origin, announced, clock, "since it was taken for complete")
        fingerprint = _fingerprint(announced)
        item = Item(origin, here, sha256=None, bytes=announced.size_bytes)
        work = WorkKey(this.to_user_string(), str(key), "", fingerprint)
        receipt = transfer.copy(CopyRequest(key.scan, (item,), fingerprint), work, step.pulse)
        _must_be_unchanged(step, origin, announced, clock, "while it was copied")
        manifest = _first_manifest(here, target.manifest(key), clock)
        return _Made(manifest, receipt, source.place, origin, (_inspected(step, here),))

    return _raw_asset(beamline, source, target, make)


def _copied_back(beamline: Beamline, step: "_Step", target: Copy, announced: SeenFile) -> "_Made":
    """A first copy that was there before, from a place that keeps it; its manifest tells what it must be."""
    key, manifest = step.key, proof.read_manifest(target.manifest(step.key))
    content = manifest.files[0]
    for keeper in _kept_at(beamline, target):
        if step.transfer.entry_at(keeper.location(key)) is not None:
            item = Item(keeper.location(key), target.location(key), sha256=content.sha256, bytes=content.bytes)
            work = WorkKey(asset_key(beamline, target).to_user_string(), str(key), "", _fingerprint(announced))
            receipt = step.transfer.copy(CopyRequest(key.scan, (item,), work.fingerprint), work, step.pulse)
            looked_at = keeper.location(key)
            return _Made(manifest, receipt, keeper.place, looked_at, (_inspected(step, target.location(key)),))
    places = ", ".join(keeper.place.name for keeper in _kept_at(beamline, target)) or "no other place"
    raise FileNotFoundError(f"The scan lies neither on the acquisition machine nor at {places}")


def _kept_at(beamline: Beamline, target: Copy) -> list[Copy]:
    """The other durable raw copies that a scan may have."""
    places = dict.fromkeys(rules.raw for rules in beamline.facilities.values())
    found = [Copy(beamline.places[place], target.artifact) for place in places]
    return [copy for copy in found if copy.place.role is Role.DURABLE and copy != target]


def _fingerprint(announced: SeenFile) -> str:
    return f"{announced.size_bytes}-{int(announced.modified.timestamp())}"


def onward_copy(beamline: Beamline, source: Copy, target: Copy) -> dg.AssetsDefinition:
    """The asset that copies a raw scan, with its manifest, from where it was first read to somewhere else."""
    this = asset_key(beamline, target)

    def make(step: _Step, _: Clock) -> _Made:
        key = step.key
        manifest = manifest_here(step.context, beamline, source, key)
        content, listing = manifest.files[0], source.manifest(key).here.read_bytes()
        sha256 = hashlib.sha256(listing).hexdigest()
        items = (
            Item(source.location(key), target.location(key), sha256=content.sha256, bytes=content.bytes),
            Item(source.manifest(key), target.manifest(key), sha256=sha256, bytes=len(listing)),
        )
        work = WorkKey(this.to_user_string(), str(key), "", content.sha256)
        receipt = step.transfer.copy(CopyRequest(key.scan, items, content.sha256), work, step.pulse)
        return _Made(manifest, receipt, source.place, target.location(key))

    return _raw_asset(beamline, source, target, make)


@dataclass(frozen=True, slots=True)
class _Step:
    """What a raw copy is made with."""

    context: dg.AssetExecutionContext
    key: PartitionKey
    transfer: Transfer
    gate: Gate
    pulse: Pulse


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made, and where its size is looked at once more: on the side that nobody here has read."""

    manifest: Manifest
    receipt: TransferReceipt
    source: Place
    looked_at: Location
    about_the_scan: tuple[checks.Verdict, ...] = ()


def _raw_asset(
    beamline: Beamline, source: Copy, target: Copy, make: Callable[[_Step, Clock], _Made]
) -> dg.AssetsDefinition:
    this = asset_key(beamline, target)

    @dg.multi_asset(
        name=f"{target.place.name}_{target.asset_name}",
        specs=[asset_spec(beamline, target, [source], made_by=f"Copied by Globus from {source.place.name}.")],
        check_specs=checks.check_specs(beamline, [target]),
        pool=GLOBUS_POOL,
    )
    def copy_asset(
        context: dg.AssetExecutionContext,
        transfer: dg.ResourceParam[Transfer],
        gate: dg.ResourceParam[Gate],
        remote: dg.ResourceParam[Remote],
        clock: dg.ResourceParam[Clock],
    ) -> Events:
        watch = Stopwatch()
        key = raw_key(context)
        with remote_step(context, remote) as pulse:
            if target.place.mount is not None:
                proof.make_folders(target.location(key).folder)
            made = make(_Step(context, key, transfer, gate, pulse), clock)
            listed = checks.of_listed(transfer, made.looked_at, made.manifest)
        compared = checks.of_checksums_of(made.receipt, target.location(key), made.manifest, clock)
        yield from checks.report(this, [*listed, compared, *made.about_the_scan])
        yield dg.MaterializeResult(
            asset_key=this,
            metadata={
                **evidence.of_copy(target, key, 1, made.manifest.total_bytes, watch.seconds),
                "sha256": made.manifest.files[0].sha256,
                **evidence.of_transfer(made.receipt, made.source),
            },
        )

    return copy_asset


def _first_manifest(raw: Location, listing: Location, clock: Clock) -> Manifest:
    """The manifest of the raw file: made when it is read for the first time, and true from then on.

    A copy that is materialized again is held against it: a manifest that followed the file would hide its decay.
    """
    if listing.here.exists():
        manifest = proof.read_manifest(listing)
        proof.prove_here(raw, manifest, clock=clock)
        return manifest
    manifest = proof.make_raw_manifest(raw, program=PROGRAM)
    proof.write_manifest(listing, manifest)
    return manifest


def manifest_here(context: dg.AssetExecutionContext, beamline: Beamline, copy: Copy, key: PartitionKey) -> Manifest:
    """The manifest of a raw copy on this machine. Of one that was adopted it is made when it is first needed.

    Raises FileNotFoundError where there is none, and SourceChangedError where the file is not the one that was adopted.
    """
    listing = copy.manifest(key)
    if not listing.here.exists():
        _must_be_as_adopted(context, beamline, copy, key)
        proof.write_manifest(listing, proof.make_raw_manifest(copy.location(key), program=PROGRAM))
    return proof.read_manifest(listing)


def _must_be_as_adopted(context: dg.AssetExecutionContext, beamline: Beamline, copy: Copy, key: PartitionKey) -> None:
    said = records.newest(context.instance, asset_key(beamline, copy), str(key)) or {}
    if said.get("arrival") != Arrival.ADOPTED:
        raise FileNotFoundError(errno.ENOENT, "no manifest", str(copy.manifest(key).here))
    status = copy.location(key).here.stat()
    adopted = SeenFile(int(str(said["bytes"])), datetime.fromtimestamp(float(str(said["modified"])), UTC))
    now = SeenFile(status.st_size, datetime.fromtimestamp(int(status.st_mtime), UTC))
    if now != adopted:
        raise SourceChangedError(
            seen=f"{copy.location(key)} has {now}, and had {adopted} when it was adopted",
            meaning="it is not the file that was registered",
            remedy="look at what has changed it; nothing is made of it until then",
        )


def raw_key(context: dg.AssetExecutionContext) -> PartitionKey:
    """The partition of a raw asset. A labelled one is refused: a raw file is never recorded under it."""
    key = partition_of(context)
    if key.label is not None:
        raise refusal(
            context,
            f"{key} is a labelled reconstruction, and raw files have no labels. Materialize the partition "
            f"{key.of_scan} for the raw copy, or only the products for this one: the jobs called ..._again do that.",
        )
    return key


def partition_of(context: dg.AssetExecutionContext) -> PartitionKey:
    """The partition of this run. Raises dg.Failure where there is none, or one that stands for no scan.

    The UI lets people type any key, and execute an asset's checks without one.
    """
    if not context.has_partition_key:
        raise dg.Failure(
            description="No scan was chosen. Checks are made when a copy is made: materialize the asset for a scan.",
            allow_retries=False,
        )
    try:
        return PartitionKey.parse(context.partition_key)
    except InvalidPartitionKeyError as error:
        raise dg.Failure(
            description=f"{error}. A partition is a scan's path below raw/ without .h5, such as "
            "BLS-00564_user/20260101_120000_sample, or that, @ and a label. Delete this one on the asset's page "
            "(Partitions, the arrow beside Materialize..., Delete partitions).",
            allow_retries=False,
        ) from error


def product_key(context: dg.AssetExecutionContext) -> PartitionKey:
    """The partition of a product. Results of the system before this one are refused: they are adopted, never made."""
    key = partition_of(context)
    if key.label == LEGACY:
        raise refusal(
            context,
            f"{key} stands for what the system before this one has made, and that is not made again. "
            f"Materialize the partition {key.of_scan}, or one with another label.",
        )
    return key


def _inspected(step: _Step, raw: Location) -> checks.Verdict:
    """Whether the scan is whole, from its file; what the file says is kept for whoever decides about the scan."""
    said = run_program(["inspect", str(raw.here)], limit=_INSPECTION_LIMIT, progress=lambda _: None).result
    aborted = "; ".join(said["missing"]) or None
    step.gate.standings.inspected(step.key.scan.key, proposal=said["proposal"], aborted=aborted)
    detail = f"{said['projections']} projections, all there" if aborted is None else aborted
    return checks.Verdict(checks.WHOLE, aborted is None, detail, is_serious=False)


def _announced(step: _Step) -> SeenFile:
    """The file that was announced, or found complete."""
    file = step.gate.standings.of(step.key.scan.key).file
    if file is None:
        raise PlatformError(
            seen=f"nothing is recorded of {step.key}",
            meaning="the scan was never announced, so nobody knows what its file must be",
            remedy="let the sensor find it, or announce it",
        )
    return file


def _must_be_unchanged(step: _Step, origin: Location, announced: SeenFile, clock: Clock, when: str) -> None:
    entry = step.transfer.stat(origin)
    now = SeenFile(entry.size_bytes, entry.modified)
    if now != announced:
        step.gate.standings.changed(step.key.scan.key, f"{now}, and not {announced}", at=clock.now())
        raise SourceChangedError(
            seen=f"the scan's file has now {now}, and had {announced}: it has changed {when}",
            meaning="it is not the file that was taken for complete",
            remedy="nothing of it is copied or deleted until a person has looked at it (als scan accept)",
        )
