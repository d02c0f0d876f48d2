"""One test for each way in which keepers, or a recipe, may fail to stand for a copy: it stays.

Belongs here: whole passes over a world in memory. Does not: reading files (resources), other guards (test_guards).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from beamlines.decisions import Reason
from resources.facilities.checksums import FRESH
from tests.als_assets.retention.guarding import (
    LABELLED,
    OLD,
    RAW_HERE,
    RAW_THERE,
    SCAN,
    deleted,
    kept,
    looked_through,
    unmanifested,
)
from tests.als_assets.retention.trials import Trials
from tests.als_assets.retention.world import damaged

KEEPERS: dict[str, tuple[Callable[[Trials], object], Reason]] = {
    "a flipped bit": (
        lambda trials: trials.world.lying.update({RAW_THERE: damaged(trials.world.lying[RAW_THERE])}),
        Reason.KEEPER_DIFFERS,
    ),
    "not there": (lambda trials: trials.world.lying.pop(RAW_THERE), Reason.KEEPER_DIFFERS),
    "no manifest": (lambda trials: unmanifested(trials, RAW_THERE), Reason.KEEPER_NOT_READ),
    "a place that does not answer": (lambda trials: trials.world.away.add("nersc"), Reason.KEEPER_NOT_READ),
}


@pytest.mark.parametrize("what", KEEPERS)
def test_a_keeper_that_is_not_proven_keeps_the_copy(trials: Trials, what: str) -> None:
    happens, reason = KEEPERS[what]
    happens(trials)
    report = kept(trials, reason)
    is_bad = reason is Reason.KEEPER_DIFFERS
    assert [(one.asset, one.partition) for one in trials.tables.suspects.all()] == [RAW_THERE] * is_bad
    assert len(report.problems) == is_bad


def test_a_keeper_that_holds_what_the_scan_was_before_it_was_measured_anew_keeps_nothing(trials: Trials) -> None:
    """It equals its own manifest, and has the size that the newer one has."""
    trials.remeasure(SCAN, "again")
    trials.world.time += OLD
    report = kept(trials, Reason.KEEPER_DIFFERS)
    assert "another SHA-256" in report.problems[0]


def test_a_keeper_that_is_intact_and_another_thing_blocks_and_people_are_told(trials: Trials) -> None:
    trials.world.lying["nersc/tiff", SCAN] = replace(trials.world.lying["nersc/tiff", SCAN], content="more slices")
    report = kept(trials, Reason.KEEPER_DIFFERS, ("data832/nersc_tiff", SCAN))
    assert any("not the same thing" in problem for problem in report.problems)
    assert trials.tables.suspects.all() == []


def test_what_was_read_long_ago_keeps_nothing_now(trials: Trials) -> None:
    trials.world.reads_for = FRESH + timedelta(minutes=1)
    kept(trials, Reason.KEEPER_NOT_READ)
    trials.world.reads_for = FRESH
    assert RAW_HERE in deleted(looked_through(trials, "data832"))


def test_when_the_first_keeper_cannot_be_read_another_one_does(trials: Trials) -> None:
    trials.world.away.add("data832")
    report = looked_through(trials, "spot832")
    assert [[keeper.asset for keeper in one.deletion.keepers] for one in report.deleted] == [["nersc/raw"]]


def test_no_other_keeper_is_read_where_the_first_one_differs(trials: Trials) -> None:
    trials.world.lying[RAW_HERE] = damaged(trials.world.lying[RAW_HERE])
    kept(trials, Reason.KEEPER_DIFFERS, ("spot832/raw", SCAN))
    assert set(trials.world.read_at) == {RAW_HERE}


# -- by a recipe -------------------------------------------------------------------------------------------------


PRODUCT = ("data832/nersc_tiff", LABELLED)


def only_a_recipe(trials: Trials) -> None:
    """A labelled product that is old, and lies nowhere else."""
    trials.make(PRODUCT, "slices again")
    trials.world.time += OLD


def test_a_labelled_product_is_kept_by_its_recipe_which_starts_from_the_scans_raw_copy(trials: Trials) -> None:
    looked_through(trials, "data832")
    only_a_recipe(trials)
    report = looked_through(trials, "data832")
    assert deleted(report) == [PRODUCT]
    [product] = [one.deletion for one in report.deleted]
    assert [(keeper.asset, keeper.partition) for keeper in product.keepers] == [RAW_THERE]
    assert product.rule["recipe"] == "tomography 0.1.0 makes it again of nersc/raw, with the recorded settings"


def test_a_raw_copy_that_a_recipe_starts_from_does_not_go_beside_its_product(trials: Trials) -> None:
    only_a_recipe(trials)
    report = looked_through(trials, "data832")
    assert RAW_HERE in deleted(report)
    assert PRODUCT in trials.world.lying
    assert PRODUCT in deleted(looked_through(trials, "data832"))


RECIPES: dict[str, dict[str, object]] = {
    "no settings": {"program": "tomography 0.1.0"},
    "no program": {"settings": {"angles": 61}},
    "another version": {"program": "tomography 0.0.9", "settings": {"angles": 61}},
    "another version's end": {"program": "tomography 10.1.0", "settings": {"angles": 61}},
}


@pytest.mark.parametrize("what", RECIPES)
def test_a_product_that_nobody_can_make_again_stays(trials: Trials, what: str) -> None:
    only_a_recipe(trials)
    trials.report(PRODUCT, {"files": 1, "bytes": trials.world.lying[PRODUCT].size, **RECIPES[what]})
    trials.world.time += OLD
    kept(trials, Reason.KEEPER_NOT_READ, PRODUCT)


def test_a_recipe_without_a_proven_raw_copy_keeps_nothing(trials: Trials) -> None:
    only_a_recipe(trials)
    for where in (RAW_HERE, RAW_THERE):
        unmanifested(trials, where)
    kept(trials, Reason.KEEPER_NOT_READ, PRODUCT)


def test_a_recipe_whose_raw_copy_differs_blocks(trials: Trials) -> None:
    only_a_recipe(trials)
    trials.world.lying[RAW_HERE] = damaged(trials.world.lying[RAW_HERE])
    kept(trials, Reason.KEEPER_DIFFERS, PRODUCT)
