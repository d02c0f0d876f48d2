"""Which cases a campaign tries: every fault at every call before anything again, the same ones for the same seed."""

import pytest

from campaign import plan as plans
from campaign.calls import NAMES, Call, UnnamedCallError, calls_of, name_of
from campaign.injections import injection
from campaign.plan import Case, different, plan

REQUESTS = [
    "POST /auth/v2/oauth2/token",
    "GET /transfer/v0.10/operation/endpoint/44ae904c-ab64-4145-a8f0-7287de38324d/stat",
    "GET /transfer/v0.10/operation/endpoint/75b478b2-37af-46df-bfbd-71ed692c6506/stat",
    "POST /transfer/v0.10/transfer",
    *["GET /transfer/v0.10/task/1321cce4-2b50-4520-8ae7-597be5c140fc"] * 9,
    "POST /superfacility/compute/jobs/perlmutter",
]
CALLS = calls_of("nersc", REQUESTS)
EVERY_FAULT = {*plans.AT_A_CALL, *plans.ANYWHERE, *plans.INGEST, *plans.BRANCH, *plans.AT_A_FACILITY}
HAS = frozenset(plans.AT_A_FACILITY)
ALL = different(CALLS, "nersc", HAS)


def test_the_calls_of_a_run_are_read_from_the_log_and_polls_do_not_count_without_end() -> None:
    assert [(call.name, call.nth) for call in CALLS] == [
        ("globus-token", 1),
        ("stat", 1),
        ("stat", 2),
        ("transfer-submit", 1),
        *[("task", nth) for nth in (1, 2, 3, 4)],
        ("job-submit", 1),
    ]


def test_a_call_that_nobody_has_named_stops_the_campaign_instead_of_being_left_out() -> None:
    with pytest.raises(UnnamedCallError, match="GET /new"):
        name_of("GET /new")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stands_for_one_pattern_of_calls(name: str) -> None:
    assert name_of(NAMES[name].replace("*", "x")) == name


def test_every_fault_comes_at_every_call_before_anything_comes_again() -> None:
    cases = plan(CALLS, "nersc", HAS, seed=3, number=ALL)
    assert len(set(cases)) == ALL
    assert {case.round for case in cases} == {1}
    assert {(case.fault, case.call) for case in cases if case.call} == {
        (fault, call) for fault in plans.AT_A_CALL for call in CALLS
    }


def test_what_is_more_than_all_cases_is_all_again_with_other_chances() -> None:
    cases = plan(CALLS, "nersc", HAS, seed=3, number=2 * ALL)
    assert len(set(cases)) == 2 * ALL
    assert len({case.chance for case in cases}) == 2 * ALL


def test_the_same_seed_gives_the_same_cases_and_another_gives_others() -> None:
    assert plan(CALLS, "nersc", HAS, 1, 60) == plan(CALLS, "nersc", HAS, 1, 60)
    assert plan(CALLS, "nersc", HAS, 1, 60) != plan(CALLS, "nersc", HAS, 2, 60)


def test_a_short_campaign_has_every_fault_once_and_every_kind_of_call() -> None:
    few = plan(CALLS, "nersc", HAS, 1, 75)
    assert {case.fault for case in few} == EVERY_FAULT
    assert {case.call.name for case in few if case.call} == {call.name for call in CALLS}


@pytest.mark.parametrize("case", plan(CALLS, "nersc", HAS, 1, ALL + 5), ids=lambda case: case.id)
def test_a_case_is_found_again_by_its_name(case: Case) -> None:
    assert Case.parse(case.id) == case


@pytest.mark.parametrize("text", ["nersc", "nersc:lost", "nersc:lost:task:x", "nersc:raw-corrupted:task:1", ""])
def test_a_name_of_no_case_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no case"):
        Case.parse(text)


@pytest.mark.parametrize(
    "fault", [*plans.AT_A_CALL, *plans.ANYWHERE, *plans.INGEST, *plans.BRANCH, *plans.AT_A_FACILITY]
)
def test_every_fault_of_the_plan_can_be_injected(fault: str) -> None:
    assert injection(fault)


def test_a_facility_is_spared_the_faults_that_there_are_not_there() -> None:
    few = plan(CALLS, "alcf", frozenset({"job-vanishes"}), 1, different(CALLS, "alcf", frozenset({"job-vanishes"})))
    assert {case.fault for case in few} & set(plans.AT_A_FACILITY) == {"job-vanishes"}


def test_a_call_is_one_of_its_part() -> None:
    assert Case.parse("ingest:lost:task:2").call == Call("ingest", "task", 2)
