"""One pass or two, one process or several, killed or not: the same bytes."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from ome_zarr_models.v05 import Image
from pydantic_zarr.v3 import ArraySpec, GroupSpec
from typer.testing import Result

from tests.tomography.test_products import killed_when, result, tree
from tomography.errors import SettingsError
from tomography.manifest import journal_path, journals_of_parts, manifest_path
from tomography.parts import Part, layers_of, part_of

Cli = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def whole(tall_scan: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """A stack of five layers and its pyramids in both versions, made one after the other in one process each."""
    made = tmp_path_factory.mktemp("whole")
    result(cli("reconstruct", tall_scan, made / "rec", "--json"))
    result(cli("pyramid", made / "rec", made / "rec.zarr", "--json"))
    result(cli("pyramid", made / "rec", folder(made / "v05") / "rec.zarr", "--ome-zarr", "0.5", "--json"))
    return made


def lying(folder: Path) -> dict[str, bytes]:
    """What lies there of the stack and the pyramid of version 0.4."""
    return {name: content for name, content in tree(folder).items() if not name.startswith("v05/")}


def test_in_one_pass_it_is_the_same(whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli) -> None:
    done = cli("reconstruct", tall_scan, tmp_path / "rec", "--pyramid", tmp_path / "rec.zarr", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines() if '"result"' in line]
    assert [(event["artifact"], event["made"]) for event in events] == [("tiff", True), ("zarr", True)]
    assert tree(tmp_path) == lying(whole)


@pytest.mark.parametrize(("version", "where"), [("0.4", "."), ("0.5", "v05")])
def test_a_pyramid_needs_no_stack(
    whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli, version: str, where: str
) -> None:
    result(cli("reconstruct", tall_scan, "--pyramid", tmp_path / "rec.zarr", "--ome-zarr", version, "--json"))
    assert tree(tmp_path / "rec.zarr") == tree(whole / where / "rec.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"rec.zarr", "rec.zarr.manifest.json"}
    theirs = manifest_path(whole / where / "rec.zarr", "zarr").read_bytes()
    assert manifest_path(tmp_path / "rec.zarr", "zarr").read_bytes() == theirs


def test_a_pyramid_of_a_stack_that_is_there_is_made_of_it(
    whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    shutil.copytree(whole / "rec", tmp_path / "rec")
    shutil.copy(manifest_path(whole / "rec", "tiff"), tmp_path)
    done = cli("reconstruct", tall_scan, tmp_path / "rec", "--pyramid", tmp_path / "rec.zarr", "--json")
    first, second = (json.loads(line) for line in done.stdout.splitlines()[-2:])
    assert (first["made"], second["made"]) == (False, True)
    assert tree(tmp_path) == lying(whole)


def test_nowhere_to_put_slices_is_refused(tall_scan: Path, cli: Cli) -> None:
    done = cli("reconstruct", tall_scan)
    assert (done.exit_code, "say where the slices go" in done.stderr) == (2, True)


def test_another_pyramid_there_stops_both_and_touches_neither(
    whole: Path, small_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    shutil.copytree(whole / "rec.zarr", tmp_path / "rec.zarr")
    shutil.copy(manifest_path(whole / "rec.zarr", "zarr"), tmp_path)
    before = tree(tmp_path)
    done = cli("reconstruct", small_scan, tmp_path / "rec", "--pyramid", tmp_path / "rec.zarr")
    assert (done.exit_code, "another input" in done.stderr) == (2, True)
    assert tree(tmp_path) == before


def lines(journal: Path, count: int) -> Callable[[], bool]:
    """The journal has so many lines: its key, an empty account of what was kept, then one a layer."""
    return lambda: journal.exists() and journal.read_bytes().count(b"\n") >= count


@pytest.mark.parametrize(("with_stack", "layers"), [(True, 1), (True, 4), (False, 2)])
def test_killed_after_any_layer_it_continues_to_the_same_bytes(
    whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli, start: Start, with_stack: bool, layers: int
) -> None:
    stack = [tmp_path / "rec"] if with_stack else []
    command = ["reconstruct", tall_scan, *stack, "--pyramid", tmp_path / "rec.zarr"]
    killed_when(start(*command, "--threads", 1), lines(journal_path(tmp_path / "rec.zarr", "zarr"), 2 + layers))
    assert not manifest_path(tmp_path / "rec.zarr", "zarr").exists()
    assert not (tmp_path / "rec.zarr" / ".zattrs").exists()
    first = (tmp_path / "rec.zarr" / "0" / "0" / "0" / "0").stat().st_ino
    result(cli(*command, "--json"))
    assert (tmp_path / "rec.zarr" / "0" / "0" / "0" / "0").stat().st_ino == first
    expected = {name: content for name, content in lying(whole).items() if with_stack or name.startswith("rec.zarr")}
    assert tree(tmp_path) == expected


@pytest.mark.parametrize("product", ["rec", "rec.zarr"])
def test_stopped_between_the_last_file_and_a_manifest_it_continues_to_the_same_bytes(
    whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli, product: str
) -> None:
    manifest = manifest_path(tmp_path / product, "zarr" if product.endswith(".zarr") else "tiff")
    in_the_way = folder(manifest.with_name(f"{manifest.name}.partial"))
    command = ["reconstruct", tall_scan, tmp_path / "rec", "--pyramid", tmp_path / "rec.zarr"]
    stopped = cli(*command)
    assert (stopped.exit_code, "the same command continues" in stopped.stderr) == (1, True)
    assert (tmp_path / "rec.zarr" / ".zattrs").exists()
    assert not manifest.exists()
    in_the_way.rmdir()
    result(cli(*command, "--json"))
    assert tree(tmp_path) == lying(whole)


def test_a_lost_chunk_is_made_again_and_nothing_else(whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copytree(whole / "rec.zarr", tmp_path / "rec.zarr")
    shutil.copy(manifest_path(whole / "rec.zarr", "zarr"), tmp_path)
    chunks = {
        name: (tmp_path / "rec.zarr" / name).stat().st_ino for name in tree(tmp_path / "rec.zarr") if "/0/" in name
    }
    for name in ("0/2/0/0", "1/1/0/0"):
        (tmp_path / "rec.zarr" / name).unlink()
    result(cli("reconstruct", tall_scan, "--pyramid", tmp_path / "rec.zarr", "--json"))
    assert tree(tmp_path / "rec.zarr") == tree(whole / "rec.zarr")
    same = {name for name, inode in chunks.items() if (tmp_path / "rec.zarr" / name).stat().st_ino == inode}
    assert chunks.keys() - same <= {"0/2/0/0", "1/1/0/0"}


# -- version 0.5 -------------------------------------------------------------------------------------------------


def test_version_05_is_valid_and_holds_the_same_voxels(whole: Path) -> None:
    Image.model_rebuild(_types_namespace={"ArraySpec": ArraySpec, "GroupSpec": GroupSpec})
    image = Image.from_zarr(zarr.open_group(whole / "v05" / "rec.zarr", mode="r", zarr_format=3))
    assert [dataset.path for dataset in image.ome_attributes.multiscales[0].datasets] == ["0", "1", "2", "3"]
    for level in range(4):
        one, other = (zarr.open_array(whole / where / "rec.zarr" / str(level), mode="r") for where in (".", "v05"))
        np.testing.assert_array_equal(one[:], other[:])
    level = zarr.open_array(whole / "v05" / "rec.zarr" / "0", mode="r")
    assert (level.chunks, level.shards) == ((64, 64, 64), (128, 512, 512))


# -- whole numbers -----------------------------------------------------------------------------------------------


def test_whole_numbers_lie_between_limits_that_are_recorded(
    whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    """Stack, pyramid and parts agree, and each value is within half a step of what it was."""
    out, limits = tmp_path / "rec.zarr", ("--dtype", "uint16", "--lowest", "-10", "--highest", "30")
    result(cli("reconstruct", tall_scan, tmp_path / "rec", "--pyramid", out, *limits, "--json"))
    results = json.loads(manifest_path(out, "zarr").read_text())["results"]
    assert (results["dtype"], results["lowest"], results["highest"]) == ("uint16", -10, 30)
    level, exact = (zarr.open_array(path / "0", mode="r")[:] for path in (out, whole / "rec.zarr"))
    step = 40 / 65535
    assert level.dtype == np.uint16
    assert np.abs(level * step - 10 - np.clip(exact, -10, 30)).max() < 0.51 * step
    coarse = zarr.open_array(out / "1", mode="r")[:]
    means = level[:512, :96, :96].astype(np.float64).reshape(256, 2, 48, 2, 48, 2).mean(axis=(1, 3, 5))
    assert np.abs(coarse[:256] - means).max() <= 0.5
    apart = folder(tmp_path / "apart")
    for number in (1, 2):
        result(cli("pyramid", tmp_path / "rec", apart / "rec.zarr", "--part", f"{number}/2", "--json"))
    result(cli("merge", apart / "rec.zarr", "--json"))
    assert tree(apart / "rec.zarr") == tree(out)


def test_limits_that_nobody_gives_are_percentiles_of_the_volume(
    whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    result(cli("reconstruct", tall_scan, "--pyramid", tmp_path / "rec.zarr", "--dtype", "uint8", "--json"))
    results = json.loads(manifest_path(tmp_path / "rec.zarr", "zarr").read_text())["results"]
    exact = zarr.open_array(whole / "rec.zarr" / "0", mode="r")[:]
    low, high = np.percentile(exact[exact != 0], (0.1, 99.9))
    spread = high - low
    assert results["lowest"] == pytest.approx(low, abs=0.1 * spread)
    assert results["highest"] == pytest.approx(high, abs=0.1 * spread)


def test_limits_without_anything_between_are_refused_and_nothing_is_left(
    tall_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    refused = cli("reconstruct", tall_scan, tmp_path / "rec", "--dtype", "uint8", "--lowest", "3", "--highest", "3")
    assert (refused.exit_code, "not below --highest" in refused.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


# -- parts -------------------------------------------------------------------------------------------------------


def test_parts_share_all_layers_evenly() -> None:
    shares = [layers_of(2160, Part(number, 4)) for number in (1, 2, 3, 4)]
    assert [layer for share in shares for layer in share] == list(range(17))
    assert {len(share) for share in shares} == {4, 5}


@pytest.mark.parametrize(
    ("words", "environ", "part"),
    [
        ("2/3", {}, Part(2, 3)),
        ("slurm", {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, Part(1, 2)),
        ("3/2", {}, None),
        ("0/2", {}, None),
        ("slurm", {}, None),
        ("slurm", {"SLURM_PROCID": "2", "SLURM_NTASKS": "2"}, None),
    ],
)
def test_a_part_is_named_by_numbers_or_by_slurm(words: str, environ: dict[str, str], part: Part | None) -> None:
    if part is not None:
        assert part_of(words, environ) == part
    else:
        with pytest.raises(SettingsError, match=f"--part {words}"):
            part_of(words, environ)


@pytest.mark.parametrize("of", [3, 7], ids=["three", "more-than-layers"])
def test_parts_joined_are_the_whole(whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli, of: int) -> None:
    stack, pyramid = tmp_path / "rec", tmp_path / "rec.zarr"
    for number in (*range(2, of + 1), 1):
        result(cli("reconstruct", tall_scan, stack, "--pyramid", pyramid, "--part", f"{number}/{of}", "--json"))
    assert not manifest_path(stack, "tiff").exists()
    result(cli("merge", stack, pyramid, "--json"))
    assert tree(tmp_path) == lying(whole)
    assert result(cli("merge", pyramid, "--json"))["made"] is False


def test_parts_at_once_of_a_pyramid_in_shards(whole: Path, tmp_path: Path, cli: Cli, start: Start) -> None:
    out = tmp_path / "rec.zarr"
    running = [
        start("pyramid", whole / "rec", out, "--ome-zarr", "0.5", "--part", f"{number}/2", "--threads", 1)
        for number in (1, 2)
    ]
    assert [process.communicate() and process.returncode for process in running] == [0, 0]
    result(cli("merge", out, "--json"))
    assert tree(out) == tree(whole / "v05" / "rec.zarr")
    assert manifest_path(out, "zarr").read_bytes() == manifest_path(whole / "v05" / "rec.zarr", "zarr").read_bytes()


def test_a_killed_part_continues_and_the_others_stay(
    whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli, start: Start
) -> None:
    stack, pyramid = tmp_path / "rec", tmp_path / "rec.zarr"
    command = ["reconstruct", tall_scan, stack, "--pyramid", pyramid, "--part"]
    result(cli(*command, "1/2", "--json"))
    before = {path: path.stat().st_ino for path in tmp_path.rglob("*") if path.is_file()}
    killed_when(start(*command, "2/2", "--threads", 1), lines(journal_path(pyramid, "zarr", Part(2, 2)), 3))
    refused = cli("merge", pyramid)
    assert (refused.exit_code, "not finished: 2" in refused.stderr) == (2, True)
    result(cli(*command, "2/2", "--json"))
    result(cli(*command, "1/2", "--json"))
    assert {path: path.stat().st_ino for path in before} == before
    result(cli("merge", stack, pyramid, "--json"))
    assert tree(tmp_path) == lying(whole)


def test_a_merge_that_was_killed_is_done_again(whole: Path, tall_scan: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "rec.zarr"
    for number in (1, 2):
        result(cli("reconstruct", tall_scan, "--pyramid", out, "--part", f"{number}/2", "--json"))
    journals = {path: path.read_bytes() for path in journals_of_parts(out, "zarr").values()}
    result(cli("merge", out, "--json"))
    for path, content in journals.items():
        path.write_bytes(content)
    manifest_path(out, "zarr").unlink()
    (out / ".1.2.partial").write_text("half a chunk")
    result(cli("merge", out, "--json"))
    assert tree(out) == tree(whole / "rec.zarr")
    assert {path.name for path in tmp_path.iterdir()} == {"rec.zarr", "rec.zarr.manifest.json"}


def test_what_was_begun_in_parts_is_not_continued_otherwise(tall_scan: Path, tmp_path: Path, cli: Cli) -> None:
    command = ["reconstruct", tall_scan, tmp_path / "rec"]
    result(cli(*command, "--part", "1/3", "--json"))
    for words in ([], ["--part", "1/2"]):
        refused = cli(*command, *words)
        assert (refused.exit_code, "is being made in 3 parts" in refused.stderr) == (2, True)


def test_parts_that_differ_are_not_joined(tall_scan: Path, tmp_path: Path, cli: Cli) -> None:
    command = ["reconstruct", tall_scan, tmp_path / "rec"]
    result(cli(*command, "--part", "1/2", "--json"))
    result(cli(*command, "--part", "2/2", "--center", "40", "--json"))
    refused = cli("merge", tmp_path / "rec")
    assert (refused.exit_code, "part 2 was made" in refused.stderr) == (2, True)
