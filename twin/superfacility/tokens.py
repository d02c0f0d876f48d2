"""Access tokens for clients that prove who they are with a signed assertion (RFC 7523, private_key_jwt).

Belongs here: the token endpoint's checks, and how long a token and a client live.
Does not: what a token opens (app).
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from twin.scheduler import Clock

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LEEWAY_S = 60
LIFETIME = timedelta(minutes=10)
RED_CLIENT_LIFETIME = timedelta(days=2)
"""Only clients of the security level "red" may submit jobs, and these live for two days."""


class TokenRefusedError(Exception):
    """The token endpoint's answer to a request that it does not grant."""

    def __init__(self, error: str, description: str, status: int = 401) -> None:
        super().__init__(description)
        self.document = {"error": error, "error_description": description}
        self.status = status


@dataclass
class ApiClient:
    """A registered client: its public key, and until when it may ask for tokens."""

    client_id: str
    key: RSAKey
    expires_at: datetime


class TokenIssuer:
    """Issues and checks tokens. They are kept in memory: after a restart every old one is unknown."""

    def __init__(self, public_keys: Mapping[str, Mapping[str, Any]], clock: Clock) -> None:
        """``public_keys``: JWK by client id."""
        self._clock = clock
        self._tokens: dict[str, datetime] = {}
        self.lifetime = LIFETIME
        self.clients = {
            client_id: ApiClient(client_id, RSAKey.import_key(dict(key)), clock() + RED_CLIENT_LIFETIME)
            for client_id, key in public_keys.items()
        }

    def issue(self, form: Mapping[str, str], token_url: str) -> dict[str, Any]:
        """A new token. Raises TokenRefusedError."""
        if form.get("grant_type") != "client_credentials":
            raise TokenRefusedError("unsupported_grant_type", "Unsupported OAuth 2.0 grant", status=400)
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            raise TokenRefusedError("invalid_client", "Client authentication failed: Missing client authentication")
        self._check(form.get("client_assertion", ""), token_url)
        token = secrets.token_urlsafe(32)
        now = self._clock()
        self._tokens = {known: expiry for known, expiry in self._tokens.items() if expiry > now}
        self._tokens[token] = now + self.lifetime
        return {"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime.total_seconds())}

    def accepts(self, authorization: str) -> bool:
        """Whether the request's Authorization header carries a token that lives."""
        scheme, _, token = authorization.partition(" ")
        expiry = self._tokens.get(token)
        return scheme.lower() == "bearer" and expiry is not None and self._clock() < expiry

    def expire_all(self) -> None:
        """Forget every token, whatever its clients were told about its life."""
        self._tokens.clear()

    def _check(self, assertion: str, token_url: str) -> None:
        try:
            claimed = json.loads(jws.extract_compact(assertion.encode()).payload)
            client = self.clients.get(claimed["iss"])
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise TokenRefusedError("invalid_client", "Client authentication failed: Invalid JWT") from error
        if client is None:
            raise TokenRefusedError("invalid_client", "Client authentication failed: Unknown or expired client")
        now = self._clock()
        if client.expires_at <= now:
            raise TokenRefusedError("invalid_client", "Client authentication failed: Unknown or expired client")
        registry = jwt.JWTClaimsRegistry(
            now=int(now.timestamp()),
            leeway=LEEWAY_S,
            iss={"essential": True, "value": client.client_id},
            sub={"essential": True, "value": client.client_id},
            aud={"essential": True, "value": token_url},
            exp={"essential": True},
        )
        try:
            registry.validate(jwt.decode(assertion, client.key, algorithms=["RS256"]).claims)
        except JoseError as error:
            raise TokenRefusedError("invalid_client", f"Client authentication failed: {error}") from error
