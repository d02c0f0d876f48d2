"""A real endpoint's own programs on this machine: the message broker, and globus-compute-endpoint.

Belongs here: their configuration, and starting, killing and ending them in one folder, on loopback.
Does not: installing them, starting and ending as such (programs), or what an endpoint is told (endpoints).

Nothing of the system's own configuration is used or changed: the broker has a port, an account and a name server (epmd)
of its own. It must be root that calls, because Debian's RabbitMQ runs as a user of its own.
"""

import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from twin.programs import SANE_PATH, Programs, free_ports, listens

BROKER = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Not the one on the PATH, which changes to the system's own folder."""
BROKER_USER = "rabbitmq"
NAME = "alcf"
HEARTBEAT_S = 5
"""The shortest that the endpoint takes."""
_MARK = "ALS_TWIN_FOLDER"
_CONFIG = f"""\
display_name: {NAME}
email: nobody@localhost
local_compute_services: true
heartbeat_period: {HEARTBEAT_S}
"""
_TEMPLATE = f"""\
# As a facility has it, with its account, its queue, and its scheduler's options; the nodes are this machine.
display_name: {{{{ account }}}}
heartbeat_period: {HEARTBEAT_S}
engine:
  type: GlobusComputeEngine
  label: {{{{ queue }}}}
  max_workers_per_node: 2
  encrypted: false
  address: 127.0.0.1
  heartbeat_period: 1
  heartbeat_threshold: 5
  job_status_kwargs: {{strategy_period: 1}}
  provider:
    type: LocalProvider
    worker_init: {{{{ scheduler_options | default('""') }}}}
    init_blocks: 1
    min_blocks: 1
    max_blocks: 1
"""
_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("account", "queue", "scheduler_options")},
    "required": ["account", "queue"],
    "additionalProperties": False,
}


@contextmanager
def broker() -> Iterator[str]:
    """Start a message broker in a new folder, and end it with the context; the URL at which it takes connections.

    Raises ServersFailedError.
    """
    with tempfile.TemporaryDirectory(prefix="als-broker-") as name:
        folder = Path(name)
        amqp, distribution, names = free_ports(3)
        password = secrets.token_urlsafe(16)
        _write_broker_files(folder, amqp, password)
        shutil.chown(folder, BROKER_USER, BROKER_USER)
        programs = Programs(folder, _broker_environment(folder, distribution, names), mark=_MARK)
        try:
            programs.start(
                *("epmd", "-port", str(names), "-address", "127.0.0.1"), user=BROKER_USER, ready=lambda: listens(names)
            )
            programs.start(BROKER, user=BROKER_USER, ready=lambda: listens(amqp))
            yield f"amqp://twin:{password}@127.0.0.1:{amqp}/%2F"
        finally:
            programs.end_all()


def _write_broker_files(folder: Path, port: int, password: str) -> None:
    (folder / "rabbitmq.conf").write_text(
        f"listeners.tcp.local = 127.0.0.1:{port}\ndefault_user = twin\ndefault_pass = {password}\n"
    )
    (folder / "enabled_plugins").write_text("[].\n")


def _broker_environment(folder: Path, distribution: int, names: int) -> dict[str, str]:
    return {
        "PATH": SANE_PATH,
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        _MARK: str(folder),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": "twin@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
        # Then the script becomes the server: a signal meets the server itself.
        "RABBITMQ_ALLOW_INPUT": "",
        "detached": "1",
    }


@dataclass(frozen=True)
class EndpointLogin:
    """Who the endpoint is at Globus, and where Globus is."""

    url: str
    """Of the twin."""
    client_id: str
    client_secret: str


class RealEndpoint:
    """One endpoint's programs, started and ended as often as a test needs it."""

    def __init__(self, programs: Programs, program: Path, endpoint: str, is_online: Callable[[], bool]) -> None:
        self._programs = programs
        self._program = program
        self._endpoint = endpoint
        self._is_online = is_online

    @property
    def home(self) -> Path:
        """Where it and its user endpoints write their logs."""
        return self._programs.folder / "compute"

    def start(self) -> None:
        """Start it and wait until the service has heard of it. Raises ServersFailedError."""
        for left in self.home.glob("*/daemon.pid"):
            left.unlink()  # of one that was killed: it would count as running for three heartbeats
        command = (str(self._program), "start", NAME, "--endpoint-uuid", self._endpoint)
        self._programs.start(*command, ready=self._is_online)

    def stop(self) -> None:
        """Let it end by itself, as an administrator would; the tasks that run are ended."""
        self._programs.end_all()

    def kill(self) -> None:
        """Kill (-9) every process of it and of its tasks, as where a node is lost."""
        self._programs.kill_all()


@contextmanager
def real_endpoint(
    program: Path, endpoint: str, login: EndpointLogin, is_online: Callable[[], bool]
) -> Iterator[RealEndpoint]:
    """Start globus-compute-endpoint (``program``) as ``endpoint``, in a new folder, and end all of it with the context.

    ``is_online`` tells whether the service has heard of it lately. Raises ServersFailedError.
    """
    with tempfile.TemporaryDirectory(prefix="als-endpoint-") as name:
        folder = Path(name)
        own = _endpoint_environment(folder, program)
        _write_endpoint_files(folder / "compute" / NAME, own)
        programs = Programs(folder, own | _way_to_the_service(login), mark=_MARK)
        real = RealEndpoint(programs, program, endpoint, is_online)
        try:
            real.start()
            yield real
        finally:
            real.stop()


def _endpoint_environment(folder: Path, program: Path) -> dict[str, str]:
    """What the endpoint's own programs and its tasks get: where root runs it, they get nothing of the caller's."""
    return {
        "PATH": f"{program.parent}:{SANE_PATH}",
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "GLOBUS_COMPUTE_USER_DIR": str(folder / "compute"),
        "CWD": str(folder),
        _MARK: str(folder),
    }


def _way_to_the_service(login: EndpointLogin) -> dict[str, str]:
    # It knows only a fixed address of a service on its machine; that one, and no other, it asks for through the proxy.
    return {
        "http_proxy": login.url,
        "no_proxy": "127.0.0.1",
        "GLOBUS_SDK_SERVICE_URL_AUTH": f"{login.url}/auth/",
        "GLOBUS_COMPUTE_CLIENT_ID": login.client_id,
        "GLOBUS_COMPUTE_CLIENT_SECRET": login.client_secret,
    }


def _write_endpoint_files(folder: Path, environment: Mapping[str, str]) -> None:
    folder.mkdir(parents=True)
    files: Sequence[tuple[str, str]] = (
        ("config.yaml", _CONFIG),
        ("user_config_template.yaml.j2", _TEMPLATE),
        ("user_config_schema.json", json.dumps(_SCHEMA)),
        ("user_environment.yaml", json.dumps(environment)),
    )
    for name, text in files:
        (folder / name).write_text(text)
