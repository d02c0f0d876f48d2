"""A scan from the beamline to its last copy, with nothing replaced: real daemon, real clients, the twin's services."""

import re
from collections.abc import Callable
from contextlib import closing

import dagster as dg
import httpx
import pytest

from als.follow import ScanView
from als.graphql import Webserver
from als.stack import Stack
from beamlines.scans import ScanId
from beamlines.seconds import outside_of, overhead_s
from resources.clock import SystemClock
from resources.database import Database
from resources.ledger import Ledger
from tests.end_to_end.patience import eventually

BRANCH = ("nersc/raw", "pscratch/raw", "pscratch/tiff", "pscratch/zarr", "nersc/tiff", "nersc/zarr")
WORK = ("nersc/raw", "pscratch/raw+tiff+zarr", *BRANCH[4:], "data832/nersc_tiff", "data832/nersc_zarr")
BACKFILL_STATUS = """
query Status($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"""

Measure = Callable[..., ScanId]
Follow = Callable[[ScanId], ScanView]


@pytest.fixture(scope="module")
def phantom(scans: dict[str, ScanId], follow: Follow) -> ScanView:
    return follow(scans["phantom"])


@pytest.fixture(scope="module")
def again(stack: Stack, phantom: ScanView) -> tuple[str, set[str]]:
    """A backfill of what is there, and what had been sent for it before; its daemon looks every half minute."""
    before = _remote_work(stack, phantom.partition)
    assets = [["bl832", *name.split("/")] for name in BRANCH]
    return Webserver(stack.ui_url).backfill(assets, [phantom.partition], {}), before


@pytest.mark.usefixtures("again")
def test_every_asset_is_there_and_every_check_passed(phantom: ScanView) -> None:
    assert phantom.errors == []
    assert phantom.succeeded
    assert len(phantom.assets) == 11


def test_each_materialization_carries_its_evidence(phantom: ScanView) -> None:
    made = {"/".join(key.path[1:]): view.metadata for key, view in phantom.assets.items()}
    for name in BRANCH[2:]:
        assert {"path", "files", "bytes", "seconds", "checksum_evidence", "settings", "slice"} <= set(made[name])
        assert re.search(r"\(data:image/png;base64,[A-Za-z0-9+/=]+\)", made[name]["slice"])
    for name in ("data832/raw", "nersc/raw", "nersc/zarr", "data832/nersc_tiff"):
        assert made[name]["globus_task"]
    assert made["pscratch/tiff"]["job_id"]
    assert "als-step reconstruct end" in made["pscratch/tiff"]["log_tail"]


def test_people_are_told_that_it_is_safe_and_then_that_it_is_done(stack: Stack, phantom: ScanView) -> None:
    def told() -> list[str]:
        received = httpx.get(f"{stack.twin_url}/messages/received").json()
        return [message["title"] for message in received if phantom.partition in message["title"]]

    eventually(lambda: len(told()) >= 2)
    assert told() == [f"{phantom.partition} is safe", f"{phantom.partition} is done"]


def test_our_own_overhead_is_what_no_service_was_at_work_in(phantom: ScanView) -> None:
    began = min(view.recorded for view in phantom.assets.values())
    ended = max(view.recorded for view in phantom.assets.values())
    ours = overhead_s(began, ended, outside_of(view.metadata for view in phantom.assets.values()))
    assert 0 < ours < ended - began


def test_a_hostile_name_goes_all_the_way_and_does_nothing(
    stack: Stack, scans: dict[str, ScanId], follow: Follow
) -> None:
    scan = scans["hostile"]
    view = follow(scan)
    assert view.errors == []
    assert view.succeeded
    assert list(stack.state.rglob("pwned")) == []
    returned = stack.state / "world/data832/data/scratch/globus_share" / scan.folder / "nersc" / f"rec{scan.name}"
    assert len(list(returned.glob("*.tiff"))) == 32


def test_the_real_scan_of_a_tooth_goes_all_the_way(scans: dict[str, ScanId], follow: Follow) -> None:
    if "tooth" not in scans:
        pytest.skip("the real scan shared/data/tooth.h5 is not beside this checkout")
    view = follow(scans["tooth"])
    assert view.errors == []
    assert view.succeeded
    made = {"/".join(key.path[1:]): asset.metadata for key, asset in view.assets.items()}
    assert made["pscratch/tiff"]["results"]["center_px"] == pytest.approx(295.6, abs=0.5)


def test_a_scan_that_was_cut_off_is_kept_and_flagged_and_nothing_is_made_of_it(
    scans: dict[str, ScanId], follow: Follow
) -> None:
    view = follow(scans["damaged"])
    assert view.errors == []
    assert "truncated" in str(view.not_whole)
    made = {"/".join(key.path[1:]) for key, asset in view.assets.items() if asset.metadata}
    assert made == {"spot832/raw", "data832/raw", "nersc/raw"}


def test_a_backfill_of_scans_that_are_there_moves_nothing(
    stack: Stack, phantom: ScanView, again: tuple[str, set[str]], instance: dg.DagsterInstance
) -> None:
    backfill, before = again
    assert _await_backfill(stack, backfill) == "COMPLETED_SUCCESS"
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    assert [run.status for run in runs] == [dg.DagsterRunStatus.SUCCESS]
    assert _remote_work(stack, phantom.partition) == before
    assert len(before) == 6


def _remote_work(stack: Stack, partition: str) -> set[str]:
    """The handles of every transfer and job of the branch that were ever started for a scan."""
    with closing(Database(f"sqlite:///{stack.state}/ledger.sqlite")) as database:
        ledger = Ledger(database)
        return {str(record.handle) for work in WORK for record in ledger.attempts(f"bl832/{work}", partition)}


def _graphql(stack: Stack, query: str, variables: dict[str, object]) -> dict[str, dict[str, str]]:
    answer = httpx.post(f"{stack.ui_url}/graphql", json={"query": query, "variables": variables}, timeout=60)
    answer.raise_for_status()
    return dict(answer.json()["data"])


def _await_backfill(stack: Stack, backfill: str) -> str:
    clock = SystemClock()
    give_up = clock.now().timestamp() + 120
    while True:
        status = _graphql(stack, BACKFILL_STATUS, {"id": backfill})["partitionBackfillOrError"]["status"]
        if status.startswith(("COMPLETED", "FAILED", "CANCELED")) or clock.now().timestamp() > give_up:
            return status
        clock.sleep(1)
