"""A facility's branch: jobs beside its scratch place, and their products copied to where they are kept.

Belongs here: the factories of a branch's assets; adding a facility is a YAML entry over these.
Does not: which copies a branch has (beamlines.branches), how a job is submitted (resources.facilities), or the raw copy
that it starts from (raw).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from als_assets import checks, evidence
from als_assets.bindings import Facilities
from als_assets.naming import asset_key, asset_spec
from als_assets.raw import GLOBUS_POOL, Events, manifest_here, onward_copy, product_key, raw_key
from als_assets.settings import ReconstructionConfig, digest, settings_of
from als_assets.split import with_split
from als_assets.step import RETRIED, Pulse, Stopwatch, remote_step
from beamlines.branches import Branch
from beamlines.config import Beamline
from beamlines.layout import Artifact, Copy
from beamlines.manifest import Manifest, ManifestFile
from beamlines.places import Place
from beamlines.scans import PartitionKey
from resources import proof
from resources.clock import Clock
from resources.errors import PlatformError
from resources.facilities import Facility, JobResult
from resources.facilities.reconstruction import ReconstructionJob, Step
from resources.gate import Gate
from resources.remote import Remote
from resources.transfer import CopyRequest, Item, PendingCopy, Transfer, TransferReceipt
from resources.work import WorkKey

STEPS = {Artifact.RAW: Step.STAGE, Artifact.TIFF: Step.RECONSTRUCT, Artifact.ZARR: Step.PYRAMID}
"""What a job does for each copy on scratch."""


def branch_assets(beamline: Beamline, branch: Branch) -> list[dg.AssetsDefinition]:
    """Everything that the branch makes, in its order."""
    raw = [] if branch.raw == branch.first_raw else [onward_copy(beamline, branch.first_raw, branch.raw)]
    back = [return_asset(beamline, branch)] if branch.kept else []
    return [*raw, *job_assets(beamline, branch), *back]


def job_assets(beamline: Beamline, branch: Branch) -> list[dg.AssetsDefinition]:
    """What the facility's jobs make."""
    return [_job_asset(beamline, branch, made) for made in branch.jobs]


def _job_asset(beamline: Beamline, branch: Branch, made: tuple[Artifact, ...]) -> dg.AssetsDefinition:
    work = branch.work
    how = f"Made by a job at {branch.name}{' that stages the raw file itself' if Artifact.RAW in work else ''}."
    # One key for whatever part of a job is asked for: two jobs never write the same folder, and other settings for a
    # part of it are refused as they are for the whole.
    work_name = f"{beamline.name}/{branch.facility.work}/{'+'.join(made)}"

    def run(
        context: dg.AssetExecutionContext, settings: Sequence[str], facilities: Facilities, remote: Remote
    ) -> Events:
        watch = Stopwatch()
        wanted = [a for a in made if asset_key(beamline, work[a]) in context.selected_asset_keys]
        key = raw_key(context) if Artifact.RAW in wanted else product_key(context)
        with remote_step(context, remote) as pulse:
            raw = manifest_here(context, beamline, branch.first_raw, key.of_scan).files[0]
            job = ReconstructionJob.at(
                beamline,
                branch.name,
                key,
                steps=_steps(wanted),
                raw_bytes=raw.bytes,
                raw_sha256=raw.sha256,
                settings=tuple(settings),
                keeps_raw=Artifact.RAW in wanted,
            )
            program = branch.facility.program
            made_with = digest(*settings, program.said, program.version)
            work_key = WorkKey(work_name, str(key), made_with, raw.sha256)
            result = facilities[branch.name].run(job.spec(), work_key, pulse)
        for artifact in wanted:
            made_now = _made(beamline, branch, work[artifact], key, result, raw, watch.seconds)
            yield from with_split(made_now, context, beamline, branch, key)

    declared = dg.multi_asset(
        name=branch.step(made),
        specs=[asset_spec(beamline, work[a], [branch.made_of(work[a])], made_by=how, skippable=True) for a in made],
        check_specs=checks.check_specs(beamline, [work[a] for a in made]),
        can_subset=True,
        pool=f"{branch.name}_jobs",
    )
    if Artifact.TIFF not in made:
        # A pyramid alone has nothing to choose: it shows the slices that are there.
        @declared
        def pyramid_job(
            context: dg.AssetExecutionContext,
            facilities: dg.ResourceParam[Facilities],
            remote: dg.ResourceParam[Remote],
        ) -> Events:
            yield from run(context, (), facilities, remote)

        return pyramid_job

    @declared
    def reconstruction_job(
        context: dg.AssetExecutionContext,
        config: ReconstructionConfig,
        facilities: dg.ResourceParam[Facilities],
        remote: dg.ResourceParam[Remote],
    ) -> Events:
        yield from run(context, settings_of(config).arguments(), facilities, remote)

    return reconstruction_job


def _steps(wanted: Sequence[Artifact]) -> tuple[Step, ...]:
    # A reconstruction stages its raw file whether that is recorded or not: a labelled one never records it, and scratch
    # may have been purged since. What lies there and is right is left as it is.
    needed = {*wanted, Artifact.RAW} if Artifact.TIFF in wanted else {*wanted}
    return tuple(step for artifact, step in STEPS.items() if artifact in needed)


def _made(
    beamline: Beamline, branch: Branch, copy: Copy, key: PartitionKey, job: JobResult, raw: ManifestFile, seconds: float
) -> Events:
    this = asset_key(beamline, copy)
    if copy.artifact is Artifact.RAW:
        staged = Step.STAGE in job.stage_seconds
        detail = f"sha256sum of the staged file is {raw.sha256}" if staged else "the log has no end of the staging"
        yield from checks.report(this, [checks.Verdict("checksum", staged, detail)])
        metadata: evidence.Metadata = {
            **evidence.of_copy(copy, key.of_scan, 1, raw.bytes, seconds),
            "checksum_evidence": dg.MetadataValue.text(detail),
        }
    else:
        manifest = job.manifests[copy.artifact]
        yield from checks.report(this, [checks.of_manifest(manifest, copy.artifact, branch.facility.program.version)])
        written = "SHA-256 of every file, computed by the program as it wrote them"
        metadata = {
            **evidence.picture(manifest, restricted=False),  # else the job would have been refused
            **evidence.of_copy(copy, key, manifest.total_files, manifest.total_bytes, seconds),
            "checksum_evidence": dg.MetadataValue.text(written),
            **evidence.of_product(manifest),
        }
    program = {"program_from": dg.MetadataValue.text(branch.facility.program.said)}
    yield dg.MaterializeResult(asset_key=this, metadata={**metadata, **program, **evidence.of_job(job)})


def return_asset(beamline: Beamline, branch: Branch) -> dg.AssetsDefinition:
    """The kept copies of a branch's products: every transfer is submitted, then all are waited for together."""
    kept = [copy for products in branch.kept.values() for copy in products.values()]

    @dg.multi_asset(
        name=f"{branch.name}_products_returned",
        specs=[
            asset_spec(
                beamline,
                copy,
                [branch.work[copy.artifact]],
                made_by=f"Copied by Globus from {branch.facility.work}.",
                skippable=True,
            )
            for copy in kept
        ],
        check_specs=checks.check_specs(beamline, kept),
        can_subset=True,
        pool=GLOBUS_POOL,
    )
    def returned(
        context: dg.AssetExecutionContext,
        transfer: dg.ResourceParam[Transfer],
        facilities: dg.ResourceParam[Facilities],
        gate: dg.ResourceParam[Gate],
        remote: dg.ResourceParam[Remote],
        clock: dg.ResourceParam[Clock],
    ) -> Events:
        watch = Stopwatch()
        key = product_key(context)
        wanted = [copy for copy in kept if asset_key(beamline, copy) in context.selected_asset_keys]
        with remote_step(context, remote) as pulse:
            for copy in wanted:
                if copy.place.mount is not None:
                    proof.make_folders(copy.location(key).folder)
            needed = {copy.artifact for copy in wanted}
            products = {a: _read_product(facilities[branch.name], branch.work[a], key) for a in needed}
            requests = [_request(beamline, branch, copy, key, products[copy.artifact]) for copy in wanted]
            outcomes = _copied(transfer, requests, pulse)
        failures: list[Exception] = []
        for copy, outcome in zip(wanted, outcomes, strict=True):
            manifest = products[copy.artifact].manifest
            try:
                if isinstance(outcome, PlatformError):
                    raise outcome
                verdicts = _looked_at(copy, key, manifest, outcome, transfer, clock)
                yield from checks.report(asset_key(beamline, copy), verdicts)
                picture = evidence.picture(manifest, restricted=gate.is_restricted(key.scan))
                source = branch.work[copy.artifact].place
                done = _returned(beamline, copy, key, manifest, outcome, source, picture, watch.seconds)
                yield from with_split([done], context, beamline, branch, key)
            except (PlatformError, dg.Failure) as error:
                failures.append(error)  # what became of one copy changes nothing for the others
        for failure in failures:
            context.log.error(str(failure))
        with remote_step(context, remote):
            if failures:
                # One that a retry may help goes first: what is done by then is not done again.
                raise min(failures, key=lambda failure: not isinstance(failure, RETRIED))

    return returned


@dataclass(frozen=True, slots=True)
class _Product:
    """A product at the facility, known by its manifest; the manifest is a file too, and travels along."""

    manifest: Manifest
    manifest_bytes: int
    manifest_sha256: str


def _copied(
    transfer: Transfer, requests: Sequence[tuple[CopyRequest, WorkKey]], pulse: Pulse
) -> list[TransferReceipt | PlatformError]:
    """Begin every copy, then wait for all; what became of each, in their order."""
    begun: list[PendingCopy | PlatformError] = []
    for request, work in requests:
        try:
            begun.append(transfer.begin(request, work))
        except PlatformError as error:
            begun.append(error)
    waiting = [copy for copy in begun if isinstance(copy, PendingCopy)]
    ended = {id(copy): outcome for copy, outcome in transfer.finish_each(waiting, pulse)}
    return [ended[id(copy)] if isinstance(copy, PendingCopy) else copy for copy in begun]


def _read_product(facility: Facility, copy: Copy, key: PartitionKey) -> _Product:
    location = copy.manifest(key)
    text = facility.read(location.posix, limit_bytes=proof.LARGEST_MANIFEST_BYTES)
    return _Product(Manifest.parse(text, source=str(location)), len(text), hashlib.sha256(text).hexdigest())


def _request(
    beamline: Beamline,
    branch: Branch,
    copy: Copy,
    key: PartitionKey,
    product: _Product,
) -> tuple[CopyRequest, WorkKey]:
    # A task of its own for each copy: whichever copies are asked for together, now or later, each is the same work.
    source = branch.work[copy.artifact]
    items = [
        Item(source.location(key) / file.path, copy.location(key) / file.path, file.sha256, file.bytes)
        for file in product.manifest.files
    ]
    # The manifest comes last in the list; where it lies, everything that it lists was asked for before it.
    items.append(Item(source.manifest(key), copy.manifest(key), product.manifest_sha256, product.manifest_bytes))
    work = WorkKey(asset_key(beamline, copy).to_user_string(), str(key), "", product.manifest_sha256)
    return CopyRequest(key.scan, tuple(items), product.manifest_sha256), work


def _looked_at(
    copy: Copy, key: PartitionKey, manifest: Manifest, receipt: TransferReceipt, transfer: Transfer, clock: Clock
) -> list[checks.Verdict]:
    location = copy.location(key)
    if copy.place.mount is None:
        verdicts = checks.of_listed(transfer, location, manifest)
    else:
        verdicts = checks.of_files_here(location.here, manifest)
        if copy.artifact is Artifact.ZARR:
            verdicts.append(checks.of_pyramid_here(location.here))
    return [*verdicts, checks.of_checksums_of(receipt, location, manifest, clock)]


def _returned(
    beamline: Beamline,
    copy: Copy,
    key: PartitionKey,
    manifest: Manifest,
    receipt: TransferReceipt,
    source: Place,
    picture: evidence.Metadata,
    seconds: float,
) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(
        asset_key=asset_key(beamline, copy),
        metadata={
            **picture,
            **evidence.of_copy(copy, key, manifest.total_files, manifest.total_bytes, seconds),
            **evidence.of_transfer(receipt, source),
            **evidence.of_product(manifest),
        },
    )
