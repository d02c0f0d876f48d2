"""The programs as a person starts them, ours and the peers', and the volumes they write.

Belongs here: processes and reading their results. Does not: what is expected of them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from typer.testing import CliRunner

from peers.environment import PROJECT, python_of_peers
from tomography.cli import app

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reconstruction:
    """A volume [z, y, x], the stack it lies in, and what the program said of it."""

    volume: Floats
    stack: Path
    results: dict[str, Any]


def reconstruct(raw: Path, stack: Path, *options: str) -> Reconstruction:
    """Our program's stack of a scan. Raises RuntimeError with what it said where it did not make one."""
    said = tomography("reconstruct", str(raw), str(stack), *options)
    slices = sorted(stack.glob("*.tiff"))
    return Reconstruction(np.stack([tifffile.imread(path) for path in slices]), stack, said["results"])


def tomography(*arguments: str) -> dict[str, Any]:
    """The result of a command of our program, in this process: starting one costs a second. Raises RuntimeError."""
    done = CliRunner().invoke(app, [*arguments, "--json"], prog_name="tomography")
    if done.exit_code:
        raise RuntimeError(f"tomography {' '.join(arguments)} ended with {done.exit_code}: {done.output.strip()}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def peer_slices(raw: Path, center_px: float, rows: Sequence[int], *options: str) -> dict[str, Floats]:
    """Slices by other programs in our orientation and unit, [row, y, x], by program and window.

    ``options`` are those of peers.slices. Raises RuntimeError.
    """
    out = raw.with_suffix(".peers.npz")
    words = ["--center", str(center_px), "--rows", ",".join(map(str, rows)), *options]
    _of_peers("peers.slices", str(raw), str(out), *words)
    with np.load(out) as found:
        return {name: found[name] for name in found.files}


def reconstruct_there(raw: Path, stack: Path, *options: str) -> Floats:
    """Our program's volume of a scan, made in the environment of the peers. Raises RuntimeError."""
    _of_peers("tomography", "reconstruct", str(raw), str(stack), *options)
    return np.stack([tifffile.imread(path) for path in sorted(stack.glob("*.tiff"))])


def _of_peers(*words: str) -> None:
    command = [str(python_of_peers()), "-m", *words]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
