"""What the metadata of a pyramid says: OME-Zarr 0.4 on Zarr v2, which every viewer at the beamline reads, or 0.5.

Belongs here: array and group documents, the physical place of each level's voxels.
Does not: voxels (tomography.pyramid), or the files that hold them (tomography.chunks).
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from tomography.chunks import CHUNKINGS, COMPRESSOR
from tomography.parts import LAYER_ROWS, Format

Voxels = npt.NDArray[Any]
Shape = tuple[int, int, int]

SETTINGS: dict[Format, dict[str, Any]] = {
    Format.V04: {
        "format": "OME-Zarr 0.4 on Zarr v2",
        "chunk_voxels": [128, 128, 128],
        "compressor": "blosc zstd level 1, byte shuffle",
        "downsampling": "mean of 2x2x2 voxels",
    },
    Format.V05: {
        "format": "OME-Zarr 0.5 on Zarr v3",
        "chunk_voxels": [64, 64, 64],
        "shard_voxels": [128, 512, 512],
        "compressor": "blosc zstd level 1, byte shuffle",
        "downsampling": "mean of 2x2x2 voxels",
    },
}


def documents(
    version: Format,
    name: str,
    shapes: list[Shape],
    pixel_size_um: float | None,
    rows: range,
    coarsest: Voxels,
    limits: tuple[float, float],
) -> list[tuple[str, bytes]]:
    """The metadata files of a pyramid, as (path, content), in the order in which to write them: the group's last."""
    entry, omero = multiscale(name, shapes, pixel_size_um, rows), _omero(coarsest, limits)
    contents: dict[str, Any] = {}
    for level, shape in enumerate(shapes):
        contents |= _array(version, str(level), shape, coarsest.dtype)
    if version is Format.V04:
        contents[".zattrs"] = {"multiscales": [{"version": "0.4", **entry}], "omero": omero}
        contents[".zgroup"] = {"zarr_format": 2}
    else:
        attributes = {"ome": {"version": "0.5", "multiscales": [entry], "omero": omero}}
        contents["zarr.json"] = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    return [(path, json.dumps(content, indent=2).encode()) for path, content in contents.items()]


def _array(version: Format, path: str, shape: Shape, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The documents of one level, as the library zarr writes them (a third of the program's start, so not loaded)."""
    chunking, fill = CHUNKINGS[version], 0.0 if dtype.kind == "f" else 0
    chunk, shard = [chunking.chunk] * 3, [LAYER_ROWS, chunking.width, chunking.width]
    array: dict[str, Any]
    if version is Format.V04:
        array = {
            "shape": shape,
            "chunks": chunk,
            "dtype": dtype.str,
            "fill_value": fill,
            "order": "C",
            "filters": None,
            "dimension_separator": "/",
            "compressor": {"id": "blosc", **_BLOSC, "shuffle": COMPRESSOR.shuffle, "blocksize": 0},
            "zarr_format": 2,
        }
        return {f"{path}/.zarray": array, f"{path}/.zattrs": {}}
    little = {"name": "bytes", "configuration": {"endian": "little"}} if dtype.itemsize > 1 else {"name": "bytes"}
    blosc = {"typesize": dtype.itemsize, **_BLOSC, "shuffle": "shuffle", "blocksize": 0}
    sharding = {
        "chunk_shape": chunk,
        "codecs": [little, {"name": "blosc", "configuration": blosc}],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": "end",
    }
    array = {
        "shape": shape,
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": shard}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": fill,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
        "dimension_names": ["z", "y", "x"],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
    return {f"{path}/zarr.json": array}


_BLOSC = {"cname": COMPRESSOR.cname, "clevel": COMPRESSOR.clevel}


def multiscale(name: str, shapes: list[Shape], pixel_size_um: float | None, rows: range) -> dict[str, Any]:
    """The multiscales entry. A voxel's place is that of its middle; without a pixel size, lengths are in pixels.

    ``rows`` are the detector rows of the slices: z begins at the first row of the detector.
    """
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    return {
        "name": name.encode("utf-8", "backslashreplace").decode(),
        "type": "mean",
        "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
        "datasets": [
            {"path": str(level), "coordinateTransformations": _placement(shapes, level, pixel_size_um or 1.0, rows)}
            for level in range(len(shapes))
        ],
    }


def _placement(shapes: list[Shape], level: int, pixel: float, rows: range) -> list[dict[str, Any]]:
    """Scale and translation of a level. An axis of one voxel is not halved any more, so it does not grow either."""
    apart, begin = (pixel * rows.step, pixel, pixel), (pixel * rows.start, 0.0, 0.0)
    factors = [2 ** sum(shape[axis] > 1 for shape in shapes[:level]) for axis in range(3)]
    return [
        {"type": "scale", "scale": [p * factor for p, factor in zip(apart, factors, strict=True)]},
        {
            "type": "translation",
            "translation": [b + p * (f - 1) / 2 for b, p, f in zip(begin, apart, factors, strict=True)],
        },
    ]


def _omero(coarsest: Voxels, limits: tuple[float, float]) -> dict[str, Any]:
    """How a viewer shows the values at first; extremes are those of the coarsest level."""
    low, high = limits
    window = {"min": float(coarsest.min()), "max": float(coarsest.max()), "start": low, "end": high}
    channel = {"label": "absorption", "color": "FFFFFF", "active": True, "window": window}
    return {"channels": [channel], "rdefs": {"model": "greyscale"}}
