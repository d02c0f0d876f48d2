"""What the catalogue is told of a scan of 8.3.2, whatever stands in its file."""

import json
import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamlines.catalogue import als832, cleaning
from beamlines.catalogue.als832 import BEAMLINE, EMAIL, PI, PROPOSAL, SETTINGS, TRACES, describe
from beamlines.catalogue.entries import Found
from beamlines.catalogue.identity import derived_pid, raw_pid
from beamlines.catalogue.ingesters import INGESTERS
from beamlines.scans import PartitionKey, ScanId
from beamlines.testing import scan_ids

SCAN = ScanId("BLS-00564_dyparkinson/20260101_120000_rock_fine-grained_x01y02.h5")
ENERGY = "/measurement/instrument/monochromator/energy"
HUGE = "x" * 5_000_000
BROKEN = [
    None,
    "",
    " ",
    "\0",
    "\0" * 10,
    HUGE,
    5,
    -1.5,
    math.nan,
    math.inf,
    True,
    [],
    ["a"],
    {"a": "b"},
    b"bytes",
    "🔬",
]


def told(**values):
    """Of a file in which these stand, by the last parts of their paths."""
    paths = {"proposal": PROPOSAL, "pi": PI, "beamline": BEAMLINE, "email": EMAIL, "energy": ENERGY}
    return describe({paths[name]: Found(value) for name, value in values.items()}, SCAN, "8.3.2")


def test_a_file_that_says_nothing_makes_an_entry_all_the_same():
    said = describe({}, SCAN, "8.3.2")
    assert said.owner_group == "8.3.2"
    assert said.access_groups == ("8.3.2",)
    assert said.owner == said.investigator == "Unknown"
    assert said.contact_email == "unknown@example.com"
    assert said.proposal is None
    assert said.metadata == {}


def test_what_the_file_says_is_told():
    said = told(proposal="BLS-00564", pi="Dula Parkinson", beamline="bl832", email="A.User@LBL.gov", energy=25000.0)
    assert (said.owner_group, said.proposal) == ("BLS-00564", "BLS-00564")
    assert said.access_groups == ("8.3.2", "BLS-00564")
    assert said.owner == said.investigator == "Dula Parkinson"
    assert said.contact_email == "a.user@lbl.gov"
    assert said.metadata == {ENERGY: {"value": 25000.0, "unit": "eV"}}


def test_name_and_keywords_are_those_of_the_scan():
    said = describe({}, SCAN, "8.3.2")
    assert said.name == "20260101_120000_rock_fine-grained_x01y02"
    assert said.keywords == ("rock", "fine", "grained", "x01y02")
    assert said.description == "rock fine grained x01y02"


def test_a_unit_of_the_file_goes_before_ours():
    said = describe({ENERGY: Found(25.0, "keV")}, SCAN, "8.3.2")
    assert said.metadata[ENERGY] == {"value": 25.0, "unit": "keV"}


def test_what_is_no_number_is_null():
    said = describe({ENERGY: Found([1.0, math.nan, math.inf, -math.inf])}, SCAN, "8.3.2")
    assert said.metadata[ENERGY]["value"] == [1.0, None, None, None]


def test_what_the_ingester_does_not_name_is_not_told():
    assert describe({"/home/secret": Found("x")}, SCAN, "8.3.2").metadata == {}


def test_the_ingester_knows_settings_and_traces():
    assert len(SETTINGS) == 40
    assert len(TRACES) == 13


@pytest.mark.parametrize("broken", BROKEN, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("field", ["proposal", "pi", "beamline", "email", "energy"])
def test_a_field_that_is_broken_breaks_nothing(field, broken):
    said = told(**{field: broken})
    assert said.owner_group.strip()
    assert "@" in said.contact_email
    assert said.owner
    assert len(json.dumps(dict(said.metadata), allow_nan=False)) < 50_000


@pytest.mark.parametrize("proposal", ["two words", "a\nb", " ", "p" * 101, ""])
def test_a_proposal_that_is_no_group_owns_nothing(proposal):
    assert told(proposal=proposal).owner_group == "8.3.2"


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("me@lbl.gov", "me@lbl.gov"),
        (" Me@LBL.gov\0\0", "me@lbl.gov"),
        ("Some One <some.one@lbl.gov>, other@lbl.gov", "some.one@lbl.gov"),
        ("mailto:me@lbl.gov", "me@lbl.gov"),
        ("me@lbl", None),
        ("me@@lbl.gov", None),
        ("a..b@lbl.gov", None),
        ("me at lbl.gov", None),
        ("m" * 65 + "@lbl.gov", None),
        ("é@lbl.gov", None),
        ("me@-lbl.gov", None),
        ("@" * 1_000_000, None),
        ("a." * 1_000_000, None),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_address_is_one_or_the_unknown_one(said, address):
    assert told(email=said).contact_email == (address or "unknown@example.com")


@given(scan_ids(), st.dictionaries(st.sampled_from([PI, PROPOSAL, EMAIL, BEAMLINE, ENERGY]), st.text()))
def test_whatever_people_type_is_clean_and_bounded(scan, values):
    said = describe({path: Found(value) for path, value in values.items()}, scan, "8.3.2")
    texts = [said.name, said.description, said.owner, said.owner_group, *said.keywords, *said.access_groups]
    for text in texts:
        assert text.strip() == text != ""
        assert len(text) <= cleaning.TEXT_CHARACTERS
        assert not {unicodedata.category(c) for c in text if c not in "\u200c\u200d"} & {"Cc", "Cs", "Cf", "Co", "Cn"}
    json.dumps(dict(said.metadata), allow_nan=False).encode()


# -- who it is ---------------------------------------------------------------------------------------------------


def test_a_scan_has_always_the_same_pid():
    # Written down: another pid would be a second entry for every scan that is in the catalogue.
    assert raw_pid("20.500", "bl832", SCAN) == "20.500/42ec2898-8ac2-541c-a32e-1e41f8f0034a"


@given(scan_ids(), scan_ids(), st.sampled_from([None, "fine"]), st.sampled_from(["nersc", "alcf"]))
def test_no_two_entries_share_a_pid(one, other, label, facility):
    keys = {raw_pid("p", "bl832", scan) for scan in {one, other}}
    keys |= {derived_pid("p", "bl832", PartitionKey(scan), "nersc") for scan in {one, other}}
    keys.add(derived_pid("p", "bl832", PartitionKey(one, label or "again"), facility))
    assert len(keys) == 2 * len({one, other}) + 1


def test_the_ingesters_are_known_by_name():

    assert {"als832": als832.describe} == INGESTERS
