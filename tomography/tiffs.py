"""TIFF stacks: their names, their encoding, and reading one that somebody made.

Belongs here: one slice a file, the check of a slice against its manifest, what is known of a stack.
Does not: computing slices (tomography.stack), pyramids (tomography.pyramid).
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from tomography import __version__
from tomography.errors import StackError
from tomography.manifest import (
    Input,
    Manifest,
    files_input,
    journal_path,
    raw_input,
    read_manifest,
    sampled_sha256,
    sha256,
)

Floats = npt.NDArray[np.float32]

_NUMBERED = re.compile(r".*?(\d+)\.tiff?", re.DOTALL)


def tiff_name(stem: str, row: int) -> str:
    """The file name of a slice."""
    return f"{stem}_{row:05d}.tiff"


def encode_tiff(image: npt.NDArray[Any], pixel_size_um: float | None) -> bytes:
    """A TIFF file of one image, with its resolution where it is known, and without a date."""
    resolution: dict[str, Any] = {}
    if pixel_size_um is not None:
        resolution = {"resolution": (1e4 / pixel_size_um,) * 2, "resolutionunit": "CENTIMETER"}
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, metadata=None, software=f"tomography {__version__}", **resolution)
    return stream.getvalue()


def read_tiff(path: Path) -> Floats:
    """The slice in a TIFF file. Raises StackError where it cannot be read as one."""
    return _decode(path, path.read_bytes())


@dataclass(frozen=True)
class Stack:
    """A stack of slices on disk. ``digests`` are those of its manifest; empty for a stack that has none."""

    directory: Path
    names: tuple[str, ...]
    digests: Mapping[str, str]
    shape: tuple[int, int, int]
    dtype: str
    """What its values are taken for: as its manifest says; float32 without one."""
    input: Input
    """These files, as input."""
    source: Input
    """What they were made from, where the manifest says it and they are checked against it; else these files."""
    pixel_size_um: float | None
    settings: dict[str, Any] | None
    """The settings of its reconstruction; None where nobody wrote them down."""

    facts: dict[str, Any]
    """What its manifest says about how its values came about."""

    def read_into(self, slices: npt.NDArray[Any], start: int, pool: Executor) -> None:
        """Fill ``slices`` [row, y, x] from row ``start`` on. Raises StackError where a file is not as it should be."""

        def read(i: int) -> None:
            slices[i] = self.read(start + i)

        for _ in pool.map(read, range(len(slices))):
            pass

    def read(self, row: int) -> Floats:
        """One slice, checked against the manifest's digest where there is one."""
        name = self.names[row]
        path = self.directory / name
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise StackError(f"{str(path)!r} is gone. Reconstruct again, or copy the stack again.") from error
        if name in self.digests and sha256(content) != self.digests[name]:
            raise StackError(
                f"{str(path)!r} is not what its manifest says: it was damaged or changed. "
                "Reconstruct again (what is intact is kept), or copy it again."
            )
        image = _decode(path, content)
        if image.shape != self.shape[1:]:
            raise StackError(f"{str(path)!r} is {image.shape} pixels, the first slice {self.shape[1:]}.")
        return image


def open_stack(directory: Path, raw: Path | None) -> Stack:
    """A stack with what its manifest, or else the raw file, tells of it.

    Raises StackError where it is unfinished or has gaps, or where ``raw`` is not the scan it was made from.
    """
    if not directory.is_dir():
        raise StackError(f"{str(directory)!r}: there is no such directory. Reconstruct first, or check the name.")
    manifest = read_manifest(directory, "tiff")
    if manifest is None and journal_path(directory, "tiff").exists():
        raise StackError(f"{str(directory)!r}: its reconstruction is not finished. Run it again: it continues.")
    if manifest is not None:
        return _with_manifest(directory, manifest, raw)
    return _without_manifest(directory, raw)


def _with_manifest(directory: Path, manifest: Manifest, raw: Path | None) -> Stack:
    if raw is not None and not manifest.input.same_file(raw_input(raw, None)):
        raise StackError(
            f"{str(directory)!r} was reconstructed from another file ({manifest.input.name!r}, "
            f"{manifest.input.bytes} bytes) than {str(raw)!r}."
        )
    told = {
        "center_px",
        "center_found_by",
        "center_spread_px",
        "unit",
        "pixel_size_um",
        "angles",
        "flags",
        "detector_rows",
        "lowest",
        "highest",
        "device",
    }
    z, y, x = manifest.results["shape"]
    return Stack(
        directory,
        tuple(entry.path for entry in manifest.files),
        {entry.path: entry.sha256 for entry in manifest.files},
        (z, y, x),
        manifest.results["dtype"],
        files_input(directory.name, ((entry.path, entry.bytes, entry.sha256) for entry in manifest.files)),
        manifest.input,
        manifest.results["pixel_size_um"],
        manifest.settings,
        {name: value for name, value in manifest.results.items() if name in told},
    )


def _without_manifest(directory: Path, raw: Path | None) -> Stack:
    numbered = {}
    for path in directory.iterdir():
        if match := _NUMBERED.fullmatch(path.name):
            numbered[int(match[1])] = path
    if not numbered:
        raise StackError(f"{str(directory)!r} holds no numbered TIFF files.")
    numbers = sorted(numbered)
    gaps = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
    if gaps:
        raise StackError(f"{str(directory)!r}: {len(gaps)} slices are missing, the first is number {gaps[0]}.")
    paths = [numbered[number] for number in numbers]
    height, width = _decode(paths[0], paths[0].read_bytes()).shape
    pixel_size_um = None
    if raw is not None:
        from tomography.scan import open_scan  # HDF5, which nothing else here needs

        with open_scan(raw) as scan:
            pixel_size_um = scan.pixel_size_um
            if scan.rows != len(paths):
                raise StackError(f"{str(directory)!r} has {len(paths)} slices, {str(raw)!r} has {scan.rows} rows.")
    files = files_input(directory.name, ((path.name, path.stat().st_size, _few_samples(path)) for path in paths))
    flags = ["the TIFF files have no manifest: nobody says how they were made"]
    return Stack(
        directory,
        tuple(path.name for path in paths),
        {},
        (len(paths), height, width),
        "float32",
        files,
        files,
        pixel_size_um,
        None,
        {"center_px": None, "unit": None, "pixel_size_um": pixel_size_um, "flags": flags},
    )


def _few_samples(path: Path) -> str:
    """Of each of thousands of files its ends and its middle, where a slice is not masked."""
    return sampled_sha256(path, samples=2, sample_bytes=4096)


def _decode(path: Path, content: bytes) -> Floats:
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages.first
            if len(file.pages) == 1 and page.is_final and page.dtype is not None:
                # As they lie in the file: of a small slice, copying them takes as long as all the rest.
                dtype = page.dtype.newbyteorder(file.byteorder)
                image = np.frombuffer(content, dtype, page.size, page.dataoffsets[0]).reshape(page.shape)
            else:
                image = file.asarray()
    except (ValueError, IndexError, KeyError, tifffile.TiffFileError) as error:
        raise StackError(f"{str(path)!r} cannot be read as TIFF ({len(content)} bytes): {error}.") from error
    if image.ndim != 2 or image.dtype.kind not in "uif":
        raise StackError(f"{str(path)!r} holds {image.shape} values of {image.dtype}; one grey image was expected.")
    return np.asarray(image, np.float32)
