"""A look at the clients of Globus: whether each is let in, and whether deletes have one of their own.

Belongs here: the clients themselves. Does not: what each may do at a place, which only a probe there tells (places).
"""

from collections.abc import Iterator

from als_assets.operations.findings import Finding, Verdict, fault
from resources.errors import CredentialsRefusedError, PlatformError
from resources.identities import Identities
from resources.responsible import OPERATORS

GLOBUS = "Globus itself (status.globus.org)"
ALL = ""
"""Tasks of every name count against a client's limit of 100 that have not ended."""


def look_at_clients(globus: Identities) -> Iterator[Finding]:
    """Yield what was found, client by client. Nothing is written."""
    for service, client in globus.by_service().items():
        try:
            tasks = len(client.unended_tasks(ALL))
        except PlatformError as error:
            who = OPERATORS if isinstance(error, CredentialsRefusedError) else GLOBUS
            yield fault(service, "client", error, who)
        else:
            seen = f"client {client.client_id} is let in; {tasks} of its tasks have not ended"
            yield Finding(service, "client", Verdict.FINE, seen)
    if not globus.are_two:
        yield Finding(
            "globus",
            "deletes",
            Verdict.WARNING,
            "the client that transfers also asks for deletes: whoever has its secret can delete what it has written; "
            "nothing goes by rule, as long as this is so",
            OPERATORS,
            "make a second client with the right to delete, and name it in globus.deletes (docs/production.md)",
        )
