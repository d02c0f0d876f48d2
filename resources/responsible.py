"""Who must act when something between places does not work: found out by looking at each side.

Belongs here: telling the platform's own operators, a service, and those who run a place apart.
Does not: what was tried (flight check, doctor), or messages (errors).
"""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from beamlines.places import Location, Place
from resources.errors import CredentialsRefusedError, PlatformError, ServiceUnavailableError

OPERATORS = "those who run this platform"


def who_must_act(error: PlatformError, places: Sequence[Place], look: Callable[[Location], object]) -> str:
    """Who can mend ``error``, which has happened between ``places``.

    ``look`` is asked for each place's root and raises what it meets. Where both sides can be seen, both are named: the
    error itself says which of them refused.
    """
    if isinstance(error, CredentialsRefusedError):
        return OPERATORS
    met = {place.name: _met(place, look) for place in places}
    silent = [place for place in places if met[place.name] is not None]
    if any(isinstance(found, CredentialsRefusedError) for found in met.values()):
        return OPERATORS
    if len(silent) == len(places) > 1 and all(isinstance(found, ServiceUnavailableError) for found in met.values()):
        return f"nobody here if Globus itself is down (status.globus.org); else {OPERATORS}: nothing answers"
    return "; ".join(dict.fromkeys(place.run_by for place in silent or places))


def _met(place: Place, look: Callable[[Location], object]) -> PlatformError | None:
    try:
        look(Location(place, PurePosixPath()))
    except PlatformError as error:
        return error
    return None
