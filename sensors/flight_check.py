"""When the flight check runs by itself.

Belongs here: that schedule. Does not: the check (als_assets.operations.flight_check).
"""

import dagster as dg

from beamlines.config import Beamline


def flight_check_schedules(beamline: Beamline, job: dg.JobDefinition | None) -> list[dg.ScheduleDefinition]:
    """``<job>_schedule``, switched on; in the UI it is switched off while a place is known to be down.

    None where the beamline has no flight check.
    """
    rules = beamline.flight_check
    if rules is None or job is None:
        return []
    return [
        dg.ScheduleDefinition(
            job=job,
            cron_schedule=rules.cron,
            execution_timezone=rules.time_zone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="A small file goes the way of a scan; a failed run names the hop and who must act.",
        )
    ]
