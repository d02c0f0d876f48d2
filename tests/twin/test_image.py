"""The warm image: the programs themselves, as an interpreter of their own would run them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from twin.testing import eventually

PHANTOM = ("-m", "tomography", "phantom")
SIZE = ("--rows", "4", "--columns", "48", "--angles", "31")


@pytest.fixture
def python(loaded_programs: Path) -> Path:
    return loaded_programs


def run(python: Path | str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([python, *words], capture_output=True, text=True, check=False)


def test_it_says_what_the_programs_say(python: Path) -> None:
    for words in (
        ("-m", "tomography", "--version"),
        ("-m", "tomography", "no-such-command"),
        (*PHANTOM, "/no/such.h5"),
    ):
        warm, cold = run(python, *words), run(sys.executable, *words)
        assert (warm.returncode, warm.stdout) == (cold.returncode, cold.stdout)


def test_it_makes_the_files_that_the_programs_make(python: Path, tmp_path: Path) -> None:
    scan, made = tmp_path / "scan.h5", {}
    assert run(python, *PHANTOM, str(scan), *SIZE).returncode == 0
    for name, interpreter in (("warm", python), ("cold", sys.executable)):
        assert run(interpreter, "-m", "tomography", "reconstruct", str(scan), str(tmp_path / name)).returncode == 0
        made[name] = [file.read_bytes() for file in sorted((tmp_path / name).glob("*.tiff"))]
    assert len(made["warm"]) == 4
    assert made["warm"] == made["cold"]


def test_a_program_ends_when_whoever_called_it_does(python: Path, tmp_path: Path) -> None:
    out = tmp_path / "endless.h5"
    words = [str(python), *PHANTOM, str(out), "--rows", "1000", "--columns", "1000", "--angles", "3000"]
    with subprocess.Popen(words) as caller:
        pids = eventually(lambda: programs(out))
        caller.send_signal(signal.SIGKILL)
    eventually(lambda: not programs(out))
    assert not any(is_alive(pid) for pid in pids)


def programs(out: Path) -> list[int]:
    """Processes that have the phantom's unfinished file open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(str(out.parent) in path for path in opened):
            found.append(int(process.name))
    return found


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
