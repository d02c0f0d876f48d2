"""``python -m benchmarks.slices_alone RAW.h5 --nufft LIBRARY``: slices from sinograms in memory; the time as JSON.

Belongs here: filter and transform, of pairs of rows on threads, nothing else. Does not: what it is compared with. Runs
in the environment of the peers too, where ducc0 is.
"""

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tomography.fourier import Reconstructor, geometry
from tomography.normalise import absorption
from tomography.scan import open_scan
from tomography.settings import Nufft, Settings


def main() -> None:
    """The wall and processor time for all slices of the scan."""
    parser = argparse.ArgumentParser()
    parser.add_argument("raw", type=Path)
    parser.add_argument("--nufft", type=Nufft, default=Nufft.FINUFFT)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    settings = Settings(nufft=asked.nufft)
    with open_scan(asked.raw) as scan:
        sinograms = absorption(scan.read_rows(0, scan.rows), settings)
        shared = geometry(scan.theta_deg, scan.columns, (scan.columns - 1) / 2, settings, scan.pixel_size_um)
    with ThreadPoolExecutor(asked.threads) as pool:
        makers = list(pool.map(lambda _: Reconstructor(shared), range(asked.threads)))

        def work(number: int) -> None:
            for row in range(2 * number, len(sinograms), 2 * asked.threads):
                makers[number](sinograms[row : row + 2])

        wall, cpu = time.perf_counter(), time.process_time()
        list(pool.map(work, range(asked.threads)))
        took = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
    sys.stdout.write(json.dumps(took) + "\n")


if __name__ == "__main__":
    main()
