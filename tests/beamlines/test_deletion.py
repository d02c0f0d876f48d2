"""Deciding about deletions: one test for each reason to keep, and what a yes needs."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from beamlines.decisions import Reason
from beamlines.deletion import (
    CLOCKS_DIFFER,
    CopyFacts,
    Found,
    Reading,
    Scene,
    Usage,
    as_needed,
    brakes,
    decide,
    durable_raw,
    judge,
    keepers_of,
    may_go_on,
)
from beamlines.places import Role
from beamlines.retention import Brake, PlaceRetention, RetentionRule, Watermark
from beamlines.standing import Standing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
RAW_RULE = RetentionRule(copies=("data832/raw",), age=35 * DAY, keepers=("nersc/raw",))
PRODUCT_RULE = RetentionRule(copies=("data832/nersc_tiff",), age=14 * DAY, keepers=("nersc/tiff", "recipe"))


def facts(name: str, role: Role = Role.DURABLE, *, days: float = 40, **more: object) -> CopyFacts:
    made = CopyFacts(name, role, recorded=NOW - days * DAY, bytes=10, files=1)
    return replace(made, **more)  # type: ignore[arg-type]


KEPT = facts("nersc/raw")
SCENE = Scene(facts("data832/raw"), {"nersc/raw": KEPT}, Standing(), None)


def decided(scene: Scene = SCENE, rule: RetentionRule | None = RAW_RULE) -> Reason:
    decision = decide(scene, rule, RAW_RULE.age if rule is None else rule.age, NOW)
    assert decision.allowed is (decision.reason is Reason.AGED)
    assert decision.detail
    return decision.reason


def with_copy(**changes: object) -> Scene:
    return replace(SCENE, copy=replace(SCENE.copy, **changes))  # type: ignore[arg-type]


def test_an_old_copy_with_a_keeper_may_go() -> None:
    assert decided() is Reason.AGED


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (with_copy(recorded=None), Reason.NOT_RECORDED),
        (with_copy(deleted=True), Reason.NOT_RECORDED),
        (replace(SCENE, unknown="alcf does not answer"), Reason.UNKNOWN),
        (with_copy(suspect="its latest check failed"), Reason.SUSPECT),
        (replace(SCENE, catalogue="the catalogue has 7 bytes"), Reason.CATALOGUE_DISAGREES),
        (replace(SCENE, work=["run 12ab34cd of bl832_nersc"]), Reason.IN_FLIGHT),
        (replace(SCENE, standing=Standing(changed="7 bytes")), Reason.CHANGED),
        (replace(SCENE, restriction=Reason.RESTRICTED_BY_SIDECAR), Reason.RESTRICTED_BY_SIDECAR),
        (replace(SCENE, holds=["by als, for a paper"]), Reason.HELD),
        (with_copy(recorded=NOW + CLOCKS_DIFFER + timedelta(seconds=1)), Reason.CLOCK),
        (with_copy(recorded=NOW - 35 * DAY + timedelta(seconds=1)), Reason.TOO_YOUNG),
        (replace(SCENE, others={}), Reason.NO_KEEPER),
        (replace(SCENE, others={"nersc/raw": replace(KEPT, deleted=True)}), Reason.NO_KEEPER),
        (replace(SCENE, others={"nersc/raw": replace(KEPT, recorded=None)}), Reason.NO_KEEPER),
        (replace(SCENE, others={"nersc/raw": replace(KEPT, suspect="a proof found it different")}), Reason.NO_KEEPER),
        (replace(SCENE, others={"alcf/raw": facts("alcf/raw", Role.SCRATCH)}), Reason.NO_KEEPER),
    ],
    ids=lambda value: str(value) if isinstance(value, Reason) else None,
)
def test_a_copy_is_kept_with_the_reason(scene: Scene, reason: Reason) -> None:
    assert decided(scene) is reason


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (SCENE, "recorded 40.0 days ago, kept for 35.0 days"),
        (with_copy(recorded=None), "no record says that it is there"),
        (with_copy(deleted=True), "deleted before"),
        (replace(SCENE, unknown="alcf does not answer"), "alcf does not answer"),
        (with_copy(suspect="its latest check failed"), "its latest check failed"),
        (replace(SCENE, catalogue="the catalogue has 7 bytes"), "the catalogue has 7 bytes"),
        (replace(SCENE, work=["run 12ab34cd", "a transfer"]), "run 12ab34cd, a transfer"),
        (replace(SCENE, standing=Standing(changed="7 bytes")), "its scan has changed since it was complete: 7 bytes"),
        (
            replace(SCENE, restriction=Reason.RESTRICTED_FOLDER),
            "its scan must stay on site, where few copies of it are",
        ),
        (replace(SCENE, holds=["by als, for a paper"]), "by als, for a paper"),
        (
            with_copy(recorded=NOW + DAY),
            "data832/raw was recorded at 2026-03-02T12:00:00+00:00, which is still to come",
        ),
        (with_copy(recorded=NOW - timedelta(hours=30)), "recorded 30.0 hours ago, kept for 35.0 days"),
        (with_copy(recorded=NOW - timedelta(minutes=90)), "recorded 90 min ago, kept for 35.0 days"),
        (with_copy(recorded=NOW - timedelta(hours=48)), "recorded 2.0 days ago, kept for 35.0 days"),
        (with_copy(recorded=NOW - timedelta(hours=2)), "recorded 2.0 hours ago, kept for 35.0 days"),
        (replace(SCENE, others={}), "1 of nersc/raw must keep it, 1 at durable places; there are none"),
    ],
)
def test_what_is_said_of_a_decision_names_what_was_seen(scene: Scene, said: str) -> None:
    assert decide(scene, RAW_RULE, RAW_RULE.age, NOW).detail == said


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (replace(SCENE, unknown="alcf does not answer"), Reason.UNKNOWN),
        (with_copy(suspect="its latest check failed"), Reason.SUSPECT),
        (replace(SCENE, catalogue="the catalogue has 7 bytes"), Reason.CATALOGUE_DISAGREES),
        (replace(SCENE, work=["run 12ab34cd of bl832_nersc"]), Reason.IN_FLIGHT),
        (replace(SCENE, standing=Standing(changed="7 bytes")), Reason.CHANGED),
        (replace(SCENE, restriction=Reason.RESTRICTED_BY_SIDECAR), Reason.RESTRICTED_BY_SIDECAR),
        (replace(SCENE, holds=["by als, for a paper"]), Reason.HELD),
        (replace(with_copy(recorded=None), others={}), Reason.AGED),
    ],
)
def test_an_interrupted_deletion_goes_on_unless_something_has_come_between(scene: Scene, reason: Reason) -> None:
    decision = may_go_on(scene)
    assert (decision.reason, decision.allowed) == (reason, reason is Reason.AGED)
    assert decision.detail == (
        "nothing has come between" if decision.allowed else decide(scene, RAW_RULE, DAY, NOW).detail
    )


def test_a_copy_without_a_rule_is_kept() -> None:
    assert decided(rule=None) is Reason.NO_RULE


def test_at_its_age_to_the_second_a_copy_may_go_and_a_slightly_wrong_clock_is_no_reason() -> None:
    assert decided(with_copy(recorded=NOW - 35 * DAY)) is Reason.AGED
    soon = with_copy(recorded=NOW + timedelta(seconds=30))
    assert decided(soon) is Reason.TOO_YOUNG
    assert decided(with_copy(recorded=NOW + CLOCKS_DIFFER)) is Reason.TOO_YOUNG


def test_an_age_that_a_person_has_set_counts_instead_of_the_rules() -> None:
    young = with_copy(recorded=NOW - 2 * DAY)
    assert decide(young, RAW_RULE, DAY, NOW).reason is Reason.AGED
    assert decide(SCENE, RAW_RULE, 60 * DAY, NOW).reason is Reason.TOO_YOUNG


@pytest.mark.parametrize(
    ("proven", "durable", "others", "reason"),
    [
        (2, 1, {"data832/raw": facts("data832/raw")}, Reason.NO_KEEPER),
        (2, 1, {"data832/raw": facts("data832/raw"), "nersc/raw": KEPT}, Reason.AGED),
        (2, 2, {"data832/raw": facts("data832/raw", Role.ACQUISITION), "nersc/raw": KEPT}, Reason.NO_KEEPER),
        (2, 1, {"data832/raw": facts("data832/raw", Role.ACQUISITION), "nersc/raw": KEPT}, Reason.AGED),
    ],
)
def test_as_many_keepers_as_the_rule_says_must_be_there_and_as_many_of_them_durable(
    proven: int, durable: int, others: Mapping[str, CopyFacts], reason: Reason
) -> None:
    rule = RetentionRule(
        copies=("spot832/raw",), age=DAY, keepers=("data832/raw", "nersc/raw"), proven=proven, durable=durable
    )
    scene = Scene(facts("spot832/raw", Role.ACQUISITION), others, Standing(), None)
    assert decided(scene, rule) is reason


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"nersc/raw": KEPT}, Reason.AGED),
        ({"nersc/tiff": facts("nersc/tiff")}, Reason.AGED),
        ({"alcf/raw": facts("alcf/raw", Role.SCRATCH)}, Reason.NO_KEEPER),
        ({"nersc/raw": replace(KEPT, suspect="damaged")}, Reason.NO_KEEPER),
        ({"nersc/zarr": facts("nersc/zarr")}, Reason.NO_KEEPER),
        ({}, Reason.NO_KEEPER),
    ],
)
def test_a_recipe_needs_a_durable_raw_copy_that_is_believed(others: dict[str, CopyFacts], reason: Reason) -> None:
    scene = Scene(facts("data832/nersc_tiff"), others, Standing(), None)
    assert decided(scene, PRODUCT_RULE) is reason


def test_only_keepers_that_the_rule_names_are_read() -> None:
    others = {"nersc/raw": KEPT, "data832/raw": facts("data832/raw"), "alcf/raw": facts("alcf/raw", Role.SCRATCH)}
    assert keepers_of(RAW_RULE, others) == ["nersc/raw"]
    assert durable_raw(others) == ["data832/raw", "nersc/raw"]


# -- by what was read just now -----------------------------------------------------------------------------------


def read(name: str = "nersc/raw", found: Found = Found.EQUAL, role: Role = Role.DURABLE) -> Reading:
    return Reading(name, role, found, "")


def judged(rule: RetentionRule, *readings: Reading, candidate: str | None = None) -> Reason:
    return judge(rule, readings, candidate=candidate).reason


def test_a_keeper_that_equals_its_manifest_lets_the_copy_go() -> None:
    assert judged(RAW_RULE, read()) is Reason.AGED


def test_a_keeper_that_differs_blocks_the_deletion_whatever_the_others_are() -> None:
    rule = RAW_RULE.model_copy(update={"keepers": ("nersc/raw", "spot832/raw")})
    different = read("spot832/raw", Found.DIFFERENT, Role.ACQUISITION)
    assert judged(rule, read(), different) is Reason.KEEPER_DIFFERS


def test_a_keeper_that_cannot_be_read_keeps_nothing() -> None:
    assert judged(RAW_RULE, read(found=Found.UNREAD)) is Reason.KEEPER_NOT_READ
    assert judged(RAW_RULE) is Reason.KEEPER_NOT_READ


@pytest.mark.parametrize(
    "reading",
    [read("pscratch/raw", role=Role.SCRATCH), read("olcf/raw"), read("nersc/raw", role=Role.ACQUISITION)],
    ids=["scratch", "no keeper of the rule", "not durable"],
)
def test_what_the_rule_does_not_count_keeps_nothing(reading: Reading) -> None:
    assert judged(RAW_RULE, reading) is Reason.KEEPER_NOT_READ


def test_scratch_keeps_nothing_even_where_a_rule_names_it() -> None:
    rule = RAW_RULE.model_copy(update={"keepers": ("pscratch/raw",), "durable": 0})
    assert judged(rule, read("pscratch/raw", role=Role.SCRATCH)) is Reason.KEEPER_NOT_READ


def test_one_keeper_that_was_read_twice_is_one() -> None:
    rule = RAW_RULE.model_copy(update={"keepers": ("nersc/raw", "spot832/raw"), "proven": 2})
    assert judged(rule, read(), read()) is Reason.KEEPER_NOT_READ


def test_what_is_said_of_a_judgement_names_every_keeper() -> None:
    rule = RAW_RULE.model_copy(update={"keepers": ("nersc/raw", "spot832/raw"), "proven": 2})
    both = [read("spot832/raw"), read()]
    away = Reading("nersc/raw", Role.DURABLE, Found.UNREAD, "it does not answer")
    bad = Reading("nersc/raw", Role.DURABLE, Found.DIFFERENT, "7 bytes")
    worse = Reading("spot832/raw", Role.ACQUISITION, Found.DIFFERENT, "missing")
    assert judge(rule, both, candidate=None).detail == "kept by nersc/raw, spot832/raw, read again just now"
    assert judge(rule, [read("spot832/raw"), away], candidate=None).detail == (
        "2 proven keepers are needed, 1 of them durable; proven spot832/raw; nersc/raw: it does not answer"
    )
    assert judge(rule, [], candidate=None).detail.endswith("; proven none; none")
    assert judge(rule, [bad, worse], candidate=None).detail == "nersc/raw: 7 bytes, spot832/raw: missing"
    assert judge(rule, both, candidate="7 bytes, and not 10").detail == "7 bytes, and not 10"


def test_a_copy_that_has_changed_since_it_was_looked_at_stays() -> None:
    assert judged(RAW_RULE, read(), candidate="7 bytes, and not 10") is Reason.CANDIDATE_CHANGED


# -- how much goes -----------------------------------------------------------------------------------------------

OLDEST_FIRST = [facts(f"data832/{number}", bytes=10, files=2) for number in range(10)]
EIGHTY = Watermark(above=0.8, down_to=0.5)


@pytest.mark.parametrize(
    ("place", "bytes_used", "files_used", "number"),
    [
        (PlaceRetention(), None, None, 10),
        (PlaceRetention(bytes=EIGHTY), Usage(80, 100), None, 0),
        (PlaceRetention(bytes=EIGHTY), Usage(81, 100), None, 4),
        (PlaceRetention(bytes=EIGHTY), Usage(1000, 1000), None, 10),
        (PlaceRetention(bytes=EIGHTY), None, None, 0),
        (PlaceRetention(bytes=EIGHTY), Usage(0, 0), None, 0),
        (PlaceRetention(files=EIGHTY), None, Usage(9, 10), 2),
        (PlaceRetention(bytes=EIGHTY, files=EIGHTY), Usage(81, 100), Usage(9, 10), 4),
        (PlaceRetention(bytes=EIGHTY, files=EIGHTY), Usage(10, 100), Usage(9, 10), 2),
    ],
)
def test_no_more_goes_than_a_full_place_needs(
    place: PlaceRetention, bytes_used: Usage | None, files_used: Usage | None, number: int
) -> None:
    assert as_needed(OLDEST_FIRST, place, bytes_used, files_used) == number


def test_a_pass_that_would_delete_very_much_waits_for_a_person() -> None:
    place = PlaceRetention(brake=Brake(copies=10, bytes=100))  # type: ignore[arg-type]
    assert brakes(10, 100, place).allowed
    assert brakes(11, 100, place).reason is Reason.BRAKE
    assert brakes(10, 101, place).reason is Reason.BRAKE
    most = "at most 10 copies of 100 bytes"
    assert brakes(11, 50, place).detail == f"11 copies of 50 bytes would go at once; without a person {most} do"
    assert brakes(10, 100, place).detail == "10 copies of 100 bytes"
