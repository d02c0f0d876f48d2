"""The ingester of 8.3.2: which values of a Data Exchange file with ALS metadata a catalogue is told, and as what.

Belongs here: paths in the file, their units, and the fields that are made of them.
Does not: reading the file (tomography), cleaning (cleaning), or what does not stand in the file.
"""

from collections.abc import Mapping

from beamlines.catalogue import cleaning
from beamlines.catalogue.entries import Described, Found, Value
from beamlines.scans import ScanId

_EXPERIMENT = "/measurement/sample/experiment"
PROPOSAL, PI, BEAMLINE = f"{_EXPERIMENT}/proposal", f"{_EXPERIMENT}/pi", f"{_EXPERIMENT}/beamline"
EMAIL = "/measurement/sample/experimenter/email"
FILE_NAME = "/measurement/sample/file_name"
INSTRUMENT = "/measurement/instrument/instrument_name"
UNKNOWN = "Unknown"
GROUPS = {"bl832": "8.3.2"}
"""Groups of the catalogue, by what the file calls the beamline."""

_SETTINGS = {
    "/measurement/instrument": ("instrument_name",),
    "/measurement/instrument/attenuator/setup": ("filter_y",),
    "/measurement/instrument/camera_motor_stack/setup": ("tilt_motor",),
    "/measurement/instrument/detection_system": ("objective/camera_objective", "scintillator/scintillator_type"),
    "/measurement/instrument/detector": (
        *("binning_x", "binning_y", "dark_field_value", "delay_time", "dimension_x", "dimension_y"),
        *("model", "pixel_size", "temperature"),
    ),
    "/measurement/instrument/monochromator/setup": ("Z2",),
    "/measurement/instrument/slits/setup": ("hslits_center", "hslits_size", "vslits_Lead_Flag"),
    "/measurement/instrument/source": ("source_name",),
    "/process/acquisition": ("name",),
    "/process/acquisition/dark_fields": ("dark_num_avg_of", "num_dark_fields"),
    "/process/acquisition/flat_fields": ("i0_move_x", "i0_move_y", "i0cycle", "num_flat_fields", "usebrightexpose"),
    "/process/acquisition/mosaic": (
        *("tile_xmovedist", "tile_xnumimg", "tile_xorig", "tile_xoverlap"),
        *("tile_ymovedist", "tile_ynumimg", "tile_yorig", "tile_yoverlap"),
    ),
    "/process/acquisition/rotation": ("blur_limit", "multiRev", "nhalfCir", "num_angles", "range"),
}
SETTINGS = tuple(f"{folder}/{name}" for folder, names in _SETTINGS.items() for name in names)
"""What was set for the whole scan."""
_TRACES = {
    "/measurement/instrument": ("time_stamp",),
    "/measurement/instrument/camera_motor_stack/setup": ("camera_distance", "camera_elevation"),
    "/measurement/instrument/detector": ("exposure_time",),
    "/measurement/instrument/monochromator": ("energy", "setup/turret1", "setup/turret2"),
    "/measurement/instrument/sample_motor_stack/setup": ("axis1pos", "axis2pos", "axis5pos", "sample_x"),
    "/measurement/instrument/source": ("beam_intensity_incident", "current"),
}
TRACES = tuple(f"{folder}/{name}" for folder, names in _TRACES.items() for name in names)
"""What was read again and again: of motors and of the beam. A file may hold one value of it, or one a projection."""
UNITS = {
    "/measurement/instrument/detector/pixel_size": "mm",
    "/measurement/instrument/monochromator/energy": "eV",
    "/process/acquisition/rotation/range": "deg",
}
"""Where the file states none."""


def describe(found: Mapping[str, Found], scan: ScanId, group: str) -> Described:
    """What the catalogue is told of a scan, by what stands in its file. Nothing of that need be there, or be right."""
    name = cleaning.text(scan.name, cleaning.NAME_CHARACTERS) or scan.key[: cleaning.NAME_CHARACTERS]
    investigator = _text(found, PI) or UNKNOWN
    proposal = cleaning.group(_value(found, PROPOSAL))
    known = GROUPS.get(cleaning.text(_value(found, BEAMLINE)).lower())
    owner = proposal or group
    return Described(
        name=name,
        description=" ".join(cleaning.terms(scan.name)) or name,
        keywords=cleaning.terms(scan.name),
        owner=investigator,
        contact_email=cleaning.email(_value(found, EMAIL)),
        owner_group=owner,
        access_groups=tuple(dict.fromkeys([group, *([known] if known else []), owner])),
        investigator=investigator,
        proposal=proposal,
        metadata={path: shown for path in (*SETTINGS, *TRACES) if (shown := _shown(found, path)) is not None},
    )


def _value(found: Mapping[str, Found], path: str) -> object:
    return found[path].value if path in found else None


def _text(found: Mapping[str, Found], path: str) -> str:
    return cleaning.text(_value(found, path), cleaning.NAME_CHARACTERS)


def _shown(found: Mapping[str, Found], path: str) -> Value:
    """A value with its unit, as SciCat shows quantities; None where the file does not have it."""
    if path not in found:
        return None
    value = cleaning.value(found[path].value)
    unit = cleaning.text(found[path].unit, cleaning.NAME_CHARACTERS) or UNITS.get(path, "")
    return {"value": value, "unit": unit}
