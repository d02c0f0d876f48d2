"""How retention reads in the UI: deletions on the assets of copies, passes and plans on an asset of each place.

Belongs here: keys, specs, events and tables.
Does not: what happened (passes), or the evidence itself, which is in the ledger (resources.certificates).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

import dagster as dg

from als_assets.checks import check_names
from als_assets.evidence import sendable
from als_assets.naming import asset_key
from als_assets.retention.order import retention_key
from als_assets.retention.planning import Candidate, Plan
from beamlines.config import Beamline
from beamlines.deletion import durable_raw, keepers_of
from beamlines.layout import Copy
from beamlines.retention import RECIPE
from beamlines.scans import PartitionKey
from resources.certificates import Certificate

ROWS_SHOWN = 200
"""Of a table on an asset's page: it lies in the event log."""
STATE, DELETED = "state", "deleted"


def deleted_records(
    beamline: Beamline, copy: Copy, key: PartitionKey, certificate: Certificate, at: datetime
) -> Iterator[dg.AssetObservation | dg.AssetCheckEvaluation]:
    """That a copy was deleted: when, by which rule, and what remains; a copy of its certificate. It is as expected."""
    deletion, kept = certificate.deletion, ", ".join(sorted(keeper.asset for keeper in certificate.deletion.keepers))
    said = f"Deleted by certificate {certificate.sequence}. It is kept by {kept}. Materialize it to have it again."
    yield dg.AssetObservation(
        asset_key(beamline, copy),
        partition=str(key),
        description=said,
        metadata={
            STATE: dg.MetadataValue.text(DELETED),
            "path": dg.MetadataValue.path(sendable(copy.location(key).posix)),
            "remains": dg.MetadataValue.text(kept),
            "reason": dg.MetadataValue.text(sendable(deletion.reason)),
            "by": dg.MetadataValue.text(deletion.author),
            "certificate": dg.MetadataValue.json(_shown(certificate, at)),
        },
    )
    yield from expected(beamline, copy, str(key), passed=True, said=said)


def suspect_records(
    beamline: Beamline, copy: Copy, partition: str, why: str
) -> Iterator[dg.AssetObservation | dg.AssetCheckEvaluation]:
    """That a copy is not what was recorded: nothing is deleted of it, or because of it, until it is recorded anew."""
    said = f"Not what was recorded: {sendable(why)}"
    yield dg.AssetObservation(
        asset_key(beamline, copy),
        partition=partition,
        description=said,
        metadata={STATE: dg.MetadataValue.text("suspect")},
    )
    yield from expected(beamline, copy, partition, passed=False, said=said)


def expected(
    beamline: Beamline, copy: Copy, partition: str, *, passed: bool, said: str
) -> Iterator[dg.AssetCheckEvaluation]:
    """Whether a copy is as expected: there and as it was recorded, or gone by a certificate.

    It is the first of the checks that the copy has anyway. One of its own would have to be carried out in every run
    that makes a copy (docs/decisions/0018-retention.md). Where scans appear nothing is checked, so nothing is said.
    """
    if copy.place.name != beamline.scans.place:
        yield dg.AssetCheckEvaluation(
            asset_key=asset_key(beamline, copy),
            check_name=check_names(beamline, copy)[0],
            passed=passed,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata={"detail": said},
            description=said,
            partition=partition,
        )


def _shown(certificate: Certificate, at: datetime) -> dict[str, Any]:
    deletion = certificate.deletion
    return {
        "sequence": certificate.sequence,
        "begun": certificate.begun.isoformat(),
        "ended": at.isoformat(),
        "rule": dict(deletion.rule),
        "bytes": deletion.bytes,
        "files": deletion.files,
        "note": deletion.note,
        "keepers": [asdict(keeper) for keeper in deletion.keepers],
    }


def report(
    instance: dg.DagsterInstance,
    events: Iterable[dg.AssetObservation | dg.AssetCheckEvaluation | dg.AssetMaterialization],
    run: dg.DagsterRun,
) -> None:
    """Write events of assets that the run itself does not make.

    Of a check without a run Dagster keeps one evaluation a partition, and a second one is an error: the run is named.
    """
    for event in events:
        if isinstance(event, dg.AssetCheckEvaluation):
            evaluated = dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION.value,
                job_name=run.job_name,
                event_specific_data=event,
                message=event.description or "",
            )
            instance.report_dagster_event(evaluated, run.run_id)
        else:
            instance.report_runless_asset_event(event)


def pass_record(
    beamline: Beamline, place: str, summary: str, metadata: Mapping[str, dg.MetadataValue[Any]]
) -> dg.AssetMaterialization:
    """What one pass found and did."""
    return dg.AssetMaterialization(retention_key(beamline, place), description=summary, metadata=metadata)


def plan_metadata(plan: Plan, name: str) -> dict[str, dg.MetadataValue[Any]]:
    """A plan as tables: what goes, and how many copies stay for which reason."""
    rows = [
        dg.TableRecord(
            {
                "copy": candidate.name,
                "scan": sendable(candidate.partition),
                "bytes": candidate.record.bytes,
                "files": candidate.record.files,
                "recorded": f"{candidate.record.recorded:%Y-%m-%d %H:%M}",
                "remains": remains(candidate),
            }
        )
        for candidate in plan.going[:ROWS_SHOWN]
    ]
    return {
        f"{name}_copies": dg.MetadataValue.int(plan.may_go),
        f"{name}_bytes": dg.MetadataValue.int(plan.bytes),
        f"{name}_kept_because": dg.MetadataValue.json({str(reason): n for reason, n in plan.kept.most_common()}),
        **({name: dg.MetadataValue.table(rows)} if rows else {}),
        **_refused(plan, name),
    }


def _refused(plan: Plan, name: str) -> dict[str, dg.MetadataValue[Any]]:
    rows = [
        dg.TableRecord(
            {
                "copy": record.asset,
                "scan": sendable(record.partition),
                "reason": str(decision.reason),
                "detail": sendable(decision.detail),
            }
        )
        for record, decision in plan.refused[:ROWS_SHOWN]
    ]
    return {f"{name}_old_and_kept": dg.MetadataValue.table(rows)} if rows else {}


def remains(candidate: Candidate) -> str:
    """What will be left of the same thing, in words: copies that the rule counts, and the recipe where it does."""
    rule, others = candidate.rule, candidate.scene.others
    by_recipe = [RECIPE] if RECIPE in rule.keepers and durable_raw(others) else []
    return ", ".join([*keepers_of(rule, others), *by_recipe]) or "nothing"
