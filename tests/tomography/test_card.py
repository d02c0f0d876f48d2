"""Slices from a graphics card are those of the processors to one part in ten thousand; where there is none, it is said.

Without a card its libraries are stood in for (tests/tomography/card.py): what is tried then is that everything is
brought to the card and back, in the types that its libraries take, and that their accuracy is enough.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.tomography import card
from tests.tomography.conftest import Cli
from tomography.arithmetic import arithmetic_of
from tomography.errors import LimitError
from tomography.fourier import Reconstructor, geometry
from tomography.manifest import journal_path, read_manifest
from tomography.phantom import Phantom
from tomography.settings import Device, Padding, Settings
from tomography.tiffs import read_tiff

HAS_CARD = not arithmetic_of(Settings(device=Device.CUDA)).flags


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card: this machine's, or a stand-in."""
    if not HAS_CARD:
        card.put_in(monkeypatch)


def slices(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.stack([read_tiff(path) for path in sorted(folder.glob("*.tiff"))])


@pytest.mark.usefixtures("a_card")
@pytest.mark.parametrize(
    "options",
    [(), ("--padding", "zero", "--no-circle"), ("--drift-across", "3", "--rows", "0:4"), ("--dtype", "uint16")],
    ids=["as usual", "without padding and mask", "drift and an odd row", "whole numbers"],
)
def test_slices_of_a_card_are_those_of_the_processors(
    small_scan: Path, tmp_path: Path, cli: Cli, options: tuple[str, ...]
) -> None:
    for device in ("cpu", "cuda"):
        done = cli("reconstruct", small_scan, tmp_path / device, "--device", device, *options)
        assert done.exit_code == 0, done.output
    manifest = read_manifest(tmp_path / "cuda", "tiff")
    assert manifest is not None
    assert (manifest.results["device"], manifest.results["flags"]) == ("cuda", [])
    one, other = slices(tmp_path / "cpu"), slices(tmp_path / "cuda")
    assert np.abs(one - other).max() <= max(1e-4 * np.ptp(one), "uint16" in options)
    assert not np.array_equal(one, other) or "uint16" in options


@pytest.mark.usefixtures("a_card")
def test_a_full_turn_and_a_moved_axis_are_the_same_there() -> None:
    phantom = Phantom(rows=2, columns=96, angles=180, noisy=False)
    settings = Settings(stitch_360=True, padding=Padding.ZERO)
    shared = geometry(np.linspace(0, 360, 180, endpoint=False), phantom.columns, 20.3, settings, None)
    lines = np.random.default_rng(0).standard_normal((2, 180, 96)).astype(np.float32)
    one, other = (
        Reconstructor(shared, arithmetic_of(Settings(device=device)))(lines, moved_px=1.7) for device in Device
    )
    np.testing.assert_allclose(one, other, atol=1e-4 * float(np.ptp(one)))


def without_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)


def without_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    card.put_in(monkeypatch, cards=0)


@pytest.mark.parametrize(
    ("missing", "why"),
    [(without_libraries, "they are the extra `gpu`"), (without_a_card, "CUDA finds no graphics card here")],
)
def test_without_a_card_the_processors_do_it_and_it_is_said_first_and_in_the_result(
    small_scan: Path,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    missing: Callable[[pytest.MonkeyPatch], None],
    why: str,
) -> None:
    missing(monkeypatch)
    done = cli("reconstruct", small_scan, tmp_path / "rec", "--device", "cuda", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "note"
    assert why in events[0]["text"]
    assert (events[-1]["results"]["device"], events[-1]["results"]["flags"]) == ("cpu", [events[0]["text"]])
    (tmp_path / "cpu").mkdir()
    assert cli("reconstruct", small_scan, tmp_path / "cpu" / "rec").exit_code == 0
    np.testing.assert_array_equal(slices(tmp_path / "rec"), slices(tmp_path / "cpu" / "rec"))


def test_for_a_person_the_note_stands_on_a_line_of_its_own(
    small_scan: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_a_card(monkeypatch)
    done = cli("reconstruct", small_scan, tmp_path / "rec", "--device", "cuda")
    assert "note: computed on the processors: --device cuda, but CUDA finds no graphics card here\n" in done.stderr


@pytest.mark.skipif(HAS_CARD, reason="that a card becomes full is tried with the stand-in")
def test_a_card_that_is_too_small_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    card.put_in(monkeypatch)
    settings = Settings(device=Device.CUDA)
    shared = geometry(np.linspace(0, 180, 5), 4002, 2000, settings, None)
    with pytest.raises(LimitError, match=r"slices of 4002 px could be planned on the card.*Leave the option out"):
        Reconstructor(shared, arithmetic_of(settings))


@pytest.mark.skipif(HAS_CARD, reason="a card does not go away")
def test_what_was_begun_on_a_card_that_failed_is_not_mixed_with_slices_of_the_processors(
    tall_scan: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("reconstruct", tall_scan, tmp_path / "rec", "--center", "48.46", "--device", "cuda")
    with monkeypatch.context() as there:
        card.put_in(there, transforms=150)
        failed = cli(*command)
    assert (failed.exit_code, "the same command continues" in failed.stderr) == (1, True)
    assert "rec_00127.tiff" in journal_path(tmp_path / "rec", "tiff").read_text()
    assert cli(*command).exit_code == 0
    (tmp_path / "cpu").mkdir()
    assert cli("reconstruct", tall_scan, tmp_path / "cpu" / "rec", "--center", "48.46").exit_code == 0
    np.testing.assert_array_equal(slices(tmp_path / "rec"), slices(tmp_path / "cpu" / "rec"))
