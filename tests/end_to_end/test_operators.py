"""What operators do, against a running Dagster: switching branches, seeing what was missed, backfilling it."""

from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from typer.testing import Result

from als.stack import Stack
from beamlines.scans import ScanId
from resources.clock import SystemClock
from tests.end_to_end.conftest import SMALL
from tests.end_to_end.patience import eventually
from tests.end_to_end.test_decisions import made

Command = Callable[..., Result]


@pytest.fixture
def switched_on(als: Command) -> Any:
    """However a test ends, the branch is on again for the next one."""
    yield
    assert als("branches", "--nersc", "on", "--files", "on").exit_code == 0


def reasons(instance: dg.DagsterInstance, key: str) -> set[str]:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(["bl832", "nersc", "raw"]), asset_partitions=[key])
    events = [record.asset_observation for record in instance.fetch_observations(wanted, limit=10).records]
    return {str(event.metadata["reason"].value) for event in events if event is not None}


def runs(instance: dg.DagsterInstance, job: str, key: str) -> int:
    return len(instance.get_runs(dg.RunsFilter(job_name=job, tags={"dagster/partition": key})))


@pytest.mark.usefixtures("switched_on")
def test_a_branch_is_switched_off_shown_switched_on_and_what_it_missed_is_backfilled(
    stack: Stack, measure: Callable[..., ScanId], als: Command, instance: dg.DagsterInstance
) -> None:
    off = als("branches", "--nersc", "off")
    assert (off.exit_code, "nersc is off" in off.stdout) == (0, True), off.output
    assert "nersc was off already" in als("branches", "--nersc=off").stdout
    scan = measure(*SMALL, "--text", "while-it-was-off")
    assert als("new-scan", f"/global/raw/{scan.path}").exit_code == 0
    assert eventually(lambda: made(instance, "data832/preview", scan.key))
    assert f"  {scan.key}  (nothing-recorded-yet)" in als("branches", "--list").stdout
    on = als("branches", "--nersc", "on")
    assert (on.exit_code, "nersc is on" in on.stdout) == (0, True), on.output
    assert eventually(lambda: reasons(instance, scan.key)) == {"skipped-by-operator"}
    assert runs(instance, "bl832_nersc", scan.key) == 0
    assert f"  {scan.key}  (skipped-by-operator)" in als("branches", "--list").stdout
    folder = scan.path.rpartition("/")[0]
    started = als("backfill", "--branch", "nersc", "--missed", "--folder", folder, "--yes")
    assert started.exit_code == 0, started.output
    assert f"  {scan.key}" in started.stdout
    assert eventually(lambda: made(instance, "data832/nersc_zarr", scan.key))
    assert scan.key not in als("branches", "--list").stdout


def test_what_cannot_be_switched_is_refused_with_what_there_is(als: Command) -> None:
    refused = als("branches", "--nesrc", "off")
    assert "called '--nesrc'" in str(refused.exception)
    assert "--files" in str(refused.exception)


def test_nothing_of_ours_that_goes_on_elsewhere_is_an_orphan(als: Command) -> None:
    shown = als("remote", "list")
    assert shown.exit_code == 0, shown.output
    assert "0 of them orphans" in shown.stdout
    assert "nothing is to be cancelled" in als("remote", "cancel", "--orphans").stdout
    assert "nothing of ours is called 'nosuch'" in str(als("remote", "cancel", "nosuch").exception)
    assert "name what is to be cancelled" in str(als("remote", "cancel").exception)


def test_a_pool_of_nobody_pauses_and_fails_nothing(
    measure: Callable[..., ScanId], als: Command, instance: dg.DagsterInstance
) -> None:
    storage = instance.event_log_storage
    storage.set_concurrency_slots("globus_transfer", 0)
    try:
        scan = measure(*SMALL, "--text", "paused")
        assert als("new-scan", f"/global/raw/{scan.path}").exit_code == 0
        tags = {"dagster/partition": scan.key}
        [run] = eventually(lambda: instance.get_runs(dg.RunsFilter(job_name="bl832_ingest", tags=tags)))  # type: ignore[misc,attr-defined]
        SystemClock().sleep(10)  # the queue is looked at every second
        [run] = instance.get_runs(dg.RunsFilter(run_ids=[run.run_id]))
        assert run.status is dg.DagsterRunStatus.QUEUED
    finally:
        storage.delete_concurrency_limit("globus_transfer")
    assert eventually(lambda: made(instance, "data832/raw", scan.key))
