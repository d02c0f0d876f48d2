"""A pyramid of a stack of TIFF files, beside ngff-zarr as the beamline's earlier program called it, and beside what no
program can save: compressing the chunks, and writing the bytes to the disk.

Belongs here: wall and processor time, peak memory. Does not: whether pyramids are right (accuracy).
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numcodecs
import numpy as np
import numpy.typing as npt
import tifffile
from rich.console import Console
from rich.table import Table

from benchmarks import made_up
from benchmarks.limits import against, reached
from benchmarks.processes import Took, load, measured, median
from peers.environment import python_of_peers

CHUNK, THREADS = 128, 2
LEAST = "compressing alone", "writing with fsync"
WITHIN = 1.5
Floats = npt.NDArray[np.float32]


def run(console: Console) -> None:
    """A cube of 512 voxels."""
    _compare(console, size=512, rounds=3, faster=4, memory=0.5)


def run_large(console: Console) -> None:
    """A cube of 1024 voxels: ngff-zarr needs 12 GB of memory for it."""
    _compare(console, size=1024, rounds=1, faster=3.5, memory=0.25)


def _compare(console: Console, size: int, rounds: int, faster: float, memory: float) -> None:
    peer = python_of_peers()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        stack = made_up.stack(folder / "rec", size)
        commands = {
            "ours": [sys.executable, "-m", "tomography", "pyramid", str(stack), "{out}"],
            "ngff-zarr, dask-image gaussian": [str(peer), "-m", "peers.pyramid", str(stack), "{out}"],
        }
        taken: dict[str, list[Took]] = {name: [] for name in (*commands, *LEAST)}
        for number in range(rounds):
            for name, command in commands.items():
                out = folder / f"{number}-{len(taken[name])}.zarr"
                taken[name].append(measured([word.format(out=out) for word in command])[0])
                shutil.rmtree(out)
            for name, took in zip(LEAST, _least(stack, folder / "bytes"), strict=True):
                taken[name].append(took)
    _print(console, size, rounds, {name: median(some) for name, some in taken.items()}, faster, memory)


def _print(console: Console, size: int, rounds: int, taken: dict[str, Took], faster: float, memory: float) -> None:
    ours, theirs = (taken[name] for name in list(taken)[:2])
    title = f"A pyramid of {size} x {size} x {size} voxels, {THREADS} cores: median of {rounds}"
    table = Table(title=title, title_justify="left")
    for column in ("", "wall, s", "processor, s", "peak, GB"):
        table.add_column(column, justify="right")
    for name, took in taken.items():
        peak = f"{took.peak_gb:.2f}" if took.peak_gb else ""
        table.add_row(name, f"{took.wall_s:.1f}", f"{took.cpu_s:.1f}", peak)
    console.print(table)
    least = max(taken[name].wall_s for name in LEAST)
    for what, said in (
        (
            "times faster than ngff-zarr",
            (theirs.wall_s / ours.wall_s, reached(theirs.wall_s / ours.wall_s, faster, "")),
        ),
        ("times less of the processor", (theirs.cpu_s / ours.cpu_s, "")),
        ("of its memory", (ours.peak_gb / theirs.peak_gb, against(ours.peak_gb / theirs.peak_gb, memory, ""))),
        ("times the larger of the last two", (ours.wall_s / least, against(ours.wall_s / least, WITHIN, "times"))),
    ):
        console.print(f"{said[0]:.2f} {what} {said[1]}")
    console.print(load())


def _least(stack: Path, out: Path) -> Iterator[Took]:
    """Compressing the chunks of all levels with two threads, nothing else; then writing these bytes, to the disk."""
    numcodecs.blosc.use_threads = False
    codec = numcodecs.Blosc("zstd", 1, numcodecs.Blosc.SHUFFLE)
    compressing = Took(0.0, 0.0, 0.0)
    files = sorted(stack.glob("*.tiff"))
    written_s = written_cpu_s = 0.0
    with ThreadPoolExecutor(THREADS) as pool, out.open("wb") as file:
        for start in range(0, len(files), CHUNK):
            layer = np.stack([tifffile.imread(path) for path in files[start : start + CHUNK]])
            chunks = [np.ascontiguousarray(chunk) for chunk in _chunks(layer)]
            wall, cpu = time.perf_counter(), time.process_time()
            compressed = list(pool.map(codec.encode, chunks))
            took = Took(time.perf_counter() - wall, time.process_time() - cpu, 0.0)
            # Of the coarser levels there are a seventh as many chunks.
            compressing = Took(compressing.wall_s + took.wall_s * 8 / 7, compressing.cpu_s + took.cpu_s * 8 / 7, 0.0)
            wall, cpu = time.perf_counter(), time.process_time()
            for content in compressed:
                file.write(content)
            for content in compressed[: len(compressed) // 7]:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            written_s += time.perf_counter() - wall
            written_cpu_s += time.process_time() - cpu
    out.unlink()
    yield compressing
    yield Took(written_s, written_cpu_s, 0.0)


def _chunks(layer: Floats) -> Iterator[Floats]:
    for y in range(0, layer.shape[1], CHUNK):
        for x in range(0, layer.shape[2], CHUNK):
            yield layer[:, y : y + CHUNK, x : x + CHUNK]
