"""Scans and stacks to measure on, as large as real ones and made in seconds.

Belongs here: files whose content costs a program what real content costs. Does not: anything whose values are checked.
"""

from pathlib import Path

import h5py
import numpy as np
import tifffile

from tomography.phantom import Phantom, write_phantom

DIFFERENT_ROWS = 8
NOISE_COUNTS = 150
DATASETS = ("data", "data_white", "data_dark")


def scan(path: Path, rows: int, columns: int, angles: int) -> Path:
    """A raw scan: a few rows of a phantom over and over, with noise that does not repeat."""
    seed = path.with_suffix(".seed.h5")
    phantom = Phantom(rows=min(rows, DIFFERENT_ROWS), columns=columns, angles=angles, noisy=False)
    write_phantom(seed, phantom, lambda *_: None)
    chance = np.random.default_rng(1)
    noise = (NOISE_COUNTS * chance.standard_normal(2 * rows * columns, np.float32)).astype(np.int16)
    with h5py.File(seed) as few, h5py.File(path, "w") as file:
        for name in few:
            if name != "exchange":
                few.copy(name, file)
        file["exchange/theta"] = few["exchange/theta"][()]
        for name in DATASETS:
            frames = few[f"exchange/{name}"]
            written = file.create_dataset(f"exchange/{name}", (len(frames), rows, columns), np.uint16)
            for number, frame in enumerate(frames):
                start = int(chance.integers(rows * columns))
                tiled = np.resize(frame, (rows, columns)) + noise[start : start + rows * columns].reshape(rows, columns)
                written[number] = np.clip(tiled, 0, 65535)
        file["measurement/instrument/detector/dimension_y"][()] = rows
    seed.unlink()
    return path


def stack(folder: Path, size: int) -> Path:
    """A cube of float32 slices, one TIFF file each: a disc in noise, which compresses as real slices do."""
    folder.mkdir()
    chance = np.random.default_rng(2)
    position = (np.arange(size) - (size - 1) / 2) / (size / 2)
    disc = (np.hypot(position[:, None], position) < 0.8).astype(np.float32)
    for number in range(size):
        image = disc + 0.1 * chance.standard_normal((size, size), np.float32)
        tifffile.imwrite(folder / f"{folder.name}_{number:05d}.tiff", image, metadata=None)
    return folder
