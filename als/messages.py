"""Commands about messages: whether somebody can be told.

Belongs here: ``als messages test``. Does not: what is told by itself (sensors.messages, als_assets.operations.tell).
"""

from typing import Annotated

import typer

from als.connection import connect
from als.options import UP_STATE, StateDir
from als.saying import say
from beamlines import messages

app = typer.Typer(no_args_is_help=True, help="Messages to people.")


@app.callback()
def _about() -> None:
    """Messages to people."""


@app.command("test")
def try_out(
    recipient: Annotated[str, typer.Argument(help="As the deployment's file calls it.")], state: StateDir = UP_STATE
) -> None:
    """Send one message to a recipient, now, and say whether its service has taken it.

    It is beyond the rate, and nothing is written down of it.
    """
    from resources.notifier import Notifier
    from resources.settings import addresses_of

    at = connect(state)
    known = at.settings.deployment.messages.recipients
    if recipient not in known:
        raise ValueError(f"there is no recipient {recipient!r}; there are {', '.join(sorted(known)) or 'none'}")
    Notifier(addresses_of(at.settings.deployment, at.environment)).send(recipient, messages.trial(recipient))
    say(f"{recipient} was told: its service has taken the message")
