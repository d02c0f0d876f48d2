"""A look at the catalogue: whether its account is let in, and an entry can be asked for.

Belongs here: one question, which changes nothing. Does not: whether entries are right, which is their own check.
"""

from collections.abc import Iterator

from als_assets.operations.findings import Finding, Verdict, fault
from resources.catalogue import Catalogue
from resources.errors import CredentialsRefusedError, PlatformError
from resources.responsible import OPERATORS

SCICAT = "whoever runs SciCat"
_NOBODYS = "als-doctor-asks-for-no-entry"


def look_at_catalogue(catalogue: Catalogue | None) -> Iterator[Finding]:
    """Yield what was found; nothing where the deployment has no catalogue."""
    if catalogue is None:
        return
    try:
        catalogue.find(f"{catalogue.pid_prefix}/{_NOBODYS}")
    except PlatformError as error:
        who = OPERATORS if isinstance(error, CredentialsRefusedError) else SCICAT
        yield fault("scicat", "account", error, who)
    else:
        seen = "is let in, and may read; whether it may write, the next entry shows"
        yield Finding("scicat", "account", Verdict.FINE, seen)
