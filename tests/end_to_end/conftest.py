"""A twin and a real Dagster (webserver, daemon, code server, run workers), started once for this folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from als import stack as stacks
from als.follow import ScanView
from als.graphql import Webserver
from als.main import app
from als.stack import Stack, running
from als_assets.definitions import compose
from als_assets.registry import build_graph
from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.settings import Settings, chosen_deployment, load_settings
from tests.end_to_end.patience import LIMIT_S

SMALL = ("--rows", "32", "--columns", "96", "--angles", "91")
HOSTILE_FOLDER = "BLS-00001_o'brien; $(id)/day 1"
HOSTILE_TEXT = "-$(touch pwned); 'rm' \"x\" é 🦷\n..@b"
REAL_SCAN = Path(__file__).parents[3] / "shared" / "data" / "tooth.h5"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("state"), SystemClock(), ui_port=0, twin_port=0) as stack:
        yield stack


@pytest.fixture(scope="session")
def settings(stack: Stack) -> Settings:
    return load_settings(chosen_deployment(stack.environment), stack.environment)


@pytest.fixture(scope="session")
def definitions(settings: Settings) -> dg.Definitions:
    return compose(settings)


@pytest.fixture(scope="session")
def instance(stack: Stack) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(stack.dagster_home)) as instance:
        yield instance


@pytest.fixture(scope="session")
def measure(stack: Stack) -> Callable[..., ScanId]:
    """Let the beamline measure a scan, which grows for half a second on spot832."""

    def measured(*options: str) -> ScanId:
        return ScanId(stacks.measure(stack.state, ["--seconds", "0.5", *options]))

    return measured


@pytest.fixture(scope="session")
def scans(
    measure: Callable[..., ScanId], secret: ScanId, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ScanId]:
    """Scans that arrive one after another and are on their way together, as on a busy day. None is announced."""
    damaged = tmp_path_factory.mktemp("damaged") / "damaged.h5"
    damaged.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(5000))
    arrived = {
        "phantom": measure(*SMALL),
        "hostile": measure(*SMALL, "--folder", HOSTILE_FOLDER, f"--name={HOSTILE_TEXT}.h5"),
        "damaged": measure("--source", str(damaged), "--text", "damaged"),
        "left": measure(*SMALL, "--text", "left"),
        "secret": secret,
    }
    if REAL_SCAN.exists():
        arrived["tooth"] = measure("--source", str(REAL_SCAN), "--text", "tooth")
    return arrived


@pytest.fixture(scope="session")
def secret(stack: Stack, measure: Callable[..., ScanId]) -> ScanId:
    """A scan that the acquisition program has announced as restricted, by GraphQL."""
    scan = measure(*SMALL, "--seconds", "0", "--text", "secret")
    announcement = {"path": f"/global/raw/{scan.path}", "export_control": True}
    Webserver(stack.ui_url).launch("bl832_announce", config={"ops": {"announce": {"config": announcement}}})
    return scan


@pytest.fixture(scope="session")
def follow(
    settings: Settings, definitions: dg.Definitions, instance: dg.DagsterInstance
) -> Callable[[ScanId], ScanView]:
    """Follow a scan until it is over, or the limit is reached."""
    way = build_graph(settings.beamline).way(settings.beamline.preference[0])

    def followed(scan: ScanId) -> ScanView:
        view, clock = ScanView.of(definitions, way, scan.key), SystemClock()
        give_up = clock.now().timestamp() + LIMIT_S
        while not (view.succeeded or view.failed or view.kept) and clock.now().timestamp() < give_up:
            view.refresh(instance)
            clock.sleep(0.5)
        return view

    return followed


@pytest.fixture(scope="session")
def als(stack: Stack) -> Callable[..., Result]:
    """A command, as a person types it; in this process, because each of its own would import for seconds."""

    def run(*words: str, answer: str = "") -> Result:
        return CliRunner().invoke(app, [*words, "--state", str(stack.state)], input=answer)

    return run
