"""The command line: progress, phantom, version, threads, weight."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from typer.testing import Result

from tomography import __version__
from tomography.machine import available_memory_bytes, available_threads
from tomography.progress import JsonReporter
from tomography.settings import Filter, Rings, Settings

Cli = Callable[..., Result]


def test_the_version_is_printed_alone() -> None:
    done = subprocess.run([sys.executable, "-m", "tomography", "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{__version__}\n", "")


@pytest.mark.parametrize("module", ["tomography", "tomography.settings"])
def test_settings_are_imported_without_anything_heavy(module: str) -> None:
    program = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "scipy", "h5py", "zarr", "finufft", "tifffile", "PIL", "typer", "rich"} & set(loaded)


def test_no_other_room_is_imported() -> None:
    program = (
        "import sys, tomography.cli, tomography.preview, tomography.pyramid, tomography.phantom; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    others = {"dagster", "globus_sdk", "sfapi_client", "beamlines", "resources", "als_assets", "sensors", "twin"}
    assert not others & {name.split(".")[0] for name in loaded}


def test_json_lines_tell_progress_and_then_the_result(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    process = cli("reconstruct", small_scan, tmp_path / "rec", "--json")
    *progress, last = (json.loads(line) for line in process.stdout.splitlines())
    assert progress[0] == {"event": "progress", "stage": "reconstruct", "done": 0, "total": 6, "unit": "slices"}
    assert last["event"] == "result"
    assert last["manifest"] == str(tmp_path / "rec.tiff.manifest.json")
    assert (last["artifact"], last["files"], last["made"]) == ("tiff", 6, True)
    assert last["bytes"] == sum(path.stat().st_size for path in (tmp_path / "rec").iterdir())
    assert last["results"]["unit"] == "1/cm"
    assert "thumbnail_png" not in last["results"]


def test_without_json_a_person_reads_a_summary(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    process = cli("preview", small_scan, tmp_path / "look")
    assert "4 files" in process.stdout
    assert process.stderr == ""


def test_progress_lines_are_at_most_one_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    times = iter(tick / 10 for tick in range(1000))
    now = [0.0]

    def clock() -> float:
        return now[0]

    reporter = JsonReporter(sys.stdout, clock)
    for done in range(31):
        now[0] = next(times)
        reporter.progress("reconstruct", done, 31, "slices")
    assert [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()] == [0, 10, 20, 30]


def test_settings_and_arguments_are_the_same_thing(small_scan: Path, tmp_path: Path, cli: Cli) -> None:
    settings = Settings(
        center_px=49.25,
        strict_center=True,
        filter=Filter.BUTTERWORTH,
        butterworth_cutoff_cycles_per_px=0.2,
        butterworth_order=3,
        rings=Rings.NONE,
        minimum_transmission=0.02,
    )
    process = cli("reconstruct", small_scan, tmp_path / "rec", *settings.arguments())
    assert process.exit_code == 0, process.stderr
    manifest = json.loads((tmp_path / "rec.tiff.manifest.json").read_text())
    assert Settings.model_validate(manifest["settings"]) == settings


def test_a_phantom_is_the_same_for_the_same_seed(tmp_path: Path, cli: Cli) -> None:
    size = ["--rows", 4, "--columns", 32, "--angles", 9]
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / folder).mkdir()
        assert cli("phantom", tmp_path / folder / "scan.h5", *size, "--seed", seed).exit_code == 0
    a, b, c = ((tmp_path / folder / "scan.h5").read_bytes() for folder in "abc")
    assert a == b
    assert a != c


def test_a_phantom_never_overwrites_another_file(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "scan.h5").write_bytes(b"a real scan")
    process = cli("phantom", tmp_path / "scan.h5", "--rows", 4, "--columns", 32, "--angles", 9)
    assert (process.exit_code, "never overwritten" in process.stderr) == (2, True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"scan.h5": b"a real scan"}


def test_a_phantom_carries_the_metadata_of_the_beamline(small_scan: Path) -> None:
    with h5py.File(small_scan) as file:
        assert file["measurement/instrument/detector/pixel_size"][()] == pytest.approx(0.00065)
        assert file["measurement/instrument/detector/dimension_x"][()] == 96
        assert file["process/acquisition/rotation/num_angles"][()] == 151
        assert file["process/acquisition/rotation/rotation_step"][()] == pytest.approx(1.2)
        assert file["measurement/sample/experiment/beamline"][()] == b"bl832"
        assert file["measurement/sample/file_name"][()] == b"scan.h5"
        assert file["exchange/data"].dtype == "uint16"


@pytest.mark.parametrize(
    ("quota", "slurm", "expected"),
    [
        ("max 100000", "", None),
        ("50000 100000", "", 1),
        ("max 100000", "1", 1),
        ("garbage", "64", None),
        (None, "x", None),
    ],
)
def test_threads_are_what_this_process_may_use(
    tmp_path: Path, quota: str | None, slurm: str, expected: int | None
) -> None:
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota)
    everything = available_threads({}, tmp_path / "nothing")
    assert available_threads({"SLURM_CPUS_PER_TASK": slurm}, tmp_path) == (expected or everything)


def test_a_containers_memory_limit_is_kept(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1048576\n")
    assert available_memory_bytes({}, tmp_path) == 1048576
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory_bytes({}, tmp_path) > 1048576
    assert available_memory_bytes({"SLURM_MEM_PER_NODE": "2"}, tmp_path) == 2 * 2**20


@pytest.mark.parametrize(
    ("line", "root"), [("0::/slurm/job_1/step_0", "."), ("3:cpu,memory:/slurm/job_1/step_0", None)]
)
def test_the_limits_of_a_batch_job_are_found_where_they_lie(tmp_path: Path, line: str, root: str | None) -> None:
    (tmp_path / "membership").write_text(f"{line}\n")
    cpu, memory = (tmp_path / (root or name) / "slurm" / "job_1" for name in ("cpu", "memory"))
    for folder in (cpu / "step_0", memory / "step_0"):
        folder.mkdir(parents=True, exist_ok=True)
    (cpu / "cpu.max").write_text("100000 100000")
    (memory / "memory.max").write_text("4096")
    assert available_threads({}, tmp_path, tmp_path / "membership") == 1
    assert available_memory_bytes({}, tmp_path, tmp_path / "membership") == 4096


def test_pages_that_only_cache_files_are_free_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemFree: 2 kB\nMemAvailable: 7 kB\n")
    assert available_memory_bytes({}, tmp_path, tmp_path / "none", tmp_path / "meminfo") == 7 * 1024
