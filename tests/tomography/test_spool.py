"""Projections that are compressed frame by frame are decompressed once, whatever is read of them, and leave nothing."""

import ctypes
import io
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import Result

from tomography.machine import Machine
from tomography.manifest import raw_input
from tomography.progress import JsonReporter
from tomography.scan import open_scan
from tomography.settings import Settings
from tomography.spool import decompressed_once
from tomography.stack import Outputs, reconstruct

Cli = Callable[..., Result]
Start = Callable[..., subprocess.Popen[str]]

FILTER = 40_001
"""A number that HDF5 leaves to programs' own filters."""
READING = 0x100


class _Filter(ctypes.Structure):
    """HDF5's H5Z_class2_t."""

    _fields_ = [
        ("version", ctypes.c_int),
        ("id", ctypes.c_int),
        ("encoder_present", ctypes.c_uint),
        ("decoder_present", ctypes.c_uint),
        ("name", ctypes.c_char_p),
        ("can_apply", ctypes.c_void_p),
        ("set_local", ctypes.c_void_p),
        ("filter", ctypes.c_void_p),
    ]


@pytest.fixture(scope="module")
def decoded() -> Iterator[Counter[str]]:
    """Counts the chunks that HDF5 hands to a real filter of its own, which changes nothing."""
    counts: Counter[str] = Counter()
    signature = ctypes.CFUNCTYPE(
        ctypes.c_size_t,
        ctypes.c_uint,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )

    def through(flags: int, _many: int, _values: int, size: int, _room: int, _buffer: int) -> int:
        counts["read" if flags & READING else "written"] += 1
        return size

    function = signature(through)
    made = _Filter(1, FILTER, 1, 1, b"counting", None, None, ctypes.cast(function, ctypes.c_void_p))
    h5py.h5z.register_filter(ctypes.addressof(made))
    yield counts
    h5py.h5z.unregister_filter(FILTER)


def packed(source: Path, path: Path, chunk: tuple[int, int, int], **how: object) -> Path:
    """A copy whose projections are compressed."""
    path.write_bytes(source.read_bytes())
    with h5py.File(path, "r+") as file:
        counts = file["exchange/data"][:]
        del file["exchange/data"]
        file.create_dataset("exchange/data", data=counts, chunks=chunk, **how)
    return path


def slices(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def contiguous(tall_scan: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("contiguous") / "rec"
    assert cli("reconstruct", tall_scan, out).exit_code == 0
    return slices(out)


@pytest.mark.parametrize(
    ("chunk", "chunks"),
    [((1, 515, 96), 61), ((4, 515, 96), 16), ((1, 200, 50), 61 * 3 * 2), ((7, 64, 96), 9 * 9)],
    ids=["a frame", "four frames", "a part of a frame", "rows as they are needed"],
)
def test_each_chunk_is_decoded_once_and_slices_are_those_of_a_plain_file(
    decoded: Counter[str],
    tall_scan: Path,
    contiguous: dict[str, bytes],
    tmp_path: Path,
    cli: Cli,
    chunk: tuple[int, int, int],
    chunks: int,
) -> None:
    path = packed(tall_scan, tmp_path / "scan.h5", chunk, compression=FILTER)
    decoded.clear()
    reporter = JsonReporter(io.StringIO(), lambda: 0.0)
    with open_scan(path) as file, decompressed_once(file, tmp_path, reporter) as scan:
        outputs, settings = Outputs(tiff=tmp_path / "rec"), Settings(center_px=48.46)
        least = Machine(2, 1 if chunk[1] != 64 else 10**9)  # so little that it reads a few rows at a time
        reconstruct(scan, raw_input(path, None), outputs, settings, least, reporter)
    assert decoded["read"] == chunks
    (tmp_path / "plain").mkdir()
    assert cli("reconstruct", tall_scan, tmp_path / "plain" / "rec", "--center", "48.46").exit_code == 0
    assert slices(tmp_path / "rec") == slices(tmp_path / "plain" / "rec")
    assert {one.name for one in tmp_path.iterdir()} == {"scan.h5", "rec", "rec.tiff.manifest.json", "plain"}


def test_what_needs_two_frames_in_turn_decodes_each_once(decoded: Counter[str], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        shape = (3, 1_000, 600)
        counts = np.ones(shape, np.uint16)
        for name in ("data", "data_white", "data_dark"):
            file.create_dataset(f"exchange/{name}", data=counts, chunks=(1, *shape[1:]), compression=FILTER)
        file["exchange/theta"] = [0.0, 90.0, 180.0]
    decoded.clear()
    with open_scan(tmp_path / "scan.h5") as scan:
        for row in range(0, 1_000, 100):
            for angle in (0, 2):
                scan.projections.read(slice(angle, angle + 1), slice(row, row + 8))
    assert decoded["read"] == 2


def test_it_is_flagged_and_the_centre_costs_no_second_reading(
    decoded: Counter[str], tall_scan: Path, contiguous: dict[str, bytes], tmp_path: Path, cli: Cli
) -> None:
    path = packed(tall_scan, tmp_path / "scan.h5", (1, 515, 96), compression=FILTER)
    decoded.clear()
    done = cli("reconstruct", path, tmp_path / "rec", "--json")
    *_, last = (json.loads(line) for line in done.stdout.splitlines())
    assert decoded["read"] == 61
    assert "compressed frame by frame: decompressed once, into 0.006 GB" in last["results"]["flags"][0]
    assert slices(tmp_path / "rec") == contiguous


def test_a_sweep_reads_once_too(decoded: Counter[str], small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    path = packed(small_scan, tmp_path / "scan.h5", (1, 6, 96), compression=FILTER)
    decoded.clear()
    done = cli("sweep", path, tmp_path / "sheet", "--over", "center", "--values", "48:50:1")
    assert done.exit_code == 0, done.stderr
    assert decoded["read"] == 151


def test_what_is_there_already_is_not_decompressed(
    decoded: Counter[str], small_scan: Path, tmp_path: Path, cli: Cli
) -> None:
    path = packed(small_scan, tmp_path / "scan.h5", (1, 6, 96), compression=FILTER)
    assert cli("reconstruct", path, tmp_path / "rec").exit_code == 0
    decoded.clear()
    assert "there already" in cli("reconstruct", path, tmp_path / "rec").stdout
    assert decoded["read"] == 0


def test_a_killed_program_leaves_no_temporary_file(small_scan: Path, tmp_path: Path, start: Start, cli: Cli) -> None:
    path = packed(small_scan, tmp_path / "scan.h5", (1, 6, 96), compression="gzip")
    process = start("reconstruct", path, tmp_path / "rec", "--threads", 1)

    def spooling() -> bool:
        files = Path(f"/proc/{process.pid}/fd")
        return any(".decompressed-" in link or "(deleted)" in link for link in map(_target, files.iterdir()))

    with process:
        while not spooling():
            assert process.poll() is None, "the program ended before it could be killed"
        process.kill()
    assert not [one.name for one in tmp_path.iterdir() if "decompressed" in one.name]
    assert cli("reconstruct", path, tmp_path / "rec").exit_code == 0


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_too_small_a_disk_is_said_with_the_size_before_anything_is_written(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        shape = (3, 1_000_000, 100_000_000)
        file.create_dataset("exchange/data", shape, np.uint16, chunks=(1, 1_000, 1_000), compression="gzip")
        for name in ("data_white", "data_dark"):
            file.create_dataset(f"exchange/{name}", (1, *shape[1:]), np.uint16, chunks=(1, 100, 100))
        file["exchange/theta"] = [0.0, 90.0, 180.0]
    reporter = JsonReporter(io.StringIO(), lambda: 0.0)
    with (
        open_scan(tmp_path / "scan.h5") as file,
        decompressed_once(file, tmp_path, reporter) as scan,
        pytest.raises(
            OSError, match=r"takes 600000\.0 GB of temporary space in .* to be decompressed once; .* are free"
        ),
    ):
        scan.read_rows(0, 1)
    assert [one.name for one in tmp_path.iterdir()] == ["scan.h5"]


def test_a_damaged_frame_is_the_scans_fault_and_leaves_nothing(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    path = packed(small_scan, tmp_path / "scan.h5", (1, 6, 96), compression="gzip")
    with h5py.File(path) as file:
        where = file["exchange/data"].id.get_chunk_info(70).byte_offset
    content = bytearray(path.read_bytes())
    content[where : where + 20] = b"\xff" * 20
    path.write_bytes(content)
    done = cli("reconstruct", path, tmp_path / "rec")
    assert (done.exit_code, "The file is damaged" in done.stderr) == (2, True)
    assert [one.name for one in tmp_path.iterdir()] == ["scan.h5"]
