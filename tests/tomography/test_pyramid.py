"""A pyramid holds the exact means, in the right place, in a form that viewers read."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from ome_zarr_models.v04 import Image
from pydantic_zarr.v2 import ArraySpec, GroupSpec
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

from tomography import ome
from tomography.errors import StackError
from tomography.machine import Machine
from tomography.ome import multiscale
from tomography.parts import Format
from tomography.progress import BarReporter
from tomography.pyramid import build_pyramid, halve, level_shapes
from tomography.tiffs import encode_tiff, open_stack, tiff_name

Floats = npt.NDArray[np.float32]


def mean_of_existing(volume: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    padded = np.pad(volume, [(0, size % 2) for size in volume.shape], constant_values=np.nan)
    z, y, x = (size // 2 for size in padded.shape)
    blocks = padded.reshape(z, 2, y, 2, x, 2)
    return np.asarray(np.nanmean(blocks, axis=(1, 3, 5)))


@pytest.fixture(scope="module")
def volume() -> Floats:
    """Three layers of chunks and odd sizes everywhere."""
    return np.random.default_rng(3).standard_normal((261, 71, 133)).astype(np.float32)


@pytest.fixture(scope="module")
def pyramid(volume: Floats, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pyramid")
    (folder / "rec").mkdir()
    for row, image in enumerate(volume):
        (folder / "rec" / tiff_name("rec", row)).write_bytes(encode_tiff(image, 0.65))
    build_pyramid(open_stack(folder / "rec", None), folder / "rec.zarr", Machine(2, 10**9), BarReporter(io.StringIO()))
    return folder / "rec.zarr"


def stored(pyramid: Path, level: int) -> Floats:
    return np.asarray(zarr.open_array(pyramid / str(level), mode="r")[:])


def test_the_finest_level_is_the_stack(pyramid: Path, volume: Floats) -> None:
    np.testing.assert_array_equal(stored(pyramid, 0), volume)


def test_every_level_is_the_exact_mean_of_the_one_below(pyramid: Path, volume: Floats) -> None:
    expected = volume.astype(np.float64)
    for level in (1, 2):
        expected = mean_of_existing(expected)
        np.testing.assert_allclose(stored(pyramid, level), expected, atol=1e-6)


def test_the_store_is_valid_ome_zarr(pyramid: Path) -> None:
    # ome-zarr-models 1.6 leaves two names for pydantic 2.14 to find.
    Image.model_rebuild(_types_namespace={"ArraySpec": ArraySpec, "GroupSpec": GroupSpec})
    image = Image.from_zarr(zarr.open_group(pyramid, mode="r", zarr_format=2))
    assert [dataset.path for dataset in image.ome_attributes.multiscales[0].datasets] == ["0", "1", "2"]


@pytest.mark.parametrize("dtype", ["float32", "uint16", "uint8"])
@pytest.mark.parametrize("version", list(Format))
def test_the_documents_of_a_level_are_those_that_zarr_writes(version: Format, dtype: str) -> None:
    shape = (200, 300, 310)
    documents = dict(ome.documents(version, "rec", [shape], 0.5, range(200), np.zeros((1, 1, 1), dtype), (0, 1)))
    store: dict[str, Any] = {}
    if version is Format.V04:
        form: dict[str, Any] = {
            "chunks": (128, 128, 128),
            "compressors": numcodecs.Blosc("zstd", 1, numcodecs.Blosc.SHUFFLE),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    else:
        form = {
            "chunks": (64, 64, 64),
            "shards": (128, 512, 512),
            "compressors": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=np.dtype(dtype).itemsize),
            "dimension_names": ("z", "y", "x"),
        }
    group = zarr.open_group(MemoryStore(store), mode="w", zarr_format=2 if version is Format.V04 else 3)
    group.create_array("0", shape=shape, dtype=dtype, fill_value=0, **form)
    expected = {path: json.loads(buffer.to_bytes()) for path, buffer in store.items() if path.startswith("0/")}
    assert {path: json.loads(content) for path, content in documents.items() if path.startswith("0/")} == expected


def test_chunks_are_cubes_of_128_in_nested_folders(pyramid: Path) -> None:
    array = zarr.open_array(pyramid / "0", mode="r")
    assert array.chunks == (128, 128, 128)
    assert {path.relative_to(pyramid / "0").as_posix() for path in (pyramid / "0").rglob("*") if path.is_file()} == {
        *(f"{z}/0/{x}" for z in range(3) for x in range(2)),
        *(".zarray", ".zattrs"),
    }


def test_levels_end_when_the_longest_axis_fits_one_chunk() -> None:
    assert level_shapes((5, 128, 128)) == [(5, 128, 128)]
    assert level_shapes((3, 511, 300)) == [(3, 511, 300), (2, 256, 150), (1, 128, 75)]


@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**31))
@settings(max_examples=40)
def test_halving_is_the_mean_of_the_voxels_that_exist(shape: tuple[int, int, int], seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    halves = np.empty(tuple((size + 1) // 2 for size in shape), np.float32)
    with ThreadPoolExecutor(1) as pool:
        halve(rows, halves, pool)
        np.testing.assert_allclose(halves, mean_of_existing(rows.astype(np.float64)), atol=1e-6)


def test_each_level_lies_where_the_middles_of_its_voxels_are() -> None:
    shapes = level_shapes((3, 511, 300))
    placed = [
        {step["type"]: step[step["type"]] for step in dataset["coordinateTransformations"]}
        for dataset in multiscale("rec", shapes, 0.5, range(shapes[0][0]))["datasets"]
    ]
    for axis in range(3):
        position = np.arange(4) * placed[0]["scale"][axis] + placed[0]["translation"][axis]
        first = placed[1]["translation"][axis] + np.arange(2) * placed[1]["scale"][axis]
        np.testing.assert_allclose(first, position.reshape(2, 2).mean(axis=1))
    assert placed[2] == {"scale": [2.0, 2.0, 2.0], "translation": [0.75, 0.75, 0.75]}


def test_lengths_without_a_pixel_size_have_no_unit() -> None:
    entry = multiscale("rec", [(3, 5, 5)], None, range(3))
    assert entry["axes"][0] == {"name": "z", "type": "space"}
    assert entry["datasets"][0]["coordinateTransformations"][0]["scale"] == [1.0, 1.0, 1.0]


def test_a_gap_in_the_stack_is_refused(tmp_path: Path) -> None:
    for row in (0, 1, 3):
        tifffile.imwrite(tmp_path / tiff_name("rec", row), np.zeros((8, 8), np.float32))
    with pytest.raises(StackError, match="1 slices are missing, the first is number 2"):
        open_stack(tmp_path, None)


def test_a_stack_is_not_combined_with_the_wrong_scan(tmp_path: Path, small_scan: Path) -> None:
    tifffile.imwrite(tmp_path / tiff_name("rec", 0), np.zeros((8, 8), np.float32))
    with pytest.raises(StackError, match=r"has 1 slices, .* has 6 rows"):
        open_stack(tmp_path, small_scan)
