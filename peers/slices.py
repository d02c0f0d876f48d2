"""``python -m peers.slices RAW.h5 OUT.npz``: slices of a raw scan by other programs; their times as JSON.

Belongs here: how each program is called, and its conventions turned into ours. Does not: judgement. Runs in the
environment of the peers.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from algotom.prep import removal
from algotom.rec import reconstruction

from peers.raw import absorption

Floats = npt.NDArray[np.float32]

WINDOWS = {"ramp": None, "hann": "hann"}


def algotom_fbp(sinograms: Floats, theta: npt.NDArray[np.float64], center: float, window: str, threads: int) -> Floats:
    """Filtered back-projection, of [angle, row, column]."""
    found: Floats = reconstruction.fbp_reconstruction(
        sinograms, center, theta, filter_name=WINDOWS[window], apply_log=False, gpu=False, ncore=threads
    )
    return found


def algotom_dfi(sinograms: Floats, theta: npt.NDArray[np.float64], center: float, window: str, threads: int) -> Floats:
    """Direct Fourier inversion, of [angle, row, column]."""
    found: Floats = reconstruction.dfi_reconstruction(
        sinograms, center, theta, filter_name=WINDOWS[window], apply_log=False, ncore=threads
    )
    return found


PROGRAMS: dict[str, Callable[..., Floats]] = {"algotom-fbp": algotom_fbp, "algotom-dfi": algotom_dfi}


def main() -> None:
    """Every program with every window; once to compile, and once for the clock."""
    parser = argparse.ArgumentParser()
    parser.add_argument("raw", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--center", type=float, required=True)
    parser.add_argument("--rows", required=True, help="detector rows, as 0,5,9")
    parser.add_argument("--programs", default=",".join(PROGRAMS))
    parser.add_argument("--windows", default="ramp")
    parser.add_argument("--rings", action="store_true", help="its own corrections of rings, all of them")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    sinograms, theta, pixel_cm = absorption(asked.raw, [int(row) for row in asked.rows.split(",")])
    if asked.rings:
        for row in range(sinograms.shape[1]):
            sinograms[:, row] = removal.remove_all_stripe(sinograms[:, row])
    found: dict[str, Any] = {}
    took = {}
    for name in asked.programs.split(","):
        program = PROGRAMS[name]
        program(sinograms[:, :2].copy(), theta, asked.center, "ramp", asked.threads)
        for window in asked.windows.split(","):
            wall, cpu = time.perf_counter(), time.process_time()
            slices = program(sinograms, theta, asked.center, window, asked.threads)
            took[f"{name} {window}"] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
            # Its y points upwards: [y, row, x].
            found[f"{name} {window}"] = slices.transpose(1, 0, 2)[:, ::-1] / np.float32(pixel_cm)
    np.savez(asked.out, **found)
    sys.stdout.write(json.dumps(took) + "\n")


if __name__ == "__main__":
    main()
