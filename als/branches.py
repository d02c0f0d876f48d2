"""The command that shows the branches and switches them.

Belongs here: arguments, the switches, what is shown of each branch.
Does not: what a branch has missed (als_assets.operations.missed), or what its router does (sensors.routers).

A switch is an option called like its facility. Facilities are the configuration's, and which one is configured is known
only when the command runs: so these options are read here, and not by the library.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from als.connection import connect
from als.options import DAYS, UP_STATE, StateDir
from als.saying import console, end_with, say
from beamlines.config import Beamline
from resources.errors import PlatformError

if TYPE_CHECKING:
    from als.graphql import Webserver
    from als_assets.operations.missed import Taken

ANY_FACILITY = {"allow_extra_args": True, "ignore_unknown_options": True}
"""How the library lets options pass that it does not know."""
FILES = "files"
"""What people call the sensor that finds new scans."""
_WORDS = {"on": True, "off": False}


def branches(
    context: typer.Context,
    days: Annotated[int, typer.Option(min=1, help="Of the arrivals of how many days.")] = DAYS,
    show: Annotated[bool, typer.Option("--list", help="Name each scan that a branch has missed, and why.")] = False,
    state: StateDir = UP_STATE,
) -> None:
    """Show each facility's branch, its switch, and what it has missed; switch it: als branches --nersc off --alcf on

    There is an option for every facility of the beamline, with on or off; --files is the sensor of new scans.
    While a branch is off, arrivals are not sent through it, also not later: als backfill --branch NAME --missed.
    While --files is off nothing is taken in; what has arrived meanwhile is found when it is on again.
    Exit code 1 where a switch could not be seen or changed.
    """
    from als.platform import platform
    from als_assets.operations.missed import taken_by

    connection = connect(state)
    with platform(connection) as at:
        sensors = switches(at.beamline)
        failed = [*_switch(at.webserver, sensors, wanted(context.args, sensors))]
        since = at.clock.now() - timedelta(days=days)
        found = {name: taken_by(at.instance, at.beamline, at.graph, name, since) for name in at.graph.branches}
        states = {name: _state(at.webserver, sensor) for name, sensor in sensors.items()}
    _show(states, found, days)
    for name, taken in found.items():
        _say_missed(name, taken, listed=show)
    unseen = list(dict.fromkeys(str(state) for state in states.values() if isinstance(state, PlatformError)))
    end_with(dict.fromkeys([*failed, *unseen]))


def switches(beamline: Beamline) -> dict[str, str]:
    """Every switch, as people call it, and its sensor."""
    routers = {name: beamline.router(name) for name in beamline.facilities}
    return {FILES: f"{beamline.name}_new_scans", **routers}


def wanted(words: Iterable[str], known: Iterable[str]) -> dict[str, bool]:
    """What is to be switched, from ``--nersc off`` or ``--nersc=off``. Raises ValueError."""
    rest = iter(words)
    orders: dict[str, bool] = {}
    for word in rest:
        name, given, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in known:
            options = ", ".join(f"--{one}" for one in sorted(known))
            raise ValueError(f"there is nothing to switch that is called {word!r}; there are {options}")
        value = value if given else next(rest, "")
        if value not in _WORDS:
            raise ValueError(f"--{name} is switched on or off, not {value!r}")
        if orders.setdefault(name, _WORDS[value]) != _WORDS[value]:
            raise ValueError(f"--{name} cannot be switched both on and off")
    return orders


def _switch(webserver: "Webserver", sensors: dict[str, str], orders: dict[str, bool]) -> Iterator[str]:
    """Switch each; yield what could not be switched, and why."""
    for name, on in orders.items():
        word = "on" if on else "off"
        try:
            changed = webserver.switch(sensors[name], on=on)
        except PlatformError as error:
            yield f"{name} was not switched {word}: {error}"
        else:
            say(f"{name} is {word}" if changed else f"{name} was {word} already")


def _state(webserver: "Webserver", sensor: str) -> "bool | PlatformError":
    try:
        return webserver.is_on(sensor)
    except PlatformError as error:
        return error


def _show(states: "dict[str, bool | PlatformError]", found: "dict[str, Taken]", days: int) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("branch")
    table.add_column("is")
    for column in (f"arrived in {days} days", "entered", "under way", "elsewhere", "missed"):
        table.add_column(column, justify="right")
    for name, state in states.items():
        word = Text("?", "bold red") if isinstance(state, PlatformError) else _word(on=state)
        taken = found.get(name)
        figures = (
            [] if taken is None else [taken.arrived, taken.entered, taken.under_way, taken.elsewhere, len(taken.missed)]
        )
        table.add_row(Text(name), word, *(str(figure) for figure in figures))
    console.print(table)


def _word(*, on: bool) -> Text:
    return Text("on", "green") if on else Text("off", "yellow")


def _say_missed(name: str, taken: "Taken", *, listed: bool) -> None:
    for reason, count in taken.reasons.items():
        say(f"{name} missed {count}: {reason}")
    if listed:
        for key, reason in taken.missed.items():
            say(f"  {key}  ({reason})")
