"""Two results of one scan side by side, made where both lie on this machine.

Belongs here: the asset of the comparison and its job; which copies are read, and what is said of the difference.
Does not: figures and pictures (tomography.comparison), or making a result.
Which partition it has, and where it lies: docs/decisions/0014-labels.md.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

import dagster as dg
from pydantic import Field, create_model

from als_assets import checks, evidence
from als_assets.graph import ComparisonJob, scan_job
from als_assets.naming import asset_key, asset_spec
from als_assets.raw import product_key
from als_assets.step import Stopwatch, remote_step
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.manifest import Manifest
from beamlines.places import Location
from beamlines.scans import PartitionKey
from resources import proof
from resources.clock import Clock
from resources.gate import Gate
from resources.program import run_program
from resources.remote import Remote

_LIMIT = timedelta(minutes=10)
_FIGURES = ("row", "mean", "rms", "largest", "rms_of_spread")
Results = Mapping[str, Sequence[Copy]]
Events = Iterator[dg.AssetObservation | dg.MaterializeResult[None] | dg.AssetCheckResult]


def comparison_job(beamline: Beamline, comparison: Copy, results: Results) -> ComparisonJob:
    """The job that a person starts for the second result's partition."""
    what = (
        "Two results of a scan side by side: run the partition of the second, `<scan>@<label>`, and name the label of "
        "the first; without one it is the result without a label."
    )
    job = scan_job(beamline, "compare", [comparison], what)
    return ComparisonJob(job, _step(comparison), comparison, results)


def comparison_asset(beamline: Beamline, comparison: Copy, results: Results) -> dg.AssetsDefinition:
    """Three slices of two results, their difference, and the settings that differ."""
    this = asset_key(beamline, comparison)
    names = [name for name in beamline.preference if results[name]]
    choice: Any = Literal[tuple(names)]
    config_type: Any = create_model(
        "ComparisonConfig",
        __base__=dg.Config,
        first=(str, Field(default="", description="Label of the first result; empty for the one without a label.")),
        facility=(
            choice,
            Field(default=names[0], description="Whose results are compared: both are of this facility."),
        ),
    )

    @dg.multi_asset(
        name=_step(comparison),
        specs=[
            asset_spec(
                beamline,
                comparison,
                [copy for copies in results.values() for copy in copies],
                made_by="Made on this machine, when a person asks for it.",
                skippable=True,
            )
        ],
        check_specs=checks.check_specs(beamline, [comparison]),
        can_subset=True,  # else its check would have to be made where there is nothing to compare
        pool="preview",
    )
    def make_comparison(
        context: dg.AssetExecutionContext,
        config: config_type,
        remote: dg.ResourceParam[Remote],
        gate: dg.ResourceParam[Gate],
        clock: dg.ResourceParam[Clock],
    ) -> Events:
        watch, began = Stopwatch(), clock.now()
        key = product_key(context)
        with remote_step(context, remote):
            first = PartitionKey(key.scan, config.first or None)
            if first == key:
                yield dg.AssetObservation(this, partition=str(key), description="Nothing to compare: it is one result.")
                return
            sources = results_here(results[config.facility], first, key)
            out = folder_of(comparison, key, config.facility, first)
            proof.make_folders(out.folder)
            run_program(
                ["compare", *(str(source.here) for source in sources), str(out.here)],
                limit=_LIMIT,
                progress=lambda event: context.log.debug(str(event)),
            )
            manifest = proof.read_manifest(out.beside(f"{out.name}.comparison.manifest.json"))
        yield from checks.report(this, [checks.of_manifest(manifest, comparison.artifact, manifest.program.version)])
        yield dg.MaterializeResult(
            asset_key=this,
            metadata={
                **evidence.picture(manifest, restricted=gate.is_restricted(key.scan)),
                "first": dg.MetadataValue.text(str(first)),
                "second": dg.MetadataValue.text(str(key)),
                **_difference(manifest),
                **evidence.of_copy(comparison, key, manifest.total_files, manifest.total_bytes, watch.seconds),
                "path": dg.MetadataValue.path(evidence.sendable(out.posix)),
                **evidence.interval(began, clock.now()),
                **evidence.of_product(manifest),
            },
        )

    return make_comparison


def folder_of(comparison: Copy, key: PartitionKey, facility: str, first: PartitionKey) -> Location:
    """Where a comparison lies: one folder for each first result that the second was compared with."""
    return comparison.location(key) / (facility if first.label is None else f"{facility}.{first.label}")


def results_here(copies: Sequence[Copy], first: PartitionKey, second: PartitionKey) -> tuple[Location, Location]:
    """Where both results lie on this machine, in the same form. Raises FileNotFoundError where one does not."""
    missing: list[Location] = []
    for copy in copies:
        both = copy.location(first), copy.location(second)
        gone = [place for place, key in zip(both, (first, second), strict=True) if not copy.manifest(key).here.exists()]
        if not gone:
            return both
        missing += gone
    raise FileNotFoundError(errno.ENOENT, "no result", str(missing[0].here))


def _difference(manifest: Manifest) -> evidence.Metadata:
    """The figures and the settings as tables: what a person looks at beside the picture."""
    slices: Any = manifest.results["slices"]
    differing: Any = manifest.results["differing"]
    figures = [dg.TableRecord({name: _figure(one[name]) for name in _FIGURES}) for one in slices]
    settings = [
        dg.TableRecord({"setting": name, "first": str(first), "second": str(second)})
        for name, (first, second) in differing.items()
    ]
    return {
        "settings_that_differ": dg.MetadataValue.table(settings, schema=_schema("setting", "first", "second")),
        "difference": dg.MetadataValue.table(figures, schema=_schema(*_FIGURES)),
    }


def _schema(*columns: str) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name, "string") for name in columns])


def _figure(value: float) -> str:
    return f"{value:.5g}"


def _step(comparison: Copy) -> str:
    return f"{comparison.place.name}_{comparison.asset_name}"
