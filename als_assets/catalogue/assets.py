"""The assets of entries: of a scan, and of each facility's reconstructions; and the job that makes them.

Belongs here: what a step does, in order, and what is recorded of it.
Does not: what stands in an entry (describing, whereabouts), or keeping it there once (resources.catalogue).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import dagster as dg

from als_assets import checks, records
from als_assets.catalogue.describing import Describer, first_look
from als_assets.catalogue.naming import ENTRY, entry_check, entry_spec, raw_entry_key, reconstruction_key
from als_assets.catalogue.whereabouts import durable, whereabouts
from als_assets.evidence import interval
from als_assets.graph import ScanJob
from als_assets.naming import asset_key, scan_partitions
from als_assets.raw import manifest_here, partition_of
from als_assets.step import Stopwatch, remote_step
from beamlines.branches import Branch
from beamlines.catalogue.entries import Entry, Whereabouts
from beamlines.catalogue.rules import CatalogueRules
from beamlines.config import Beamline
from beamlines.layout import LEGACY, Artifact, Copy
from beamlines.scans import PartitionKey
from resources import proof
from resources.catalogue import Catalogue, Put
from resources.clock import Clock
from resources.remote import Remote

POOL = "catalogue"
"""Its own: a catalogue that is slow holds up nothing else."""
Events: TypeAlias = Iterator[dg.AssetObservation | dg.MaterializeResult[None] | dg.AssetCheckResult]


@dataclass(frozen=True, slots=True)
class _Step:
    """What an entry is made with."""

    context: dg.AssetExecutionContext
    beamline: Beamline
    key: PartitionKey
    describer: Describer
    catalogue: Catalogue
    tables: Any
    """retention.tables.Tables, whose library costs every import of the graph a third of a second."""

    def whereabouts(self, copies: list[Copy]) -> Whereabouts | None:
        return whereabouts(self.context.instance, self.tables.certificates, self.beamline, copies, self.key)

    def record(self, copy: Copy) -> Mapping[str, Any]:
        found = records.newest(self.context.instance, asset_key(self.beamline, copy), str(self.key))
        return {} if found is None else found


Make: TypeAlias = Callable[[_Step, Whereabouts], Entry | None]
"""The entry; None where nothing lies here to make it of any more, and only the whereabouts can be told."""


def raw_entry(beamline: Beamline, rules: CatalogueRules, raws: list[Copy], preview: Copy) -> dg.AssetsDefinition:
    """``scicat/raw``: made of the first copy, on site, and of the first look where there is one."""
    first = next(copy for copy in raws if copy.place.name == beamline.scans.first_copy)

    def make(step: _Step, where: Whereabouts) -> Entry | None:
        key, file = step.key, first.location(step.key)
        if not file.here.exists():
            return None
        said = step.describer.described(file, key.scan, _not_whole(step))
        manifest = manifest_here(step.context, beamline, first, key)
        png = first_look(preview, key) if step.catalogue.may_show_picture(key.scan) else None
        return step.describer.raw(key.scan, said, file, manifest, where, png)

    this = raw_entry_key(beamline)
    spec = entry_spec(beamline, this, [first, preview], "A scan")
    return _entry_asset(beamline, rules, spec, durable(raws), make, lambda of, key: of.raw_pid(key.scan), of_scan=True)


def reconstruction_entry(beamline: Beamline, rules: CatalogueRules, branch: Branch, first: Copy) -> dg.AssetsDefinition:
    """``scicat/<facility>_reconstruction``: made of the products on site."""
    facility, here = branch.name, branch.results_at(first.place)
    made_there = branch.work[Artifact.TIFF]

    def make(step: _Step, where: Whereabouts) -> Entry | None:
        key, listings = step.key, [(copy, copy.manifest(step.key)) for copy in here]
        products = [(copy, proof.read_manifest(at)) for copy, at in listings if at.here.exists()]
        raw = first.location(key.of_scan)
        if not products or not raw.here.exists():
            return None
        said = step.describer.described(raw, key.scan, _not_whole(step))
        made = max(_recorded(step, copy) for copy, _ in products)
        program = step.record(made_there).get("program_from")
        shows = step.catalogue.may_show_picture(key.scan)
        return step.describer.derived(key, facility, said, products, made, program, where, shows=shows)

    this = reconstruction_key(beamline, facility)
    spec = entry_spec(beamline, this, here, f"A reconstruction made by {facility}")
    copies = durable(branch.products)
    return _entry_asset(
        beamline, rules, spec, copies, make, lambda of, key: of.derived_pid(key, facility), of_scan=False
    )


def catalogue_job(beamline: Beamline, entries: list[dg.AssetKey]) -> ScanJob:
    """``<beamline>_catalogue``: the entries of one scan, or of one labelled reconstruction."""
    job = dg.define_asset_job(
        f"{beamline.name}_catalogue",
        selection=entries,
        description="What the catalogue has of one scan: its own entry, and one for each of its reconstructions. What "
        "was never made is left out; said again, it is brought up to date.",
        # After every run that brings a scan on: of the few that run at once, it takes no place from them.
        tags={"als/catalogue": beamline.name, "dagster/priority": "-1"},
    )
    return ScanJob(job, scan_partitions(beamline))


def _entry_asset(
    beamline: Beamline,
    rules: CatalogueRules,
    spec: dg.AssetSpec,
    copies: list[Copy],
    make: Make,
    pid_of: Callable[[Describer, PartitionKey], str],
    *,
    of_scan: bool,
) -> dg.AssetsDefinition:
    name = "/".join(spec.key.path[1:])

    @dg.multi_asset(
        name="_".join(spec.key.path[1:]),
        specs=[spec],
        check_specs=[entry_check(beamline, spec.key)],
        can_subset=True,  # else its check would have to be made where there is no entry
        pool=POOL,
    )
    def make_entry(
        context: dg.AssetExecutionContext,
        remote: dg.ResourceParam[Remote],
        catalogue: dg.ResourceParam[Catalogue],
        retention: dg.ResourceParam[Any],
        clock: dg.ResourceParam[Clock],
    ) -> Events:
        watch, began, key = Stopwatch(), clock.now(), partition_of(context)
        if key.label == LEGACY or (of_scan and key.label is not None):
            context.log.info(
                f"{key} has no such entry: a scan has one under its own key, and what the system before "
                "this one has made was described by that one."
            )
            return
        describer = Describer(beamline.name, rules, catalogue.pid_prefix)
        step, pid = _Step(context, beamline, key, describer, catalogue, retention), pid_of(describer, key)
        with remote_step(context, remote):
            if catalogue.must_be_absent(key.scan):
                there = catalogue.withdraw(pid)
                retention.disagreements.clear(name, str(key))
                did = "Its entry was withdrawn" if there else "It has no entry"
                yield _hidden(spec.key, key, pid, did)
                return
            where = step.whereabouts(copies)
            if where is None:
                context.log.info(
                    f"Nothing to describe: none of {', '.join(copy.asset_name for copy in copies)} "
                    f"is recorded for {key}."
                )
                return
            entry = make(step, where)
            put = catalogue.move(pid, where) if entry is None else catalogue.put(key.scan, entry)
        verdict = _verdict(put)
        if verdict.passed:
            retention.disagreements.clear(name, str(key))
        else:
            retention.disagreements.note(name, str(key), verdict.detail, clock.now())
        yield from checks.report(spec.key, [verdict])
        yield dg.MaterializeResult(
            asset_key=spec.key,
            metadata={
                "page": dg.MetadataValue.url(catalogue.page_of(pid)),
                "pid": dg.MetadataValue.text(pid),
                "there": dg.MetadataValue.text(where.said),
                "changes_sent": dg.MetadataValue.int(put.sent),
                **({} if entry is None else _amounts(entry)),
                "seconds": dg.MetadataValue.float(round(watch.seconds, 2)),
                **interval(began, clock.now()),
            },
        )
        if not catalogue.may_show_picture(key.scan):
            yield _hidden(spec.key, key, pid, "It has an entry that only its groups see, without a picture")

    return make_entry


def _amounts(entry: Entry) -> dict[str, dg.MetadataValue[Any]]:
    return {"files": dg.MetadataValue.int(len(entry.files)), "bytes": dg.MetadataValue.int(entry.bytes)}


def _hidden(this: dg.AssetKey, key: PartitionKey, pid: str, did: str) -> dg.AssetObservation:
    """What the sensor goes by: the newest of this and a materialization says whether the entry is hidden."""
    return dg.AssetObservation(
        this,
        partition=str(key),
        description=f"{did}: the scan must stay on site (catalogue.restricted in the configuration).",
        metadata={"state": dg.MetadataValue.text("hidden"), "pid": dg.MetadataValue.text(pid)},
    )


def _verdict(put: Put) -> checks.Verdict:
    if put.differs:
        return checks.Verdict(ENTRY, False, f"read again, it is other than what was sent: {', '.join(put.differs)}")
    did = "made" if put.created else f"{put.sent} changes sent" if put.sent else "all was there"
    return checks.Verdict(ENTRY, True, f"{did}; read again, it is what was sent")


def _not_whole(step: _Step) -> str | None:
    aborted: str | None = step.tables.standings.of(step.key.scan.key).aborted
    return aborted


def _recorded(step: _Step, copy: Copy) -> datetime:
    wanted = dg.AssetRecordsFilter(asset_key(step.beamline, copy), asset_partitions=[str(step.key)])
    found = step.context.instance.fetch_materializations(wanted, limit=1).records
    return datetime.fromtimestamp(found[0].timestamp, UTC) if found else datetime.fromtimestamp(0, UTC)
