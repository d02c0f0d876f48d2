"""What a scientist types to reconstruct a scan again and to compare, to a real Dagster."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import Result

from als.follow import ScanView
from als.stack import Stack
from beamlines.scans import ScanId

Follow = Callable[[ScanId], ScanView]
Command = Callable[..., Result]


@pytest.fixture(scope="module")
def scan(scans: dict[str, ScanId], follow: Follow) -> ScanId:
    """A scan that has gone all the way."""
    assert follow(scans["phantom"]).succeeded
    return scans["phantom"]


@pytest.fixture(scope="module")
def before(stack: Stack, scan: ScanId) -> dict[Path, str]:
    """Its files, everywhere, before it is reconstructed again."""
    return contents(stack, scan)


@pytest.fixture(scope="module")
def fine(als: Command, scan: ScanId, before: dict[Path, str]) -> Result:
    assert before
    return als("reconstruct", scan.key, "--label", "fine", "--filter", "butterworth", "--wait")


def contents(stack: Stack, scan: ScanId) -> dict[Path, str]:
    found = (path for path in (stack.state / "world").rglob("*") if scan.name in str(path) and path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in found if ".fine" not in str(path)}


def runs_of_scans(instance: dg.DagsterInstance) -> int:
    """Those that tell people of something begin whenever there is something to tell."""
    return sum(run.job_name != "bl832_tell" for run in instance.get_runs())


def test_reconstructed_again_a_scan_has_a_second_result_and_the_first_is_untouched(
    stack: Stack, fine: Result, scan: ScanId, before: dict[Path, str]
) -> None:
    assert fine.exit_code == 0, fine.output
    assert "data832/nersc_zarr: done" in fine.output
    assert list((stack.state / "world" / "data832").rglob(f"nersc/rec{scan.name}.fine/*.tiff"))
    assert {path: contents(stack, scan).get(path) for path in before} == before


@pytest.mark.usefixtures("fine")
def test_other_settings_under_its_label_start_no_run(als: Command, instance: dg.DagsterInstance, scan: ScanId) -> None:
    runs = runs_of_scans(instance)
    refused = als("reconstruct", scan.key, "--label", "fine", "--rings", "none")
    assert "rings: mean-sinogram there, none asked for" in str(refused.exception)
    assert runs_of_scans(instance) == runs


@pytest.mark.usefixtures("fine")
def test_compared_two_results_have_a_picture_whose_place_is_told(als: Command, scan: ScanId) -> None:
    compared = als("compare", scan.key, "--labels", ".", "fine", "--wait")
    assert compared.exit_code == 0, compared.output
    assert Path(compared.output.splitlines()[-1]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("fine")
def test_a_label_that_is_not_there_is_answered_with_those_that_are(als: Command, scan: ScanId) -> None:
    refused = als("compare", scan.key, "--labels", "fine", "nobody")
    assert "of this scan there are: ., fine" in str(refused.exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--label", "zarr"], "label 'zarr' is reserved"),
        (["--label", "Fine"], "must be 1 to 32 lower-case letters"),
        (["--label", "x", "--facility", "moon"], "there is no facility 'moon'"),
        (["--label", "x", "--center", "-1"], "--center -1.0: Column of the rotation axis"),
        (["--label", "x", "--butterworth-order", "99"], "At least 1, at most 16"),
    ],
)
def test_what_cannot_be_is_refused_in_words(als: Command, scan: ScanId, words: list[str], says: str) -> None:
    assert says in str(als("reconstruct", scan.key, *words).exception)


def test_a_mistyped_label_is_taken_back(als: Command, instance: dg.DagsterInstance, scan: ScanId) -> None:
    instance.add_dynamic_partitions("bl832_scans", [f"{scan.key}@tpyo"])
    assert als("reconstruct", scan.key, "--label", "tpyo", "--forget").exit_code == 0
    assert not instance.has_dynamic_partition("bl832_scans", f"{scan.key}@tpyo")
