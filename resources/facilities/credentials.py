"""Whether a facility's credentials are good for a while, in words that name their file and their end.

Belongs here: that judgement.
Does not: asking when they end (each facility), or telling people (sensors, als_assets).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from resources.errors import ServiceRefusedError

ALERT_BEFORE = timedelta(days=1)
RENEWAL = "make a new client at the facility and put its key where the old one is; nothing has to be restarted"
CREDENTIALS = "credentials"
"""What the check is called."""


@dataclass(frozen=True, slots=True)
class CredentialsVerdict:
    """What is to be said of some credentials; the same words for as long as nothing changes."""

    good: bool
    said: str
    file: str
    until: datetime | None


def judge_credentials(until: datetime | ServiceRefusedError | None, file: str, now: datetime) -> CredentialsVerdict:
    """Of credentials in ``file``, of which the facility told their end (None: they have none), or refused to."""
    if isinstance(until, ServiceRefusedError):
        return CredentialsVerdict(False, str(until), file, None)
    if until is None:
        return CredentialsVerdict(True, f"{file} does not end.", file, None)
    end = f"{until:%Y-%m-%d %H:%M} UTC"
    if until <= now:
        return CredentialsVerdict(False, f"{file} ended at {end}: {RENEWAL}.", file, until)
    if until - now <= ALERT_BEFORE:
        return CredentialsVerdict(False, f"{file} ends at {end}, within a day: {RENEWAL}.", file, until)
    return CredentialsVerdict(True, f"{file} is good until {end}.", file, until)
