"""How a volume is divided: into layers, always the same, and into parts that several processes make.

Belongs here: the height of a layer, which layers are whose, of which detector rows they are, how parts and versions of
the format are named.
Does not: what a part writes, or joining them (tomography.merging). Imports nothing heavy: the command line reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tomography.errors import SettingsError

LAYER_ROWS = 128
"""Rows of a layer, everywhere: what is resumed, which rows share a transform, and the height of a chunk."""

_PART = re.compile(r"([1-9]\d*)/([1-9]\d*)")


class Format(StrEnum):
    """The version of OME-Zarr: 0.4 on Zarr v2, or 0.5 on Zarr v3 with shards."""

    V04 = "0.4"
    V05 = "0.5"


@dataclass(frozen=True)
class Part:
    """The part ``number``, from 1 on, ``of`` so many."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}-of-{self.of}"

    def layers(self, count: int) -> range:
        """Those of ``count`` layers that are this part's: parts differ by one layer at most."""
        return range(count * (self.number - 1) // self.of, count * self.number // self.of)


def told_of(rows: range) -> dict[str, int]:
    """What results say of the detector rows of which there are slices."""
    return {"first": rows.start, "step": rows.step}


def rows_told(results: Mapping[str, Any], count: int) -> range:
    """The detector rows of ``count`` slices, by what results say of them; of one that says nothing, all."""
    told = results.get("detector_rows", {"first": 0, "step": 1})
    return range(told["first"], told["first"] + count * told["step"], told["step"])


def layers_of(rows: int, part: Part | None) -> range:
    """The layers of a volume of so many rows that a part makes; without one, all."""
    count = -(-rows // LAYER_ROWS)
    return range(count) if part is None else part.layers(count)


def part_of(words: str, environ: Mapping[str, str]) -> Part:
    """The part that ``i/n`` names, or ``slurm``: this task's among those of its step. Raises SettingsError."""
    if words == "slurm":
        rank, tasks = (environ.get(name, "") for name in ("SLURM_PROCID", "SLURM_NTASKS"))
        if not (rank.isdecimal() and tasks.isdecimal() and int(rank) < int(tasks)):
            raise SettingsError(
                f"--part slurm: SLURM_PROCID is {rank!r} and SLURM_NTASKS {tasks!r}: this is no task of srun."
            )
        return Part(int(rank) + 1, int(tasks))
    match = _PART.fullmatch(words)
    if match is None or int(match[1]) > int(match[2]):
        raise SettingsError(f"--part {words}: a part is i/n, as 2/4, or slurm inside of srun.")
    return Part(int(match[1]), int(match[2]))
