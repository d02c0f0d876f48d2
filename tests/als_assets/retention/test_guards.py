"""One test for each guard of a pass: what may be wrong with a copy, its keepers or the moment, and that it stays.

Belongs here: whole passes over a world in memory, with the real planner, proofs, certificates and deletions.
Does not: keepers (test_proofs), all of it in any order (test_never_loses), real files (test_passes), killed workers
(test_interrupted).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from als_assets.naming import asset_key
from als_assets.retention import passes
from beamlines.decisions import Reason
from resources.chain import What
from resources.errors import EpochLostError
from resources.owner import Owner
from resources.work import WorkKey, WorkState
from tests.als_assets.retention.guarding import (
    LABELLED,
    OLD,
    OTHER,
    RAW_HERE,
    RAW_THERE,
    SCAN,
    changed,
    deleted,
    failed_check,
    hold,
    kept,
    looked_through,
    reasons,
    remote_work,
    suspect,
    touched,
    written,
)
from tests.als_assets.retention.trials import BEAMLINE, COPIES, DAY, HOUR, NOBODY, PRODUCTS, Trials
from tests.als_assets.retention.world import Where, damaged


def test_what_is_old_and_kept_elsewhere_goes_with_its_evidence(trials: Trials) -> None:
    report = looked_through(trials, "data832")
    assert deleted(report) == [("data832/nersc_tiff", SCAN), RAW_HERE]
    assert (report.kept, report.problems, report.waits) == ([], [], None)
    of_raw = next(one for one in report.deleted if one.deletion.asset == "data832/raw")
    [keeper] = of_raw.deletion.keepers
    assert (keeper.asset, keeper.partition, keeper.job) == ("nersc/raw", SCAN, "this machine")
    assert keeper.checksum == trials.world.lying[RAW_THERE].sha256
    assert keeper.read == trials.world.time.isoformat()
    assert of_raw.state is What.DONE
    assert not trials.world.lying.keys() & {RAW_HERE, ("data832/nersc_tiff", SCAN)}


def test_a_dry_run_and_a_place_that_is_not_enforced_delete_nothing(trials: Trials) -> None:
    report = looked_through(trials, "data832", dry_run=True)
    assert (deleted(report), report.plan.may_go) == ([], 2)
    assert report.waits is not None
    assert report.waits.reason is Reason.DRY_RUN


def test_a_pass_that_would_delete_too_much_waits_for_a_person(trials: Trials) -> None:
    for number in range(BEAMLINE.retention.places["data832"].brake.copies):
        trials.arrive(f"g/{number}", "small")
    trials.world.time += OLD
    report = looked_through(trials, "data832", beyond_the_brake=False)
    assert deleted(report) == []
    assert report.waits is not None
    assert report.waits.reason is Reason.BRAKE
    assert len(deleted(looked_through(trials, "data832"))) == report.plan.may_go


# -- by records --------------------------------------------------------------------------------------------------


BETWEEN: dict[str, tuple[Callable[[Trials], object], Reason]] = {
    "a hold": (hold, Reason.HELD),
    "a run": (lambda trials: trials.run_begins(SCAN), Reason.IN_FLIGHT),
    "a run of another label": (lambda trials: trials.run_begins(LABELLED), Reason.IN_FLIGHT),
    "remote work": (remote_work, Reason.IN_FLIGHT),
    "a restriction": (lambda trials: trials.restrict(SCAN), Reason.RESTRICTED_BY_OPERATOR),
    "a change of the scan": (changed, Reason.CHANGED),
    "a suspicion": (suspect, Reason.SUSPECT),
    "a failed check": (lambda trials: failed_check(trials, RAW_HERE), Reason.SUSPECT),
}
"""What people, other runs and checks may say of a copy, and why it then stays."""


@pytest.mark.parametrize("what", BETWEEN)
def test_what_was_said_before_a_pass_keeps_a_copy(trials: Trials, what: str) -> None:
    happens, reason = BETWEEN[what]
    happens(trials)
    kept(trials, reason)


@pytest.mark.parametrize("what", BETWEEN)
def test_what_is_said_while_keepers_are_read_keeps_a_copy(trials: Trials, what: str) -> None:
    happens, reason = BETWEEN[what]
    trials.world.meanwhile = lambda: happens(trials)
    kept(trials, reason)


def test_a_copy_that_was_deleted_and_not_recorded_since_is_not_decided_about_again(trials: Trials) -> None:
    looked_through(trials, "data832")
    report = looked_through(trials, "data832")
    assert (deleted(report), report.plan.kept[Reason.NOT_RECORDED]) == ([], 2)


def test_a_suspect_keeper_keeps_nothing_until_it_is_recorded_anew(trials: Trials) -> None:
    suspect(trials, RAW_THERE)
    kept(trials, Reason.NO_KEEPER)
    trials.make(RAW_THERE, "first")
    assert RAW_HERE in deleted(looked_through(trials, "data832"))


def test_a_keeper_that_was_deleted_keeps_nothing(trials: Trials) -> None:
    looked_through(trials, "data832")
    trials.world.time += DAY
    report = looked_through(trials, "spot832")
    [of_spot] = report.deleted
    assert [keeper.asset for keeper in of_spot.deletion.keepers] == ["nersc/raw"]


def test_an_age_that_a_person_has_set_counts(trials: Trials) -> None:
    said = {"retention": BEAMLINE.retention, "author": "dula", "note": "a test", "at": trials.world.time}
    trials.tables.ages.set("data832/raw", 60 * DAY, **said)  # type: ignore[arg-type]
    assert deleted(looked_through(trials, "data832")) == [("data832/nersc_tiff", SCAN)]


def test_of_one_chosen_scan_everything_older_than_a_minute_may_go_and_nothing_of_another(trials: Trials) -> None:
    trials.arrive(OTHER, "other")
    trials.make(RAW_HERE, "first")
    trials.world.time += timedelta(minutes=2)
    report = looked_through(trials, "data832", partition=SCAN, one_minute=True)
    assert RAW_HERE in deleted(report)
    assert all(partition == SCAN for _, partition in deleted(report))


# -- by the copy itself ------------------------------------------------------------------------------------------

ITSELF: dict[str, Callable[[Trials], object]] = {
    "larger": written,
    "written later": touched,
    "gone": lambda trials: trials.world.lying.pop(RAW_HERE),
}


@pytest.mark.parametrize("what", ITSELF)
def test_a_copy_that_is_not_what_was_recorded_is_a_suspect_and_is_not_deleted(trials: Trials, what: str) -> None:
    ITSELF[what](trials)
    report = looked_through(trials, "data832")
    assert (reasons(report)[RAW_HERE], RAW_HERE in deleted(report)) == (Reason.CANDIDATE_CHANGED, False)
    assert [(one.asset, one.partition) for one in trials.tables.suspects.all()] == [RAW_HERE]
    assert len(report.problems) == 1


@pytest.mark.parametrize("what", ITSELF)
def test_a_copy_that_changes_while_its_keepers_are_read_is_not_deleted(trials: Trials, what: str) -> None:
    trials.world.meanwhile = lambda: ITSELF[what](trials)
    report = looked_through(trials, "data832")
    assert (reasons(report)[RAW_HERE], RAW_HERE in deleted(report)) == (Reason.CANDIDATE_CHANGED, False)


def test_a_copy_that_was_written_before_its_record_and_after_the_look_is_not_deleted(trials: Trials) -> None:
    """Its time is no newer than the record, and not what it was."""
    lying = trials.world.lying[RAW_HERE]
    trials.world.meanwhile = lambda: trials.world.lying.update({RAW_HERE: replace(lying, written=lying.written - DAY)})
    kept(trials, Reason.CANDIDATE_CHANGED)


def test_an_empty_listing_of_a_dying_server_deletes_nothing(trials: Trials) -> None:
    trials.world.dying.add("data832")
    kept(trials, Reason.CANDIDATE_CHANGED, ("data832/nersc_tiff", SCAN))


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_copy_whose_place_does_not_answer_stays_and_is_nosuspect(trials: Trials, when: str) -> None:
    def happens() -> None:
        trials.world.away.add("data832")

    if when == "before":
        happens()
    trials.world.meanwhile = happens
    kept(trials, Reason.UNKNOWN if when == "before" else Reason.CANDIDATE_CHANGED)
    assert trials.tables.suspects.all() == []


@pytest.mark.parametrize("where", [RAW_HERE, RAW_THERE], ids=["the copy", "its keeper"])
def test_what_is_recorded_anew_while_keepers_are_read_is_decided_about_anew(trials: Trials, where: Where) -> None:
    trials.world.meanwhile = lambda: trials.make(where, "first")
    kept(trials, Reason.UNKNOWN)


@pytest.mark.parametrize("name", ["data832/raw", "nersc/raw"])
def test_what_is_wiped_while_keepers_are_read_is_neither_kept_nor_deleted(trials: Trials, name: str) -> None:
    trials.world.meanwhile = lambda: trials.instance.wipe_assets([asset_key(BEAMLINE, COPIES[name])])
    kept(trials, Reason.UNKNOWN)


def test_a_keeper_whose_check_fails_while_it_is_read_keeps_nothing(trials: Trials) -> None:
    trials.world.meanwhile = lambda: failed_check(trials, RAW_THERE)
    kept(trials, Reason.SUSPECT)


@pytest.mark.parametrize("when", ["meanwhile", "last_moment"])
def test_a_keeper_that_another_pass_deletes_keeps_nothing(trials: Trials, when: str) -> None:
    setattr(trials.world, when, lambda: looked_through(trials, "data832"))
    report = looked_through(trials, "spot832")
    where = ("spot832/raw", SCAN)
    assert (where in trials.world.lying, deleted(report)) == (True, [])
    assert reasons(report)[where] is (Reason.KEEPER_DIFFERS if when == "meanwhile" else Reason.UNKNOWN)
    assert RAW_HERE not in trials.world.lying
    assert deleted(looked_through(trials, "spot832")) == [where]


# -- by the clock ------------------------------------------------------------------------------------------------


def test_a_clock_that_is_an_hour_behind_deletes_nothing_too_early(trials: Trials) -> None:
    trials.world.time -= 5 * DAY - timedelta(minutes=30)
    assert RAW_HERE not in deleted(looked_through(trials, "data832", skew=-HOUR))
    assert RAW_HERE in deleted(looked_through(trials, "data832"))


def test_a_clock_that_is_an_hour_ahead_takes_an_hour_of_the_age_and_no_proof(trials: Trials) -> None:
    trials.world.lying[RAW_THERE] = damaged(trials.world.lying[RAW_THERE])
    assert RAW_HERE not in deleted(looked_through(trials, "data832", skew=HOUR))
    trials.make(RAW_THERE, "first")
    assert RAW_HERE in deleted(looked_through(trials, "data832", skew=HOUR))


def test_a_copy_that_was_recorded_by_a_clock_an_hour_ahead_has_no_age(trials: Trials) -> None:
    trials.world.time += HOUR
    trials.make(RAW_HERE, "first")
    trials.world.time -= HOUR
    kept(trials, Reason.CLOCK)


# -- the graph, and other work -----------------------------------------------------------------------------------


def test_of_copies_whose_assets_have_left_the_graph_nothing_is_deleted(trials: Trials) -> None:
    trials.copies = {name: copy for name, copy in COPIES.items() if name != "data832/raw"}
    report = looked_through(trials, "data832")
    assert deleted(report) == [("data832/nersc_tiff", SCAN)]
    assert RAW_HERE in trials.world.lying
    trials.copies = COPIES
    assert deleted(looked_through(trials, "data832")) == [RAW_HERE]


def test_a_keeper_whose_asset_has_left_the_graph_keeps_nothing(trials: Trials) -> None:
    trials.copies = {name: copy for name, copy in COPIES.items() if name != "nersc/raw"}
    kept(trials, Reason.NO_KEEPER)


def test_a_deletion_that_was_begun_and_whose_keeper_has_left_the_graph_is_not_finished(trials: Trials) -> None:
    trials.globus.refuses = 100
    assert deleted(looked_through(trials, "data832")) == []
    trials.globus.refuses = 0
    trials.copies = {name: copy for name, copy in COPIES.items() if name != "nersc/tiff"}
    report = looked_through(trials, "data832")
    assert any("no asset any more" in problem for problem in report.problems)
    assert len(trials.tables.certificates.open()) == 1


def transfer(trials: Trials, asset: str) -> Callable[[], None]:
    """A transfer of another scan; what ends it."""
    owner = replace(Owner.this_process("run-0"), pid=NOBODY)
    claimed = trials.ledger.claim(WorkKey(asset, OTHER, "", ""), owner, trials.world.time)
    return lambda: trials.ledger.finish(claimed.record, WorkState.SUCCEEDED, {}, trials.world.time) and None


def test_a_pass_lets_transfers_of_scans_go_first_for_ten_minutes(trials: Trials) -> None:
    transfer(trials, "bl832/nersc/raw")
    before = trials.world.time
    assert RAW_HERE in deleted(looked_through(trials, "data832"))
    waited = trials.world.time - before
    assert passes.YIELDS_FOR <= waited < passes.YIELDS_FOR + timedelta(minutes=1)


def test_a_pass_does_not_wait_for_other_deletions(trials: Trials) -> None:
    transfer(trials, "bl832/nersc/raw#retention 7")
    before = trials.world.time
    looked_through(trials, "data832")
    assert trials.world.time - before < timedelta(minutes=1)


def test_what_keeps_the_turn_of_a_pass_is_asked_at_each_look_and_reading_and_ends_it(trials: Trials) -> None:
    told: list[int] = []

    def progress() -> None:
        told.append(len(trials.world.lying))
        if len(told) == 4:
            raise EpochLostError(seen="another pass has the turn", meaning="it was silent", remedy="")

    trials.progress = progress
    before = dict(trials.world.lying)
    with pytest.raises(EpochLostError):
        looked_through(trials, "data832")
    assert trials.world.lying == before
    assert trials.tables.certificates.open() == []


def test_refusals_are_told_for_copies_that_people_would_expect_to_go(trials: Trials) -> None:
    hold(trials)
    looked_through(trials, "data832")
    told = {one.refusal.asset: one.refusal.reason for one in trials.tables.refusals.of(SCAN)}
    assert told == {"data832/raw": Reason.HELD, "data832/nersc_tiff": Reason.HELD}
    for held in trials.holds.listed():
        trials.holds.release(held.id, author="dula", note="printed", at=trials.world.time)
    looked_through(trials, "data832")
    assert trials.tables.refusals.of(SCAN) == []


def test_every_copy_with_a_rule_goes_in_the_end_and_what_has_none_stays(trials: Trials) -> None:
    trials.reconstruct(LABELLED)
    trials.world.time += OLD
    for place in ("pscratch", "spot832", "data832", "nersc"):
        assert looked_through(trials, place).problems == []
    assert set(trials.world.lying) == {RAW_THERE, ("nersc/tiff", SCAN), ("nersc/tiff", LABELLED)}
    assert "nersc/tiff" in PRODUCTS
