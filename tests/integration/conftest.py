"""Real servers for the tests of this folder: installed where they are missing, started once, ended whatever happens."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from peers.environment import installed
from twin.compute.servers import BROKER, broker
from twin.scheduler import Cluster
from twin.scheduler.servers import PROGRAMS, REST_PROGRAMS, SlurmServers, slurm_servers

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "slurmdbd", "slurm-wlm-jwt-plugin", "mariadb-server", "munge")
REST_PACKAGES = ("slurmrestd",)
BROKER_PACKAGES = ("rabbitmq-server",)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
JWT_PLUGIN = "*/slurm-wlm/auth_jwt.so"
CLUSTER = Cluster(user="root", uid=0, accounts=("als",), qos=("realtime", "regular", "debug"))
CHECKOUT = Path(__file__).parents[2]
ENDPOINT_LOCK = CHECKOUT / "requirements-endpoint.lock"
ENDPOINT = CHECKOUT / "var" / "globus-compute-endpoint"
"""Its own environment of Python: what it needs does not agree with what the platform needs."""

took: dict[str, float] = {}


@pytest.fixture(scope="session")
def slurm(request: pytest.FixtureRequest) -> Iterator[SlurmServers]:
    """A cluster of one node, with accounting; with its REST server where a test of that was asked for."""
    rest = any("test_slurmrestd" in item.nodeid for item in request.session.items)
    began = time.monotonic()
    _install_slurm(rest=rest)
    installed = time.monotonic()
    took["looking for packages, and installing them"] = installed - began
    with slurm_servers(CLUSTER, rest=rest) as servers:
        took["starting Slurm"] = time.monotonic() - installed
        yield servers
        ending = time.monotonic()
    took["ending Slurm"] = time.monotonic() - ending


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """A message broker of its own, with an account in its URL."""
    began = time.monotonic()
    _only_root("RabbitMQ runs as a user of its own")
    if not Path(BROKER).exists():
        _install("RabbitMQ", BROKER_PACKAGES)
    installed = time.monotonic()
    took["looking for RabbitMQ, and installing it"] = installed - began
    with broker() as url:
        took["starting RabbitMQ"] = time.monotonic() - installed
        yield url
        ending = time.monotonic()
    took["ending RabbitMQ"] = time.monotonic() - ending


@pytest.fixture(scope="session")
def endpoint_program() -> Path:
    """globus-compute-endpoint as it is locked, on this very Python: the functions of its clients must run there."""
    began = time.monotonic()
    python = installed(ENDPOINT_LOCK, ENDPOINT)
    took["looking for globus-compute-endpoint, and installing it"] = time.monotonic() - began
    return python.with_name("globus-compute-endpoint")


def _install_slurm(*, rest: bool) -> None:
    _only_root("real Slurm starts jobs as their users")
    wanted = PROGRAMS + (REST_PROGRAMS if rest else ())
    if all(shutil.which(program, path=SYSTEM_PATH) for program in wanted) and any(Path("/usr/lib").glob(JWT_PLUGIN)):
        return
    _install("Slurm", PACKAGES + (REST_PACKAGES if rest else ()))


def _only_root(why: str) -> None:
    if os.geteuid() != 0:
        pytest.skip(f"{why}: only root can run these tests")


def _install(what: str, packages: Sequence[str]) -> None:
    """Install what is missing; skip where that cannot be, fail where it can and does not work."""
    if shutil.which("apt-get") is None:
        pytest.skip(f"there is no apt-get to install {' '.join(packages)} with: these tests need Debian's {what}")
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
