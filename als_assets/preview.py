"""The first look at a scan, made on site before any facility is involved.

Belongs here: the asset factory of the preview.
Does not: the pictures themselves (tomography.preview).
"""

from datetime import timedelta

import dagster as dg

from als_assets import checks, evidence
from als_assets.naming import asset_key, asset_spec
from als_assets.raw import Events, raw_key
from als_assets.step import Stopwatch, remote_step
from beamlines.config import Beamline
from beamlines.layout import Copy
from resources import proof
from resources.clock import Clock
from resources.program import run_program
from resources.remote import Remote

_LIMIT = timedelta(minutes=10)


def preview_asset(beamline: Beamline, raw: Copy, preview: Copy) -> dg.AssetsDefinition:
    """Three slices of the scan, beside the raw copy that this machine sees."""
    this = asset_key(beamline, preview)

    @dg.multi_asset(
        name=f"{preview.place.name}_{preview.asset_name}",
        specs=[asset_spec(beamline, preview, [raw], made_by="Made on this machine.")],
        check_specs=checks.check_specs(beamline, [preview]),
        pool="preview",
    )
    def make_preview(
        context: dg.AssetExecutionContext, remote: dg.ResourceParam[Remote], clock: dg.ResourceParam[Clock]
    ) -> Events:
        watch = Stopwatch()
        key = raw_key(context)
        began = clock.now()
        with remote_step(context, remote):
            proof.make_folders(preview.location(key).folder)
            source = proof.read_manifest(raw.manifest(key)).files[0]
            run_program(
                [
                    "preview",
                    str(raw.location(key).here),
                    str(preview.location(key).here),
                    "--input-sha256",
                    source.sha256,
                ],
                limit=_LIMIT,
                progress=lambda event: context.log.debug(str(event)),
            )
            manifest = proof.read_manifest(preview.manifest(key))
        yield from checks.report(this, [checks.of_manifest(manifest, preview.artifact, manifest.program.version)])
        yield dg.MaterializeResult(
            asset_key=this,
            metadata={
                **evidence.picture(manifest),
                **evidence.of_copy(preview, key, manifest.total_files, manifest.total_bytes, watch.seconds),
                **evidence.interval(began, clock.now()),
                **evidence.of_product(manifest),
            },
        )

    return make_preview
