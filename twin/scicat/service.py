"""The catalogue: who may do what, and what becomes of datasets, lists of files and attachments.

Belongs here: that, in the backend's words and statuses. Does not: HTTP (app), documents that are refused (models).
"""

import copy
import secrets
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from twin.scicat.models import Document, check
from twin.scicat.store import Store
from twin.world import NotInTheWorldError, World, must_be_inside, write_secret

Clock = Callable[[], datetime]
LIFETIME = timedelta(hours=1)
_BLOCKS, _PICTURES = "origdatablocks", "attachments"
_CREATE = {"raw": "CreateRawDatasetObsoleteDto", "derived": "CreateDerivedDatasetObsoleteDto"}
_UPDATE = {"raw": "PartialUpdateRawDatasetObsoleteDto", "derived": "PartialUpdateDerivedDatasetObsoleteDto"}


class ProblemError(Exception):
    """An answer other than 2xx, as NestJS gives it."""

    def __init__(self, status: int, name: str, message: str | list[str]) -> None:
        super().__init__(f"{status} {name}: {message}")
        self.status = status
        self.document = {"statusCode": status, "message": message, "error": name}


class Scicat:
    """One catalogue with one account. Safe to use from any thread."""

    def __init__(self, store: Store, username: str, password: str, clock: Clock) -> None:
        self._store = store
        self._username = username
        self._password = password
        self._clock = clock
        self._lock = threading.Lock()
        self._key = OctKey.import_key(secrets.token_bytes(32))
        self.reset()

    def reset(self) -> None:
        """Everything is allowed again. What the catalogue holds, and tokens, stay."""
        self.lifetime = LIFETIME
        self.may_delete = True

    # -- accounts ------------------------------------------------------------------------------------------------

    def log_in(self, document: object) -> Document:
        said = check("CredentialsDto", document)
        right = secrets.compare_digest(str(said["password"]).encode(), self._password.encode())
        if said["username"] != self._username or not right:
            raise ProblemError(401, "Unauthorized", "Unauthorized")
        now, seconds = self._clock(), int(self.lifetime.total_seconds())
        claims = {"username": self._username, "iat": _seconds(now), "exp": _seconds(now + self.lifetime)}
        token = jwt.encode({"alg": "HS256"}, claims, self._key)
        user = {"id": "832", "username": self._username, "email": f"{self._username}@example.com"}
        times = {"expires_in": seconds, "ttl": seconds, "created": _time(now)}
        return {"access_token": token, "id": token, "userId": "832", "user": user, **times}

    def must_be_known(self, token: str) -> None:
        try:
            claims = jwt.decode(token, self._key, algorithms=["HS256"]).claims
            jwt.JWTClaimsRegistry(now=_seconds(self._clock()), exp={"essential": True}).validate(claims)
        except (JoseError, ValueError) as error:
            raise ProblemError(401, "Unauthorized", "Unauthorized") from error

    def expire_all(self) -> None:
        """Refuse every token that was given out so far."""
        self._key = OctKey.import_key(secrets.token_bytes(32))

    # -- datasets ------------------------------------------------------------------------------------------------

    def all(self) -> list[Document]:
        """Everything that it holds, the newest first."""
        with self._lock:
            return copy.deepcopy(self._store.all())

    def create(self, document: Document) -> Document:
        kind = document.get("type")
        if kind not in _CREATE:
            raise ProblemError(400, "Bad Request", ["type must be one of the following values: raw, derived"])
        said = check(_CREATE[str(kind)], document)
        with self._lock:
            pid = said.get("pid") or f"20.500.00000/{uuid.uuid4()}"
            if self._store.get(pid) is not None:
                raise ProblemError(409, "Conflict", f"Dataset with pid {pid} already exists")
            counted = {"size": 0, "numberOfFiles": 0, "accessGroups": [], "isPublished": False}
            dataset = {**counted, **said, "pid": pid, "version": "v3", **self._made(), **_quantities(said)}
            self._store.put({"dataset": dataset, _BLOCKS: [], _PICTURES: []})
            return copy.deepcopy(dataset)

    def dataset(self, pid: str) -> Document:
        with self._lock:
            return copy.deepcopy(self._there(pid)["dataset"])

    def update(self, pid: str, document: Document) -> Document:
        with self._lock:
            one = self._there(pid)
            said = check(_UPDATE[one["dataset"]["type"]], document)
            one["dataset"] |= {**said, **_quantities(said), "updatedAt": _time(self._clock())}
            self._store.put(one)
            return copy.deepcopy(dict(one["dataset"]))

    def delete(self, pid: str) -> Document:
        with self._lock:
            self._must_delete()
            dataset: Document = self._there(pid)["dataset"]
            self._store.remove(pid)
            return dataset

    # -- what belongs to them ------------------------------------------------------------------------------------

    def parts(self, pid: str, kind: str) -> list[Document]:
        with self._lock:
            return copy.deepcopy(list(self._there(pid)[kind]))

    def add_block(self, pid: str, document: Document) -> Document:
        return self._add(pid, _BLOCKS, check("CreateDatasetOrigDatablockDto", document), secrets.token_hex(12))

    def add_picture(self, pid: str, document: Document) -> Document:
        said = check("CreateAttachmentV3Dto", document)
        return self._add(pid, _PICTURES, said, str(said.get("id") or uuid.uuid4()))

    def remove(self, pid: str, kind: str, identifier: str) -> Document:
        with self._lock:
            self._must_delete()
            one = self._there(pid)
            found = [item for item in one[kind] if item["_id"] == identifier]
            if not found:
                raise ProblemError(404, "Not Found", f"{kind} {identifier} not found")
            one[kind] = [item for item in one[kind] if item["_id"] != identifier]
            self._count(one)
            self._store.put(one)
            return dict(found[0])

    def _add(self, pid: str, kind: str, said: Document, identifier: str) -> Document:
        with self._lock:
            one = self._there(pid)
            item = {**said, "_id": identifier, "id": identifier, "datasetId": pid, **self._made()}
            one[kind].append(item)
            self._count(one)
            self._store.put(one)
            return copy.deepcopy(item)

    def _there(self, pid: str) -> Document:
        one = self._store.get(pid)
        if one is None:
            raise ProblemError(404, "Not Found", f"dataset: {pid} not found")
        return one

    def _must_delete(self) -> None:
        if not self.may_delete:
            raise ProblemError(403, "Forbidden", "Forbidden resource")

    def _made(self) -> Document:
        now = _time(self._clock())
        return {"createdBy": self._username, "updatedBy": self._username, "createdAt": now, "updatedAt": now}

    @staticmethod
    def _count(one: Document) -> None:
        # As the backend does whenever a list comes or goes.
        one["dataset"]["size"] = sum(block["size"] for block in one[_BLOCKS])
        one["dataset"]["numberOfFiles"] = sum(len(block["dataFileList"]) for block in one[_BLOCKS])


def create_scicat(world: World, clock: Clock) -> Scicat | None:
    """The catalogue of the world's deployment, its account's password written; None where there is none."""
    service = world.deployment.catalogue
    if service is None:
        return None
    if service.password.file is None:
        raise NotInTheWorldError("catalogue.password: the twin writes this secret itself and needs its file")
    path = Path(service.password.file)
    must_be_inside(path, world.state_dir, "catalogue.password")
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(32))
    store = Store(world.state_dir / "twin" / "scicat")
    return Scicat(store, service.username, path.read_text().strip(), clock)


def _quantities(said: Document) -> Document:
    """The backend adds to each quantity the same in SI units; here it says that they are what they were."""
    metadata = said.get("scientificMetadata")
    if not isinstance(metadata, dict):
        return {}
    return {"scientificMetadata": {name: _quantity(value) for name, value in metadata.items()}}


def _quantity(value: Any) -> Any:
    known = isinstance(value, dict) and value.get("unit") and isinstance(value.get("value"), int | float)
    return {**value, "valueSI": value["value"], "unitSI": value["unit"]} if known else value


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _seconds(at: datetime) -> int:
    return int(at.timestamp())
