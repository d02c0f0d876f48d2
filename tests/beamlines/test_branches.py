"""Which copies a scan has, and what each is made of."""

from beamlines.branches import stages
from beamlines.config import parse_beamline
from beamlines.retention import name_of
from resources.settings import PROJECT

BEAMLINE = parse_beamline((PROJECT / "config" / "bl832.yaml").read_text(), source="bl832.yaml")
FOUND = {name_of(stage.copy): stage for stage in stages(BEAMLINE)}


def made_of(name: str) -> str | None:
    before = FOUND[name].made_of
    return None if before is None else name_of(before)


def test_the_way_of_a_scan_begins_where_it_arrives() -> None:
    assert list(FOUND)[:4] == ["spot832/raw", "data832/raw", "data832/preview", "nersc/raw"]
    assert made_of("spot832/raw") is None


def test_every_copy_is_made_of_one_before_it() -> None:
    names = list(FOUND)
    later = [name for name in names[1:] if names.index(str(made_of(name))) >= names.index(name)]
    assert later == []


def test_products_are_made_of_the_staged_raw_file_and_copied_from_scratch() -> None:
    chain = {name: made_of(name) for name in ("pscratch/raw", "pscratch/tiff", "pscratch/zarr", "data832/nersc_zarr")}
    assert chain == {
        "pscratch/raw": "nersc/raw",
        "pscratch/tiff": "pscratch/raw",
        "pscratch/zarr": "pscratch/tiff",
        "data832/nersc_zarr": "pscratch/zarr",
    }


def test_a_facility_on_site_starts_from_the_first_copy() -> None:
    assert made_of("data832/local_tiff") == "data832/raw"


def test_what_every_scan_has_belongs_to_no_branch() -> None:
    assert [name for name, stage in FOUND.items() if stage.branch is None] == [
        "spot832/raw",
        "data832/raw",
        "data832/preview",
        "data832/comparison",
    ]
