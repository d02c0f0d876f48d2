"""The platform's own parts, as a command uses them outside of any run: clients, ledger, Dagster's instance.

Belongs here: making them for as long as a command lasts.
Does not: which deployment it is (connection), or what a command does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dagster as dg

from als.connection import Connection
from als.graphql import Webserver
from als_assets.bindings import Facilities, bindings
from als_assets.graph import Graph
from als_assets.registry import build_graph
from als_assets.retention.tables import Tables
from beamlines.config import Beamline
from resources.catalogue import Catalogue
from resources.clock import Clock
from resources.ending import Ending
from resources.gate import Gate
from resources.holds import Holds
from resources.identities import Identities
from resources.ledger import Ledger
from resources.remote import Remote
from resources.standings import Standings
from resources.transfer import Transfer


@dataclass(frozen=True, slots=True)
class Platform:
    """What runs use, and Dagster as its webserver and its storage show it."""

    beamline: Beamline
    graph: Graph
    instance: dg.DagsterInstance
    webserver: Webserver
    clock: Clock
    ledger: Ledger
    remote: Remote
    standings: Standings
    holds: Holds
    gate: Gate
    globus: Identities
    transfer: Transfer
    facilities: Facilities
    ending: Ending
    retention: Tables
    catalogue: Catalogue | None
    """None where the deployment has none."""


@contextmanager
def platform(connection: Connection) -> Iterator[Platform]:
    """The parts, made now and closed at the end."""
    settings = connection.settings
    home = connection.environment.get("DAGSTER_HOME")
    if home is None:
        raise ValueError("DAGSTER_HOME is not set: it names the folder of Dagster's dagster.yaml")
    with (
        dg.DagsterInstance.from_config(home) as instance,
        dg.build_resources(bindings(settings), instance=instance) as made,
    ):
        yield Platform(
            beamline=settings.beamline,
            graph=build_graph(settings.beamline),
            instance=instance,
            webserver=Webserver(settings.deployment.ui),
            clock=made.clock,
            ledger=made.ledger,
            remote=made.remote,
            standings=made.standings,
            holds=made.holds,
            gate=made.gate,
            globus=made.globus,
            transfer=made.transfer,
            facilities=made.facilities,
            ending=made.ending,
            retention=made.retention,
            catalogue=getattr(made, "catalogue", None),
        )
