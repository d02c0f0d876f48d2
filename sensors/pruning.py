"""When the ledger is pruned.

Belongs here: that schedule. Does not: the job (als_assets.operations.prune).
"""

import dagster as dg

DAILY = "30 4 * * *"


def pruning_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """``<job>_schedule``, switched on."""
    return dg.ScheduleDefinition(
        job=job,
        cron_schedule=DAILY,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every night, at 04:30 UTC.",
    )
