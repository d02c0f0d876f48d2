"""One port for the whole world: /auth, /transfer, /superfacility, /compute, /slurm_rest, /scicat, /messages, /control,
/health.

Belongs here: putting the services together, and serving them until told to stop.
Does not: what any of them does, or the command line (__main__).
"""

import asyncio
import fcntl
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from beamlines.config import parse_beamline
from beamlines.deployment import parse_deployment
from beamlines.facilities import ComputeRules, SlurmRestRules
from twin import compute as compute_service
from twin import control as control_api
from twin import messages as messages_service
from twin import scicat as scicat_service
from twin import slurm_rest, superfacility
from twin.clock import SettableClock
from twin.compute import Compute, registration
from twin.compute.processes import LocalWorkers
from twin.control import Control
from twin.faults import CLOSE_CONNECTION, FaultInjector, FaultMiddleware
from twin.globus import auth, transfer
from twin.globus.auth import TokenIssuer
from twin.globus.conditions import ConditionsBoard
from twin.globus.engine import Engine
from twin.globus.journal import Journal
from twin.globus.storage import Storage
from twin.messages import Mailboxes
from twin.scheduler import Cluster
from twin.scheduler.local import LocalScheduler
from twin.scicat import Scicat, create_scicat
from twin.slurm_rest import SlurmRest, SlurmTokens
from twin.superfacility import Superfacility
from twin.world import NotInTheWorldError, World, create_world, must_be_inside

if TYPE_CHECKING:
    from twin.compute.endpoints import Endpoints

HOST = "127.0.0.1"
SUPERFACILITY_CLIENT = "twinalsclient"
EASTERN = ZoneInfo("America/New_York")
PATIENCE_S = 1
"""How long requests that are being answered may still take when the twin stops."""


class TwinIsRunningError(RuntimeError):
    """Another twin works in the same state folder."""


class PortTakenError(RuntimeError):
    """The port is in use."""


@dataclass(frozen=True)
class Nersc:
    """A facility with the Superfacility API, and the batch system behind it."""

    api: Superfacility
    scheduler: LocalScheduler


@dataclass(frozen=True)
class SlurmSite:
    """A facility with a Slurm REST API, and the batch system behind it."""

    api: SlurmRest
    scheduler: LocalScheduler


@dataclass(frozen=True)
class Twin:
    """A twin that is being served. Tests may use the objects; everything else talks to ``url``."""

    url: str
    world: World
    control: Control
    engine: Engine
    mailboxes: Mailboxes
    nersc: Nersc | None
    compute: Compute | None = None
    slurm_site: SlurmSite | None = None
    scicat: Scicat | None = None


@contextmanager
def serve(
    deployment_file: Path,
    state_dir: Path,
    *,
    port: int = 0,
    clock: SettableClock | None = None,
    environment: Mapping[str, str] = os.environ,
    program: Path = Path(sys.executable),
    endpoints: "Endpoints | None" = None,
) -> Iterator[Twin]:
    """Serve the world of a deployment's file until the context ends; port 0 takes a free one.

    In the file ``${ALS_STATE}`` is ``state_dir`` and ``${ALS_TWIN_URL}`` is where the twin listens. ``program`` is the
    Python interpreter that stands for the image of the programs. ``endpoints`` run the tasks of Globus Compute instead
    of the twin's own workers; they can register once the twin is there. Raises ConfigurationError,
    NotInTheWorldError, TwinIsRunningError or PortTakenError.
    """
    state_dir = state_dir.resolve()
    clock = clock or SettableClock()
    with ExitStack() as stack:
        stack.enter_context(_only_one(state_dir / "twin"))
        listener = stack.enter_context(open_listener(port))
        url = f"http://{HOST}:{listener.getsockname()[1]}"
        world = load_world(deployment_file, state_dir, {**environment, "ALS_TWIN_URL": url})
        injector, board = FaultInjector(clock), ConditionsBoard()
        issuer, journal = TokenIssuer(world.clients, clock), Journal(state_dir / "twin" / "globus.jsonl")
        engine = Engine(Storage(world, board), board, clock, journal, world.clients)
        engine.start()
        stack.callback(engine.close)
        nersc = create_nersc(world, clock, program)
        if nersc is not None:
            stack.callback(nersc.scheduler.close)
        compute = create_compute(world, clock, endpoints)
        if compute is not None:
            compute.start()
            stack.callback(compute.close)
        slurm_site = create_slurm_site(world, clock)
        if slurm_site is not None:
            stack.callback(slurm_site.scheduler.close)
        scicat = create_scicat(world, clock)
        control = Control(injector, board, issuer, clock)
        deletes = world.deployment.globus.deletes
        globus = transfer.create_app(engine, issuer, None if deletes is None else deletes.client_id)
        mailboxes = Mailboxes(world.deployment.messages, state_dir, clock)
        mailboxes.write_addresses(url.partition("://")[2])
        app = create_app(globus, control, mailboxes, nersc, compute, slurm_site, scicat, endpoints)
        stack.enter_context(running(app, listener))
        yield Twin(url, world, control, engine, mailboxes, nersc, compute, slurm_site, scicat)


def load_world(deployment_file: Path, state_dir: Path, environment: Mapping[str, str]) -> World:
    """The world of a deployment's file and of the beamline's file beside it."""
    deployment = parse_deployment(
        deployment_file.read_text(),
        source=str(deployment_file),
        environment={**environment, "ALS_STATE": str(state_dir)},
    )
    beamline_file = deployment_file.parent / deployment.beamline
    return create_world(deployment, parse_beamline(beamline_file.read_text(), source=str(beamline_file)), state_dir)


def create_nersc(world: World, clock: SettableClock, program: Path) -> Nersc | None:
    """NERSC as the world's deployment has it: its key, its folders, its jobs; None where there is none."""
    service = world.deployment.superfacility
    if service is None:
        return None
    public_key = superfacility.create_key(Path(service.key_file), SUPERFACILITY_CLIENT)
    facilities = world.beamline.facilities
    names = [name for name, facility in facilities.items() if facility.kind == "superfacility"]
    prefixes = [Path(world.deployment.prefixes[name]) for name in names]
    scheduler = LocalScheduler(
        world.state_dir / "twin" / "scheduler",
        home=prefixes[0] / "global/homes/a/alsdev",
        # The image of the programs is an interpreter of this machine: no container is started in the twin.
        images={str(facilities[name].program.image): program for name in names},
        clock=clock,
    )
    api = Superfacility(scheduler, roots=prefixes, public_keys={SUPERFACILITY_CLIENT: public_key}, clock=clock)
    return Nersc(api, scheduler)


def create_compute(world: World, clock: SettableClock, real: "Endpoints | None" = None) -> Compute | None:
    """Globus Compute with the endpoints of the world's facilities, or real ones; None where no facility has one."""
    rules = [rules for rules in world.beamline.facilities.values() if isinstance(rules, ComputeRules)]
    if not rules:
        return None
    folder = world.state_dir / "twin" / "compute"
    # Each endpoint's template asks for what its facility's entry states, and for nothing else.
    own = LocalWorkers(folder / "tasks", {one.endpoint: frozenset(one.user_endpoint_config) for one in rules})
    return Compute(folder, own if real is None else real, clock)


def create_slurm_site(world: World, clock: SettableClock) -> SlurmSite | None:
    """The facility with a Slurm REST API, as the world's deployment has it, and its token; None where there is none.

    Raises NotInTheWorldError for a second one: the twin has one address for it.
    """
    names = [name for name, rules in world.beamline.facilities.items() if rules.kind == "slurm-rest"]
    if not names:
        return None
    name = names[0]
    rules, service = world.beamline.facilities[name], world.deployment.slurm_rest[name]
    user, one = service.user, len(names) == 1
    if not (one and isinstance(rules, SlurmRestRules) and user is not None and service.token.file is not None):
        raise NotInTheWorldError(f"slurm_rest: one facility, its user, and the token's file, which is written: {names}")
    cluster = Cluster(
        name=name,
        user=user,
        zone=EASTERN,
        partition="batch",
        qos=tuple({rules.resources.queue, "normal", "debug"}),
        default_qos="normal",
        accounts=(rules.resources.account,),
        features=("nvme",),
        needs_constraint=False,
    )
    scheduler = LocalScheduler(
        world.state_dir / "twin" / f"scheduler-{name}",
        home=Path(world.deployment.prefixes[name]) / "ccs/home" / user,
        images={str(rules.program.image): Path(sys.executable)},
        clock=clock,
        cluster=cluster,
    )
    tokens = SlurmTokens(user, clock)
    must_be_inside(Path(service.token.file), world.state_dir, f"slurm_rest.{name}.token")
    tokens.write(Path(service.token.file))
    return SlurmSite(SlurmRest(scheduler, cluster, tokens, clock, lambda: scheduler.pace.nodes), scheduler)


def create_app(
    globus: ASGIApp,
    control: Control,
    mailboxes: Mailboxes,
    nersc: Nersc | None,
    compute: Compute | None = None,
    slurm_site: SlurmSite | None = None,
    scicat: Scicat | None = None,
    endpoints: "Endpoints | None" = None,
) -> ASGIApp:
    """Every service on one port, behind the faults that the control API sets."""

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    services: list[BaseRoute] = []
    controls: list[BaseRoute] = []
    if nersc is not None:
        services.append(Mount("/superfacility", superfacility.create_app(nersc.api)))
        controls.append(Mount("/superfacility", superfacility.create_control_app(nersc.api, nersc.scheduler)))
    if compute is not None:
        more = () if endpoints is None else registration.routes(endpoints)
        services.append(Mount("/compute", compute_service.create_app(compute, control.issuer, more)))
        controls.append(Mount("/compute", compute_service.create_control_app(compute)))
    if slurm_site is not None:
        services.append(Mount("/slurm_rest", slurm_rest.create_app(slurm_site.api)))
        controls.append(Mount("/slurm_rest", slurm_rest.create_control_app(slurm_site.api, slurm_site.scheduler)))
    if scicat is not None:
        services.append(Mount("/scicat", scicat_service.create_app(scicat)))
        controls.append(Mount("/scicat", scicat_service.create_control_app(scicat)))
    app = Starlette(
        routes=[
            Route("/health", health),
            Mount("/auth", auth.create_app(control.issuer)),
            Mount("/transfer", globus),
            Mount("/messages", messages_service.create_app(mailboxes)),
            Mount("/control", control_api.create_app(control, controls)),
            *services,
        ]
    )
    guarded = FaultMiddleware(app, control.injector)
    return guarded if endpoints is None else registration.Proxied(guarded, "/compute")


class _Protocol(H11Protocol):
    """Offers every request a way to close its connection, for the fault that does so."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.app_state = {**self.app_state, CLOSE_CONNECTION: transport.close}
        super().connection_made(transport)


@contextmanager
def running(app: ASGIApp, listener: socket.socket) -> Iterator[None]:
    """Serve an application until the context ends."""
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=PATIENCE_S,
    )
    server = uvicorn.Server(config)
    # In a thread of its own, also for the command line: in the main thread uvicorn sends itself the signal that
    # stopped it once more, and the process would end before jobs are.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="twin-http")
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def open_listener(port: int = 0) -> Iterator[socket.socket]:
    """A socket that listens on loopback; port 0 takes a free one. Raises PortTakenError."""
    # The protocol is named because asyncio sets TCP_NODELAY only where it is: else every answer takes 40 ms more.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(f"cannot listen on {HOST}:{port}: {error.strerror}") from error
        listener.listen(128)
        yield listener


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TwinIsRunningError(f"another twin works in {folder.parent}: stop it first") from error
        yield
