"""Slices from sinograms in memory, beside algotom's filtered back-projection; and what a second core brings.

Belongs here: reconstruction alone, wall and processor time a slice; the whole program with one and two threads.
Does not: whether slices are right (accuracy).
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median as middle
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import made_up
from benchmarks.limits import reached
from benchmarks.processes import Took, load, measured, median
from peers.environment import python_of_peers

COLUMNS, ANGLES, SLICES, PEER_SLICES, ROUNDS = 1024, 1025, 32, 8, 3
THREADS = 2
PEER = "algotom FBP"
WANTED = {"finufft": 20, "ducc0": 30}
_OF_PEER = (
    "--center",
    str((COLUMNS - 1) / 2),
    "--rows",
    ",".join(str(row) for row in range(PEER_SLICES)),
    "--threads",
    str(THREADS),
)
SCALING_ROWS, WANTED_SCALING = 384, 1.8


def run(console: Console) -> None:
    """Both tables; ours and theirs in turn, so that a busy machine slows both."""
    peers = str(python_of_peers())
    with tempfile.TemporaryDirectory() as folder:
        raw = made_up.scan(Path(folder) / "scan.h5", SLICES, COLUMNS, ANGLES)
        alone = ["-m", "benchmarks.slices_alone", str(raw), "--threads", str(THREADS)]
        theirs = ["-m", "peers.slices", str(raw), f"{folder}/out.npz", "--programs", "algotom-fbp", *_OF_PEER]
        commands = {
            "finufft": [sys.executable, *alone],
            "ducc0": [peers, *alone, "--nufft", "ducc0"],
            PEER: [peers, *theirs],
        }
        taken: dict[str, list[Took]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                taken[name].append(_a_slice(json.loads(measured(command)[1]), PEER_SLICES if name == PEER else SLICES))
        _print_slices(console, {name: median(some) for name, some in taken.items()})
        _scaling(console, Path(folder))


def _a_slice(said: dict[str, Any], slices: int) -> Took:
    took = said.get("algotom-fbp ramp", said)
    return Took(took["wall_s"] / slices, took["cpu_s"] / slices, 0)


def _print_slices(console: Console, taken: dict[str, Took]) -> None:
    title = f"A slice of {COLUMNS} px from {ANGLES} angles, {THREADS} threads: median of {ROUNDS}"
    table = Table(title=title, title_justify="left")
    for column in ("", "wall, ms", "processor, ms", "times faster", "on the processor", "to reach"):
        table.add_column(column, justify="right")
    peer = taken[PEER]
    for name, took in taken.items():
        wall, cpu = peer.wall_s / took.wall_s, peer.cpu_s / took.cpu_s
        wanted = reached(wall, WANTED[name], "times") if name in WANTED else ""
        figures = (f"{1000 * took.wall_s:.0f}", f"{1000 * took.cpu_s:.0f}", f"{wall:.1f}", f"{cpu:.1f}")
        table.add_row(name, *figures, wanted)
    console.print(table)
    console.print(load())


def _scaling(console: Console, folder: Path) -> None:
    raw = made_up.scan(folder / "tall.h5", SCALING_ROWS, COLUMNS, ANGLES)
    taken: dict[int, list[Took]] = {1: [], THREADS: []}
    for number in range(ROUNDS):
        for threads, some in taken.items():
            command = [sys.executable, "-m", "tomography", "reconstruct", str(raw), f"{folder}/rec-{threads}-{number}"]
            some.append(measured([*command, "--threads", str(threads)])[0])
    title = f"The whole program, {SCALING_ROWS} slices of {COLUMNS} px: median of {ROUNDS}"
    table = Table(title=title, title_justify="left")
    for column in ("threads", "wall, s", "processor, s", "peak, GB", "times faster", "to reach"):
        table.add_column(column, justify="right")
    alone = middle(one.wall_s for one in taken[1])
    for threads, some in taken.items():
        took = median(some)
        figures = (f"{took.wall_s:.1f}", f"{took.cpu_s:.1f}", f"{took.peak_gb:.2f}", f"{alone / took.wall_s:.2f}")
        wanted = reached(alone / took.wall_s, WANTED_SCALING, "times") if threads > 1 else ""
        table.add_row(str(threads), *figures, wanted)
    console.print(table)
    console.print(load())
