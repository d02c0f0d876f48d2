"""Tokens for the Slurm REST API: JWTs, as ``scontrol token`` makes them.

Belongs here: making, writing and checking tokens.
Does not: what a token opens (app).
"""

import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from twin.scheduler import Clock
from twin.world import write_secret

LIFETIME = timedelta(days=30)


class SlurmTokens:
    """Makes and checks tokens of one user. Its key is new each time: after a restart every old token is refused."""

    def __init__(self, user: str, clock: Clock) -> None:
        self.user = user
        self._clock = clock
        self._key = OctKey.import_key(secrets.token_bytes(32))

    def issue(self, lifetime: timedelta = LIFETIME) -> str:
        now = self._clock()
        claims = {"iat": _seconds(now), "exp": _seconds(now + lifetime), "sun": self.user}
        return jwt.encode({"alg": "HS256"}, claims, self._key)

    def write(self, path: Path, lifetime: timedelta = LIFETIME) -> None:
        """Put a new token into a file that only its owner may read."""
        write_secret(path, self.issue(lifetime))

    def expire_all(self) -> None:
        """Refuse every token that was made so far, whatever it says of its end."""
        self._key = OctKey.import_key(secrets.token_bytes(32))

    def accepts(self, headers: Mapping[str, str]) -> bool:
        """Whether a request may pass: by slurmrestd's two headers, or by ``Authorization``, as S3M has it."""
        if "x-slurm-user-token" in headers:
            return headers.get("x-slurm-user-name") == self.user and self._is_good(headers["x-slurm-user-token"])
        return self._is_good(headers.get("authorization", ""))

    def _is_good(self, token: str) -> bool:
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"]).claims
            jwt.JWTClaimsRegistry(now=_seconds(self._clock()), exp={"essential": True}).validate(claims)
        except (JoseError, ValueError):
            return False
        return True


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())
