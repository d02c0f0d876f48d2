"""What a person can choose about a reconstruction.

Belongs here: every choice that changes a voxel, with its unit and its default, and its command-line form.
Does not: what only changes speed (threads) or paths. Imports pydantic and the standard library, nothing heavier:
the asset graph imports this module to describe runs that happen elsewhere.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


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
        words: list[str] = []
        for name in type(self).model_fields:
            value = getattr(self, name)
            if value is None or value is False:
                continue  # there is no option that says so
            words += [option(name)] if value is True else [option(name), str(value)]
        return words


_UNITS = ("_cycles_per_px", "_px")


def option(name: str) -> str:
    """A setting on a command line: ``--center`` for ``center_px``. What its number counts, its help says."""
    unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
    return "--" + name.removesuffix(unit).replace("_", "-")


def described(name: str) -> str:
    """What a setting is, for whoever chooses it, with its limits."""
    field = Settings.model_fields[name]
    limits = [f"{words} {value:g}" for limit, words in _LIMITS if (value := _limit(field, limit)) is not None]
    return f"{field.description} {', '.join(limits).capitalize()}.".strip() if limits else str(field.description)


_LIMITS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def _limit(field: FieldInfo, name: str) -> float | None:
    return next((getattr(rule, name) for rule in field.metadata if hasattr(rule, name)), None)
