"""A code location with one job, whose run says its id and waits: tests kill the process that works on it.

As a program it runs the job once, over the instance of DAGSTER_HOME and the database of ALS_STATE.
"""

import os
import time

import dagster as dg

from als_assets.worker import recording_executor
from resources.settings import PROJECT, load_settings

executor = recording_executor(load_settings(PROJECT / "config" / "twin.yaml", os.environ).deployment)


@dg.op(config_schema={"seconds": dg.Field(float, default_value=600.0)})
def wait(context: dg.OpExecutionContext) -> None:
    print(context.run_id, flush=True)  # noqa: T201
    time.sleep(context.op_config["seconds"])


@dg.job(executor_def=executor)
def waits() -> None:
    wait()


defs = dg.Definitions(jobs=[waits], executor=executor)

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        dg.execute_job(dg.reconstructable(waits), instance)
