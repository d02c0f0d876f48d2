"""How much memory a program takes, and what it does with how much it may take.

Belongs here: the sizes of what is held at once, fewer threads and smaller reads where memory is short, the refusal.
Does not: how much there is (tomography.machine). Nothing here changes a result.

The sizes were compared with measured peaks (docs/programs.md); they lie above them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from tomography.chunks import CHUNKINGS
from tomography.errors import LimitError
from tomography.machine import Machine
from tomography.nufft import UPSAMPLING
from tomography.ome import Shape
from tomography.parts import LAYER_ROWS, Format
from tomography.settings import Rings

if TYPE_CHECKING:  # a pyramid of a stack needs neither, and loading them takes as long as making a small one
    from tomography.fourier import Geometry
    from tomography.prepared import Prepared

PROGRAM_BYTES = 200_000_000
"""Of the interpreter and the libraries."""
READ_SHARE = 4
"""One read may take this part of the memory: a scan that is compressed whole would else be read all at once."""


@dataclass(frozen=True)
class Plan:
    """What is done at once: ``threads``, and ``read_bytes`` in one read, of which two are held; ``bytes`` of all."""

    threads: int
    read_bytes: int
    bytes: int


def plan_reconstruction(
    machine: Machine, prepared: Prepared, geometry: Geometry, shapes: Sequence[Shape], version: Format, itemsize: int
) -> Plan:
    """How to reconstruct; ``shapes`` are those of a pyramid's levels, none without one. Raises LimitError."""
    scan, n = prepared.scan, geometry.columns
    angles, spectrum = prepared.kept.size, prepared.kept.size * geometry.padded
    fields = 2 * scan.rows * scan.columns * 12  # a sum in double precision, and its mean
    fixed = PROGRAM_BYTES + fields + 16 * spectrum + pyramid_bytes(shapes, itemsize)
    sinograms = 3 * 2 * 4 * angles * scan.columns  # of a pair, with what a step needs beside them
    grid = int(8 * (UPSAMPLING * n) ** 2)
    thread = sinograms + 16 * spectrum + grid + 2 * 8 * n * n
    settings = prepared.settings
    if settings.rings is Rings.VO:
        thread += 30 * angles * scan.columns  # the order of a sinogram, and it sorted
    if settings.rings_polar_px:
        fixed += 8 * n * n  # where in the polar picture each pixel is
        thread += 24 * n * n
    thread = max(thread, file_bytes(version, itemsize) if shapes else 0)
    rows, least_read = prepared.bytes_of(2), 0
    if prepared.needs_whole_layers:
        rows, least_read = 0, prepared.bytes_of(LAYER_ROWS)
    thread += prepared.bytes_of_a_block(LAYER_ROWS)
    threads = _threads(machine, fixed + 2 * least_read, thread + 2 * rows)
    left = machine.memory_bytes - fixed - threads * thread
    read = max(least_read + threads * rows, min(left // 2, machine.memory_bytes // READ_SHARE))
    return Plan(threads, read, fixed + threads * thread + 2 * min(read, prepared.bytes_of(LAYER_ROWS)))


def plan_pyramid(machine: Machine, shapes: Sequence[Shape], version: Format, itemsize: int) -> Plan:
    """How to make a pyramid of a stack. Raises LimitError."""
    fixed = PROGRAM_BYTES + pyramid_bytes(shapes, itemsize)
    thread = max(4 * 4 * prod(shapes[0][1:]), file_bytes(version, itemsize))  # a file, its pixels, them as read
    threads = _threads(machine, fixed, thread)
    return Plan(threads, 0, fixed + threads * thread)


def pyramid_bytes(shapes: Sequence[Shape], itemsize: int) -> int:
    """A layer of each level."""
    return sum(itemsize * min(z, LAYER_ROWS) * y * x for z, y, x in shapes)


def file_bytes(version: Format, itemsize: int) -> int:
    """A file of voxels while it is encoded: its chunks, and all of them in one."""
    chunking = CHUNKINGS[version]
    return 3 * itemsize * LAYER_ROWS * chunking.width**2


def _threads(machine: Machine, fixed: int, thread: int) -> int:
    """As many threads as fit; one where the limit is only what happened to be free. Raises LimitError."""
    threads = (machine.memory_bytes - fixed) // thread
    if threads < 1 and machine.memory_is_asked:
        least = (fixed + thread) / 1e9
        raise LimitError(
            f"--memory {machine.memory_bytes / 1e9:g}: this needs at least {least + 0.05:.1f} GB, of which "
            f"{fixed / 1e9:.1f} GB for what is held at once and {thread / 1e9:.1f} GB for a thread."
        )
    return max(1, min(machine.threads, threads))
