"""What a person can choose about a reconstruction.

Belongs here: every choice that changes a voxel, with its unit and its default, and its command-line form.
Does not: what only changes speed (threads) or paths. Imports pydantic and the standard library, nothing heavier:
the asset graph imports this module to describe runs that happen elsewhere.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Filter(StrEnum):
    """The window over the ramp in the filtered back-projection."""

    RAMP = "ramp"
    BUTTERWORTH = "butterworth"


class Rings(StrEnum):
    """How the columns that a detector gets wrong at every angle, seen as rings, are corrected."""

    MEAN_SINOGRAM = "mean-sinogram"
    NONE = "none"


class Settings(BaseModel):
    """The settings of a reconstruction. Equal settings on equal input give equal bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    center_px: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Column of the rotation axis, in pixels; 0 is the middle of the first column. None: find it."""

    strict_center: bool = False
    """Refuse when the detector rows disagree about the centre, instead of flagging it."""

    filter: Filter = Filter.RAMP
    """The window over the ramp."""

    butterworth_cutoff_cycles_per_px: float = Field(default=0.25, gt=0, le=0.5)
    """Where the Butterworth window falls to one half; 0.5 is the Nyquist frequency. Unused with ``ramp``."""

    butterworth_order: int = Field(default=2, ge=1, le=16)
    """Steepness of the Butterworth window. Unused with ``ramp``."""

    rings: Rings = Rings.MEAN_SINOGRAM
    """The correction of rings."""

    minimum_transmission: float = Field(default=0.01, gt=0, lt=1)
    """Transmissions below this count as this before the logarithm."""

    def arguments(self) -> list[str]:
        """These settings as arguments of ``tomography reconstruct`` or ``preview``; defaults are spelled out."""
        center = [] if self.center_px is None else ["--center", repr(self.center_px)]
        strict = ["--strict-center"] if self.strict_center else []
        return [
            *center,
            *strict,
            *("--filter", self.filter.value),
            *("--butterworth-cutoff", repr(self.butterworth_cutoff_cycles_per_px)),
            *("--butterworth-order", str(self.butterworth_order)),
            *("--rings", self.rings.value),
            *("--minimum-transmission", repr(self.minimum_transmission)),
        ]
