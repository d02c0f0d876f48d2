"""What the metadata of a pyramid says: OME-Zarr 0.4 on Zarr v2, which every viewer at the beamline reads, or 0.5.

Belongs here: array and group documents, the physical place of each level's voxels.
Does not: voxels (tomography.pyramid), or the files that hold them (tomography.chunks).
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec
from zarr.storage import MemoryStore

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
    store: dict[str, Any] = {}
    group = zarr.open_group(MemoryStore(store), mode="w", zarr_format=2 if version is Format.V04 else 3)
    for level, shape in enumerate(shapes):
        group.create_array(str(level), shape=shape, dtype=coarsest.dtype, fill_value=0, **_array(version, coarsest))
    entry, omero = multiscale(name, shapes, pixel_size_um, rows), _omero(coarsest, limits)
    if version is Format.V04:
        group.attrs.update({"multiscales": [{"version": "0.4", **entry}], "omero": omero})
    else:
        group.attrs.update({"ome": {"version": "0.5", "multiscales": [entry], "omero": omero}})
    contents = [(path, bytes(buffer.to_bytes())) for path, buffer in store.items()]
    return sorted(contents, key=lambda document: (not document[0][0].isdigit(), document[0]))


def _array(version: Format, voxels: Voxels) -> dict[str, Any]:
    chunking = CHUNKINGS[version]
    if version is Format.V04:
        key = {"name": "v2", "separator": "/"}
        return {"chunks": (chunking.chunk,) * 3, "compressors": COMPRESSOR, "chunk_key_encoding": key}
    return {
        "chunks": (chunking.chunk,) * 3,
        "shards": (LAYER_ROWS, chunking.width, chunking.width),
        "compressors": BloscCodec(cname="zstd", clevel=1, shuffle="shuffle", typesize=voxels.dtype.itemsize),
        "dimension_names": ("z", "y", "x"),
    }


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
