"""A reconciliation as one run carries it out, and what it writes: the table, checks, suspects.

Belongs here: putting it together from a run's resources, and the order in which it is written down.
Does not: looking (reconciler), how it reads (records), or the job (jobs).
"""

from collections.abc import Mapping

import dagster as dg

from als_assets.reconciliation.asset import reconciliation_key
from als_assets.reconciliation.reconciler import Reconciler
from als_assets.reconciliation.records import again_records, lines, shown, table_record, unknown_in
from als_assets.reconciliation.report import Report
from als_assets.retention import records
from als_assets.retention.tables import Tables
from als_assets.step import remote_step
from beamlines.config import Beamline
from beamlines.layout import Copy
from resources.clock import Clock
from resources.recorded import SeenBy, Suspect
from resources.remote import Remote
from resources.transfer import Transfer

LOOKS = 3
"""A folder that none of so many looks could list, one after the other, is a person's business: facilities have
maintenance for a day or two, and after that nobody knows any more what lies there."""


def carry_out(
    context: dg.OpExecutionContext,
    beamline: Beamline,
    copies: Mapping[str, Copy],
    place: str,
    tables: Tables,
    transfer: Transfer,
    remote: Remote,
    clock: Clock,
) -> list[str]:
    """Look through a place and write down what was found; what a person must look at. ``copies`` are by name."""
    instance, at = context.instance, beamline.places[place]
    with remote_step(context, remote):
        report = Reconciler(beamline, copies, at, instance, transfer, tables, clock, context.run_id).reconcile()
    write_down(beamline, copies, report, tables, instance, context.run, clock)
    context.log.info(shown(str(report)))
    for folder, why in report.unreachable.items():
        context.log.warning(f"{shown(folder)} cannot be listed: {shown(why)}")
    return [*lines(report), *_unreachable_for_long(beamline, report.place, instance)]


def _unreachable_for_long(beamline: Beamline, place: str, instance: dg.DagsterInstance) -> list[str]:
    """What none of the last looks could list, the one that was just written down included; a line each."""
    wanted = dg.AssetRecordsFilter(reconciliation_key(beamline, place))
    tables = [one.asset_materialization for one in instance.fetch_materializations(wanted, limit=LOOKS).records]
    if len(tables) < LOOKS:
        return []
    return [
        f"unreachable: {folder} could not be listed in the last {LOOKS} looks, so nobody knows what lies there: see "
        f"what als doctor says of {place}, and ask {beamline.places[place].run_by}"
        for folder in sorted(set.intersection(*map(unknown_in, tables)))
    ]


def write_down(
    beamline: Beamline,
    copies: Mapping[str, Copy],
    report: Report,
    tables: Tables,
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    clock: Clock,
) -> None:
    """The table every night; of each lost or changed copy an observation, its check and a suspect once a record."""
    records.report(instance, [table_record(beamline, report)], run)
    known = {(one.asset, one.partition, one.storage_id) for one in tables.suspects.all()}
    for finding in report.bad:
        copy = finding.expected
        if copy is None or (copy.asset, copy.partition, copy.storage_id) in known:
            continue
        why = shown(f"{finding.kind}: {finding.why}")
        events = records.suspect_records(beamline, copies[copy.asset], copy.partition, why)
        records.report(instance, events, run)
        # Last: where it is, everything before it is too.
        suspect = Suspect(copy.asset, copy.partition, copy.storage_id, clock.now(), why, SeenBy.LISTING)
        tables.suspects.add(suspect)
    records.report(instance, again_records(beamline, copies, report), run)
    for suspect in report.again:
        tables.suspects.lift(suspect)
