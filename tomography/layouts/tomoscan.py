"""TomoScan of the APS: Data Exchange, with metadata in other places and other units.

https://tomoscan.readthedocs.io. Angles are those of the frames that arrived: lost ones are left out there already.
``detector/pixel_size`` is the camera's own, without the lens; the energy is in keV.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py

from tomography.hdf5 import has, measured, number, text
from tomography.layouts import data_exchange
from tomography.layouts.contents import Contents

FRAME_LOCATION = "/defaults/HDF5FrameLocation"
PIXEL_SIZE_UM = "/measurement/instrument/detection_system/objective/resolution"
DIFFERENT_EXPOSURE = (
    "/process/acquisition/flat_fields/different_flat_exposure",
    "/measurement/instrument/detector/different_flat_exposure",
)
FLAT_EXPOSURE_S = (
    "/process/acquisition/flat_fields/flat_exposure_time",
    "/measurement/instrument/detector/exposure_time_flat",
)
EXPOSURE_S = "/measurement/instrument/detector/exposure_time"


def recognise(file: h5py.File) -> bool:
    """By the list of where each frame went, or by the lens."""
    return has(file, data_exchange.DATA) and (has(file, FRAME_LOCATION) or has(file, PIXEL_SIZE_UM))


def read(path: Path, file: h5py.File) -> Contents:
    """What the file holds. Raises ScanError where there are no projections."""
    known = data_exchange.read(path, file)
    pixel_size_um, energy_kev = number(file, PIXEL_SIZE_UM), measured(file, data_exchange.ENERGY_EV)
    return replace(
        known,
        layout="TomoScan",
        turn=data_exchange.turn(path, file, "start", "step"),
        pixel_size_mm=None if pixel_size_um is None else pixel_size_um / 1000,
        energy_ev=None if energy_kev is None else energy_kev * 1000,
        exposure_ratio=_exposure_ratio(file),
    )


def _exposure_ratio(file: h5py.File) -> float:
    said = next((said for name in DIFFERENT_EXPOSURE if (said := text(file, name))), "same")
    flat_s = next((time for name in FLAT_EXPOSURE_S if (time := measured(file, name))), None)
    exposure_s = measured(file, EXPOSURE_S)
    if said.lower() != "different" or not flat_s or not exposure_s:
        return 1.0
    return flat_s / exposure_s
