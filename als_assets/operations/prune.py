"""Pruning the ledger as a job: what no guard asks for any more is deleted when it is old.

Belongs here: the job, and how old is old.
Does not: which rows may go (resources.ledger), or when it runs (sensors.pruning).
"""

from datetime import datetime, timedelta
from typing import Protocol

import dagster as dg

from beamlines.config import Beamline
from resources.clock import Clock
from resources.owner import Owner

KEPT = timedelta(days=400)
"""More than a year, so that the same month of the year before can be looked at."""
CHECKS_KEPT = timedelta(days=30)


class Ledger(Protocol):
    """What is pruned."""

    def prune(self, *, before: datetime, checks_before: datetime, seen_from: Owner, now: datetime) -> int:
        """Delete old rows that no guard asks for any more; how many."""


def prune_job(beamline: Beamline) -> dg.JobDefinition:
    """``<beamline>_prune``, with one op, ``prune``, and no configuration."""

    @dg.op(name="prune", out=dg.Out(dg.Nothing))
    def prune(context: dg.OpExecutionContext, ledger: dg.ResourceParam[Ledger], clock: dg.ResourceParam[Clock]) -> None:
        now, here = clock.now(), Owner.this_process(context.run_id)
        count = ledger.prune(before=now - KEPT, checks_before=now - CHECKS_KEPT, seen_from=here, now=now)
        context.log.info(f"{count} rows of remote work were deleted: nothing asks for them any more.")

    @dg.job(
        name=f"{beamline.name}_prune",
        description=f"Deletes rows of remote work that nothing asks for, after {KEPT.days} days; "
        f"of checks after {CHECKS_KEPT.days} days.",
        tags={"als/prune": beamline.name},
    )
    def job() -> None:
        prune()

    return job
