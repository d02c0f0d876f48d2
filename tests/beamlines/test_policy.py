"""What may happen to a scan: decisions with reasons."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given

from beamlines.places import Place, Role
from beamlines.policy import Arrival, Decision, ExportControl, Reason, route
from beamlines.scans import ScanId
from beamlines.testing import scan_ids


def place(name: str, *, off_site: bool) -> Place:
    root = PurePosixPath("/data")
    collection = "00000000-0000-0000-0000-000000000001"
    return Place(
        name=name,
        collection=collection,
        collection_root=root,
        posix_root=root,
        role=Role.DURABLE,
        off_site=off_site,
        stores={},
    )


HERE, AWAY = place("data832", off_site=False), place("nersc", off_site=True)


@pytest.mark.parametrize("decision", [Decision.yes(Reason.ON_SITE, "x"), Decision.no(Reason.NOT_NEW, "x")])
def test_a_decision_cannot_be_taken_for_a_bare_bool(decision: Decision) -> None:
    with pytest.raises(TypeError, match=r"ask for \.allowed"):
        bool(decision)


def test_a_decision_reads_as_yes_or_no_with_its_reason() -> None:
    assert str(Decision.no(Reason.NOT_NEW, "it was adopted")) == "no (not-a-new-arrival): it was adopted"


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("BLS-00001_secret", "BLS-00001_secret/a.h5"),
        ("BLS-00001_secret", "bls-00001_SECRET/a.h5"),
        ("BLS-00001_secret", "BLS-00001_secret/deep/er/a.h5"),
        ("BLS-00001_*", "BLS-00001_secret/a.h5"),
        ("*/secret", "anybody/secret/a.h5"),
        ("*", "a.h5"),
        ("*", "any/where/a.h5"),
        ("EC-[0-9]*", "ec-7_x/a.h5"),
        ("STRASSE", "straße/a.h5"),
        ("\u00e9t\u00e9", "e\u0301te\u0301/a.h5"),
        ("e\u0301t\u00e9", "\u00c9T\u00c9/a.h5"),
        ("line\nbreak", "line\nbreak/a.h5"),
    ],
)
def test_a_scan_in_a_restricted_folder_stays_on_site(pattern: str, path: str) -> None:
    rules = ExportControl(restricted_folders=(pattern,))
    assert rules.may_be_at(ScanId(path), HERE).allowed
    decision = rules.may_be_at(ScanId(path), AWAY)
    assert not decision.allowed
    assert decision.reason is Reason.RESTRICTED_FOLDER
    assert "may not go to nersc" in decision.detail


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("BLS-00001_secret", "BLS-00001_secret_but_not/a.h5"),
        ("BLS-00001_secret", "BLS-00001/a.h5"),
        ("BLS-00001_secret", "BLS-00001_secret.h5"),
        ("secret", "open/secret/a.h5"),
    ],
)
def test_a_scan_elsewhere_may_leave(pattern: str, path: str) -> None:
    decision = ExportControl(restricted_folders=(pattern,)).may_be_at(ScanId(path), AWAY)
    assert decision.allowed
    assert decision.reason is Reason.UNRESTRICTED


@given(scan_ids())
def test_with_everything_restricted_no_name_gets_out(scan: ScanId) -> None:
    assert not ExportControl(restricted_folders=("*",)).may_be_at(scan, AWAY).allowed


@pytest.mark.parametrize("pattern", ["", "/secret", "secret/", "/"])
def test_a_pattern_that_could_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="would match no folder"):
        ExportControl(restricted_folders=(pattern,))


@pytest.mark.parametrize(
    ("arrival", "facility", "allowed", "reason"),
    [
        (Arrival.NEW, "nersc", True, Reason.PREFERRED),
        (Arrival.NEW, "alcf", False, Reason.NOT_PREFERRED),
        (Arrival.ADOPTED, "nersc", False, Reason.NOT_NEW),
        (Arrival.REPAIR, "nersc", False, Reason.NOT_NEW),
    ],
)
def test_only_a_new_scan_is_routed_and_only_to_the_first_facility(
    arrival: Arrival, facility: str, allowed: bool, reason: Reason
) -> None:
    decision = route(arrival, facility, ("nersc", "alcf"))
    assert (decision.allowed, decision.reason) == (allowed, reason)
