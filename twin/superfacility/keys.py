"""The key file of an API client.

Belongs here: making the file that sfapi_client reads, once, and the public half that the service checks with.
Does not: checking (tokens), or the file's mode, which world.write_secret holds at 0600 from the beginning.
"""

import json
from pathlib import Path
from typing import Any

from joserfc.jwk import RSAKey

from twin.world import write_secret

CLIENT_ID_LENGTH = 13
"""sfapi_client refuses a client id of any other length."""


def create_key(path: Path, client_id: str) -> dict[str, Any]:
    """Write ``path`` unless it is there, and return the public JWK. Raises ValueError for an unfit client id."""
    if len(client_id) != CLIENT_ID_LENGTH:
        raise ValueError(f"{client_id!r} has {len(client_id)} characters: sfapi_client takes only {CLIENT_ID_LENGTH}")
    if not path.exists():
        key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, private=True)
        write_secret(path, json.dumps({"client_id": client_id, "secret": key.as_dict(private=True)}))
    held = json.loads(path.read_text())
    if held["client_id"] != client_id:
        raise ValueError(
            f"{path} is the key of client {held['client_id']!r}, not {client_id!r}: delete it for a new one"
        )
    return dict(RSAKey.import_key(held["secret"]).as_dict(private=False))
