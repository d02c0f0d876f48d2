"""The executor of every run: how a step waits for a slot of its pool."""

import dagster as dg
import pytest
from dagster._core.execution.plan.active import ActiveExecution

from als_assets.worker import sleeping_for_slots

POOL = "jobs"


@dg.op(pool=POOL)
def work() -> None:
    """Something at a facility of which one at a time is done."""


@dg.job(executor_def=dg.in_process_executor)
def job() -> None:
    work()


def sleeps_until_free(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long a run sleeps each time while another one has the only slot, which is freed at the second time."""
    slept: list[float] = []
    with dg.instance_for_test(overrides={"concurrency": {"pools": {"granularity": "op"}}}) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots(POOL, 1)
        storage.claim_concurrency_slot(POOL, "another-run", "its-step")

        def sleep(self: ActiveExecution) -> None:
            slept.append(self.sleep_interval())
            if len(slept) == 2:
                storage.free_concurrency_slots_for_run("another-run")
            context = self._instance_concurrency_context
            assert context is not None
            context._pending_timeouts.update(dict.fromkeys(context._pending_timeouts, 0.0))  # the time has passed

        monkeypatch.setattr(ActiveExecution, "sleep_til_ready", sleep)
        assert job.execute_in_process(instance=instance).success
    return slept


def test_a_run_that_waits_for_a_slot_sleeps_between_its_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    with sleeping_for_slots():
        slept = sleeps_until_free(monkeypatch)
    assert len(slept) == 2
    assert all(seconds > 0.5 for seconds in slept)


def test_dagster_itself_still_asks_in_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    # When this fails, Dagster has mended it: then sleeping_for_slots is to be removed.
    assert max(sleeps_until_free(monkeypatch)) <= 0
