"""The program that sends one message: ``python -m resources.sending``, with a JSON document on its standard input.

Belongs here: apprise, and telling whether anything was handed over.
Does not: recipients, limits of time and what follows from an answer (notifier).

It has a process of its own: an address holds a password, and what apprise and the libraries below it write down of it
goes nowhere; and however long a server keeps it waiting, it can be ended.
"""

import json
import sys
from enum import StrEnum
from typing import Any

_PATIENCE_S = 600.0
"""More than the process has: a server that is slow is not taken for one that refuses."""


class Outcome(StrEnum):
    """How it ended."""

    SENT = "sent"
    NOT_AN_ADDRESS = "not-an-address"
    NOT_REACHED = "not-reached"
    """Nothing of the message was handed over."""
    UNCONFIRMED = "unconfirmed"
    """It was handed over, and what came back is no yes."""


class HandingOver:
    """Notices whether a message has begun to leave: Python says so itself of its own HTTP and SMTP clients."""

    def __init__(self) -> None:
        self.begun = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "http.client.send":
            self.begun = True
        elif event == "smtplib.send":
            said = arguments[1]
            # Of a mail that is what follows the command DATA; greeting and login come before.
            self.begun = self.begun or (said if isinstance(said, bytes) else said.encode())[:4].lower() == b"data"


def send(address: str, title: str, body: str) -> Outcome:
    """Send a message to an address, as apprise writes one."""
    from apprise import Apprise, AppriseAsset, NotifyFormat

    handing_over = HandingOver()
    sys.addaudithook(handing_over)
    # Nothing is kept on disk, and nothing goes on to where a server points.
    asset = AppriseAsset(storage_mode="memory", http_redirects=False, service_timeout=0, async_mode=False)
    service = Apprise.instantiate(address, asset=asset)
    if service is None:
        return Outcome.NOT_AN_ADDRESS
    service.socket_read_timeout = _PATIENCE_S
    apprise = Apprise(asset=asset)
    apprise.add(service)
    handing_over.begun = False
    if apprise.notify(body=body, title=title, body_format=NotifyFormat.TEXT):
        return Outcome.SENT
    return Outcome.UNCONFIRMED if handing_over.begun else Outcome.NOT_REACHED


def main() -> None:
    """Say how it ended, as the last word on the standard output."""
    wanted = json.load(sys.stdin)
    print(send(wanted["address"], wanted["title"], wanted["body"]))  # noqa: T201


if __name__ == "__main__":
    main()
