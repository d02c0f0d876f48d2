"""Retention's rules: what the shipped ones say, and which sets of rules are refused, with the reason."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from beamlines.config import Beamline, ConfigurationError, parse_beamline
from beamlines.places import Role
from beamlines.retention import RECIPE, RetentionRule

TEXT = (Path(__file__).parents[2] / "config" / "bl832.yaml").read_text()
DAY = timedelta(days=1)

AFTER_ALCF = {
    "alcf/raw": DAY,
    "alcf/tiff": DAY,
    "alcf/zarr": DAY,
    "nersc/alcf_tiff": 7 * DAY,
    "nersc/alcf_zarr": 7 * DAY,
    "data832/raw": 35 * DAY,
    "data832/alcf_tiff": 14 * DAY,
    "data832/alcf_zarr": 14 * DAY,
}
"""The eight paths that the system before this one deleted after a run at ALCF, five of them without any look at what
remained."""
AFTER_NERSC = {
    "data832/nersc_tiff": 14 * DAY,
    "data832/nersc_zarr": 14 * DAY,
    "pscratch/raw": 7 * DAY,
    "pscratch/tiff": 7 * DAY,
    "pscratch/zarr": 7 * DAY,
}


def shipped() -> Beamline:
    return parse_beamline(TEXT, source="bl832.yaml")


def with_rules(*rules: dict[str, Any]) -> Beamline:
    document = yaml.safe_load(TEXT)
    document["retention"]["rules"] = list(rules)
    return parse_beamline(yaml.safe_dump(document), source="bl832.yaml")


def rule(*copies: str, keepers: list[str], **more: Any) -> dict[str, Any]:
    return {"copies": list(copies), "age": "P1D", "keepers": keepers, **more}


def rule_of(copy: str) -> RetentionRule:
    found = shipped().retention.rule_of(copy)
    assert found is not None, copy
    return found


@pytest.mark.parametrize(("copy", "age"), [*AFTER_ALCF.items(), *AFTER_NERSC.items(), ("spot832/raw", DAY)])
def test_each_path_that_was_deleted_before_has_a_rule_with_a_keeper_that_must_be_proven(
    copy: str, age: timedelta
) -> None:
    found = rule_of(copy)
    assert found.age == age
    assert found.proven >= 1
    assert found.durable >= 1
    places = shipped().places
    assert all(k == RECIPE or places[k.partition("/")[0]].role is Role.DURABLE for k in found.keepers)


def test_the_raw_copy_at_nersc_has_no_rule_and_stays_for_ever() -> None:
    assert shipped().retention.rule_of("nersc/raw") is None


def test_nothing_is_enforced_by_the_beamlines_file_itself() -> None:
    assert not any(place.enforce for place in shipped().retention.places.values())


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([rule("data832/raw", keepers=["alcf/raw"])], "alcf/raw lies on scratch"),
        ([rule("data832/raw", keepers=["spot832/raw"])], "of the keepers of data832/raw only 0 are durable, not 1"),
        (
            [rule("data832/raw", keepers=["spot832/raw"], durable=0)],
            "data832/raw is a raw copy: one durable keeper at least must be proven",
        ),
        ([rule("data832/raw", keepers=["data832/raw"])], "data832/raw cannot keep itself"),
        ([rule("data832/raw", keepers=["recipe"])], "no recipe makes it again"),
        ([rule("alcf/tiff", keepers=["data832/nersc_tiff"])], "data832/nersc_tiff is not the same thing as alcf/tiff"),
        ([rule("alcf/tiff", keepers=["data832/alcf_zarr"])], "data832/alcf_zarr is not the same thing as alcf/tiff"),
        ([rule("alcf/tiff", keepers=["data832/alcf_tiff"], proven=2)], "2 keepers of 1 can never be proven"),
        (
            [rule("spot832/raw", keepers=["data832/raw", "nersc/raw"], proven=1, durable=2)],
            "2 durable ones of 1 proven keepers cannot be",
        ),
        (
            [rule("data832/raw", keepers=["nersc/raw"]), rule("spot832/raw", "data832/raw", keepers=["nersc/raw"])],
            "two rules for data832/raw",
        ),
        (
            [rule("data832/raw", keepers=["nersc/raw"]), rule("nersc/raw", keepers=["data832/raw"])],
            "in a circle: data832/raw <- nersc/raw <- data832/raw",
        ),
        (
            [
                rule("data832/nersc_tiff", keepers=["nersc/tiff"]),
                rule("nersc/tiff", keepers=["data832/nersc_tiff", "recipe"]),
            ],
            "in a circle: data832/nersc_tiff <- nersc/tiff <- data832/nersc_tiff",
        ),
        ([rule("moon/raw", keepers=["nersc/raw"])], "'moon/raw' names no copy"),
        ([rule("alcf/movie", keepers=["nersc/raw"])], "'alcf/movie' names no copy"),
        ([rule("data832/tiff", keepers=["nersc/tiff"])], "a product is made by one of"),
        ([rule("alcf/raw", keepers=["moon/raw"])], "'moon/raw' names no copy"),
        ([rule("alcf/alcf_tiff", keepers=["recipe"])], "it is called 'alcf/tiff'"),
        ([rule("alcf/raw", keepers=["nersc/raw"], age="PT1S")], "age"),
        ([rule("alcf/raw", keepers=[])], "keepers"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_unsafe_rules_are_refused_with_the_reason(rules: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        with_rules(*rules)
    assert why in str(refused.value)


def test_a_rule_for_a_place_that_nobody_looks_through_is_refused() -> None:
    document = yaml.safe_load(TEXT)
    del document["retention"]["places"]["alcf"]
    with pytest.raises(ConfigurationError, match=r"nothing looks through alcf"):
        parse_beamline(yaml.safe_dump(document), source="bl832.yaml")
