"""The simulated beamline."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from twin.beamline import scan_name, write_scan


def test_a_scan_grows_under_its_final_name(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.h5", tmp_path / "raw/folder/scan.h5"
    content = os.urandom(10_001)
    source.write_bytes(content)
    sizes: list[int] = []
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        sizes.append(destination.stat().st_size)

    write_scan(source, destination, seconds=5, sleep=sleep)
    assert destination.read_bytes() == content
    assert len(set(sizes)) == len(sizes) == 50
    assert sum(slept) == pytest.approx(5)


def test_a_scan_is_never_written_twice(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.h5", tmp_path / "scan.h5"
    source.write_bytes(b"new")
    destination.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        write_scan(source, destination, seconds=0, sleep=lambda _: None)
    assert destination.read_bytes() == b"old"


def test_a_scan_is_named_by_date_time_and_text() -> None:
    assert scan_name(datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "wood") == "20240102_030405_wood.h5"


def test_the_command_measures_a_given_file_and_prints_where(deployment_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "finished.h5"
    source.write_bytes(b"a scan")
    command = [
        sys.executable,
        "-m",
        "twin",
        "scan",
        "--deployment",
        str(deployment_file),
        "--state",
        str(tmp_path / "s"),
    ]
    command += ["--source", str(source), "--seconds", "0", "--name", "it's a scan.h5"]
    done = subprocess.run(command, cwd=deployment_file.parents[1], capture_output=True, text=True, check=True)
    written = tmp_path / "s/world/spot832/global/raw/BLS-00564_demo/it's a scan.h5"
    assert done.stdout == f"{written}\n"
    assert written.read_bytes() == b"a scan"
