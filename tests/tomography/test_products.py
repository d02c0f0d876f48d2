"""Products are complete or not there, say what they are, survive interruption, and touch nothing that is not theirs."""

import base64
import fcntl
import hashlib
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import Result

from tomography import __version__
from tomography.machine import Machine
from tomography.manifest import journal_path, manifest_path, read_manifest
from tomography.memory import plan_reconstruction
from tomography.parts import Format
from tomography.phantom import Phantom
from tomography.prepared import Prepared
from tomography.scan import open_scan
from tomography.settings import Settings
from tomography.slabs import SliceMaker, reads

Cli = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def listed(product: Path) -> dict[str, tuple[int, str]]:
    return {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in tree(product).items()}


def result(process: Result) -> dict[str, Any]:
    assert process.exit_code == 0, process.stderr
    event: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return event


@pytest.fixture(scope="module")
def made(small_scan: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A folder with every product of the small scan."""
    folder = tmp_path_factory.mktemp("made")
    result(cli("reconstruct", small_scan, folder / "recsmall", "--json", "--input-sha256", "ab" * 32))
    result(cli("pyramid", folder / "recsmall", folder / "recsmall.zarr", "--raw", small_scan, "--json"))
    result(cli("preview", small_scan, folder / "look", "--json"))
    return folder


KINDS = [("recsmall", "tiff"), ("recsmall.zarr", "zarr"), ("look", "preview")]


@pytest.mark.parametrize(("name", "artifact"), KINDS)
def test_a_manifest_lists_every_file_with_its_digest(made: Path, name: str, artifact: Any) -> None:
    manifest = json.loads(manifest_path(made / name, artifact).read_text())
    assert {entry["path"]: (entry["bytes"], entry["sha256"]) for entry in manifest["files"]} == listed(made / name)
    assert [entry["path"] for entry in manifest["files"]] == sorted(listed(made / name))
    assert manifest["total_files"] == len(manifest["files"])
    assert manifest["total_bytes"] == sum(entry["bytes"] for entry in manifest["files"])
    assert (manifest["manifest"], manifest["artifact"]) == (1, artifact)
    assert manifest["program"] == {"name": "tomography", "version": __version__}
    assert not journal_path(made / name, artifact).exists()


@pytest.mark.parametrize(("name", "artifact"), KINDS)
def test_a_manifest_carries_a_thumbnail_that_can_be_shown(made: Path, name: str, artifact: Any, tmp_path: Path) -> None:
    text = json.loads(manifest_path(made / name, artifact).read_text())["results"]["thumbnail_png"]
    (tmp_path / "thumbnail.png").write_bytes(base64.b64decode(text))
    with Image.open(tmp_path / "thumbnail.png") as picture:
        assert (picture.mode, picture.width <= 320) == ("L", True)
    assert len(text) < 60_000


def test_products_lie_where_others_look_for_them(made: Path) -> None:
    assert {path.name for path in made.iterdir()} == {
        *("recsmall", "recsmall.tiff.manifest.json"),
        *("recsmall.zarr", "recsmall.zarr.manifest.json"),
        *("look", "look.preview.manifest.json"),
    }


def test_slices_are_float32_one_a_row_named_after_their_directory(made: Path, small: Phantom) -> None:
    names = sorted(path.name for path in (made / "recsmall").iterdir())
    assert names == [f"recsmall_{row:05d}.tiff" for row in range(small.rows)]
    with tifffile.TiffFile(made / "recsmall" / names[0]) as file:
        page = file.pages.first
        assert page.shape == (96, 96)
        assert page.dtype == np.float32
        assert page.get_resolution("MICROMETER")[0] == pytest.approx(1 / 0.65)
        assert "DateTime" not in page.tags


def test_the_reconstruction_tells_its_settings_and_what_it_found(made: Path, small: Phantom) -> None:
    manifest = read_manifest(made / "recsmall", "tiff")
    assert manifest is not None
    assert manifest.input.sha256 == "ab" * 32
    assert manifest.settings["filter"] == "ramp"
    assert manifest.results["center_px"] == pytest.approx(small.axis_px, abs=0.1)
    assert (manifest.results["unit"], manifest.results["flags"]) == ("1/cm", [])
    assert manifest.results["shape"] == [6, 96, 96]


def test_the_pyramid_tells_how_its_slices_were_reconstructed(made: Path) -> None:
    tiff, zarr = read_manifest(made / "recsmall", "tiff"), read_manifest(made / "recsmall.zarr", "zarr")
    assert tiff is not None
    assert zarr is not None
    assert zarr.settings["reconstruction"] == tiff.settings
    assert zarr.results["center_px"] == tiff.results["center_px"]


def test_a_preview_shows_three_rows_and_says_what_they_are(made: Path) -> None:
    description = json.loads((made / "look" / "preview.json").read_text())
    assert description["rows"] == [1, 3, 4]
    assert {"slice_1.png", "slice_3.png", "slice_4.png", "preview.json", "look.html"} <= set(tree(made / "look"))
    with Image.open(made / "look" / "slice_3.png") as picture:
        assert (picture.mode, picture.size) == ("L", (96, 96))


def test_doing_it_again_changes_nothing_and_succeeds(made: Path, small_scan: Path, cli: Cli) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()}
    assert result(cli("reconstruct", small_scan, made / "recsmall", "--json"))["made"] is False
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--filter", "butterworth"], "other settings (filter)"), (["--center", "40"], "other settings (center_px)")],
)
def test_other_settings_are_refused(made: Path, small_scan: Path, cli: Cli, arguments: list[str], said: str) -> None:
    before = tree(made)
    process = cli("reconstruct", small_scan, made / "recsmall", *arguments)
    assert (process.exit_code, said in process.stderr) == (2, True)
    assert tree(made) == before


def test_another_scan_is_refused(made: Path, tall_scan: Path, cli: Cli) -> None:
    process = cli("reconstruct", tall_scan, made / "recsmall")
    assert process.exit_code == 2
    assert "another input" in process.stderr


def test_a_damaged_product_is_repaired(made: Path, small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(made, tmp_path / "copy")
    victim = tmp_path / "copy" / "recsmall" / "recsmall_00003.tiff"
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x01")
    assert result(cli("reconstruct", small_scan, tmp_path / "copy" / "recsmall", "--json"))["made"] is True
    assert listed(tmp_path / "copy" / "recsmall") == listed(made / "recsmall")


def test_files_of_others_are_not_touched(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec" / "thesis.tex").write_text("irreplaceable")
    process = cli("reconstruct", small_scan, tmp_path / "rec")
    assert (process.exit_code, "thesis.tex" in process.stderr) == (2, True)
    assert tree(tmp_path) == {"rec/thesis.tex": b"irreplaceable"}


def test_an_older_programs_stack_of_the_same_name_is_not_touched(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    stack = tmp_path / "recsmall"
    stack.mkdir()
    (stack / "recsmall_00000.tiff").write_bytes(b"all that is left of 2014")
    before = tree(tmp_path)
    process = cli("reconstruct", small_scan, stack)
    assert process.exit_code == 2
    assert "neither a manifest nor a journal" in process.stderr
    assert tree(tmp_path) == before


def test_two_at_once_are_kept_apart(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    with journal_path(tmp_path / "rec", "tiff").open("a") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        process = cli("reconstruct", small_scan, tmp_path / "rec")
    assert (process.exit_code, "being written by another process" in process.stderr) == (2, True)
    assert not (tmp_path / "rec").exists()


def killed_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    with process:
        while not reached():
            assert process.poll() is None, "the program ended before it could be killed"
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)


def test_a_killed_reconstruction_continues_to_the_same_bytes(
    tall_scan: Path, tmp_path: Path, cli: Cli, start: Start
) -> None:
    whole, broken = tmp_path / "whole" / "rec", tmp_path / "broken" / "rec"
    whole.parent.mkdir()
    broken.parent.mkdir()
    result(cli("reconstruct", tall_scan, whole, "--json", "--threads", 2))
    journal = journal_path(broken, "tiff")
    killed_when(
        start("reconstruct", tall_scan, broken, "--threads", 1),
        # The key, the (empty) account of what was kept, and the first slab.
        lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3,
    )
    assert not manifest_path(broken, "tiff").exists()
    first = (broken / "rec_00000.tiff").stat()
    result(cli("reconstruct", tall_scan, broken, "--json"))
    assert tree(broken.parent) == tree(whole.parent)
    assert (broken / "rec_00000.tiff").stat().st_ino == first.st_ino


def test_a_killed_pyramid_is_made_again_to_the_same_bytes(
    tall_scan: Path, tmp_path: Path, cli: Cli, start: Start
) -> None:
    result(cli("reconstruct", tall_scan, tmp_path / "rec", "--json"))
    whole, broken = tmp_path / "whole" / "rec.zarr", tmp_path / "broken" / "rec.zarr"
    whole.parent.mkdir()
    broken.parent.mkdir()
    result(cli("pyramid", tmp_path / "rec", whole, "--json", "--threads", 2))
    killed_when(
        start("pyramid", tmp_path / "rec", broken, "--threads", 1), lambda: (broken / "0" / "1" / "0" / "0").exists()
    )
    assert not (broken / ".zattrs").exists()
    result(cli("pyramid", tmp_path / "rec", broken, "--json"))
    assert tree(broken.parent) == tree(whole.parent)


def test_work_begins_with_a_few_rows_and_what_is_compressed_together_is_read_together(
    tall_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    shutil.copyfile(tall_scan, tmp_path / "scan.h5")
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        counts = file["exchange/data"][:]
        del file["exchange/data"]
        file.create_dataset("exchange/data", data=counts, chunks=(1, *counts.shape[1:]), compression="gzip")
    with open_scan(tall_scan) as plain, open_scan(tmp_path / "scan.h5") as compressed:
        slabs = [(0, 128), (128, 256)]
        few = [(0, 16), (16, 48), (48, 112), (112, 128)]
        assert reads(Prepared.of(plain, Settings()), slabs, 10**9) == [*few, (128, 256)]
        assert reads(Prepared.of(plain, Settings(drift_down_px=2)), slabs, 10**9) == slabs
        assert reads(Prepared.of(compressed, Settings()), slabs, 10**9) == slabs
    result(cli("reconstruct", tall_scan, tmp_path / "rec", "--json"))
    (tmp_path / "compressed").mkdir()
    result(cli("reconstruct", tmp_path / "scan.h5", tmp_path / "compressed" / "rec", "--json"))
    assert listed(tmp_path / "compressed" / "rec") == listed(tmp_path / "rec")


def test_little_memory_means_one_thread_and_smaller_reads_and_the_same_slices(
    tall_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    with open_scan(tall_scan) as scan:
        slices = SliceMaker.of(scan, Settings())
        assert reads(slices.prepared, [(0, 128)], 51 * scan.row_bytes) == [(0, 16), (16, 48), (48, 98), (98, 128)]
        plan = plan_reconstruction(
            Machine(8, 202_500_000, True), slices.prepared, slices.geometry, [], Format.V04, itemsize=4
        )
        assert plan.threads == 1
        assert len(reads(slices.prepared, [(128, 256)], plan.read_bytes)) > 1
    (tmp_path / "small").mkdir()
    result(cli("reconstruct", tall_scan, tmp_path / "small" / "rec", "--memory", "0.2025", "--json"))
    result(cli("reconstruct", tall_scan, tmp_path / "rec", "--json"))
    assert listed(tmp_path / "small" / "rec") == listed(tmp_path / "rec")


@pytest.mark.parametrize("way", ["reconstruct", "both", "pyramid"])
def test_memory_that_cannot_do_is_refused_with_the_least_that_does(
    tall_scan: Path, made: Path, tmp_path: Path, cli: Cli, way: str
) -> None:
    stack, out = tmp_path / "rec", tmp_path / "rec.zarr"
    command = {
        "reconstruct": ["reconstruct", tall_scan, stack],
        "both": ["reconstruct", tall_scan, stack, "--pyramid", out],
        "pyramid": ["pyramid", made / "recsmall", out],
    }[way]
    refused = cli(*command, "--memory", "0.1")
    assert (refused.exit_code, list(tmp_path.iterdir())) == (2, [])
    least = re.search(r"at least ([\d.]+) GB", refused.stderr)
    assert least is not None
    result(cli(*command, "--memory", least[1], "--json"))


def test_an_unfinished_stack_makes_no_pyramid(made: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(made / "recsmall", tmp_path / "rec")
    journal_path(tmp_path / "rec", "tiff").write_text('{"key": "x"}\n')
    process = cli("pyramid", tmp_path / "rec", tmp_path / "rec.zarr")
    assert (process.exit_code, "not finished" in process.stderr) == (2, True)


def test_a_damaged_slice_makes_no_pyramid(made: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(made, tmp_path / "copy")
    victim = tmp_path / "copy" / "recsmall" / "recsmall_00003.tiff"
    victim.write_bytes(victim.read_bytes()[:-1] + b"\x01")
    process = cli("pyramid", tmp_path / "copy" / "recsmall", tmp_path / "out.zarr")
    assert (process.exit_code, "recsmall_00003.tiff" in process.stderr) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "quote'\"s",
        "$(touch pwned);`id`",
        "ünï\u202ecode",
        "new\nline",
        "-dash",
        "[bold]",
        "a.b..c",
        "%5d{0}",
    ],
)
def test_any_name_is_only_a_name(small_scan: Path, tmp_path: Path, cli: Cli, name: str) -> None:
    result(cli("preview", "--json", "--", small_scan, tmp_path / name))
    result(cli("reconstruct", "--json", "--", small_scan, tmp_path / f"rec{name}"))
    assert {path.name for path in (tmp_path / f"rec{name}").iterdir()} == {
        f"rec{name}_{row:05d}.tiff" for row in range(6)
    }
    assert len(list(tmp_path.iterdir())) == 4


def test_a_name_that_is_no_text_is_still_a_name(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    product = tmp_path / "rec\udcff"
    result(cli("reconstruct", small_scan, product, "--json"))
    manifest = read_manifest(product, "tiff")
    assert manifest is not None
    assert manifest.files[0].path == "rec\udcff_00000.tiff"


def test_a_real_tooth_is_reconstructed(tooth: Path, tmp_path: Path, cli: Cli) -> None:
    event = result(cli("reconstruct", tooth, tmp_path / "rec", "--json"))
    assert (event["files"], event["results"]["unit"]) == (2, "1/px")
    assert event["results"]["flags"] == ["no pixel size in the scan: values are per pixel"]
    image = tifffile.imread(tmp_path / "rec" / "rec_00000.tiff")
    assert image[180:420, 230:440].mean() > 10 * abs(image[20:120, 270:370].mean())
    result(cli("preview", tooth, tmp_path / "look", "--json"))
    assert {"slice_0.png", "slice_1.png", "preview.json", "look.html"} <= set(tree(tmp_path / "look"))
    result(cli("pyramid", tmp_path / "rec", tmp_path / "rec.zarr", "--json"))
