"""What may happen to a scan: decisions with reasons."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given

from beamlines.decisions import Decision, Reason
from beamlines.places import Place, Role
from beamlines.policy import Arrival, ExportControl, ExportDefault, route, send_on
from beamlines.scans import ScanId
from beamlines.standing import Standing
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


OPEN = ExportDefault.UNRESTRICTED
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
    rules = ExportControl(default=OPEN, restricted_folders=(pattern,))
    assert rules.may_be_at(ScanId(path), HERE, Standing()).allowed
    decision = rules.may_be_at(ScanId(path), AWAY, Standing())
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
    decision = ExportControl(default=OPEN, restricted_folders=(pattern,)).may_be_at(ScanId(path), AWAY, Standing())
    assert decision.allowed
    assert decision.reason is Reason.UNRESTRICTED


@given(scan_ids())
def test_with_everything_restricted_no_name_gets_out(scan: ScanId) -> None:
    rules = ExportControl(default=OPEN, restricted_folders=("*",))
    assert not rules.may_be_at(scan, AWAY, Standing(lifted=True)).allowed


@pytest.mark.parametrize("pattern", ["", "/secret", "secret/", "/"])
def test_a_pattern_that_could_match_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="would match no folder"):
        ExportControl(restricted_folders=(pattern,))


def test_where_nothing_states_a_default_nothing_leaves() -> None:
    decision = ExportControl().may_be_at(ScanId("a/a.h5"), AWAY, Standing())
    assert (decision.allowed, decision.reason) == (False, Reason.RESTRICTED_BY_DEFAULT)


@pytest.mark.parametrize("path", ["BLS-00007_user/a.h5", "bls-00007_other/deep/a.h5"])
def test_a_scan_of_a_restricted_proposal_stays_on_site_by_its_folder(path: str) -> None:
    rules = ExportControl(default=OPEN, restricted_proposals=("BLS-00007",))
    decision = rules.may_be_at(ScanId(path), AWAY, Standing(proposal="BLS-00001", lifted=True))
    assert (decision.allowed, decision.reason) == (False, Reason.RESTRICTED_PROPOSAL)


def test_a_scan_of_a_restricted_proposal_stays_on_site_by_its_own_word() -> None:
    rules = ExportControl(default=OPEN, restricted_proposals=("BLS-00007",))
    decision = rules.may_be_at(ScanId("BLS-00001_x/a.h5"), AWAY, Standing(proposal="bls-00007"))
    assert (decision.allowed, decision.reason) == (False, Reason.RESTRICTED_PROPOSAL)
    assert rules.may_be_at(ScanId("BLS-00001_x/a.h5"), AWAY, Standing(proposal="BLS-00001")).allowed


def test_where_proposals_are_restricted_a_scan_that_names_none_stays_until_an_operator_says_otherwise() -> None:
    rules = ExportControl(default=OPEN, restricted_proposals=("BLS-00007",))
    scan = ScanId("dabramov/a.h5")
    assert rules.may_be_at(scan, AWAY, Standing()).reason is Reason.PROPOSAL_UNKNOWN
    assert rules.may_be_at(scan, AWAY, Standing(lifted=True)).allowed
    assert rules.may_be_at(scan, AWAY, Standing(proposal="BLS-00001")).allowed
    assert ExportControl(default=OPEN).may_be_at(scan, AWAY, Standing()).allowed


@pytest.mark.parametrize(
    "said", [Reason.RESTRICTED_WHEN_ANNOUNCED, Reason.RESTRICTED_BY_SIDECAR, Reason.RESTRICTED_BY_OPERATOR]
)
def test_what_was_said_of_one_scan_keeps_it_on_site(said: Reason) -> None:
    decision = ExportControl(default=OPEN).may_be_at(ScanId("a/a.h5"), AWAY, Standing(restricted=said))
    assert (decision.allowed, decision.reason) == (False, said)
    assert "export controlled" in decision.detail


@pytest.mark.parametrize("default", list(ExportDefault))
def test_a_scan_whose_restriction_an_operator_lifted_may_leave(default: ExportDefault) -> None:
    assert ExportControl(default=default).may_be_at(ScanId("a/a.h5"), AWAY, Standing(lifted=True)).allowed


@pytest.mark.parametrize(
    ("standing", "allowed", "reason"),
    [
        (Standing(), True, Reason.PREFERRED),
        (Standing(withheld_from=frozenset({"alcf"})), True, Reason.PREFERRED),
        (Standing(withheld_from=frozenset({"nersc"})), False, Reason.WITHHELD),
        (Standing(changed="12 bytes"), False, Reason.CHANGED),
        (Standing(aborted="3 of 5 frames"), False, Reason.ABORTED),
        (Standing(aborted="3 of 5 frames", changed="12 bytes"), False, Reason.CHANGED),
    ],
)
def test_an_ingested_scan_goes_through_a_branch_by_itself_unless_there_is_a_reason(
    standing: Standing, allowed: bool, reason: Reason
) -> None:
    decision = send_on(standing, "nersc")
    assert (decision.allowed, decision.reason) == (allowed, reason)


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
