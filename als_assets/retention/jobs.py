"""Retention as jobs: a pass over a place.

Belongs here: the jobs, their configuration, and what their runs say.
Does not: a pass itself (passes), or when one begins (sensors.retention).
"""

from collections.abc import Collection
from typing import Any

import dagster as dg
from pydantic import Field

from als_assets.bindings import Facilities
from als_assets.retention.order import Order, job_name, op_name
from beamlines.config import Beamline
from beamlines.layout import Copy
from beamlines.retention import name_of
from resources.clock import Clock
from resources.remote import Remote
from resources.transfer import Transfer

RETENTION_POOL = "retention"
"""Its own, so that deletions take no slot from copies of scans."""
SCHEDULE = "the daily schedule"


class PassConfig(dg.Config):
    """What a pass is asked to do. With nothing said, it is the daily one."""

    dry_run: bool = Field(default=False, description="Only say what would go.")
    beyond_the_brake: bool = Field(
        default=False, description="Go on though more would go at once than goes without a person (see the last pass)."
    )
    partition: str = Field(default="", description="Only this partition; all, where it is empty.")
    one_minute: bool = Field(
        default=False, description="Of that partition everything older than a minute may go, with the same proofs."
    )
    author: str = Field(default="", description="Who wants it; the daily schedule, where it is empty.")
    note: str = Field(default="", description="Why.")

    @property
    def order(self) -> Order:
        """The same, as a pass takes it. Raises ValueError."""
        return Order(
            author=self.author or SCHEDULE,
            note=self.note,
            dry_run=self.dry_run,
            beyond_the_brake=self.beyond_the_brake,
            partition=self.partition or None,
            one_minute=self.one_minute,
        )


def retention_job(beamline: Beamline, copies: Collection[Copy], place: str) -> dg.JobDefinition:
    """The job of a place, with one op."""
    by_name = {name_of(copy): copy for copy in copies}

    @dg.op(name=op_name(place), out=dg.Out(dg.Nothing), pool=RETENTION_POOL)
    def retention_pass(
        context: dg.OpExecutionContext,
        config: PassConfig,
        retention: dg.ResourceParam[Any],
        transfer: dg.ResourceParam[Transfer],
        facilities: dg.ResourceParam[Facilities],
        remote: dg.ResourceParam[Remote],
        ending: dg.ResourceParam[Any],
        clock: dg.ResourceParam[Clock],
    ) -> None:
        from als_assets.retention.runs import carry_out  # the database's library costs every import of the graph 0.3 s

        of_run = (retention, transfer, facilities, remote, ending, clock)
        report = carry_out(context, beamline, by_name, place, config.order, *of_run)
        if report.problems:
            what = "\n".join(("A person must look at this:", *report.problems))
            raise dg.Failure(description=what, allow_retries=False)

    @dg.job(
        name=job_name(beamline, place),
        description=f"Looks through {place}, and deletes copies that are old enough and proven elsewhere, each with a "
        "certificate (docs/retention.md).",
        tags={"als/retention": place},
    )
    def job() -> None:
        retention_pass()

    return job
