"""The executor of every run: all steps in one process, which records first of all that it is the run's worker.

Belongs here: that executor, and how it waits for a pool's slot.
Does not: the record (resources.workers), or what is done about a worker that has died (sensors.reconciler).

An executor, because it is the one thing that every run has: an asset, a resource or a hook is left out by some run.
"""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig

from beamlines.deployment import Deployment
from resources.clock import SystemClock
from resources.owner import Owner


def recording_executor(deployment: Deployment) -> dg.ExecutorDefinition:
    """Dagster's in-process executor, with the same name and configuration, and the worker's record."""
    plain = dg.in_process_executor

    def create(context: dg.InitExecutorContext) -> dg.Executor:
        assert plain.executor_creation_fn is not None  # noqa: S101 - as it is defined
        return _Recording(plain.executor_creation_fn(context), deployment)

    return dg.ExecutorDefinition(
        name=plain.name,
        config_schema=plain.config_schema,  # type: ignore[arg-type]  # the same object that its own decorator takes
        executor_creation_fn=create,
        description=plain.description,
    )


class _Recording(dg.Executor):
    def __init__(self, steps: dg.Executor, deployment: Deployment) -> None:
        self._steps = steps
        self._deployment = deployment

    @property
    def retries(self) -> RetryMode:
        return self._steps.retries

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        return self._steps.step_dependency_config

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Iterator[dg.DagsterEvent]:
        from resources.database import Database  # its library costs every import of the graph 0.3 s
        from resources.workers import recorded

        owner = Owner.this_process(plan_context.run_id)
        with (
            closing(Database(self._deployment.ledger, shadow=self._deployment.shadow_folder)) as database,
            recorded(database, owner, SystemClock()),
            sleeping_for_slots(),
        ):
            yield from self._steps.execute(plan_context, execution_plan)


@contextmanager
def sleeping_for_slots() -> Iterator[None]:
    """Let a step that waits for a slot of its pool sleep until it is to ask again.

    Dagster 1.13 takes the smaller of 0 and that time, so that the run asks in a loop without a pause: each one that
    waits, also while a pool is paused, would keep a core busy (docs/decisions/0015-how-we-wait.md).
    """
    usual = InstanceConcurrencyContext.interval_to_next_pending_claim_check
    InstanceConcurrencyContext.interval_to_next_pending_claim_check = _until_next_look  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        InstanceConcurrencyContext.interval_to_next_pending_claim_check = usual  # type: ignore[method-assign]


def _until_next_look(context: InstanceConcurrencyContext) -> float:
    looks = context._pending_timeouts.values()
    return max(0.0, min(looks, default=0.0) - time.time())
