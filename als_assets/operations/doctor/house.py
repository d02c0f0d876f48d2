"""A look at the platform itself: its database, Dagster's webserver, and the daemons without which nothing starts.

Belongs here: what must run on this side. Does not: the outside world (places, machines).
"""

from collections.abc import Iterator
from typing import Protocol

from als_assets.operations.findings import Finding, Verdict, fault
from resources.errors import PlatformError
from resources.ledger import Ledger
from resources.responsible import OPERATORS

_START = "start it: dagster-daemon run -w workspace.yaml (`make up` starts everything of the twin)"


class Webserver(Protocol):
    """What is asked of Dagster's webserver. Both may raise ServiceUnavailableError."""

    def unhealthy_daemons(self) -> list[str]:
        """Required daemons without a recent heartbeat."""

    def load_errors(self) -> list[str]:
        """Why code locations could not be loaded."""


def look_at_house(ledger: Ledger, webserver: Webserver) -> Iterator[Finding]:
    """Yield what was found. Raises what the database raises: without it nothing else can be looked at."""
    in_flight = len(ledger.in_flight())
    yield Finding("platform", "ledger", Verdict.FINE, f"answers; {in_flight} pieces of remote work in flight")
    try:
        errors, silent = webserver.load_errors(), webserver.unhealthy_daemons()
    except PlatformError as error:
        yield fault("platform", "webserver", error, OPERATORS)
        return
    yield _of_many("code", "loaded", errors, "look at what it says; nothing runs until it loads")
    yield _of_many("daemons", "have heartbeats", [f"{name} has no heartbeat" for name in silent], _START)


def _of_many(what: str, fine: str, wrong: list[str], remedy: str) -> Finding:
    if wrong:
        return Finding("platform", what, Verdict.FAULT, "; ".join(wrong), OPERATORS, remedy)
    return Finding("platform", what, Verdict.FINE, fine)
