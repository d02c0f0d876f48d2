"""What the metadata of a pyramid says: OME-Zarr 0.4 on Zarr v2, which every viewer at the beamline reads.

Belongs here: array and group documents, the physical place of each level's voxels.
Does not: voxels (tomography.pyramid).
"""

from __future__ import annotations

from typing import Any

import numcodecs
import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore

Floats = npt.NDArray[np.float32]
Shape = tuple[int, int, int]

CHUNK = 128
COMPRESSOR = numcodecs.Blosc("zstd", 1, numcodecs.Blosc.SHUFFLE)
SETTINGS: dict[str, Any] = {
    "format": "OME-Zarr 0.4 on Zarr v2",
    "chunk_voxels": [CHUNK, CHUNK, CHUNK],
    "compressor": "blosc zstd level 1, byte shuffle",
    "downsampling": "mean of 2x2x2 voxels",
}


def documents(
    name: str, shapes: list[Shape], pixel_size_um: float | None, coarsest: Floats, limits: tuple[float, float]
) -> list[tuple[str, bytes]]:
    """The metadata files of a pyramid, as (path, content), in the order in which to write them: the group's last."""
    store: dict[str, Any] = {}
    group = zarr.open_group(MemoryStore(store), mode="w", zarr_format=2)
    for level, shape in enumerate(shapes):
        group.create_array(
            str(level),
            shape=shape,
            chunks=(CHUNK, CHUNK, CHUNK),
            dtype="float32",
            fill_value=0,
            compressors=COMPRESSOR,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )
    group.attrs.update(
        {
            "multiscales": [multiscale(name, shapes, pixel_size_um)],
            "omero": _omero(coarsest, limits),
        }
    )
    contents = [(path, bytes(buffer.to_bytes())) for path, buffer in store.items()]
    return sorted(contents, key=lambda document: (not document[0][0].isdigit(), document[0]))


def multiscale(name: str, shapes: list[Shape], pixel_size_um: float | None) -> dict[str, Any]:
    """The multiscales entry. A voxel's place is that of its middle; without a pixel size, lengths are in pixels."""
    unit = {} if pixel_size_um is None else {"unit": "micrometer"}
    return {
        "version": "0.4",
        "name": name.encode("utf-8", "backslashreplace").decode(),
        "type": "mean",
        "axes": [{"name": axis, "type": "space", **unit} for axis in "zyx"],
        "datasets": [
            {"path": str(level), "coordinateTransformations": _placement(shapes, level, pixel_size_um or 1.0)}
            for level in range(len(shapes))
        ],
    }


def _placement(shapes: list[Shape], level: int, pixel: float) -> list[dict[str, Any]]:
    """Scale and translation of a level. An axis of one voxel is not halved any more, so it does not grow either."""
    factors = [2 ** sum(shape[axis] > 1 for shape in shapes[:level]) for axis in range(3)]
    return [
        {"type": "scale", "scale": [pixel * factor for factor in factors]},
        {"type": "translation", "translation": [pixel * (factor - 1) / 2 for factor in factors]},
    ]


def _omero(coarsest: Floats, limits: tuple[float, float]) -> dict[str, Any]:
    """How a viewer shows the values at first; extremes are those of the coarsest level."""
    low, high = limits
    window = {"min": float(coarsest.min()), "max": float(coarsest.max()), "start": low, "end": high}
    channel = {"label": "absorption", "color": "FFFFFF", "active": True, "window": window}
    return {"channels": [channel], "rdefs": {"model": "greyscale"}}
