"""Reading configuration files, the environment and secrets: where they are, and what is in them now.

Belongs here: the only code that opens config/ and that reads a secret.
Does not: what the files mean (beamlines.config, beamlines.deployment).
"""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamlines.config import Beamline, ConfigurationError, parse_beamline
from beamlines.deployment import Deployment, GlobusClient, SecretName, parse_deployment
from resources.globus import Globus
from resources.globus_session import Login
from resources.identities import Identities

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder that the packages are installed in."""
DEPLOYMENT_VARIABLE = "ALS_DEPLOYMENT"
STATE_VARIABLE = "ALS_STATE"


@dataclass(frozen=True, slots=True)
class Settings:
    """A deployment, and the beamline as that deployment has it."""

    deployment: Deployment
    beamline: Beamline


def load_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """Read a deployment's file and the beamline's file beside it. Raises ConfigurationError."""
    filled = {STATE_VARIABLE: str(PROJECT / "var"), **environment}
    named = _text(path, f"name the deployment's file in {DEPLOYMENT_VARIABLE}")
    deployment = parse_deployment(named, source=str(path), environment=filled)
    beside = path.parent / deployment.beamline
    beamline = parse_beamline(_text(beside, f"{path} names it as 'beamline'"), source=str(beside))
    return Settings(deployment, deployment.apply_to(beamline))


def chosen_deployment(environment: Mapping[str, str]) -> Path:
    """The deployment's file that this process is to use: the twin's, unless ALS_DEPLOYMENT names another."""
    return Path(environment.get(DEPLOYMENT_VARIABLE, str(PROJECT / "config" / "twin.yaml")))


def secret(name: SecretName, environment: Mapping[str, str] = os.environ) -> Callable[[], str]:
    """A reader of the secret, to be called each time it is used, so that a rotation needs no restart."""

    def read() -> str:
        if name.env is not None:
            value = environment.get(name.env)
            if not value:
                raise ConfigurationError(f"the environment variable {name.env} is empty: it must hold the secret")
            return value
        path = Path(str(name.file))
        if not path.exists():
            raise ConfigurationError(f"{path} does not exist: it must hold the secret, with mode 0600")
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigurationError(f"{path} has mode {mode:04o}: others can read the secret; chmod 600 it")
        value = path.read_text().strip()
        if not value:
            raise ConfigurationError(f"{path} is empty: it must hold the secret")
        return value

    return read


def addresses_of(deployment: Deployment, environment: Mapping[str, str] = os.environ) -> dict[str, Callable[[], str]]:
    """Readers of the addresses of those who are told, by name."""
    return {name: secret(one.address, environment) for name, one in deployment.messages.recipients.items()}


def login_of(deployment: Deployment) -> Login:
    """As whom a deployment asks Globus for everything but deletes."""
    return _login(deployment, deployment.globus)


def identities_of(settings: Settings, **how: Any) -> Identities:
    """Globus as a deployment reaches it, as each of its clients; ``close`` it. ``how`` is passed on to each Globus."""
    deployment, service = settings.deployment, settings.deployment.globus
    data_access = [place.collection for place in settings.beamline.places.values() if place.data_access_consent]

    def globus(client: GlobusClient) -> Globus:
        login = _login(deployment, client)
        return Globus(login, transfer_url=service.transfer_url, data_access=data_access, **how)

    transfers = globus(service)
    return Identities(transfers, transfers if service.deletes is None else globus(service.deletes))


def _login(deployment: Deployment, client: GlobusClient) -> Login:
    return Login(client.client_id, secret(client.client_secret), deployment.globus.auth_url)


def _text(path: Path, if_missing: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path} does not exist: {if_missing}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read as text: {error}") from error
