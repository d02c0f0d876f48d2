"""The Swiss Light Source's files (TOMCAT, X-TREME): Data Exchange, without most metadata.

Flat fields before and after may have a dataset each, and the angles of a series that was stopped another name. A file
may hold several turns, one after another (a time series): their angles go on, and all of them are read as one scan.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py

from tomography.errors import ScanError
from tomography.hdf5 import has
from tomography.layouts import data_exchange
from tomography.layouts.contents import Contents, Moments
from tomography.storage import OneAfterAnother

BEFORE = "/exchange/data_white_pre"
AFTER = "/exchange/data_white_post"
THETA_STOPPED = "/exchange/theta_aborted"


def recognise(file: h5py.File) -> bool:
    """By the names that no other layout has."""
    return has(file, data_exchange.DATA) and any(has(file, name) for name in (BEFORE, AFTER, THETA_STOPPED))


def read(path: Path, file: h5py.File) -> Contents:
    """What the file holds. Raises ScanError where there are no projections."""
    known = data_exchange.read(path, file)
    turn = known.turn
    if turn.theta_deg is None:
        turn = data_exchange.turn(path, file, "rotation_start", "rotation_step", THETA_STOPPED)
    last = known.projections.shape[0] - 1
    found = [
        (frames, before)
        for name, before in ((BEFORE, 0), (data_exchange.WHITE, 0), (AFTER, last))
        if (frames := data_exchange.frames(path, file, name)) and frames.shape[0]
    ]
    known = replace(known, layout="SLS", turn=turn, names={**known.names, "flat": f"{BEFORE} or {AFTER}"})
    if not found:
        return known
    if len({frames.shape[1:] for frames, _ in found}) > 1:
        sizes = ", ".join(f"{frames.name} {frames.shape[1:]}" for frames, _ in found)
        raise ScanError(
            f"{str(path)!r}: flat fields have different sizes ({sizes}): they are from different detectors."
        )
    groups, start = [], 0
    for frames, _ in found:
        groups.append(slice(start, start + frames.shape[0]))
        start += frames.shape[0]
    moments = Moments(groups, [before for _, before in found])
    return replace(known, flats=OneAfterAnother([frames for frames, _ in found]), moments=moments)
