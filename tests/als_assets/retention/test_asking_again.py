"""What is asked before each deletion, and how the event log is read the first time: nothing is missed, nothing lost."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from als_assets.retention.inventory import EVERY_SCAN, RunsInFlight, work_in_flight, work_on
from als_assets.retention.order import Order
from als_assets.retention.planner import Planner
from beamlines.decisions import Reason
from resources.owner import Owner
from resources.recorded import Suspect
from resources.work import WorkKey
from tests.als_assets.retention.trials import BEAMLINE, COPIES, RAW, Trials

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCANS = ("x/a", "x/b", "y/c")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def trials(instance: dg.DagsterInstance) -> Iterator[Trials]:
    trials = Trials(instance)
    for scan in SCANS:
        trials.arrive(scan, f"content of {scan}")
    yield trials
    trials.database.close()


def run(instance: dg.DagsterInstance, **tags: str) -> str:
    run_id = str(uuid.uuid4())
    named = {f"dagster/{name}": value for name, value in tags.items()}
    instance.add_run(dg.DagsterRun("a_test", run_id, status=dg.DagsterRunStatus.STARTED, tags=named))
    return run_id


def planner_of(trials: Trials) -> Planner:
    return Planner(BEAMLINE, COPIES, "data832", trials.instance, trials.tables, trials.world)


# -- runs and remote work ----------------------------------------------------------------------------------------


def test_a_run_that_began_since_it_was_asked_is_seen_and_one_that_has_ended_is_not(
    instance: dg.DagsterInstance,
) -> None:
    runs, first = RunsInFlight(instance, but_run=""), run(instance, partition="x/a")
    assert [scan for scan, _ in runs.now()] == ["x/a"]
    run(instance, partition="x/b@best")
    assert sorted(scan for scan, _ in runs.now()) == ["x/a", "x/b"]
    instance.delete_run(first)
    assert [scan for scan, _ in runs.now()] == ["x/b"]


def test_a_run_over_a_range_may_be_at_work_on_any_scan(instance: dg.DagsterInstance) -> None:
    runs = RunsInFlight(instance, but_run="")
    run(instance, asset_partition_range_start="x/a", asset_partition_range_end="x/b")
    assert [scan for scan, _ in runs.now()] == [EVERY_SCAN]


def test_the_run_that_asks_and_runs_without_a_partition_do_not_count(instance: dg.DagsterInstance) -> None:
    asks = run(instance, partition="x/a")
    run(instance)
    assert RunsInFlight(instance, but_run=asks).now() == []


def test_of_one_scan_the_same_work_is_told_as_of_all(trials: Trials) -> None:
    runs = RunsInFlight(trials.instance, but_run="")
    for partition in ("x/a@best", "x/A", "x/ab"):
        run(trials.instance, partition=partition)
        trials.ledger.claim(WorkKey("alcf/tiff", partition, "", ""), Owner.this_process("other"), NOW)
    every = work_in_flight(runs, trials.ledger).of("x/a")
    assert len(every) == 2
    assert work_on("x/a", runs, trials.ledger).of("x/a") == every


# -- a decision once more ----------------------------------------------------------------------------------------


def test_whatever_comes_between_keeps_a_copy_that_was_to_go(trials: Trials) -> None:
    """Each of these was not there when it was decided about everything."""
    trials.world.time = trials.world.time.replace(year=trials.world.time.year + 1)
    planner, order = planner_of(trials), Order(author="someone")
    candidates = {(one.name, one.partition): one for one in planner.plan(order).going}
    said = {"author": "someone", "note": "why", "at": trials.world.time}

    def again(scan: str) -> Reason:
        return planner.decide_again(order, candidates["data832/raw", scan]).reason

    assert [again(scan) for scan in SCANS] == [Reason.AGED] * 3
    run_id = run(trials.instance, partition="x/a")
    assert [again(scan) for scan in SCANS] == [Reason.IN_FLIGHT, Reason.AGED, Reason.AGED]
    trials.instance.delete_run(run_id)
    trials.holds.hold("data832/raw", ["x/a"], **said)
    trials.holds.hold_folder("y", **said)
    assert [again(scan) for scan in SCANS] == [Reason.HELD, Reason.AGED, Reason.HELD]
    record = candidates["data832/raw", "x/b"].others["nersc/raw"]
    trials.tables.suspects.add(Suspect("nersc/raw", "x/b", record.storage_id, trials.world.time, "damaged"))
    assert again("x/b") is Reason.NO_KEEPER
    trials.standings.changed("x/b", "it is longer", at=trials.world.time)
    assert again("x/b") is Reason.CHANGED


# -- the first reading -------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Whoever reads is stopped."""


def test_who_is_stopped_while_the_log_is_read_leaves_what_was_read_and_the_next_one_reads_the_rest(
    trials: Trials,
) -> None:
    asked = []

    def stops() -> None:
        asked.append(1)
        if len(asked) == 3:
            raise StoppedError

    planner = planner_of(trials)
    planner.now_and_then = stops
    with pytest.raises(StoppedError):
        planner.follow()
    copies = sum(len(trials.tables.recorded.ids(name)) for name in COPIES)
    assert copies == 3 * len(SCANS)
    assert planner_of(trials).follow() == (len(RAW) - 3) * len(SCANS)
    assert planner_of(trials).follow() == 0
