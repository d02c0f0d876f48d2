"""The layouts of other beamlines and other years: recognised by what is in a file, and read as the same scan."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest
from typer.testing import Result

from tomography.inspection import inspect
from tomography.layouts import als
from tomography.metadata import metadata
from tomography.scan import open_scan

Cli = Callable[..., Result]
Change = Callable[[h5py.File], None]
Write = Callable[[h5py.File, h5py.File], None]

SCAN = "20140731_001306_2477A_x00y08"


def als_832(source: h5py.File, file: h5py.File) -> None:
    """A group of frames with attributes as text; flat fields before the first projection and before the last."""
    frames, white = _als_group(source, file), source["exchange/data_white"]
    for number in range(5):
        _frame(frames, f"{SCAN}bak_{number:04}_0000.tif", white[number])
        _frame(frames, f"{SCAN}bak_{number:04}_0150.tif", white[number + 5])


def als_1131(source: h5py.File, file: h5py.File) -> None:
    """The same, with flat fields at the end only."""
    frames = _als_group(source, file)
    for number, white in enumerate(source["exchange/data_white"]):
        _frame(frames, f"{SCAN}bak_{number:04}_0150.tif", white)


def als_2012(source: h5py.File, file: h5py.File) -> None:
    """One number a name, and a flat field every 16 projections; no angle is said of a frame."""
    frames = _als_group(source, file, projection="{name}_{at}.tif", dark="{name}drk_{at}.tif")
    for number, white in enumerate(source["exchange/data_white"]):
        _frame(frames, f"{SCAN}bak_{number * 16}.tif", white)
    for name in frames:
        frames[name].attrs.pop("rot_angle", None)


def tomoscan(source: h5py.File, file: h5py.File) -> None:
    source.copy("exchange", file)
    names = ("data_dark", "data_white", "data")
    file["defaults/HDF5FrameLocation"] = [
        f"/exchange/{name}".encode() for name in names for _ in source[f"exchange/{name}"]
    ]
    file["measurement/instrument/detection_system/objective/resolution"] = [0.65]
    file["measurement/instrument/detector/pixel_size"] = [3.45]
    file["measurement/instrument/monochromator/energy"] = [25.0]
    file["measurement/instrument/camera_motor_stack/setup/camera_distance"] = [50.0]
    file["process/acquisition/rotation/num_angles"] = [len(source["exchange/data"])]


def sls(source: h5py.File, file: h5py.File) -> None:
    for name in ("data", "data_dark"):
        source.copy(f"exchange/{name}", file.require_group("exchange"))
    source.copy("exchange/theta", file["exchange"], "theta_aborted")
    file["exchange/data_white_pre"] = source["exchange/data_white"][:5]
    file["exchange/data_white_post"] = source["exchange/data_white"][5:]


def _als_group(
    source: h5py.File,
    file: h5py.File,
    projection: str = "{name}_0000_{at:04}.tif",
    dark: str = "{name}drk_{at:04}_0150.tif",
) -> h5py.Group:
    group = file.create_group(SCAN)
    said = {
        "nangles": 151,
        "arange": 180.0,
        "pxsize": 0.00065,
        "senergy": 25_000.0,
        "i0cycle": 0,
        "experimenter": "a b",
    }
    group.attrs.update({name: str(value).encode() for name, value in said.items()})
    theta = source["exchange/theta"][:]
    for at, counts in enumerate(source["exchange/data"]):
        _frame(group, projection.format(name=SCAN, at=at), counts)
        group[projection.format(name=SCAN, at=at)].attrs["rot_angle"] = f"{theta[at]}".encode()
    for at, counts in enumerate(source["exchange/data_dark"]):
        _frame(group, dark.format(name=SCAN, at=at), counts)
    return group


def _frame(group: h5py.Group, name: str, counts: np.ndarray) -> None:
    group[name] = counts[None]


LAYOUTS = {
    "ALS, a group of frames": [als_832, als_1131, als_2012],
    "TomoScan": [tomoscan],
    "SLS": [sls],
}
WRITERS = [write for writers in LAYOUTS.values() for write in writers]


@pytest.fixture(scope="session")
def written(small_scan: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Write], Path]:
    """The small scan in another layout."""

    def make(write: Write) -> Path:
        path = tmp_path_factory.mktemp(write.__name__) / "scan.h5"
        with h5py.File(small_scan) as source, h5py.File(path, "w") as file:
            write(source, file)
        return path

    return make


def changed(path: Path, change: Change) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def slices(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.fixture(scope="session")
def expected(small_scan: Path, cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    out = tmp_path_factory.mktemp("expected") / "rec"
    assert cli("reconstruct", small_scan, out).exit_code == 0
    return slices(out)


@pytest.mark.parametrize("write", [als_832, als_1131, als_2012, tomoscan])
def test_a_scan_in_another_layout_gives_the_same_slices(
    written: Callable[[Write], Path], expected: list[bytes], tmp_path: Path, cli: Cli, write: Write
) -> None:
    done = cli("reconstruct", written(write), tmp_path / "rec", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["results"]["unit"] == "1/cm"
    assert slices(tmp_path / "rec") == expected


@pytest.mark.parametrize("write", WRITERS)
def test_every_command_takes_every_layout(
    written: Callable[[Write], Path], tmp_path: Path, cli: Cli, write: Write
) -> None:
    path = written(write)
    looked = cli("preview", path, tmp_path / "look")
    assert looked.exit_code == 0, looked.stderr
    quality = json.loads((tmp_path / "look" / "preview.json").read_text())["quality"]
    assert quality["whole"]["passed"]
    assert quality["angles"]["said"] == "151 angles from 0 to 180 degrees"
    assert inspect(path).whole
    swept = cli("sweep", path, tmp_path / "sheet", "--over", "center", "--values", "49.3", "--rows", 3)
    assert swept.exit_code == 0, swept.stderr
    assert cli("metadata", path).exit_code == 0


@pytest.mark.parametrize(("layout", "writers"), LAYOUTS.items())
def test_a_layout_is_recognised_by_what_is_in_the_file(
    written: Callable[[Write], Path], small_scan: Path, layout: str, writers: list[Write]
) -> None:
    for write in writers:
        with open_scan(written(write)) as scan:
            assert scan.contents.layout == layout
    with open_scan(small_scan) as scan:
        assert scan.contents.layout == "Data Exchange"


@pytest.mark.parametrize(("write", "distance_mm"), [(als_832, None), (tomoscan, 50.0)])
def test_lengths_and_energy_have_the_units_of_this_program(
    written: Callable[[Write], Path], write: Write, distance_mm: float | None
) -> None:
    with open_scan(written(write)) as scan:
        assert scan.pixel_size_um == pytest.approx(0.65)
        assert scan.energy_ev == pytest.approx(25_000)
        assert scan.distance_mm == distance_mm


def test_energy_and_distance_may_be_rows_of_which_the_first_is_0(small_scan: Path, tmp_path: Path) -> None:
    def rows(file: h5py.File) -> None:
        for name, value in (
            ("measurement/instrument/monochromator/energy", 20_000.0),
            ("measurement/instrument/camera_motor_stack/setup/camera_distance", 75.0),
        ):
            del file[name]
            file[name] = [0.0, value, value]

    (tmp_path / "scan.h5").write_bytes(small_scan.read_bytes())
    with open_scan(changed(tmp_path / "scan.h5", rows)) as scan:
        assert (scan.energy_ev, scan.distance_mm) == (20_000, 75)


@pytest.mark.parametrize(
    ("write", "groups", "before"),
    [
        (als_832, [slice(0, 5), slice(5, 10)], [0, 150]),
        (als_1131, [slice(0, 10)], [150]),
        (als_2012, [slice(i, i + 1) for i in range(10)], list(range(0, 160, 16))),
        (sls, [slice(0, 5), slice(5, 10)], [0, 150]),
    ],
)
def test_when_flat_fields_were_taken_is_known(
    written: Callable[[Write], Path], write: Write, groups: list[slice], before: list[int]
) -> None:
    with open_scan(written(write)) as scan:
        assert (scan.contents.moments.groups, scan.contents.moments.before) == (groups, before)
        assert len(scan.white) == 10


def test_a_lost_projection_leaves_its_angle_empty(written: Callable[[Write], Path]) -> None:
    def lose(file: h5py.File) -> None:
        del file[f"{SCAN}/{SCAN}_70.tif"]

    path = changed(written(als_2012), lose)
    with open_scan(path) as scan:
        np.testing.assert_allclose(scan.theta_deg, np.delete(np.linspace(0, 180, 151), 70))
        assert scan.flags == ("angles computed from nangles and arange",)
    assert inspect(path).missing == ("150 of 151 projections are there",)


def test_angles_of_the_frames_count_more_than_even_ones(written: Callable[[Write], Path]) -> None:
    interlaced = np.argsort(np.arange(151) % 4, kind="stable") * 1.2

    def turn(file: h5py.File) -> None:
        for at, angle in enumerate(interlaced):
            file[f"{SCAN}/{SCAN}_0000_{at:04}.tif"].attrs["rot_angle"] = angle

    with open_scan(changed(written(als_832), turn)) as scan:
        np.testing.assert_allclose(scan.theta_deg, interlaced)


def test_flat_fields_of_a_longer_exposure_are_scaled(
    written: Callable[[Write], Path], small_scan: Path, cli: Cli, tmp_path: Path
) -> None:
    def longer(file: h5py.File) -> None:
        dark = file["exchange/data_dark"][:].mean(axis=0)
        white = file["exchange/data_white"]
        white[...] = np.rint(dark + 2 * (white[...] - dark)).astype(np.uint16)
        file["process/acquisition/flat_fields/different_flat_exposure"] = [b"Different"]
        file["process/acquisition/flat_fields/flat_exposure_time"] = [0.2]
        file["measurement/instrument/detector/exposure_time"] = [0.1]

    with open_scan(changed(written(tomoscan), longer)) as scan, open_scan(small_scan) as plain:
        white, plain_white = (one.fields(0, one.rows)[0] for one in (scan, plain))
        np.testing.assert_allclose(white, plain_white, rtol=1e-4)
        assert scan.flags == ("flat fields were exposed 2 times as long as projections, and are scaled",)


def test_a_series_of_turns_is_flagged(written: Callable[[Write], Path]) -> None:
    def go_on(file: h5py.File) -> None:
        file["exchange/theta_aborted"][...] *= 4

    with open_scan(changed(written(sls), go_on)) as scan:
        assert scan.flags[0] == "the angles cover 720 degrees: a series of scans, all of which are in each slice"


def test_frames_with_a_compression_of_beamlines_are_read(
    small_scan: Path, expected: list[bytes], tmp_path: Path, cli: Cli
) -> None:
    with h5py.File(small_scan) as source, h5py.File(tmp_path / "scan.h5", "w") as file:
        for name in ("theta", "data_dark", "data_white"):
            source.copy(f"exchange/{name}", file.require_group("exchange"))
        for name in ("measurement", "process"):
            source.copy(name, file)
        counts = source["exchange/data"]
        file.create_dataset("exchange/data", data=counts, chunks=(1, *counts.shape[1:]), compression=hdf5plugin.Blosc())
    done = cli("reconstruct", tmp_path / "scan.h5", tmp_path / "rec")
    assert done.exit_code == 0, done.stderr
    assert slices(tmp_path / "rec") == expected


# -- what is refused ---------------------------------------------------------------------------------------------


def refused(path: Path, out: Path, cli: Cli, said: str) -> None:
    done = cli("reconstruct", path, out)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not out.exists()


def test_a_file_of_no_known_layout_is_refused_with_what_is_in_it(tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["entry/instrument/data"] = np.zeros((3, 4, 5), np.uint16)
        file["new\nline"] = "text"
        file["far"] = h5py.ExternalLink("/etc/passwd", "/")
        for number in range(40):
            file[f"many_{number:02}"] = number
    refused(path, tmp_path / "out", cli, "'/entry' (a group), '/far' (a link), '/many_00' (one value, type i8)")
    refused(path, tmp_path / "out", cli, "Looked for: /exchange/data")
    assert "no scan of a known layout" in inspect(path).missing[0]


def test_an_empty_file_is_refused(tmp_path: Path, cli: Cli) -> None:
    h5py.File(tmp_path / "scan.h5", "w").close()
    refused(tmp_path / "scan.h5", tmp_path / "out", cli, "Found: nothing.")


def second_tile(file: h5py.File) -> None:
    file.copy(SCAN, "tile")
    for name in list(file["tile"]):
        file["tile"].move(name, name.replace(SCAN, "tile"))


def other_size(file: h5py.File) -> None:
    del file[f"{SCAN}/{SCAN}_0000_0007.tif"]
    file[f"{SCAN}/{SCAN}_0000_0007.tif"] = np.zeros((1, 6, 95), np.uint16)


def without(part: str) -> Change:
    def change(file: h5py.File) -> None:
        for name in [name for name in file[SCAN] if part in name]:
            del file[SCAN][name]

    return change


def without_angles(file: h5py.File) -> None:
    for name in file[SCAN]:
        file[SCAN][name].attrs.pop("rot_angle", None)
    file[SCAN].attrs["arange"] = b"?"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (second_tile, "it holds 2 scans"),
        (other_size, "have 2 sizes ((6, 95), (6, 96))"),
        (without("bak"), "bak_NNNN_NNNN.tif' is missing"),
        (without("drk"), "drk_NNNN_NNNN.tif' is missing"),
        (without("_0000_0"), "holds no projection"),
        (without_angles, "the angles are unknown"),
    ],
)
def test_a_group_of_frames_that_is_no_scan_is_refused(
    written: Callable[[Write], Path], tmp_path: Path, cli: Cli, change: Change, said: str
) -> None:
    refused(changed(written(als_832), change), tmp_path / "out", cli, said)


# -- files that would have this machine open others ---------------------------------------------------------------


def linked(name: str, target: str) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", target)

    return change


def soft_over_external(file: h5py.File) -> None:
    del file["exchange/data"]
    file["elsewhere"] = h5py.ExternalLink("other.h5", "/exchange")
    file["exchange/data"] = h5py.SoftLink("/elsewhere/data")


def virtual(file: h5py.File) -> None:
    shape = file["exchange/data"].shape
    del file["exchange/data"]
    layout = h5py.VirtualLayout(shape, np.uint16)
    layout[...] = h5py.VirtualSource("other.h5", "exchange/data", shape)
    file.create_virtual_dataset("exchange/data", layout)


def external_storage(file: h5py.File) -> None:
    shape = file["exchange/data"].shape
    del file["exchange/data"]
    file.create_dataset("exchange/data", shape, np.uint16, external=[("secret", 0, h5py.h5f.UNLIMITED)])


@pytest.mark.parametrize(
    "change",
    [
        linked("exchange/data", "/exchange/data"),
        linked("exchange", "/exchange"),
        linked("measurement/instrument", "/measurement/instrument"),
        soft_over_external,
        virtual,
        external_storage,
    ],
)
def test_no_other_file_is_opened(
    small_scan: Path, tmp_path: Path, cli: Cli, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.h5").write_bytes(small_scan.read_bytes())
    changed(tmp_path / "scan.h5", change)
    os.mkfifo(tmp_path / "other.h5")  # whoever opens it waits for ever
    os.mkfifo(tmp_path / "secret")
    for command in ("reconstruct", "preview"):
        done = cli(command, tmp_path / "scan.h5", tmp_path / "out")
        assert (done.exit_code, "only the scan's own file is read" in done.stderr) == (2, True), done.stderr
    assert not inspect(tmp_path / "scan.h5").whole
    assert not (tmp_path / "out").exists()


def test_soft_links_within_the_file_are_followed_and_circles_end(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "scan.h5"
    path.write_bytes(small_scan.read_bytes())

    def soft(file: h5py.File) -> None:
        file.move("exchange/data", "kept")
        file["exchange/data"] = h5py.SoftLink("/kept")

    with open_scan(changed(path, soft)) as scan:
        assert scan.angles == 151

    def circle(file: h5py.File) -> None:
        del file["kept"]
        file["kept"] = h5py.SoftLink("/exchange/data")

    refused(changed(path, circle), tmp_path / "out", cli, "the dataset /exchange/data is missing")


def test_a_huge_attribute_is_not_read(written: Callable[[Write], Path]) -> None:
    def huge(file: h5py.File) -> None:
        del file[SCAN].attrs["pxsize"]
        file[SCAN].attrs["pxsize"] = np.array(b"0.00065" + b" " * 40_000)

    with open_scan(changed(written(als_832), huge)) as scan:
        assert scan.pixel_size_um is None


def test_what_the_attributes_of_a_group_of_frames_say_is_read(written: Callable[[Write], Path]) -> None:
    said = metadata(written(als_832))
    assert said[f"/{SCAN}/pxsize"].value == 0.00065
    assert said[f"/{SCAN}/experimenter"].value == "a b"
    assert not [name for name in said if name.endswith(".tif")]


def test_many_groups_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        for number in range(als.MOST_GROUPS + 5):
            file.create_group(f"g{number}/a/b/c/d/e")
    assert "no scan of a known layout" in inspect(tmp_path / "scan.h5").missing[0]
