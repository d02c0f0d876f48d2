"""Each step that can be chosen does what it is for, on data where it matters."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from typer.testing import Result

from tomography.errors import SettingsError
from tomography.normalise import absorption
from tomography.phantom import DARK_COUNTS, Phantom
from tomography.phase import HC_EV_CM, Paganin
from tomography.prepared import Prepared
from tomography.scan import RawRows, open_scan
from tomography.settings import Filter, Flats, Padding, Phase, Settings, read_settings, written
from tomography.slabs import SliceMaker

Cli = Callable[..., Result]
Write = Callable[[Phantom], Path]
Floats = npt.NDArray[np.float32]

PHANTOM = Phantom(rows=12, columns=128, angles=181, noisy=False, center_px=63.5)
ROW = 6


def slice_of(path: Path, settings: Settings) -> Floats:
    with open_scan(path) as scan, ThreadPoolExecutor(2) as pool:
        maker = SliceMaker.of(scan, settings)
        found: Floats = maker(maker.prepared.read(ROW, ROW + 1, pool))[0]
        return found


def prepared(path: Path, settings: Settings) -> RawRows:
    with open_scan(path) as scan, ThreadPoolExecutor(2) as pool:
        return Prepared.of(scan, settings).read(0, scan.rows, pool)


@pytest.fixture
def path(write_scan: Write) -> Path:
    return write_scan(PHANTOM)


def changed(path: Path, change: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def differing(a: Floats, b: Floats) -> float:
    """The mean difference of two slices, as a part of the range of the second."""
    return float(np.abs(a - b).mean() / np.ptp(b))


# -- bright spots ------------------------------------------------------------------------------------------------


def with_zingers(file: h5py.File) -> None:
    data = file["exchange/data"]
    places = np.random.default_rng(3).integers(0, data.shape, (200, 3))
    for angle, row, column in places:
        data[angle, row, column] = 60_000


@pytest.mark.parametrize("setting", ["zinger_1d", "zinger_2d"])
def test_bright_spots_are_removed_and_nothing_else(write_scan: Write, path: Path, setting: str) -> None:
    clean = slice_of(path, Settings())
    spotted = changed(write_scan(PHANTOM), with_zingers)
    left, without = (differing(slice_of(spotted, s), clean) for s in (Settings(**{setting: 0.3}), Settings()))
    assert left < 0.3 * without
    assert differing(slice_of(path, Settings(**{setting: 0.3})), clean) < 1e-4


# -- flat fields -------------------------------------------------------------------------------------------------


def fading(file: h5py.File) -> None:
    """The beam loses a third of its light while the sample turns; flat fields before and after."""
    data, white = file["exchange/data"], file["exchange/data_white"]
    light = np.linspace(1, 2 / 3, len(data))
    data[...] = (DARK_COUNTS + (data[...] - DARK_COUNTS) * light[:, None, None]).astype(np.uint16)
    late = (DARK_COUNTS + (white[...] - DARK_COUNTS) * light[-1]).astype(np.uint16)
    both = np.concatenate([white[...], late])
    del file["exchange/data_white"]
    file["exchange/data_white"] = both


def test_flat_fields_at_both_ends_follow_a_fading_beam(write_scan: Write, path: Path) -> None:
    clean = slice_of(path, Settings())
    faded = changed(write_scan(PHANTOM), fading)
    wrong = {flats: differing(slice_of(faded, Settings(flats=flats)), clean) for flats in Flats}
    assert wrong[Flats.INTERPOLATED] < 0.25 * wrong[Flats.MEAN]


def test_the_nearest_flat_fields_are_used_where_the_beam_jumps(write_scan: Write) -> None:
    def jumping(file: h5py.File) -> None:
        data, white = file["exchange/data"], file["exchange/data_white"]
        data[91:] = (DARK_COUNTS + (data[91:] - DARK_COUNTS) * 0.5).astype(np.uint16)
        late = (DARK_COUNTS + (white[...] - DARK_COUNTS) * 0.5).astype(np.uint16)
        both = np.concatenate([white[...], late])
        del file["exchange/data_white"]
        file["exchange/data_white"] = both

    path = changed(write_scan(PHANTOM), jumping)
    sinograms = absorption(prepared(path, Settings(flats=Flats.NEAREST)), Settings())
    smooth = absorption(prepared(write_scan(PHANTOM), Settings()), Settings())
    np.testing.assert_allclose(sinograms[:, 92:], smooth[:, 92:], atol=0.01)
    np.testing.assert_allclose(sinograms[:, :90], smooth[:, :90], atol=0.01)


def test_flat_fields_between_projections_belong_to_the_projections_beside_them(write_scan: Write) -> None:
    def cycle(file: h5py.File) -> None:
        """Two flat fields before every 60 projections: each pair as bright as what follows it."""
        data, white = file["exchange/data"], file["exchange/data_white"]
        levels = (1.0, 0.8, 0.6, 0.5)
        for number, level in enumerate(levels):
            some = slice(60 * number, 60 * number + 60)
            data[some] = (DARK_COUNTS + (data[some] - DARK_COUNTS) * level).astype(np.uint16)
        frames = np.concatenate([DARK_COUNTS + (white[:2] - DARK_COUNTS) * level for level in levels])
        del file["exchange/data_white"]
        file["exchange/data_white"] = frames.astype(np.uint16)
        file["process/acquisition/flat_fields/i0cycle"][...] = 60
        file["process/acquisition/flat_fields/num_flat_fields"][...] = 2

    path = changed(write_scan(PHANTOM), cycle)
    found = absorption(prepared(path, Settings(flats=Flats.NEAREST)), Settings())
    clean = absorption(prepared(write_scan(PHANTOM), Settings()), Settings())
    just_after = [1, 61, 121]
    np.testing.assert_allclose(found[:, just_after], clean[:, just_after], atol=0.02)


# -- angles ------------------------------------------------------------------------------------------------------


def test_ignored_projections_have_no_part_in_it(write_scan: Write, path: Path) -> None:
    def spoilt(file: h5py.File) -> None:
        file["exchange/data"][40:44] = 200

    clean, bad = slice_of(path, Settings(center_px=63.5)), changed(write_scan(PHANTOM), spoilt)
    left = differing(slice_of(bad, Settings(center_px=63.5, ignored_projections="40-43")), clean)
    assert left < 0.6 * differing(slice_of(bad, Settings(center_px=63.5)), clean)


@pytest.mark.parametrize(("ignored", "said"), [("181", "0 to 180"), ("0-178", "leaves 2 projections")])
def test_projections_that_cannot_be_ignored_are_refused(path: Path, ignored: str, said: str) -> None:
    with open_scan(path) as scan, pytest.raises(SettingsError, match=said):
        Prepared.of(scan, Settings(ignored_projections=ignored))


def test_an_angle_offset_turns_the_slice(path: Path) -> None:
    straight, turned = (slice_of(path, Settings(angle_offset_deg=angle)) for angle in (0, 90))
    # Of the four quarter turns exactly one fits, and it is the one that takes x to y.
    fits = [differing(np.rot90(straight, turns), turned) for turns in range(4)]
    assert int(np.argmin(fits)) == 3
    assert min(fits) < 0.1 * sorted(fits)[1]


# -- phase -------------------------------------------------------------------------------------------------------


def test_the_filter_is_paganins_with_tomopys_alpha() -> None:
    pixel_cm, distance_cm, energy_ev, alpha = 0.65e-4, 5.0, 25_000.0, 1e-5
    paganin = Paganin.of(pixel_cm, distance_cm, energy_ev, alpha)
    frequency = 7 / (64 * pixel_cm)  # cycles per cm
    across = np.arange(64)
    wave = np.tile(np.cos(2 * np.pi * 7 * across / 64), (64, 1)).astype(np.float32)[None]
    wide = np.tile(wave, (1, 9, 9))
    inner = paganin(wide)[0, 256:320, 256:320]
    wavelength_cm = HC_EV_CM / energy_ev
    expected = 1 / (1 + wavelength_cm * distance_cm * frequency**2 / (4 * np.pi * alpha))
    np.testing.assert_allclose(inner, expected * wave[0], atol=2e-3)


def test_the_filter_keeps_the_light_and_edges_are_no_edges() -> None:
    paganin = Paganin.of(0.65e-4, 30.0, 25_000.0, 1e-5)
    np.testing.assert_allclose(paganin(np.full((2, 40, 50), 0.7, np.float32)), 0.7, rtol=1e-4)


def test_rows_of_a_slab_are_filtered_as_those_of_the_whole_frame(path: Path) -> None:
    settings = Settings(phase=Phase.PAGANIN, phase_alpha=0.05)
    with open_scan(path) as scan, ThreadPoolExecutor(2) as pool:
        scan_prepared = Prepared.of(scan, settings)
        assert 1 <= scan_prepared.frames.margin_px <= 5
        whole, slab = scan_prepared.read(0, 12, pool), scan_prepared.read(5, 8, pool)
    np.testing.assert_allclose(slab.counts, whole.counts[:, 5:8], atol=2e-3)


@pytest.mark.parametrize("phase", [Phase.PAGANIN, Phase.LEGACY])
def test_phase_retrieval_smooths_noise_and_keeps_the_absorption(write_scan: Write, path: Path, phase: Phase) -> None:
    noisy = write_scan(Phantom(rows=12, columns=128, angles=181, center_px=63.5, seed=4))
    settings = Settings(phase=phase, phase_alpha=1e-3)
    clean, smoothed, rough = slice_of(path, Settings()), slice_of(noisy, settings), slice_of(noisy, Settings())
    middle = np.s_[50:70, 50:70]
    assert smoothed[middle].std() < 0.7 * rough[middle].std()
    assert smoothed[middle].mean() == pytest.approx(clean[middle].mean(), rel=0.05)


def test_phase_retrieval_without_distance_or_energy_says_what_to_give(write_scan: Write) -> None:
    def forgotten(file: h5py.File) -> None:
        del file["measurement/instrument/monochromator/energy"]
        del file["measurement/instrument/camera_motor_stack/setup/camera_distance"]

    path = changed(write_scan(PHANTOM), forgotten)
    with open_scan(path) as scan, pytest.raises(SettingsError, match=r"--phase-distance; and .*--phase-energy"):
        Prepared.of(scan, Settings(phase=Phase.PAGANIN))
    given = Settings(phase=Phase.PAGANIN, phase_distance_cm=5, phase_energy_ev=25_000)
    with open_scan(path) as scan:
        assert Prepared.of(scan, given).frames.margin_px > 0


# -- the rest ----------------------------------------------------------------------------------------------------


def test_a_beam_hardening_polynomial_is_applied_to_every_absorption(path: Path) -> None:
    raw = prepared(path, Settings())
    plain = absorption(raw, Settings())
    hardened = absorption(raw, Settings(beam_hardening="1.5,0,0.25"))
    np.testing.assert_allclose(hardened, 1.5 * plain + 0.25 * plain**3, rtol=1e-4, atol=1e-6)


def test_a_hann_window_smooths_and_keeps_the_gain(write_scan: Write, path: Path) -> None:
    noisy = write_scan(Phantom(rows=12, columns=128, angles=181, center_px=63.5, seed=4))
    noise = {
        window: slice_of(noisy, Settings(filter=window)) - slice_of(path, Settings(filter=window))
        for window in (Filter.RAMP, Filter.HANN)
    }
    assert noise[Filter.HANN].std() < 0.7 * noise[Filter.RAMP].std()
    smooth, sharp = (slice_of(path, Settings(filter=window)) for window in (Filter.HANN, Filter.RAMP))
    assert smooth[50:70, 50:70].mean() == pytest.approx(sharp[50:70, 50:70].mean(), rel=0.02)


def test_without_the_circle_the_corners_are_kept(path: Path) -> None:
    with_it, without = (slice_of(path, Settings(circle=circle)) for circle in (True, False))
    assert not with_it[:4, :4].any()
    assert without[:4, :4].any()
    np.testing.assert_array_equal(with_it[40:90, 40:90], without[40:90, 40:90])


ALL_OTHER = Settings(
    center_px=63.5,
    strict_center=True,
    angle_offset_deg=-12.5,
    ignored_projections="3,17-19",
    flats=Flats.NEAREST,
    zinger_2d=0.3,
    zinger_1d=0.2,
    zinger_size_px=5,
    minimum_transmission=0.02,
    phase=Phase.PAGANIN,
    phase_alpha=1e-3,
    phase_distance_cm=4,
    phase_energy_ev=20_000,
    beam_hardening="1,-0.05,1e-3",
    filter=Filter.HANN,
    circle=False,
)


def test_everything_at_once_is_the_same_by_options_and_by_file(path: Path, tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(cli("settings", *ALL_OTHER.arguments()).stdout)
    assert read_settings(file) == ALL_OTHER
    for folder, arguments in (("a", ALL_OTHER.arguments()), ("b", ["--settings", file])):
        done = cli("reconstruct", path, tmp_path / folder, *arguments)
        assert done.exit_code == 0, done.stderr
    a, b = (tifffile.imread(tmp_path / folder / f"{folder}_00006.tiff") for folder in "ab")
    np.testing.assert_array_equal(a, b)


def test_an_option_counts_more_than_the_file(tmp_path: Path, cli: Cli) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(written(ALL_OTHER))
    assert 'filter: "ramp"' in cli("settings", "--settings", file, "--filter", "ramp").stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("filter: boxcar", "filter = boxcar"),
        ("boxcar: 3", "Extra inputs are not permitted"),
        ("{", "is not YAML"),
        ("- 1", "valid dictionary"),
    ],
)
def test_a_file_that_has_no_settings_is_refused_with_one_line(
    path: Path, tmp_path: Path, cli: Cli, content: str, said: str
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    done = cli("reconstruct", path, tmp_path / "out", "--settings", file)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_sample_wider_than_the_detector_needs_its_edge_repeated(write_scan: Write) -> None:
    wide = write_scan(Phantom(rows=12, columns=128, angles=181, noisy=False, center_px=63.5))

    def middle_only(file: h5py.File) -> None:
        for name in ("data", "data_white", "data_dark"):
            part = file[f"exchange/{name}"][..., 32:96]
            del file[f"exchange/{name}"]
            file[f"exchange/{name}"] = part

    truth = slice_of(wide, Settings(circle=False))[32:96, 32:96]
    inner = slice_of(changed(wide, middle_only), Settings(circle=False))
    bright_rim = slice_of(wide, Settings(circle=False, padding=Padding.ZERO))
    seen = np.hypot(*np.mgrid[-31.5:32, -31.5:32]) < 30
    assert bright_rim[seen].mean() > 1.3 * truth[seen].mean()
    assert inner[seen].mean() < 1.2 * truth[seen].mean()


def test_more_padding_changes_little_and_less_of_it_much(path: Path) -> None:
    least, usual, most = (slice_of(path, Settings(padding_factor=factor)) for factor in (1, 2, 4))
    assert differing(most, usual) < 5e-4
    assert differing(least, usual) > 4 * differing(most, usual)
