"""What the tests of the tomography programs share: small phantom scans, and the command line as a process.

Belongs here: scans that are made once a session. Does not: expectations.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import pytest
from typer.testing import CliRunner, Result

from tomography.cli import app
from tomography.phantom import Phantom, write_phantom

REPOSITORY = Path(__file__).parents[2]
TOOTH = REPOSITORY.parent / "shared" / "data" / "tooth.h5"

Cli = Callable[..., Result]


@pytest.fixture(scope="session")
def write_scan(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Phantom], Path]:
    """Write a phantom scan into a folder of its own."""

    def write(phantom: Phantom) -> Path:
        path = tmp_path_factory.mktemp("scan") / "scan.h5"
        write_phantom(path, phantom, lambda *_: None)
        return path

    return write


@pytest.fixture(scope="session")
def small() -> Phantom:
    """A clean phantom: few rows, its axis off the middle by a fraction of a pixel."""
    return Phantom(rows=6, columns=96, angles=151, noisy=False, center_px=49.3)


@pytest.fixture(scope="session")
def small_scan(small: Phantom, write_scan: Callable[[Phantom], Path]) -> Path:
    return write_scan(small)


@pytest.fixture(scope="session")
def tall_scan(write_scan: Callable[[Phantom], Path]) -> Path:
    """Enough rows for several slabs, so that a run can be interrupted between them."""
    return write_scan(Phantom(rows=515, columns=96, angles=61))


@pytest.fixture
def damaged(small_scan: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File], None]], Path]:
    """A copy of the small scan in which something has been changed."""

    def make(change: Callable[[h5py.File], None]) -> Path:
        path = tmp_path / "damaged.h5"
        path.write_bytes(small_scan.read_bytes())
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return make


@pytest.fixture(scope="session")
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start the command line and return the process."""

    def run(*arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tomography", *map(str, arguments)],
            cwd=REPOSITORY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return run


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run the command line to its end, in this process: starting one costs a second."""

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="tomography")

    return run


@pytest.fixture(scope="session")
def tooth() -> Path:
    if not TOOTH.exists():
        pytest.skip("the real scan of a tooth is not beside this checkout (../shared/data/tooth.h5)")
    return TOOTH
