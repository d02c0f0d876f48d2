"""What a person can choose about a reconstruction.

Belongs here: every choice that changes a voxel, with its unit and its default, its command-line form and its file.
Does not: what only changes speed (threads) or paths. Imports pydantic and the standard library, nothing heavier:
the asset graph imports this module to describe runs that happen elsewhere.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from tomography.errors import SettingsError


class Filter(StrEnum):
    """The window over the ramp in the filtered back-projection."""

    RAMP = "ramp"
    BUTTERWORTH = "butterworth"
    HANN = "hann"


class CenterMethod(StrEnum):
    """How the axis is found where it is not given."""

    PHASE_CORRELATION = "phase-correlation"
    VO = "vo"
    NELDER_MEAD = "nelder-mead"


class Rings(StrEnum):
    """How the columns that a detector gets wrong at every angle, seen as rings, are corrected."""

    MEAN_SINOGRAM = "mean-sinogram"
    FOURIER_WAVELET = "fourier-wavelet"
    TITARENKO = "titarenko"
    SMOOTHING = "smoothing"
    VO = "vo"
    NONE = "none"


class Numbers(StrEnum):
    """The type of the stored values."""

    FLOAT32 = "float32"
    UINT16 = "uint16"
    UINT8 = "uint8"


class Padding(StrEnum):
    """What stands beyond the detector's edges while the ramp is applied."""

    EDGE = "edge"
    ZERO = "zero"


class Flats(StrEnum):
    """Which flat fields a projection is normalised by."""

    MEAN = "mean"
    INTERPOLATED = "interpolated"
    NEAREST = "nearest"


class Phase(StrEnum):
    """When the phase is retrieved (Paganin's filter): before the logarithm, as it is derived, or after it."""

    NONE = "none"
    PAGANIN = "paganin"
    LEGACY = "legacy"


class Device(StrEnum):
    """What slices are computed on."""

    CPU = "cpu"
    CUDA = "cuda"


class Nufft(StrEnum):
    """The library of the non-uniform FFT."""

    FINUFFT = "finufft"
    DUCC0 = "ducc0"


_NUMBERS = r"(|-?\d+(\.\d+)?(e-?\d+)?(,-?\d+(\.\d+)?(e-?\d+)?)*)"
_RANGES = r"(|\d+(-\d+)?(,\d+(-\d+)?)*)"
_SOME = r"(|\d{1,9}|\d{0,9}:\d{0,9}(:[1-9]\d{0,8})?)"


class Settings(BaseModel):
    """The settings of a reconstruction. Equal settings on equal input give equal bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    center_px: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Column of the rotation axis, in pixels; 0 is the middle of the first column. None: find it."""

    center_method: CenterMethod = CenterMethod.PHASE_CORRELATION
    """How the centre is found: ``phase-correlation`` of opposite projections, ``vo`` (the double wedge of sinograms),
    or ``nelder-mead``: from the first one's on to where the entropy of slices is least."""

    stitch_360: bool = False
    """Of a full turn with the axis near an edge of the detector: join opposite projections to slices of up to twice the
    detector's width."""

    strict_center: bool = False
    """Refuse when the detector rows disagree about the centre, instead of flagging it."""

    angle_offset_deg: float = Field(default=0.0, ge=-360, le=360)
    """Turn the slices by this angle, in degrees."""

    rows: str = Field(default="", pattern=f"^{_SOME}$")
    """Detector rows of which slices are made, counted from 0: one, or ``first:last`` or ``first:last:step``, both ends
    included; ``::10`` is every tenth. Empty: all."""

    projections: str = Field(default="", pattern=f"^{_SOME}$")
    """Projections that are used, likewise: ``::2`` is every second. Empty: all."""

    ignored_projections: str = Field(default="", pattern=f"^{_RANGES}$")
    """Projections that are left out, counted from 0: numbers and ranges, as ``3,17,20-25``."""

    flat_exposure_ratio: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The exposure of a flat field, in exposures of a projection. None: what the scan says, else 1."""

    flats: Flats = Flats.MEAN
    """Which flat fields normalise a projection: their ``mean``, those taken before and after it ``interpolated`` in
    time, or the ``nearest``."""

    zinger_2d: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Replace a pixel that is brighter than the median around it by this part of the flat field's light; 0: none."""

    zinger_1d: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """The same beside the projections before and after it, in the same pixel; 0: none."""

    zinger_size_px: int = Field(default=3, ge=3, le=15)
    """The width of both medians, in pixels and projections; odd."""

    tilt_deg: float = Field(default=0.0, ge=-45, le=45)
    """Turn the projections by this angle, in degrees, counter-clockwise with row 0 on top: the detector's tilt against
    the axis of rotation."""

    lens_distortion: bool = False
    """Undo the radial distortion of the camera's lens."""

    lens_factors: str = Field(
        default="1.00015076,1.9289e-6,-2.4325e-8,1.00439e-11,-3.99352e-15", pattern=f"^{_NUMBERS}$"
    )
    """Of the distortion: at r pixels from the lens's centre, r (a0 + a1 r + a2 r^2 + ...) was measured; a0,a1,a2,..."""

    lens_center_row_px: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The detector row that the lens's centre falls on; 0 is the middle of the first. None: the detector's middle."""

    lens_center_column_px: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The column that the lens's centre falls on. None: the detector's middle."""

    drift_down_px: float = Field(default=0.0, ge=-1000, le=1000)
    """By how many rows the sample has moved down between the first projection and the last, evenly."""

    drift_across_px: float = Field(default=0.0, ge=-1000, le=1000)
    """By how many columns it has moved to the right."""

    minimum_transmission: float = Field(default=0.01, gt=0, lt=1)
    """Transmissions below this count as this before the logarithm."""

    phase: Phase = Phase.NONE
    """Paganin's phase retrieval: ``none``, ``paganin`` (before the logarithm), or ``legacy`` (after it)."""

    phase_alpha: float = Field(default=1e-5, gt=0, lt=1)
    """The regularisation of phase retrieval, about beta / delta; smaller is smoother."""

    phase_distance_cm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """From sample to detector, in cm. None: the scan's own camera distance."""

    phase_energy_ev: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The photon energy, in eV. None: the scan's own."""

    beam_hardening: str = Field(default="", pattern=f"^{_NUMBERS}$")
    """Coefficients c1,c2,... of a polynomial c1 p + c2 p^2 + ... that takes the place of each absorption p."""

    rings: Rings = Rings.MEAN_SINOGRAM
    """The correction of rings."""

    rings_size_px: int = Field(default=9, ge=3, le=101)
    """The width of the median (``mean-sinogram``, ``vo``) or mean (``smoothing``) over columns, in pixels; odd."""

    rings_level: int = Field(default=4, ge=1, le=12)
    """Levels of the wavelet transform (``fourier-wavelet``): more reach wider rings."""

    rings_sigma: float = Field(default=2.0, gt=0, le=100)
    """How wide the damped band of frequencies is (``fourier-wavelet``)."""

    rings_alpha: float = Field(default=1.5, gt=0, le=100)
    """The strength of the regularisation (``titarenko``): smaller is stronger."""

    rings_large_px: int = Field(default=61, ge=3, le=501)
    """The width of the median that finds wide and dead stripes (``vo``), in pixels: wider than these."""

    rings_ratio: float = Field(default=3.0, gt=0, le=100)
    """From how many times the noise of the columns on a stripe is wide or dead (``vo``): less finds more."""

    rings_polar_px: int = Field(default=0, ge=0, le=501)
    """Remove rings from the slices too, in polar coordinates: the width of the median over radii; 0: none."""

    rings_polar_arc_deg: float = Field(default=30.0, ge=1, le=180)
    """So far around goes what is a ring there, in degrees."""

    filter: Filter = Filter.RAMP
    """The window over the ramp."""

    butterworth_cutoff_cycles_per_px: float = Field(default=0.25, gt=0, le=0.5)
    """Where the Butterworth window falls to one half; 0.5 is the Nyquist frequency. Unused with ``ramp``."""

    butterworth_order: int = Field(default=2, ge=1, le=16)
    """Steepness of the Butterworth window. Unused with ``ramp``."""

    padding: Padding = Padding.EDGE
    """What stands beyond the detector: its last column repeated (``edge``), right for samples that are wider, or
    nothing (``zero``)."""

    padding_factor: float = Field(default=2.0, ge=1, le=4)
    """The width with padding, as a multiple of the slice's; below 2 a side of a wide sample reaches into the other."""

    circle: bool = True
    """Set everything outside the circle that all projections see to zero."""

    nufft: Nufft = Nufft.FINUFFT
    """The library of the back-projection: ``ducc0`` is faster, and an extra of its own under the GPL. Unused with
    ``cuda``."""

    device: Device = Device.CPU
    """Where filter and back-projection run: ``cpu``, or ``cuda``, an NVIDIA graphics card. Where there is none, on the
    processors, and that is flagged."""

    dtype: Numbers = Numbers.FLOAT32
    """The type of the stored values: ``float32`` as they are, or ``uint16`` or ``uint8`` between two limits."""

    lowest: float | None = Field(default=None, allow_inf_nan=False)
    """The value that is stored as 0, in the unit of the slices (``uint16``, ``uint8``). None: that below which 0.1 % of
    the values of some slices lie."""

    highest: float | None = Field(default=None, allow_inf_nan=False)
    """The value that is stored as the largest number (``uint16``, ``uint8``). None: that above which 0.1 % lie."""

    def arguments(self) -> list[str]:
        """These settings as arguments of ``tomography reconstruct`` or ``preview``; defaults are spelled out."""
        words: list[str] = []
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if value is None or value == "" or (value is False and field.default is False):
                continue  # there is no option that says so
            if value is False:
                words.append(option(name).replace("--", "--no-", 1))
            else:
                words += [option(name)] if value is True else [option(name), str(value)]
        return words

    @property
    def ignored(self) -> frozenset[int]:
        """The projections that are left out, counted from 0."""
        found: set[int] = set()
        for part in filter(None, self.ignored_projections.split(",")):
            first, _, last = part.partition("-")
            found |= set(range(int(first), int(last or first) + 1))
        return frozenset(found)

    def some_of(self, setting: str, count: int) -> range:
        """Those of ``count`` rows, or projections, that are wanted. Raises SettingsError where there are fewer."""
        words = str(getattr(self, setting))
        parts = words.split(":")
        first, step = int(parts[0] or 0), int(parts[2]) if len(parts) == 3 else 1
        last = first if len(parts) == 1 and words else int(parts[1]) if len(parts) > 1 and parts[1] else count - 1
        if not first <= last < count:
            raise SettingsError(f"{option(setting)} {words}: the scan's {setting} are 0 to {count - 1}.")
        return range(first, last + 1, step)

    @property
    def lens_polynomial(self) -> tuple[float, ...]:
        """The factors of the lens, that of r^0 first; 1 alone, which changes nothing, for none."""
        return _numbers(self.lens_factors) or (1.0,)

    @property
    def hardening(self) -> tuple[float, ...]:
        """The coefficients of the beam hardening polynomial, that of p first; empty for none."""
        return _numbers(self.beam_hardening)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(",")) if text else ()


def read_settings(path: Path) -> Settings:
    """Settings from a YAML file; what it does not name has its default. Raises SettingsError."""
    import yaml

    try:
        found: Any = yaml.safe_load(path.read_text())
        return Settings.model_validate({} if found is None else found)
    except OSError as error:
        raise SettingsError(f"{str(path)!r} cannot be read ({error.strerror}).") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{str(path)!r} is not YAML: {' '.join(str(error).split())}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])) or "it"
        raise SettingsError(f"{str(path)!r}: {name} = {str(first['input'])[:100]}: {first['msg']}.") from error


def written(settings: Settings) -> str:
    """Settings as a YAML file, every one of them with what it is."""
    lines = []
    for name in Settings.model_fields:
        value = settings.model_dump(mode="json")[name]
        lines += [f"# {' '.join(described(name).split())}", f"{name}: {_scalar(value)}"]
    return "\n".join(lines) + "\n"


def _scalar(value: Any) -> str:
    import json

    return json.dumps(value)  # every JSON scalar is one of YAML


_UNITS = ("_cycles_per_px", "_px", "_deg", "_cm", "_ev")


def option(name: str) -> str:
    """A setting on a command line: ``--center`` for ``center_px``. What its number counts, its help says."""
    unit = next((unit for unit in _UNITS if name.endswith(unit)), "")
    return "--" + name.removesuffix(unit).replace("_", "-")


def described(name: str) -> str:
    """What a setting is, for whoever chooses it, with its limits."""
    field = Settings.model_fields[name]
    limits = [f"{words} {value:g}" for limit, words in _LIMITS if (value := _limit(field, limit)) is not None]
    text = " ".join(str(field.description).split())
    return f"{text} {', '.join(limits).capitalize()}.".strip() if limits else text


_LIMITS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))


def _limit(field: FieldInfo, name: str) -> float | None:
    return next((getattr(rule, name) for rule in field.metadata if hasattr(rule, name)), None)
