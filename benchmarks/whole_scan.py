"""The whole program on scans of 2 GB, of 2560 and of 1024 columns: what it spends outside the NUFFT, and when there is
something to see.

Belongs here: shares of processor time, the first slice, the first coarse level. Does not: whether slices are right.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import made_up
from benchmarks.limits import against
from benchmarks.processes import load, measured

ROWS, COLUMNS, ANGLES = 200, 2560, 1969
NARROW = 950, 1024, 1025
MOST_OUTSIDE = 0.25
FIRST_S = 10


def run(console: Console) -> None:
    """One run for the shares, and one of each scan with a pyramid for the first results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = made_up.scan(folder / "scan.h5", ROWS, COLUMNS, ANGLES)
        _shares(console, folder, raw)
        _first(console, folder, raw, COLUMNS)
        _first(console, folder, made_up.scan(folder / "narrow.h5", *NARROW), NARROW[1])
    console.print(load())


def _shares(console: Console, folder: Path, raw: Path) -> None:
    clocked = [sys.executable, "-m", "benchmarks.inside_nufft", str(folder / "inside.json")]
    took, _ = measured([*clocked, "reconstruct", str(raw), str(folder / "rec")])
    inside = json.loads((folder / "inside.json").read_text())["cpu_s"]
    outside = 1 - inside / took.cpu_s
    title = f"Raw file to TIFF: {ROWS} slices of {COLUMNS} px from {ANGLES} angles ({raw.stat().st_size / 1e9:.1f} GB)"
    table = Table(title=title, title_justify="left")
    for column in ("", "a run", "a slice"):
        table.add_column(column, justify="right")
    for what, seconds in (("wall", took.wall_s), ("processor", took.cpu_s), ("of that in the NUFFT", inside)):
        table.add_row(what, f"{seconds:.1f} s", f"{1000 * seconds / ROWS:.0f} ms")
    table.add_row("not in the NUFFT", f"{outside:.0%}", against(outside, MOST_OUTSIDE, "at most"))
    writing = _writing_alone(folder / "rec", folder / "again")
    table.add_row("writing such files, nothing else", f"{writing:.1f} s", f"{1000 * writing / ROWS:.0f} ms")
    table.add_row("peak memory", f"{took.peak_gb:.2f} GB", "")
    console.print(table)


def _writing_alone(stack: Path, again: Path) -> float:
    """The processor's seconds for files as large as those of the stack: what no program can save."""
    again.mkdir()
    content, began = next(stack.glob("*.tiff")).read_bytes(), time.process_time()
    for path in stack.glob("*.tiff"):
        (again / path.name).write_bytes(content)
    return time.process_time() - began


def _first(console: Console, folder: Path, raw: Path, columns: int) -> None:
    """Of a pyramid's level 1 the first files are made of 256 slices: so many have to be there first."""
    stack, pyramid = folder / f"seen-{columns}", folder / f"seen-{columns}.zarr"
    seen: dict[str, float] = {}
    began = time.perf_counter()

    def look() -> None:
        for what, where in (("first slice", stack.glob("*.tiff")), ("first coarse level", pyramid.glob("[1-9]/0/*/*"))):
            if what not in seen and any(where):
                seen[what] = time.perf_counter() - began

    command = [sys.executable, "-m", "tomography", "reconstruct", str(raw), str(stack), "--pyramid", str(pyramid)]
    took, _ = measured(command, look)
    for what, seconds in seen.items():
        console.print(f"{columns} px, {what}: {seconds:.1f} s after the start, {against(seconds, FIRST_S, 's')}")
    said = f"{took.wall_s:.1f} s, {took.cpu_s:.1f} s of the processor, {took.peak_gb:.2f} GB"
    console.print(f"{columns} px, stack and pyramid: {said}")
