"""Many materializations of the past at once, as adopting an archive needs them.

Belongs here: writing them in batches.
Does not: what they say (adopt).

``report_runless_asset_event`` commits twice for each on SQLite: 16 ms, a quarter of an hour for 50,000. PostgreSQL's
storage has a call for batches; SQLite's has the statement for one, which is used here in one transaction. Rows of no
run need not be in the file of that run, which only the page of a run reads.
"""

from collections.abc import Sequence
from datetime import datetime

import dagster as dg
from dagster._core.events import StepMaterializationData
from dagster._core.instance.utils import RUNLESS_JOB_NAME, RUNLESS_RUN_ID

AT_ONCE = 500


def report_all(instance: dg.DagsterInstance, events: Sequence[dg.AssetMaterialization], at: datetime) -> None:
    """Record materializations of one asset that no run has made, all at one time."""
    for start in range(0, len(events), AT_ONCE):
        _report([_entry(event, at) for event in events[start : start + AT_ONCE]], instance)


def _report(entries: Sequence[dg.EventLogEntry], instance: dg.DagsterInstance) -> None:
    # With them come the libraries of a database and of its migrations: a second for every import of the graph.
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
    from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        storage.store_event_batch(entries)
        return
    statement = storage.prepare_insert_event_batch(entries).returning(SqlEventLogStorageTable.c.id)
    with storage.index_transaction() as connection:
        ids = list(connection.execute(statement).scalars())
    storage.store_asset_event(entries[-1], ids[-1])


def _entry(event: dg.AssetMaterialization, at: datetime) -> dg.EventLogEntry:
    return dg.EventLogEntry(  # type: ignore[no-untyped-call]
        user_message="",
        level="INFO",
        job_name=RUNLESS_JOB_NAME,
        run_id=RUNLESS_RUN_ID,
        error_info=None,
        timestamp=at.timestamp(),
        dagster_event=dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
            event_specific_data=StepMaterializationData(event),
            job_name=RUNLESS_JOB_NAME,
        ),
    )
