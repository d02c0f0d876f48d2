"""Sending a message to a recipient whom the deployment names, over apprise: e-mail, Slack, Teams and the rest.

Belongs here: recipients' addresses, the limit of time, and the named errors.
Does not: what is said (beamlines.messages), how often (outbox), or apprise itself, which runs in a process of its own
(sending). No address is ever taken from a scan, a file or a message, and none is written anywhere.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from beamlines.config import ConfigurationError
from beamlines.messages import Message
from resources.errors import PlatformError
from resources.sending import Outcome

LIMIT = timedelta(seconds=30)
"""For one message. Most take two seconds, of which nearly all is the start of the process."""


class NotToldError(PlatformError):
    """A message has certainly not arrived."""


class UnconfirmedError(PlatformError):
    """A message was handed over, and nobody knows whether it has arrived."""


@dataclass(frozen=True, slots=True)
class Notifier:
    """Sends messages to recipients by name."""

    addresses: Mapping[str, Callable[[], str]] = field(repr=False)
    """Readers of their addresses."""
    limit: timedelta = LIMIT

    def send(self, recipient: str, message: Message) -> None:
        """Send one message, and wait until the service has taken it. Raises NotToldError or UnconfirmedError."""
        try:
            address = self.addresses[recipient]()
        except (ConfigurationError, OSError) as error:
            raise NotToldError(
                seen=f"the address of {recipient} cannot be read: {error}",
                meaning=f"{recipient} is told nothing",
                remedy="put the address where the deployment's file says (docs/messages.md)",
            ) from error
        outcome = self._outcome(json.dumps({"address": address, "title": message.title, "body": message.body}))
        if outcome is not Outcome.SENT:
            raise _ERRORS[outcome](recipient)

    def _outcome(self, document: str) -> Outcome:
        command = [sys.executable, "-m", "resources.sending"]
        try:
            done = subprocess.run(
                command,
                input=document,
                stdout=subprocess.PIPE,
                # What is said there may hold the address.
                stderr=subprocess.DEVNULL,
                text=True,
                timeout=self.limit.total_seconds(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome.UNCONFIRMED
        words = done.stdout.split()
        # A process that dies has perhaps sent it before.
        known = done.returncode == 0 and words and words[-1] in set(Outcome)
        return Outcome(words[-1]) if known else Outcome.UNCONFIRMED


def _not_an_address(recipient: str) -> PlatformError:
    return NotToldError(
        seen=f"what stands for the address of {recipient} is none that apprise can read",
        meaning=f"{recipient} is told nothing",
        remedy="write it as apprise does, such as mailtos://user:password@host?to=... (docs/messages.md)",
    )


def _not_reached(recipient: str) -> PlatformError:
    return NotToldError(
        seen=f"the service of {recipient} was not reached, or let nobody in",
        meaning="the message was not sent; it waits, and is sent when that works again within a day",
        remedy=f"if this lasts, look at the service and the address: als messages test {recipient}",
    )


def _unconfirmed(recipient: str) -> PlatformError:
    return UnconfirmedError(
        seen=f"the service of {recipient} was given the message, and did not say that it has taken it",
        meaning="it has perhaps arrived; it is sent once more, and then never again",
        remedy=f"if this lasts, look at the service and the address: als messages test {recipient}",
    )


_ERRORS: Mapping[Outcome, Callable[[str], PlatformError]] = {
    Outcome.NOT_AN_ADDRESS: _not_an_address,
    Outcome.NOT_REACHED: _not_reached,
    Outcome.UNCONFIRMED: _unconfirmed,
}
