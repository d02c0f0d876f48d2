"""Reconciliation as jobs: one a place.

Belongs here: the jobs alone, light enough for every import of the graph.
Does not: looking (reconciler), what a run writes (runs), or when it runs (sensors.retention).
"""

from collections.abc import Collection
from typing import Any

import dagster as dg

from als_assets.retention.jobs import RETENTION_POOL
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.retention import name_of
from resources.clock import Clock
from resources.remote import Remote
from resources.transfer import Transfer


def reconciliation_job(beamline: Beamline, copies: Collection[Copy], place: str) -> dg.JobDefinition:
    """``<beamline>_reconcile_<place>``, with one op, ``reconcile_<place>``."""
    by_name = {name_of(copy): copy for copy in copies}

    @dg.op(name=f"reconcile_{place}", out=dg.Out(dg.Nothing), pool=RETENTION_POOL)
    def reconcile(
        context: dg.OpExecutionContext,
        retention: dg.ResourceParam[Any],
        transfer: dg.ResourceParam[Transfer],
        remote: dg.ResourceParam[Remote],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        from als_assets.reconciliation.runs import carry_out  # as in jobs

        problems = carry_out(context, beamline, by_name, place, retention, transfer, remote, clock)
        if problems:
            what = "\n".join(("A person must look at this:", *problems))
            raise dg.Failure(description=what, allow_retries=False)

    @dg.job(
        name=f"{beamline.name}_reconcile_{place}",
        description=f"Holds {place} against the graph: lost, changed and dark copies. Nothing is deleted "
        "(docs/reconciliation.md).",
        tags={"als/reconcile": place},
    )
    def job() -> None:
        reconcile()

    return job
