"""Real Slurm for the tests of this folder: installed where it is missing, started once, and ended whatever happens."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from twin.scheduler import Cluster
from twin.scheduler.servers import PROGRAMS, REST_PROGRAMS, SlurmServers, slurm_servers

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "slurm-wlm-jwt-plugin", "mariadb-server", "munge")
REST_PACKAGES = ("slurmrestd",)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
JWT_PLUGIN = "*/slurm-wlm/auth_jwt.so"
CLUSTER = Cluster(user="root", uid=0, accounts=("als",), qos=("realtime", "regular", "debug"))

took: dict[str, float] = {}


@pytest.fixture(scope="session")
def slurm(request: pytest.FixtureRequest) -> Iterator[SlurmServers]:
    """A cluster of one node, with accounting; with its REST server where a test of that was asked for."""
    rest = any("test_slurmrestd" in item.nodeid for item in request.session.items)
    began = time.monotonic()
    _install(rest=rest)
    installed = time.monotonic()
    took["looking for packages, and installing them"] = installed - began
    with slurm_servers(CLUSTER, rest=rest) as servers:
        took["starting Slurm"] = time.monotonic() - installed
        yield servers
        ending = time.monotonic()
    took["ending Slurm"] = time.monotonic() - ending


def _install(*, rest: bool) -> None:
    """Install what is missing; skip where that cannot be, fail where it can and does not work."""
    if os.geteuid() != 0:
        pytest.skip("real Slurm starts jobs as their users: only root can run these tests")
    wanted = PROGRAMS + (REST_PROGRAMS if rest else ())
    if all(shutil.which(program, path=SYSTEM_PATH) for program in wanted) and any(Path("/usr/lib").glob(JWT_PLUGIN)):
        return
    if shutil.which("apt-get") is None:
        pytest.skip(f"there is no apt-get to install {' '.join(PACKAGES)} with: these tests need Debian's Slurm")
    packages = PACKAGES + (REST_PACKAGES if rest else ())
    # RUNLEVEL: nothing is started only because it was installed.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        done = subprocess.run(["/usr/bin/apt-get", *command], env=environment, capture_output=True, text=True)
        if done.returncode:
            pytest.fail(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the time went to, beside the tests."""
    for what, seconds in took.items():
        terminalreporter.write_line(f"{seconds:6.1f} s  {what}")
