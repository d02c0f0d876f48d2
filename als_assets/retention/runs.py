"""A pass as one run carries it out: its turn, its parts, and what the run says of it.

Belongs here: putting a pass together from a run's resources, and its report as events.
Does not: the pass (passes), or the job's configuration (jobs).
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import dagster as dg

from als_assets.bindings import Facilities
from als_assets.retention import records
from als_assets.retention.letting_go import By, LettingGo
from als_assets.retention.order import Order
from als_assets.retention.passes import Beats, Pass, PassReport
from als_assets.retention.planner import Planner
from als_assets.retention.planning import Plan
from als_assets.retention.tables import Tables
from als_assets.retention.turn import turn
from als_assets.retention.unfinished import end_left_reading
from als_assets.step import remote_step
from beamlines.config import Beamline
from beamlines.layout import Copy
from resources.clock import Clock
from resources.ending import Ending
from resources.keepers import KeeperReader
from resources.owner import Owner
from resources.remote import Pulse, Remote, RemoteStatus
from resources.transfer import Transfer
from resources.work import Record

AHEAD = timedelta(days=7)
"""How far the table looks that is shown after every pass."""


def carry_out(
    context: dg.OpExecutionContext,
    beamline: Beamline,
    copies: Mapping[str, Copy],
    place: str,
    order: Order,
    tables: Tables,
    transfer: Transfer,
    facilities: Facilities,
    remote: Remote,
    ending: Ending,
    clock: Clock,
) -> PassReport:
    """Carry a pass out, and record what it found and did. ``copies`` are those of the graph, by name."""
    owner, instance = Owner.this_process(context.run_id), context.instance
    with (
        remote_step(context, remote) as pulse,
        turn(beamline, tables.ledger, owner, clock, context.log.info) as ours,
    ):

        def still_ours() -> None:
            ours.beat()
            pulse.stop_if_ended()

        end_left_reading(ending, owner, clock, _saying(context, ours.beat))
        beating = _beating(pulse, ours.beat)
        planner = Planner(beamline, copies, place, instance, tables, clock, context.run_id, ours.beat_now_and_then)
        by = By(order.author, order.note, context.run)
        going = LettingGo(beamline, copies, instance, transfer, tables, clock, by, beating)
        reader = KeeperReader(beamline, facilities, clock)
        beats = Beats(beating, still_ours, ours.beat_now_and_then)
        report = Pass(planner, transfer, reader, going, beats, _saying(context, ours.beat)).carry_out(order)
        upcoming = planner.plan(Order(order.author), ahead=AHEAD) if order.partition is None else None
    context.log.info(said(report))
    shown = records.pass_record(beamline, place, said(report), _metadata(report, upcoming))
    instance.report_runless_asset_event(shown)
    return report


def _saying(context: dg.OpExecutionContext, beat: Callable[[], None]) -> Callable[[str], None]:
    def say(text: str) -> None:
        beat()
        context.log.info(text)

    return say


def _beating(pulse: Pulse, beat: Callable[[], None]) -> Pulse:
    def both(record: Record, status: RemoteStatus) -> None:
        beat()
        pulse(record, status)

    return both


def said(report: PassReport) -> str:
    """What a pass has done, in a line."""
    plan, size = report.plan, sum(certificate.deletion.bytes for certificate in report.deleted)
    done = f"{len(report.deleted)} copies of {size} bytes deleted, {len(report.kept)} kept by what was seen just before"
    if report.waits is not None:
        done = f"{done}. {report.waits}: {plan.may_go} copies would go"
    return f"{plan.place}: {plan.decided} copies decided about, {done}"


def _metadata(report: PassReport, upcoming: Plan | None) -> Mapping[str, dg.MetadataValue[Any]]:
    deleted = [
        dg.TableRecord(
            {
                "copy": certificate.deletion.asset,
                "scan": certificate.deletion.partition,
                "bytes": certificate.deletion.bytes,
                "certificate": certificate.sequence,
                "kept by": ", ".join(keeper.asset for keeper in certificate.deletion.keepers),
            }
        )
        for certificate in report.deleted[: records.ROWS_SHOWN]
    ]
    kept = [
        dg.TableRecord(
            {
                "copy": candidate.name,
                "scan": candidate.partition,
                "why": str(decision.reason),
                "in words": decision.detail,
            }
        )
        for candidate, decision in report.kept[: records.ROWS_SHOWN]
    ]
    return {
        "deleted_copies": dg.MetadataValue.int(len(report.deleted)),
        "deleted_bytes": dg.MetadataValue.int(sum(c.deletion.bytes for c in report.deleted)),
        **({"deleted": dg.MetadataValue.table(deleted)} if deleted else {}),
        **({"kept_just_before": dg.MetadataValue.table(kept)} if kept else {}),
        **({"waits": dg.MetadataValue.text(str(report.waits))} if report.waits is not None else {}),
        **({} if upcoming is None else records.plan_metadata(upcoming, "next_seven_days")),
        **records.plan_metadata(report.plan, "now"),
    }
