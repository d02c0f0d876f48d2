"""Commands that look whether all is well: ``als doctor``, and ``als cutover check``.

Belongs here: the order of the looks. Does not: any look (als_assets.operations), or showing what was found (findings).
"""

import itertools
import uuid
from contextlib import closing
from typing import Annotated

import typer

from als.connection import connect
from als.findings import report
from als.options import UP_STATE, StateDir
from als.saying import console

SHADOW_LEDGER = "ALS_SHADOW_LEDGER_URL"
PREFECT_URL, PREFECT_KEY = "PREFECT_API_URL", "PREFECT_API_KEY"
cutover = typer.Typer(no_args_is_help=True, help="Taking over from the system that this one replaces.")


def doctor(state: StateDir = UP_STATE) -> None:
    """Look whether the deployment can do its work: the platform itself, the clients of Globus, every place,
    every facility, the catalogue.

    A probe is written to every place, read back and deleted, and a small job runs at every facility; nothing is left.
    Exit code 1 where something is at fault: each line says who must act, and how.
    """
    from als.platform import platform
    from als_assets.operations.doctor.catalogue import look_at_catalogue
    from als_assets.operations.doctor.clients import look_at_clients
    from als_assets.operations.doctor.house import look_at_house
    from als_assets.operations.doctor.machines import MachineLook
    from als_assets.operations.doctor.places import AT_MOST, PlaceLook

    with platform(connect(state)) as at:
        whose, quick = uuid.uuid4().hex, at.transfer.within(AT_MOST)
        try:
            report(
                itertools.chain(
                    look_at_house(at.ledger, at.webserver),
                    look_at_clients(at.globus),
                    PlaceLook(at.beamline, quick, at.clock, _silent, whose).look(),
                    MachineLook(at.beamline, at.facilities, at.clock, _silent, whose).look(),
                    look_at_catalogue(at.catalogue),
                )
            )
        finally:
            at.remote.cancel_open()  # what could not be waited for, and an impatient Ctrl-C


@cutover.command()
def check(
    prefect: Annotated[
        str,
        typer.Option("--prefect", envvar=PREFECT_URL, help="The API of the old system, as http://host:4200/api."),
    ] = "",
    key: Annotated[str, typer.Option(envvar=PREFECT_KEY, show_envvar=True, hidden=True)] = "",
    state: StateDir = UP_STATE,
) -> None:
    """Look whether this platform may take over, and delete: what is still on in the old system, what works here.

    Nothing is changed anywhere. Exit code 1 where something must be done first; docs/cutover.md has the whole way.
    """
    from als.platform import platform
    from als_assets.operations.cutover import look_at_flight, look_at_mode, look_at_old_system, look_at_scans
    from resources.prefect import Prefect

    connection = connect(state)
    with platform(connection) as at:
        report(
            itertools.chain(
                [look_at_mode(connection.settings.deployment.shadow)],
                look_at_old_system(at.beamline, Prefect(prefect, key or None) if prefect else None),
                look_at_scans(at.instance, at.beamline, at.graph, at.standings),
                look_at_flight(at.instance, at.graph, at.clock),
            )
        )


@cutover.command()
def carry(
    source: Annotated[
        str,
        typer.Option("--from", envvar=SHADOW_LEDGER, help="The shadow's database, as in its deployment's 'ledger'."),
    ],
    state: StateDir = UP_STATE,
) -> None:
    """Take over what was decided about scans in the shadow: restrictions, who lifted one, what is not sent, and why.

    The shadow's database is only read. To be done before anything is registered here; repeated, it changes nothing.
    """
    from resources.database import Database
    from resources.standings import Standings

    connection = connect(state)
    with connection.database() as here, closing(Database(source, shadow=None)) as there:
        count = Standings(here).carry_over(Standings(there))
    console.print(f"what was decided about {count} scans was taken over")


def _silent(*_: object) -> None:
    """Nothing is said between the beginning of a look and its end."""
