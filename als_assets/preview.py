"""The first look at a scan, made on site before any facility is involved.

Belongs here: the asset factory of the preview.
Does not: the pictures themselves (tomography.preview).
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from als_assets import checks, evidence
from als_assets.naming import asset_key, asset_spec
from als_assets.raw import manifest_here, raw_key
from als_assets.step import Stopwatch, remote_step
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.scans import PartitionKey
from resources import proof
from resources.clock import Clock
from resources.errors import WorkFailedError
from resources.gate import Gate
from resources.program import run_program
from resources.remote import Remote

_PAGE = "look.html"
_LIMIT = timedelta(minutes=10)


def preview_asset(beamline: Beamline, raw: Copy, preview: Copy) -> dg.AssetsDefinition:
    """Pictures of the scan and what may be wrong with it, beside the raw copy that this machine sees."""
    this = asset_key(beamline, preview)

    @dg.multi_asset(
        name=f"{preview.place.name}_{preview.asset_name}",
        specs=[asset_spec(beamline, preview, [raw], made_by="Made on this machine.", skippable=True)],
        check_specs=checks.check_specs(beamline, [preview]),
        can_subset=True,  # else its check would have to be made where there is no picture
        pool="preview",
    )
    def make_preview(
        context: dg.AssetExecutionContext,
        remote: dg.ResourceParam[Remote],
        gate: dg.ResourceParam[Gate],
        clock: dg.ResourceParam[Clock],
    ) -> Iterator[dg.AssetObservation | dg.MaterializeResult[None] | dg.AssetCheckResult]:
        watch = Stopwatch()
        key = raw_key(context)
        began = clock.now()
        with remote_step(context, remote):
            proof.make_folders(preview.location(key).folder)
            source = manifest_here(context, beamline, raw, key).files[0]
            paths = [str(copy.location(key).here) for copy in (raw, preview)]
            try:
                run_program(
                    ["preview", *paths, "--input-sha256", source.sha256],
                    limit=_LIMIT,
                    progress=lambda event: context.log.debug(str(event)),
                )
            except WorkFailedError as error:
                aborted = gate.standings.of(key.scan.key).aborted
                if aborted is None:
                    raise
                # Expected of a scan that was stopped: it is kept, and there is nothing to see.
                yield _nothing_to_see(this, key, aborted, error)
                return
            manifest = proof.read_manifest(preview.manifest(key))
        made = checks.of_manifest(manifest, preview.artifact, manifest.program.version)
        yield from checks.report(this, [made, *checks.of_quality(manifest)])
        yield dg.MaterializeResult(
            asset_key=this,
            metadata={
                **evidence.contact_sheet(manifest, restricted=gate.is_restricted(key.scan)),
                "page": dg.MetadataValue.path(evidence.sendable((preview.location(key) / _PAGE).posix)),
                **evidence.of_copy(preview, key, manifest.total_files, manifest.total_bytes, watch.seconds),
                **evidence.interval(began, clock.now()),
                **evidence.of_product(manifest),
            },
        )

    return make_preview


def _nothing_to_see(this: dg.AssetKey, key: PartitionKey, aborted: str, error: WorkFailedError) -> dg.AssetObservation:
    return dg.AssetObservation(
        this,
        partition=str(key),
        description=f"No first look: the scan is not whole ({aborted}).",
        metadata={"program": dg.MetadataValue.text(error.seen)},
    )
