"""The demonstration: one scan followed from the beamline to its last copy.

Belongs here: how it begins and ends. Does not: processes (stack), reading events (follow), tables (screen).
"""

import os
import shutil
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.live import Live

from als.follow import ScanView
from als.screen import Lines, live, places, summary, verdict
from als.stack import LOCK, Stack, alone, end_all
from als_assets.definitions import compose
from als_assets.naming import asset_key
from als_assets.registry import build_graph
from beamlines.scans import ScanId
from resources.clock import Clock
from resources.settings import chosen_deployment, load_settings

MARK = "demonstration"
"""A file that says: this folder is a demonstration's own, and goes when the next one begins."""
_POLL_S = 0.5


class NotADemonstrationError(ValueError):
    """A state folder that is not the demonstration's own: it would have been deleted."""


def start_afresh(state: Path) -> None:
    """Make the folder of a demonstration, without what an earlier one has left in it.

    Raises NotADemonstrationError for any other folder that holds something, StackError while one runs there.
    """
    state.mkdir(parents=True, exist_ok=True)
    left = [entry for entry in state.iterdir() if entry.name not in (LOCK, MARK)]
    if left and not (state / MARK).exists():
        raise NotADemonstrationError(f"{state} is not the state of a demonstration: name an empty or a new folder")
    with alone(state):
        end_all(state)
        for entry in left:
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        (state / MARK).touch()


def follow_one(stack: Stack, path: str, console: Console, clock: Clock, *, complete_at: float, limit_s: float) -> int:
    """Show a scan's way until it is over; 0 if every asset is there and every copy's checks passed."""
    environment = {**os.environ, **stack.environment}
    settings = load_settings(chosen_deployment(environment), environment)
    graph, branch = build_graph(settings.beamline), settings.beamline.preference[0]
    entries = [] if graph.catalogue is None else graph.catalogue.way(branch)
    view = ScanView.of(compose(settings), [*graph.way(branch), *entries], ScanId(path).key)
    with dg.DagsterInstance.from_config(str(stack.dagster_home)) as instance:
        _watch(view, instance, console, clock, complete_at, limit_s)
    console.print(summary(view))
    console.print(places(view), style="dim", markup=False, highlight=False, soft_wrap=True)
    for name, said in view.remarks.items():
        remark = f"look at the scan: {name.replace('_', ' ')}: {said}"
        console.print(remark, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if view.succeeded:
        copies = [asset_key(settings.beamline, copy) for copy in graph.branches[branch].copies]
        console.print(verdict(view, complete_at, graph.ingested, copies, entries), soft_wrap=True)
        return 0
    for error in view.errors or [_why_not(view, limit_s)]:
        console.print(error, style="bold red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"logs: {stack.state}/dagster.log and twin.log", highlight=False, soft_wrap=True)
    return 1


def _why_not(view: ScanView, limit_s: float) -> str:
    if view.kept:
        return f"the scan is not whole: {view.not_whole}. Its raw file is kept; nothing is made of it by itself."
    return f"not all assets were there after {limit_s:.0f} s"


def _watch(
    view: ScanView, instance: dg.DagsterInstance, console: Console, clock: Clock, began: float, limit_s: float
) -> None:
    lines = Lines(console)
    with Live(live(view, 0), console=console, transient=True, auto_refresh=False) as screen:
        while not (view.succeeded or view.failed or view.kept):
            waited_s = clock.now().timestamp() - began
            if waited_s > limit_s:
                return
            view.refresh(instance)
            if console.is_terminal:
                screen.update(live(view, waited_s), refresh=True)
            else:
                lines.show(view, waited_s)
            clock.sleep(_POLL_S)
