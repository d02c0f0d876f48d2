"""Globus Auth: tokens for confidential clients, and who each of them is.

Belongs here: the client credentials grant, what a token allows, and when it ends.
Does not: which collection asks for which consent (globus.storage).
"""

import base64
import binascii
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TRANSFER = "transfer.api.globus.org"
TRANSFER_ALL = f"urn:globus:auth:scope:{TRANSFER}:all"
COMPUTE = "funcx_service"
COMPUTE_ALL = "https://auth.globus.org/scopes/facd7ccc-c5f4-42aa-916b-a0e270e2c2a9/all"
AUTH = "auth.globus.org"
OPENID, MANAGE_PROJECTS = "openid", f"urn:globus:auth:scope:{AUTH}:manage_projects"
SERVICES = {TRANSFER_ALL: TRANSFER, COMPUTE_ALL: COMPUTE, OPENID: AUTH, MANAGE_PROJECTS: AUTH}
"""Resource servers, by the scope that opens each."""
DATA_ACCESS = re.compile(r"\*?https://auth\.globus\.org/scopes/(?P<collection>[0-9a-f-]{36})/data_access")
SCOPE = re.compile(r"(?P<name>[^\s\[\]]+)(?:\[(?P<dependencies>[^\[\]]*)\])?")
TOKEN_LIFETIME = timedelta(seconds=172_800)

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Token:
    """What a bearer may do, and until when."""

    identity: str
    data_access: frozenset[str]
    """Collections that the consent of this token names."""
    expires: datetime
    services: frozenset[str] = frozenset({TRANSFER})
    """Resource servers that take it."""


class InvalidScopeError(ValueError):
    """Scopes that this service does not issue tokens for."""


class TokenIssuer:
    """Issues tokens to its clients and knows them again. Safe to use from any thread."""

    def __init__(self, clients: Mapping[str, str], clock: Clock) -> None:
        """``clients`` are secrets, by client id."""
        self._clients = dict(clients)
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens: dict[str, Token] = {}
        self.lifetime = TOKEN_LIFETIME

    def knows(self, client_id: str, client_secret: str) -> bool:
        known = self._clients.get(client_id)
        return known is not None and secrets.compare_digest(client_secret.encode(), known.encode())

    def issue(self, client_id: str, scopes: str) -> dict[str, str]:
        """New tokens of a client, one a service, by the scopes of each. Raises InvalidScopeError."""
        wanted, consents = _read(scopes)
        by_service: dict[str, list[str]] = {}
        for scope in wanted:
            by_service.setdefault(SERVICES[scope], []).append(scope)
        made = {}
        for service, opened in by_service.items():
            value = secrets.token_urlsafe(32)
            services = frozenset({service})
            with self._lock:
                self._tokens[value] = Token(client_id, consents, self._clock() + self.lifetime, services)
            made[" ".join(opened)] = value
        return made

    def find(self, value: str) -> Token | None:
        """What ``value`` allows; None where it was never issued or has ended."""
        with self._lock:
            token = self._tokens.get(value)
        return token if token is not None and self._clock() < token.expires else None

    def expire_all(self) -> int:
        """End every token now; how many there were."""
        with self._lock:
            count = len(self._tokens)
            self._tokens.clear()
        return count


def create_app(issuer: TokenIssuer) -> Starlette:
    """The part of auth.globus.org that a client with a secret needs."""

    async def token(request: Request) -> Response:
        form = {key: value for key, value in (await request.form()).items() if isinstance(value, str)}
        client_id, client_secret = _credentials(request, form)
        if not issuer.knows(client_id, client_secret):
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        try:
            tokens = issuer.issue(client_id, form.get("scope", ""))
        except InvalidScopeError as error:
            return JSONResponse({"error": "invalid_scope", "error_description": str(error)}, 400)
        lifetime_s = int(issuer.lifetime.total_seconds())
        first, *others = [_document(scope, value, lifetime_s) for scope, value in tokens.items()]
        document = {**first, "other_tokens": others}
        return JSONResponse(document, headers={"Cache-Control": "no-store"})

    async def userinfo(request: Request) -> Response:
        found = issuer.find(request.headers.get("authorization", "").removeprefix("Bearer "))
        if found is None or AUTH not in found.services:
            return JSONResponse({"error": "invalid_token"}, 401)
        whoever = {"sub": found.identity, "username": f"{found.identity}@clients.auth.globus.org"}
        return JSONResponse({**whoever, "identity_set": [whoever]})

    return Starlette(
        routes=[
            Route("/v2/oauth2/token", token, methods=["POST"]),
            Route("/v2/oauth2/userinfo", userinfo),
        ]
    )


def _document(scope: str, value: str, lifetime_s: int) -> dict[str, object]:
    return {
        "access_token": value,
        "scope": scope,
        "expires_in": lifetime_s,
        "token_type": "Bearer",
        "resource_server": SERVICES[scope.partition(" ")[0]],
    }


def _credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return client_id, secret
    return form.get("client_id", ""), form.get("client_secret", "")


def _read(scopes: str) -> tuple[list[str], frozenset[str]]:
    """The services' scopes that were asked for, and the consents among what depends on them."""
    consents: set[str] = set()
    found = list(SCOPE.finditer(scopes))
    if not found:
        raise InvalidScopeError("no scope was asked for")
    for scope in found:
        if scope["name"] not in SERVICES:
            raise InvalidScopeError(f"the twin issues tokens for {list(SERVICES)} only, not for {scope['name']}")
        for dependency in (scope["dependencies"] or "").split():
            consent = DATA_ACCESS.fullmatch(dependency)
            if consent is None:
                raise InvalidScopeError(f"unknown dependent scope {dependency}")
            consents.add(consent["collection"])
    return [scope["name"] for scope in found], frozenset(consents)
