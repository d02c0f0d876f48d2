"""Which scan an announcement is about, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given

from beamlines.announcements import Announcement, InvalidAnnouncementError
from beamlines.config import parse_beamline
from beamlines.scans import ScanId
from beamlines.testing import scan_ids

FILE = Path(__file__).parents[2] / "config" / "bl832.yaml"
BEAMLINE = parse_beamline(FILE.read_text(), source=str(FILE))


@pytest.mark.parametrize(
    "path",
    [
        "/global/raw/BLS-00564_x/20260101_120000_a.h5",
        "/raw/BLS-00564_x/20260101_120000_a.h5",
        "raw/BLS-00564_x/20260101_120000_a.h5",
    ],
)
def test_a_scan_is_the_same_however_its_path_begins(path: str) -> None:
    assert Announcement(path=path).scan(BEAMLINE) == ScanId("BLS-00564_x/20260101_120000_a.h5")


@given(scan_ids().filter(lambda scan: BEAMLINE.why_not_a_scan(scan.path) is None))
def test_any_name_can_be_announced(scan: ScanId) -> None:
    assert Announcement(path=f"/global/raw/{scan.path}").scan(BEAMLINE) == scan


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/global/elsewhere/a.h5", "does not lie below /global/raw"),
        ("/data/raw/a.h5", "does not lie below /global/raw"),
        ("a/a.h5", "give the whole path"),
        ("/global/raw/../etc/a.h5", "'..'"),
        ("/global/raw//a.h5", "is empty"),
        ("", "does not lie"),
        ("/global/raw/", "does not lie|is no scan"),
        ("/global/raw/a/notes.txt", "its name must be something followed by .h5"),
        ("/global/raw/transfer_tests/a.h5", "scans.ignore_folders"),
        ("/global/raw/a\0.h5", "NUL"),
        ("/global/raw/a.h5\n", "is no scan"),
    ],
)
def test_what_is_no_scan_is_refused_with_the_reason(path: str, why: str) -> None:
    with pytest.raises(InvalidAnnouncementError, match=why):
        Announcement(path=path).scan(BEAMLINE)


def test_the_two_options_of_the_beamline_are_two() -> None:
    assert Announcement(path="x").withheld_from == frozenset()
    assert Announcement(path="x", send_to_nersc=False).withheld_from == {"nersc"}
    assert Announcement(path="x", export_control=True).withheld_from == frozenset()
    assert "nersc" in BEAMLINE.facilities


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="exportcontrol"):
        Announcement.model_validate({"path": "/global/raw/a.h5", "exportcontrol": True})
