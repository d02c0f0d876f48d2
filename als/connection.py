"""How a command finds the running system: the deployment that the environment names, or the one that `make up` runs.

Belongs here: the environment of a state folder, and the settings and database that follow from it.
Does not: starting that system (stack), or what commands do with it.
"""

import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.settings import DEPLOYMENT_VARIABLE, Settings, chosen_deployment, load_settings

if TYPE_CHECKING:
    from resources.database import Database  # its library costs every command 0.3 s

ENVIRONMENT = "environment.json"
"""What a stack adds to the environment of its processes, in its state folder; no secret is in it."""


class NothingRunsError(RuntimeError):
    """No deployment is named, and nothing has been started over the state folder."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A deployment as one command reaches it."""

    settings: Settings
    environment: Mapping[str, str]

    @contextmanager
    def database(self) -> "Iterator[Database]":
        from resources.database import Database

        with closing(
            Database(self.settings.deployment.ledger, shadow=self.settings.deployment.shadow_folder)
        ) as database:
            yield database

    @property
    def author(self) -> str:
        """Who gives the command, as it is recorded."""
        return f"{getpass.getuser()}@{socket.gethostname()}"


def connect(state: Path) -> Connection:
    """The deployment of ALS_DEPLOYMENT; where that is not set, the twin that runs over ``state``.

    Raises NothingRunsError, and ConfigurationError.
    """
    environment: Mapping[str, str] = os.environ
    if DEPLOYMENT_VARIABLE not in environment:
        written = state / ENVIRONMENT
        if not written.exists():
            raise NothingRunsError(
                f"nothing has been started over {state}: run `make up` first, or name a deployment's file in "
                f"{DEPLOYMENT_VARIABLE}"
            )
        environment = {**environment, **json.loads(written.read_text())}
    return Connection(load_settings(chosen_deployment(environment), environment), environment)
