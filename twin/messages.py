"""Where messages arrive: a receiver for apprise's ``json://``, and a page that shows what was received.

Belongs here: that receiver, and the addresses of the recipients that a deployment names.
Does not: any real service, or what messages say (beamlines.messages).
"""

import base64
import binascii
import html
import json
import secrets
from collections import deque
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from beamlines.deployment import Messages
from twin.clock import SettableClock
from twin.world import must_be_inside, write_secret

SHOWN = 200
_PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>Messages</title>
<style>body {{ font: 15px sans-serif; margin: 2em; max-width: 60em }} pre {{ white-space: pre-wrap }}</style>
<h1>Messages</h1>
<p>What e-mail, Slack or Teams would have got, the newest first.</p>
{entries}
"""
_ENTRY = "<article><h3>{title}</h3><p>{time} to {recipient}</p><pre>{body}</pre></article>"


class Mailboxes:
    """What recipients have received. Each has an address of its own, with a password that only its owner may read."""

    def __init__(self, messages: Messages, state_dir: Path, clock: SettableClock) -> None:
        self._messages = messages
        self._state_dir = state_dir
        self._clock = clock
        self._passwords = {name: secrets.token_urlsafe(24) for name in messages.recipients}
        self._received: deque[dict[str, str]] = deque(maxlen=SHOWN)

    def write_addresses(self, netloc: str) -> None:
        """Put each recipient's address where the deployment says that it is. Raises NotInTheWorldError."""
        for name, recipient in self._messages.recipients.items():
            if recipient.address.file is not None:
                path = Path(recipient.address.file)
                must_be_inside(path, self._state_dir, f"messages.recipients.{name}.address")
                write_secret(path, f"json://{name}:{self._passwords[name]}@{netloc}/messages/{name}")

    def receive(self, recipient: str, password: str, document: object) -> bool:
        """Keep a message; False where it is for nobody, or the password is wrong."""
        known = self._passwords.get(recipient)
        if known is None or not secrets.compare_digest(known.encode(), password.encode()):
            return False
        said = document if isinstance(document, dict) else {}
        title, body = (str(said.get(word, "")) for word in ("title", "message"))
        self._received.append({"recipient": recipient, "title": title, "body": body, "time": _shown(self._clock())})
        return True

    @property
    def received(self) -> list[dict[str, str]]:
        """The oldest first."""
        return [*self._received]

    def forget(self) -> None:
        """Begin with empty boxes."""
        self._received.clear()


def create_app(mailboxes: Mailboxes) -> Starlette:
    """``POST /NAME`` receives, ``GET /`` shows, ``GET /received`` lists."""

    async def receive(request: Request) -> Response:
        try:
            document = json.loads(await request.body())
        except json.JSONDecodeError as error:
            return JSONResponse({"error": str(error)}, 422)
        taken = mailboxes.receive(request.path_params["name"], _password(request), document)
        return JSONResponse({} if taken else {"error": "no such recipient, or not its password"}, 200 if taken else 401)

    async def page(_: Request) -> Response:
        entries = [
            _ENTRY.format(**{word: html.escape(text) for word, text in one.items()})
            for one in reversed(mailboxes.received)
        ]
        return HTMLResponse(_PAGE.format(entries="\n".join(entries) or "<p>None yet.</p>"))

    async def received(_: Request) -> Response:
        return JSONResponse(mailboxes.received)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/received", received),
            Route("/{name}", receive, methods=["POST"]),
        ]
    )


def _password(request: Request) -> str:
    try:
        said = base64.b64decode(request.headers.get("authorization", "").removeprefix("Basic ")).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return said.partition(":")[2]


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
