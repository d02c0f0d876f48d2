"""Slices of some detector rows, from some projections, normalised by another file's flat fields."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import Result

from tomography.center import center_of
from tomography.errors import SettingsError
from tomography.manifest import read_manifest
from tomography.phantom import Phantom
from tomography.prepared import Prepared
from tomography.scan import open_scan
from tomography.settings import CenterMethod, Settings

Cli = Callable[..., Result]
Write = Callable[[Phantom], Path]
Change = Callable[[h5py.File], None]


def unchanged(_: h5py.File) -> None:
    """As it is."""


def done(result: Result) -> None:
    assert result.exit_code == 0, result.stderr


def slices(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# -- detector rows -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tall_scan: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    out = tmp_path_factory.mktemp("whole") / "rec"
    done(cli("reconstruct", tall_scan, out))
    return out


def test_some_rows_are_those_of_the_whole_by_their_own_names(
    tall_scan: Path, whole: Path, tmp_path: Path, cli: Cli
) -> None:
    done(cli("reconstruct", tall_scan, tmp_path / "rec", "--rows", "200:331"))
    assert slices(tmp_path / "rec") == {
        name: content for name, content in slices(whole).items() if 200 <= int(name[4:9]) <= 331
    }


@pytest.mark.parametrize("method", list(CenterMethod))
def test_the_axis_is_that_of_the_whole(write_scan: Write, method: CenterMethod) -> None:
    with open_scan(write_scan(Phantom(rows=24, columns=96, angles=121))) as scan:
        whole, few = (center_of(scan, Settings(rows=rows, center_method=method)) for rows in ("", "20:23"))
        assert few == whole


@pytest.mark.parametrize("steps", [[], ["--zinger-2d", "0.5"]], ids=["rows alone", "with a margin"])
def test_every_nth_row_is_that_of_the_whole(tall_scan: Path, tmp_path: Path, cli: Cli, steps: list[str]) -> None:
    done(cli("reconstruct", tall_scan, tmp_path / "rec", "--rows", "3::100", *steps))
    done(cli("reconstruct", tall_scan, tmp_path / "rec2", "--rows", "303", *steps))
    names = sorted(path.name for path in (tmp_path / "rec").iterdir())
    assert names == [f"rec_{row:05}.tiff" for row in range(3, 515, 100)]
    # Another row shares its transform: equal but for rounding.
    one, other = (tifffile.imread(tmp_path / name) for name in ("rec/rec_00303.tiff", "rec2/rec2_00303.tiff"))
    np.testing.assert_allclose(one, other, atol=1e-4 * np.ptp(other))


@pytest.mark.parametrize("form", ["0.4", "0.5"])
def test_a_pyramid_of_some_rows_lies_where_they_are(tall_scan: Path, tmp_path: Path, cli: Cli, form: str) -> None:
    pyramid = tmp_path / "rec.zarr"
    arguments = ["--rows", "100:400:2", "--ome-zarr", form]
    done(cli("reconstruct", tall_scan, tmp_path / "rec", "--pyramid", pyramid, *arguments))
    group = zarr.open_group(pyramid, mode="r")
    said = group.attrs["multiscales"] if form == "0.4" else group.attrs["ome"]["multiscales"]
    for level, dataset in enumerate(said[0]["datasets"]):
        scale, translation = (one[one["type"]] for one in dataset["coordinateTransformations"])
        factor = 2**level
        assert scale == pytest.approx([0.65 * 2 * factor, 0.65 * factor, 0.65 * factor])
        middle = 0.65 * (100 + 2 * (factor - 1) / 2)
        assert translation == pytest.approx([middle, *[0.65 * (factor - 1) / 2] * 2])
    assert group["0"].shape[0] == 151
    np.testing.assert_array_equal(group["0"][75], tifffile.imread(tmp_path / "rec" / "rec_00250.tiff"))
    (tmp_path / "later").mkdir()
    done(cli("pyramid", tmp_path / "rec", tmp_path / "later" / "rec.zarr", "--ome-zarr", form))
    trees = (
        {p.relative_to(t): p.read_bytes() for p in t.rglob("*") if p.is_file()}
        for t in (pyramid, tmp_path / "later" / "rec.zarr")
    )
    assert next(trees) == next(trees)


def test_parts_of_some_rows_are_merged(tall_scan: Path, tmp_path: Path, cli: Cli) -> None:
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    done(cli("reconstruct", tall_scan, tmp_path / "whole" / "rec", "--rows", "100:400"))
    for part in ("1/2", "2/2"):
        done(cli("reconstruct", tall_scan, tmp_path / "parts" / "rec", "--rows", "100:400", "--part", part))
    done(cli("merge", tmp_path / "parts" / "rec"))
    assert slices(tmp_path / "parts" / "rec") == slices(tmp_path / "whole" / "rec")
    assert len(slices(tmp_path / "whole" / "rec")) == 301


def test_a_preview_looks_at_some_rows(tall_scan: Path, tmp_path: Path, cli: Cli) -> None:
    done(cli("preview", tall_scan, tmp_path / "look", "--rows", "100:120"))
    assert json.loads((tmp_path / "look" / "preview.json").read_text())["rows"] == [105, 110, 115]


def test_a_choice_of_a_sweep_is_for_all_rows(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    done(cli("sweep", small_scan, tmp_path / "sheet", "--over", "center", "--values", "49", "--rows", "1::2"))
    assert {f"01_slice_{row}.png" for row in (1, 3, 5)} < {path.name for path in (tmp_path / "sheet").iterdir()}
    assert 'rows: ""' in (tmp_path / "sheet" / "01_settings.yaml").read_text()


@pytest.mark.parametrize("words", ["6", "0:6", "5:2", "7:"])
def test_rows_that_the_scan_has_not_are_refused(small_scan: Path, tmp_path: Path, cli: Cli, words: str) -> None:
    refused = cli("reconstruct", small_scan, tmp_path / "rec", "--rows", words)
    assert (refused.exit_code, f"--rows {words}: the scan's rows are 0 to 5" in refused.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["a", "1:2:0", "-1", "1,2", "1:2:3:4"])
def test_what_is_no_row_is_refused(small_scan: Path, tmp_path: Path, cli: Cli, words: str) -> None:
    refused = cli("reconstruct", small_scan, tmp_path / "rec", f"--rows={words}")
    assert (refused.exit_code, f"--rows {words}: " in refused.stderr) == (2, True)


# -- projections -------------------------------------------------------------------------------------------------


def test_every_second_projection_is_used(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    with open_scan(small_scan) as scan:
        every = Prepared.of(scan, Settings(projections="::2", ignored_projections="4,5"))
        np.testing.assert_array_equal(every.kept, np.delete(np.arange(0, 151, 2), 2))
        assert every.theta_deg[-1] == 180
    done(cli("reconstruct", small_scan, tmp_path / "rec", "--projections", "::2"))
    done(cli("reconstruct", small_scan, tmp_path / "whole"))
    few, all_of_them = (tifffile.imread(tmp_path / f"{name}/{name}_00003.tiff") for name in ("rec", "whole"))
    inner = slice(24, 72)
    assert 0 < np.abs(few - all_of_them)[inner, inner].mean() < 0.02 * np.ptp(all_of_them)


def test_one_scan_of_a_series_is_chosen_by_its_projections(write_scan: Write, tmp_path: Path, cli: Cli) -> None:
    path = write_scan(Phantom(rows=2, columns=96, angles=121, noisy=False, center_px=49.3))
    alone = tmp_path / "alone.h5"
    alone.write_bytes(path.read_bytes())

    def series(file: h5py.File) -> None:
        for name in ("data", "theta"):
            values = file[f"exchange/{name}"][:]
            del file[f"exchange/{name}"]
            after = values + 180 if name == "theta" else np.flip(values, axis=0)
            file[f"exchange/{name}"] = np.concatenate([after, values, after])

    with h5py.File(path, "r+") as file:
        series(file)
    done(cli("reconstruct", path, tmp_path / "rec", "--projections", "121:241"))
    (tmp_path / "a").mkdir()
    done(cli("reconstruct", alone, tmp_path / "a" / "rec"))
    assert slices(tmp_path / "rec") == slices(tmp_path / "a" / "rec")


@pytest.mark.parametrize(
    ("words", "said"), [("151", "0 to 150"), ("0:1", "leaves 2 projections"), ("::100", "leaves 2")]
)
def test_projections_that_are_not_there_or_too_few_are_refused(small_scan: Path, words: str, said: str) -> None:
    with open_scan(small_scan) as scan, pytest.raises(SettingsError, match=said):
        Prepared.of(scan, Settings(projections=words))


# -- flat fields of another file ----------------------------------------------------------------------------------


@pytest.fixture
def flats(small_scan: Path, tmp_path: Path) -> Path:
    """A scan without the sample, exposed twice as long."""
    path = tmp_path / "flats.h5"
    path.write_bytes(small_scan.read_bytes())
    with h5py.File(path, "r+") as file:
        white, dark = file["exchange/data_white"][:], file["exchange/data_dark"][:].mean(axis=0)
        del file["exchange/data"]
        file["exchange/data"] = np.rint(dark + 2 * (white - dark)).astype(np.uint16)
        file["exchange/data_white"][...] = 1
    return path


def without_light(small_scan: Path, path: Path) -> Path:
    path.write_bytes(small_scan.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["exchange/data_white"]
    return path


def test_flat_fields_of_another_file_are_used_with_their_exposure(
    small_scan: Path, flats: Path, tmp_path: Path, cli: Cli
) -> None:
    scan = without_light(small_scan, tmp_path / "scan.h5")
    out = tmp_path / "rec"
    done(cli("reconstruct", scan, out, "--flat-file", flats, "--flat-exposure-ratio", 2))
    done(cli("reconstruct", small_scan, tmp_path / "own"))
    image, own = (tifffile.imread(tmp_path / f"{name}/{name}_00003.tiff") for name in ("rec", "own"))
    np.testing.assert_allclose(image, own, atol=1e-3 * np.ptp(own))
    done(cli("preview", scan, tmp_path / "look", "--flat-file", flats, "--flat-exposure-ratio", 2))
    manifest = read_manifest(out, "tiff")
    assert manifest is not None
    assert manifest.input.flat_file is not None
    assert (manifest.input.flat_file.name, manifest.input.flat_file.bytes) == ("flats.h5", flats.stat().st_size)


def test_a_product_is_not_mixed_with_other_flat_fields(small_scan: Path, flats: Path, tmp_path: Path, cli: Cli) -> None:
    done(cli("reconstruct", small_scan, tmp_path / "rec", "--flat-file", flats))
    before = slices(tmp_path / "rec")
    refused = cli("reconstruct", small_scan, tmp_path / "rec")
    assert (refused.exit_code, "flat fields of 'flats.h5'" in refused.stderr) == (2, True)
    with h5py.File(flats, "r+") as file:
        file["exchange/data"][...] = 7
    assert cli("reconstruct", small_scan, tmp_path / "rec", "--flat-file", flats).exit_code == 2
    assert slices(tmp_path / "rec") == before
    done(cli("pyramid", tmp_path / "rec", tmp_path / "rec.zarr", "--raw", small_scan))


def narrow(file: h5py.File) -> None:
    counts = file["exchange/data"][:, :, :90]
    del file["exchange/data"]
    file["exchange/data"] = counts


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (narrow, [], "its projections are (6, 90), the scan's (6, 96)"),
        (unchanged, ["--flats", "interpolated"], "when the flat fields were taken is unknown"),
        (lambda file: file.pop("exchange"), [], "no scan of a known layout"),
    ],
)
def test_flat_fields_that_do_not_fit_are_refused(
    small_scan: Path, flats: Path, tmp_path: Path, cli: Cli, change: Change, arguments: list[str], said: str
) -> None:
    with h5py.File(flats, "r+") as file:
        change(file)
    refused = cli("reconstruct", small_scan, tmp_path / "rec", "--flat-file", flats, *arguments)
    assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr
    assert not (tmp_path / "rec").exists()
