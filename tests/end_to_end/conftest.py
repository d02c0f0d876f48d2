"""A twin and a real Dagster (webserver, daemon, code server, run workers), started once for this folder."""

from collections.abc import Callable, Iterator

import dagster as dg
import pytest

from als import stack as stacks
from als.follow import ScanView
from als.stack import Stack, running
from als_assets.definitions import compose
from beamlines.scans import ScanId
from resources.clock import SystemClock
from resources.settings import chosen_deployment, load_settings

LIMIT_S = 240


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("state"), SystemClock(), ui_port=0, twin_port=0) as stack:
        yield stack


@pytest.fixture(scope="session")
def definitions(stack: Stack) -> dg.Definitions:
    return compose(load_settings(chosen_deployment(stack.environment), stack.environment))


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
def follow(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Callable[[ScanId], ScanView]:
    """Follow a scan until it is over, or the limit is reached."""

    def followed(scan: ScanId) -> ScanView:
        view, clock = ScanView.of(definitions, scan.key), SystemClock()
        give_up = clock.now().timestamp() + LIMIT_S
        while not (view.succeeded or view.failed or view.kept) and clock.now().timestamp() < give_up:
            view.refresh(instance)
            clock.sleep(0.5)
        return view

    return followed
