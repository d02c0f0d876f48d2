"""The simulated beamline: scans that appear on the acquisition machine as the acquisition program writes them.

Belongs here: making a phantom scan, and letting a file grow under its final name.
Does not: what a scan holds (tomography makes phantoms), or where scans may lie (beamlines).
"""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

STEPS = 50
PHANTOM_TIMEOUT_S = 600

Sleep = Callable[[float], None]


class PhantomFailedError(RuntimeError):
    """The program that makes phantoms did not make one."""


@dataclass(frozen=True)
class Phantom:
    """What is measured: detector rows and columns in pixels, and how many angles."""

    rows: int
    columns: int
    angles: int
    seed: int


def scan_name(now: datetime, text: str) -> str:
    """``<YYYYMMDD>_<HHMMSS>_<text>.h5``, as the acquisition program names a scan."""
    return f"{now:%Y%m%d_%H%M%S}_{text}.h5"


def make_phantom(phantom: Phantom, path: Path) -> None:
    """Write a phantom's raw scan to ``path``. Raises PhantomFailedError."""
    options = [("--rows", phantom.rows), ("--columns", phantom.columns)]
    options += [("--angles", phantom.angles), ("--seed", phantom.seed)]
    command = [sys.executable, "-m", "tomography", "phantom", str(path)]
    command += [word for name, value in options for word in (name, str(value))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PHANTOM_TIMEOUT_S, check=False)
    if done.returncode != 0 or not path.is_file():
        raise PhantomFailedError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr.strip()}")


def write_scan(source: Path, destination: Path, *, seconds: float, sleep: Sleep) -> None:
    """Let ``destination`` grow to the content of ``source`` over ``seconds``, in place, as an acquisition does.

    Raises FileExistsError: the acquisition program never writes a name twice.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    chunk_bytes = max(1, -(-source.stat().st_size // STEPS))
    with source.open("rb") as reader, destination.open("xb") as writer:
        while chunk := reader.read(chunk_bytes):
            writer.write(chunk)
            writer.flush()
            sleep(seconds / STEPS)
