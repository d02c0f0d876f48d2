"""The clients of the outside world as Dagster resources, each made for one run.

Belongs here: what a step may ask for by name, and how it is made from a deployment's settings.
Does not: the clients themselves (resources).
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import dagster as dg

from beamlines.catalogue.rules import CatalogueRules
from beamlines.deployment import CatalogueService
from resources.catalogue import Account, Catalogue, ScicatSession
from resources.clock import Clock, SystemClock
from resources.facilities import Facility
from resources.facilities.factory import make_facility
from resources.gate import Gate, Watch
from resources.identities import Identities
from resources.notifier import Notifier
from resources.owner import Owner
from resources.remote import Patience, Remote
from resources.settings import Settings, addresses_of, identities_of, secret
from resources.transfer import Transfer

if TYPE_CHECKING:
    from als_assets.retention.tables import Tables
    from resources.announcements import Announcements
    from resources.database import Database
    from resources.ending import Ending
    from resources.holds import Holds
    from resources.ledger import Ledger
    from resources.outbox import Outbox
    from resources.standings import Standings
    from resources.workers import Workers

Facilities: TypeAlias = Mapping[str, Facility]
"""Every facility of the beamline, by name."""


def bindings(settings: Settings) -> dict[str, Any]:
    """The resources of a deployment by the names under which steps and sensors ask for them.

    ``remote`` is shared by everything in a run: it knows what the run has in flight when the run ends.
    """
    deployment, beamline = settings.deployment, settings.beamline
    timing = deployment.timing

    @dg.resource(description=f"The platform's own tables, in {_without_password(deployment.ledger)}.")
    def database(_: dg.InitResourceContext) -> "Iterator[Database]":
        from resources.database import Database  # its library costs every import of the graph 0.3 s

        with closing(Database(deployment.ledger, shadow=deployment.shadow_folder)) as database:
            yield database

    @dg.resource(required_resource_keys={"database"}, description="Remote work, each piece once.")
    def ledger(context: dg.InitResourceContext) -> "Ledger":
        from resources.ledger import Ledger

        return Ledger(context.resources.database)

    @dg.resource(description="This machine's clock, in UTC.")
    def clock(_: dg.InitResourceContext) -> Clock:
        return SystemClock()

    @dg.resource(
        required_resource_keys={"ledger", "clock"},
        description="Carries remote work through once, for one run: claim, intent, submit, poll, end.",
    )
    def remote(context: dg.InitResourceContext) -> Remote:
        owner = Owner.this_process(context.run.run_id if context.run else "none")
        retry_first = timedelta(seconds=timing.retry_first_s)
        return Remote(context.resources.ledger, owner, context.resources.clock, retry_first=retry_first)

    @dg.resource(
        description=f"Globus at {deployment.globus.transfer_url or 'its own address'}, "
        f"as client {deployment.globus.client_id}; deletes as "
        + (f"client {deletes.client_id}." if (deletes := deployment.globus.deletes) else "the same.")
    )
    def globus(_: dg.InitResourceContext) -> Iterator[Identities]:
        with closing(identities_of(settings)) as identities:
            yield identities

    @dg.resource(required_resource_keys={"database"}, description="What was recorded and decided about each scan.")
    def standings(context: dg.InitResourceContext) -> "Standings":
        from resources.standings import Standings

        return Standings(context.resources.database)

    @dg.resource(required_resource_keys={"database"}, description="Announcements that nobody has dealt with yet.")
    def inbox(context: dg.InitResourceContext) -> "Announcements":
        from resources.announcements import Announcements

        return Announcements(context.resources.database)

    @dg.resource(required_resource_keys={"database"}, description="Copies that no rule may delete.")
    def holds(context: dg.InitResourceContext) -> "Holds":
        from resources.holds import Holds

        return Holds(context.resources.database)

    @dg.resource(
        required_resource_keys={"standings", "globus", "clock"},
        description="Whether something of a scan may go somewhere, asked before every submit.",
    )
    def gate(context: dg.InitResourceContext) -> Gate:
        resources, rules = context.resources, beamline.export_control
        first = beamline.places[beamline.scans.first_copy]
        # In the shadow people put sidecars where they always did.
        places = [beamline.places[beamline.scans.place], first, *deployment.in_charge(first)]
        watch = Watch(resources.globus.transfers, places, rules.sidecar)
        return Gate(rules, resources.standings, watch, resources.clock, deletes=deployment.shadow is None)

    @dg.resource(
        required_resource_keys={"globus", "ledger", "clock", "remote", "gate"},
        description="Copies that never overwrite, with evidence, over Globus.",
    )
    def transfer(context: dg.InitResourceContext) -> Transfer:
        patience = Patience(
            first_poll=timedelta(seconds=timing.poll_first_s),
            longest_poll=timedelta(seconds=timing.poll_longest_s),
            deadline=timedelta(seconds=timing.transfer_deadline_s),
        )
        of = context.resources
        return Transfer(of.globus, of.remote, of.ledger, of.gate, of.clock, patience)

    @dg.resource(
        required_resource_keys={"globus", "clock", "remote", "gate"},
        description=f"Where jobs run: {', '.join(beamline.facilities)}.",
    )
    def facilities(context: dg.InitResourceContext) -> Iterator[Facilities]:
        of = context.resources
        with ExitStack() as stack:
            yield {
                name: stack.enter_context(
                    closing(
                        make_facility(name, beamline, deployment, of.remote, of.gate, of.clock, of.globus.transfers)
                    )
                )
                for name in beamline.facilities
            }

    @dg.resource(
        required_resource_keys={"ledger", "globus", "facilities", "clock"},
        description="Ends remote work that another worker owns, or has left.",
    )
    def ending(context: dg.InitResourceContext) -> "Ending":
        from resources.ending import Ending

        of = context.resources
        return Ending(of.ledger, of.globus, of.facilities, of.clock)

    @dg.resource(required_resource_keys={"database"}, description="Which process works on which run.")
    def workers(context: dg.InitResourceContext) -> "Workers":
        from resources.workers import Workers

        return Workers(context.resources.database)

    @dg.resource(
        required_resource_keys={"database", "ledger", "standings", "holds"},
        description="Certificates of deletions, refusals, ages, and what is recorded of every copy.",
    )
    def retention(context: dg.InitResourceContext) -> "Tables":
        from als_assets.retention.tables import make_tables

        of = context.resources
        return make_tables(of.database, of.ledger, of.standings, of.holds)

    @dg.resource(required_resource_keys={"database"}, description="Who is to be told what, and who was.")
    def outbox(context: dg.InitResourceContext) -> "Outbox":
        from resources.outbox import Outbox

        return Outbox(context.resources.database)

    @dg.resource(description=f"Sends messages to {', '.join(sorted(deployment.messages.recipients)) or 'nobody'}.")
    def notifier(_: dg.InitResourceContext) -> Notifier:
        return Notifier(addresses_of(deployment))

    service, rules = deployment.catalogue, beamline.catalogue
    catalogued = {} if service is None or rules is None else {"catalogue": _catalogue(service, rules)}
    return {
        **catalogued,
        "database": database,
        "ledger": ledger,
        "clock": clock,
        "remote": remote,
        "globus": globus,
        "standings": standings,
        "inbox": inbox,
        "holds": holds,
        "gate": gate,
        "transfer": transfer,
        "facilities": facilities,
        "ending": ending,
        "workers": workers,
        "retention": retention,
        "outbox": outbox,
        "notifier": notifier,
    }


def _catalogue(service: CatalogueService, rules: CatalogueRules) -> dg.ResourceDefinition:
    @dg.resource(required_resource_keys={"gate"}, description=f"SciCat at {service.url}, as {service.username}.")
    def catalogue(context: dg.InitResourceContext) -> Iterator[Catalogue]:
        session = ScicatSession(service.url, Account(service.username, secret(service.password)))
        made = Catalogue(session, context.resources.gate, rules.restricted, service.pid_prefix, service.page)
        with closing(made):
            yield made

    return catalogue


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
