"""When places are looked through: for copies that may go, and for what is not as it was recorded.

Belongs here: schedules, two a place. Does not: what is done then (als_assets.retention).
"""

from collections.abc import Mapping

import dagster as dg

from beamlines.config import Beamline


def retention_schedules(beamline: Beamline, jobs: Mapping[str, dg.JobDefinition]) -> list[dg.ScheduleDefinition]:
    """``<job>_schedule`` for each place, switched on; in the UI one is switched off to keep everything there."""
    return [
        dg.ScheduleDefinition(
            job=job,
            cron_schedule=beamline.retention.places[place].cron,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Looks through {place} once a day"
            + ("." if beamline.retention.places[place].enforce else ": a dry run, as nothing is enforced there."),
        )
        for place, job in jobs.items()
    ]


def reconciliation_schedules(beamline: Beamline, jobs: Mapping[str, dg.JobDefinition]) -> list[dg.ScheduleDefinition]:
    """``<job>_schedule`` for each place, switched on, before copies are deleted there."""
    return [
        dg.ScheduleDefinition(
            job=job,
            cron_schedule=beamline.retention.places[place].reconcile,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Holds {place} against the graph every night. Nothing is deleted by it.",
        )
        for place, job in jobs.items()
    ]
