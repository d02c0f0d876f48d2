"""What a first look finds wrong: each fault on a phantom that has just that one, and nothing where nothing is wrong."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from tests.tomography.conftest import REPOSITORY
from tomography.criteria import CHECKS, THRESHOLDS
from tomography.look import open_to_look, take
from tomography.manifest import read_manifest
from tomography.phantom import Phantom, write_phantom
from tomography.quality import Finding, judge
from tomography.settings import Settings

Cli = Callable[..., Result]
Change = Callable[[h5py.File], None]
Write = Callable[[Phantom], Path]

CLEAN = Phantom(rows=48, columns=160, angles=181)
KINDS = {
    "noisy": CLEAN,
    "without noise": Phantom(rows=48, columns=160, angles=181, noisy=False),
    "few angles": Phantom(rows=48, columns=160, angles=61),
    "few rows": Phantom(rows=6, columns=96, angles=151),
    "a full turn": Phantom(rows=48, columns=160, angles=361, range_deg=360.0),
    "off centre": Phantom(rows=40, columns=200, angles=181, center_px=110.0),
    "larger": Phantom(rows=64, columns=512, angles=361, seed=7),
}


def found(path: Path) -> dict[str, Finding]:
    with open_to_look(path) as (scan, inspection):
        return judge(take(scan, inspection, Settings()))


def wrong(path: Path) -> dict[str, str | None]:
    return {name: finding.wrong for name, finding in found(path).items() if finding.wrong is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_of_a_scan_with_nothing_wrong(write_scan: Write, kind: str) -> None:
    assert wrong(write_scan(KINDS[kind])) == {}


def test_of_the_real_scan_only_what_it_really_lacks_is_said(tooth: Path) -> None:
    seen = found(tooth)
    assert [name for name, finding in seen.items() if finding.wrong] == ["metadata"]
    assert "no pixel size" in seen["metadata"].said
    assert "no photon energy" in seen["metadata"].said


# -- faults ------------------------------------------------------------------------------------------------------


def replaced(name: str, values: Callable[[np.ndarray], object] | None) -> Change:  # type: ignore[type-arg]
    """Another dataset in place of one, made of its values; none where ``values`` is None."""

    def change(file: h5py.File) -> None:
        now = None if values is None else values(file[name][()])
        del file[name]
        if now is not None:
            file[name] = now

    return change


def kept(name: str, count: int) -> Change:
    return replaced(name, lambda frames: frames[:count])


def frames(which: slice, values: Callable[[np.ndarray], object]) -> Change:  # type: ignore[type-arg]
    """Some projections other than they are."""

    def change(file: h5py.File) -> None:
        file["exchange/data"][which] = values(file["exchange/data"][which])

    return change


def everywhere(values: Callable[[np.ndarray], object]) -> Change:  # type: ignore[type-arg]
    """Projections, flats and darks alike: what a detector does."""

    def change(file: h5py.File) -> None:
        for name in ("data", "data_white", "data_dark"):
            file[f"exchange/{name}"][...] = values(file[f"exchange/{name}"][...])

    return change


def both(*changes: Change) -> Change:
    def change(file: h5py.File) -> None:
        for one in changes:
            one(file)

    return change


def moved_across(pixels: int) -> Callable[[np.ndarray], object]:  # type: ignore[type-arg]
    return lambda counts: np.roll(counts, pixels, axis=2)


def dead(index: tuple[object, ...]) -> Callable[[np.ndarray], object]:  # type: ignore[type-arg]
    def change(counts: np.ndarray) -> object:  # type: ignore[type-arg]
        counts[index] = 100
        return counts

    return change


def brighter(by: float) -> Callable[[np.ndarray], object]:  # type: ignore[type-arg]
    return lambda counts: np.clip(counts * by, 0, 65535).astype(np.uint16)


def without(name: str) -> Change:
    return replaced(name, None)


ROTATION = "process/acquisition/rotation"
PIXEL = "measurement/instrument/detector/pixel_size"
ENERGY = "measurement/instrument/monochromator/energy"
FAULTS: list[tuple[str, Change, dict[str, str], str]] = [
    ("no flats", without("exchange/data_white"), {"flats_and_darks": "error", "whole": "error"}, "0 flat fields"),
    ("no dark frame", kept("exchange/data_dark", 0), {"flats_and_darks": "error", "whole": "error"}, "0 dark fields"),
    ("few flats", kept("exchange/data_white", 2), {"flats_and_darks": "warning"}, "2 flat fields"),
    ("saturated", everywhere(brighter(2.6)), {"exposure": "warning"}, "saturated"),
    ("shutter closed", frames(slice(60, 90), lambda c: c * 0 + 101), {"beam": "error"}, "61 to 90"),
    ("beam drop", frames(slice(120, 181), brighter(0.6)), {"beam": "warning"}, "at projection 121"),
    ("flats of another beam", frames(slice(0, 181), brighter(1.6)), {"beam": "warning"}, "times as bright"),
    ("angles missing", kept("exchange/theta", 150), {"angles": "error", "whole": "error"}, "150 angles for 181"),
    ("radians", replaced("exchange/theta", np.deg2rad), {"angles": "error"}, "radians"),
    ("a gap", replaced("exchange/theta", lambda t: np.where(t > 90, t + 40, t)), {"angles": "warning"}, "a step of"),
    ("back and forth", replaced("exchange/theta", lambda t: np.roll(t, 60)), {"angles": "warning"}, "back and forth"),
    ("another detector row", everywhere(dead((slice(None), 12))), {"detector": "warning"}, "1 dead rows (first: 12)"),
    ("dead columns", everywhere(dead((slice(None), slice(None), 7))), {"detector": "warning"}, "dead columns"),
    ("no pixel size", without(PIXEL), {"metadata": "warning"}, "no pixel size"),
    ("no energy", without(ENERGY), {"metadata": "warning"}, "no photon energy"),
    ("energy in keV", replaced(ENERGY, lambda _: 25.0), {"metadata": "warning"}, "25 eV is not plausible"),
    ("aborted", frames(slice(150, 181), lambda c: c * 0), {"whole": "error", "angles": "warning"}, "are empty"),
]


@pytest.mark.parametrize(("change", "expected", "said"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_a_fault_is_named_in_plain_words(
    write_scan: Write, change: Change, expected: dict[str, str], said: str
) -> None:
    path = write_scan(CLEAN)
    with h5py.File(path, "r+") as file:
        change(file)
    seen = found(path)
    named = {name: finding.wrong for name, finding in seen.items() if finding.wrong is not None}
    assert {name: named.get(name) for name in expected} == expected
    assert said in " | ".join(seen[name].said for name in expected)


ALONE = [row for row in FAULTS if len(row[2]) == 1 and row[0] not in ("radians", "a gap", "back and forth")]


@pytest.mark.parametrize(("change", "expected"), [row[1:3] for row in ALONE], ids=[row[0] for row in ALONE])
def test_and_nothing_else_is_said(write_scan: Write, change: Change, expected: dict[str, str]) -> None:
    path = write_scan(CLEAN)
    with h5py.File(path, "r+") as file:
        change(file)
    assert wrong(path) == expected


def test_a_sample_that_jumps_has_moved(write_scan: Write) -> None:
    path = write_scan(CLEAN)
    with h5py.File(path, "r+") as file:
        frames(slice(70, 110), moved_across(6))(file)
    seen = found(path)
    assert seen["motion"].wrong == "warning"
    assert "has moved" in seen["motion"].said


def test_a_sample_that_has_sunk_is_seen_in_opposite_projections(write_scan: Write) -> None:
    path = write_scan(Phantom(rows=96, columns=160, angles=181))
    with h5py.File(path, "r+") as file:
        frames(slice(90, 181), lambda counts: np.roll(counts, 5, axis=1))(file)
    assert "5 px along the axis" in found(path)["motion"].said


def test_opposite_projections_that_are_no_mirror_images_are_named(write_scan: Write) -> None:
    path = write_scan(CLEAN)
    with h5py.File(path, "r+") as file:
        data = file["exchange/data"]
        data[180] = data[90]
    seen = found(path)
    assert seen["opposite_projections"].wrong == "warning"
    assert "not mirror images" in seen["opposite_projections"].said


def test_rows_that_disagree_about_the_centre_make_it_unsure(write_scan: Write) -> None:
    path = write_scan(Phantom(rows=96, columns=160, angles=181))
    with h5py.File(path, "r+") as file:
        data = file["exchange/data"]
        for row in range(96):
            data[180, row] = np.roll(data[180, row], row // 8)
    assert found(path)["center"].wrong == "warning"


def test_a_sample_wider_than_the_field_is_outside_it(write_scan: Write) -> None:
    path = write_scan(CLEAN)
    with h5py.File(path, "r+") as file:
        for name in ("data", "data_white", "data_dark"):
            replaced(f"exchange/{name}", lambda counts: counts[:, :, 40:120])(file)
    seen = found(path)
    assert seen["field_of_view"].wrong == "warning"
    assert seen["motion"].said.startswith("not judged")


def test_every_check_is_shown_to_find_something(write_scan: Write) -> None:
    assert list(found(write_scan(CLEAN))) == list(CHECKS)
    elsewhere = {"motion", "opposite_projections", "center", "field_of_view"}
    assert {name for row in FAULTS for name in row[2]} | elsewhere == set(CHECKS)


def test_a_scan_that_was_stopped_is_looked_at_as_far_as_it_goes(write_scan: Write) -> None:
    path = write_scan(CLEAN)
    with h5py.File(path, "r+") as file:
        frames(slice(150, 181), lambda counts: counts * 0)(file)
    with open_to_look(path) as (scan, _):
        assert (scan.angles, len(scan.theta_deg)) == (150, 150)


def test_the_documented_thresholds_are_the_ones_that_are_used() -> None:
    documented = dict(re.findall(r"`(\w+)` ([\d.]+)", (REPOSITORY / "docs" / "first-look.md").read_text()))
    assert {name: float(value) for name, value in documented.items()} == asdict(THRESHOLDS)


# -- what is read ------------------------------------------------------------------------------------------------


def test_rows_of_frames_that_are_compressed_whole_are_read_in_one_pass(write_scan: Write, tmp_path: Path) -> None:
    plain = write_scan(CLEAN)
    with h5py.File(plain) as source, h5py.File(tmp_path / "compressed.h5", "w") as packed:
        source.copy("exchange/theta", packed.create_group("exchange"))
        for name in ("data", "data_white", "data_dark"):
            counts = source[f"exchange/{name}"]
            packed.create_dataset(f"exchange/{name}", data=counts, chunks=(1, *counts.shape[1:]), compression="gzip")
    with open_to_look(plain) as (scan, one), open_to_look(tmp_path / "compressed.h5") as (packed_scan, other):
        expected, packed_look = take(scan, one, Settings()), take(packed_scan, other, Settings())
    np.testing.assert_array_equal(packed_look.sinograms, expected.sinograms)
    assert (expected.whole_file_was_read, packed_look.whole_file_was_read) == (False, True)


def test_a_look_reads_little_of_a_file_that_is_not_compressed(write_scan: Write) -> None:
    path = write_scan(Phantom(rows=400, columns=256, angles=91, noisy=False))
    touched = _bytes_read(path)
    assert touched < 0.5 * path.stat().st_size


def _bytes_read(path: Path) -> int:
    """Read by the process while it takes a look; of the file alone, for everything else is loaded before."""
    with open_to_look(path) as (scan, inspection):
        before = _read_so_far()
        take(scan, inspection, Settings())
        return _read_so_far() - before


def _read_so_far() -> int:
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])  # type: ignore[index]


# -- what is shown -----------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Every tag, text and address of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: Iterable[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def look(write_scan: Write, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_scan(CLEAN)
    with h5py.File(path, "r+") as file:
        file["measurement/sample/experiment/title"] = "<script>alert('x')</script>\x07 & ünïcode"
        without(PIXEL)(file)
    folder = tmp_path_factory.mktemp("look") / "recscan"
    done = cli("preview", path, folder, "--json")
    assert done.exit_code == 0, done.stderr
    return folder


def test_every_picture_lies_beside_the_scan_as_png(look: Path) -> None:
    names = {path.name for path in look.glob("*.png")}
    assert names == {
        *(f"slice_{row}.png" for row in (12, 24, 36)),
        *("center_minus_4.png", "center_minus_2.png", "center_plus_0.png", "center_plus_2.png", "center_plus_4.png"),
        *("sinogram_24.png", "projection_first.png", "projection_last.png", "contact_sheet.png"),
    }
    for path in look.glob("*.png"):
        with Image.open(path) as picture:
            assert picture.format == "PNG"


def test_the_slice_at_the_centre_as_found_is_the_slice_itself(look: Path) -> None:
    with Image.open(look / "slice_24.png") as image, Image.open(look / "center_plus_0.png") as found_at:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(found_at))


def test_a_wrong_centre_is_seen(look: Path) -> None:
    with Image.open(look / "center_plus_0.png") as right, Image.open(look / "center_plus_4.png") as wrong_one:
        assert np.abs(np.asarray(right, float) - np.asarray(wrong_one, float)).mean() > 2


def test_the_page_needs_no_network_and_no_file_beside_it(look: Path) -> None:
    page = Page((look / "look.html").read_text())
    assert page.tags.count("img") == 11
    assert {address.partition(",")[0] for address in page.addresses} == {"data:image/jpeg;base64"}
    assert not re.search(r"url\(|@import|https?:", (look / "look.html").read_text().partition("</style>")[0])


def test_the_page_shows_names_and_metadata_as_they_are_and_runs_nothing(look: Path) -> None:
    page = Page((look / "look.html").read_text())
    assert "script" not in page.tags
    assert any("<script>alert('x')</script>" in text and "& ünïcode" in text for text in page.texts)
    assert "\x07" not in (look / "look.html").read_text()


def test_the_page_says_first_what_is_wrong(look: Path) -> None:
    page = Page((look / "look.html").read_text())
    heading = page.texts.index("1 of 11 things to look at")
    assert page.texts.index("metadata") < page.texts.index("whole")
    assert heading < page.texts.index("metadata")


def test_the_contact_sheet_is_small_enough_to_travel(look: Path) -> None:
    manifest = read_manifest(look, "preview")
    assert manifest is not None
    encoded = manifest.results["contact_sheet_jpeg"]
    assert len(encoded) < 100_000
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
        assert (picture.format, picture.width) == ("JPEG", 1200)


def test_what_was_found_stands_in_the_file_beside_it(look: Path) -> None:
    described = json.loads((look / "preview.json").read_text())
    assert list(described["quality"]) == sorted(CHECKS)
    assert described["quality"]["metadata"]["passed"] is False
    assert described["quality"]["beam"] == {
        "passed": True,
        "severity": "warning",
        "said": found_of(described, "beam"),
    }
    assert described["flags"] == [described["quality"]["metadata"]["said"]]


def found_of(described: dict[str, dict[str, dict[str, str]]], name: str) -> str:
    said = described["quality"][name]["said"]
    assert said.startswith("steady")
    return said


def test_a_look_at_a_scan_without_flats_shows_what_there_is(write_scan: Write, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "scan.h5"
    write_phantom(path, CLEAN, lambda *_: None)
    with h5py.File(path, "r+") as file:
        without("exchange/data_white")(file)
        without("exchange/data_dark")(file)
    assert cli("preview", path, tmp_path / "look").exit_code == 0
    with Image.open(tmp_path / "look" / "projection_first.png") as picture:
        assert np.asarray(picture).std() > 20
