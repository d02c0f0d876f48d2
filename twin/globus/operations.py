"""Transfer's operations on files that answer at once: ls, stat, mkdir, rename.

Belongs here: these four and their refusals.
Does not: routes and tokens (transfer), or the query language (listing).

Codes: those of ``globus_sdk.testing`` and of clients in the field; EndpointError (502) is the service's own word for
whatever it does not classify, and is used here for the rest.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

from twin.globus.conditions import Access
from twin.globus.errors import ServiceError
from twin.globus.listing import InvalidQueryError, order, select
from twin.globus.storage import AccessDeniedError, CollectionDownError, Storage, file_document
from twin.world import UnknownCollectionError

LISTING_AT_MOST = 100_000
FILE_FIELDS = frozenset({"name", "type", "size", "last_modified", "user", "group", "permissions"})

Result = TypeVar("Result")
Model = TypeVar("Model", bound=BaseModel)


class Mkdir(BaseModel):
    path: str


class Rename(BaseModel):
    old_path: str
    new_path: str


@dataclass(frozen=True)
class Operations:
    """Each raises ServiceError."""

    storage: Storage

    def ls(self, collection: str, query: QueryParams) -> dict[str, Any]:
        path = query.get("path", "/")
        limit = number(query, "limit", LISTING_AT_MOST, 1, LISTING_AT_MOST)
        offset = number(query, "offset", 0, 0, None)
        folder = self._local(collection, path, Access.READ)
        if not folder.exists():
            raise ServiceError(404, "ClientError.NotFound", f"Directory {path!r} not found on endpoint {collection}")
        if not folder.is_dir():
            raise ServiceError(502, "ExternalError.DirListingFailed.NotDirectory", f"{path!r} is not a directory")
        entries = _refused(lambda: _entries(folder, hidden=query.get("show_hidden", "1") != "0"))
        if len(entries) > LISTING_AT_MOST:
            message = f"{path!r} has {len(entries)} entries, more than {LISTING_AT_MOST}"
            raise ServiceError(502, "ExternalError.DirListingFailed.SizeLimit", message)
        found = queried(entries, query, FILE_FIELDS, default_order="type,name")
        page = found[offset : offset + limit]
        return {
            "DATA_TYPE": "file_list",
            "DATA": page,
            "endpoint": collection,
            "path": path,
            "absolute_path": path,
            "length": len(page),
            "offset": offset,
            "limit": limit,
            "total": len(found),
            "has_next_page": offset + limit < len(found),
        }

    def stat(self, collection: str, query: QueryParams) -> dict[str, Any]:
        path = query.get("path", "/")
        local = self._local(collection, path, Access.READ)
        if not os.path.lexists(local):
            raise ServiceError(404, "NotFound", f"Path not found, Error (list)\n{path!r} on endpoint {collection}")
        return _refused(lambda: file_document(local))

    def mkdir(self, collection: str, document: Any) -> None:
        path = validated(Mkdir, document).path
        local = self._local(collection, path, Access.WRITE)
        if local.exists():
            raise ServiceError(502, "ExternalError.MkdirFailed.Exists", f"Path already exists: {path!r}")
        _refused(local.mkdir)

    def rename(self, collection: str, document: Any) -> None:
        names = validated(Rename, document)
        old = self._local(collection, names.old_path, Access.WRITE, follow=False)
        new = self._local(collection, names.new_path, Access.WRITE, follow=False)
        if not os.path.lexists(old):
            raise ServiceError(404, "NotFound", f"Path not found: {names.old_path!r}")
        if os.path.lexists(new):
            raise ServiceError(502, "ExternalError.RenameFailed.Exists", f"Path already exists: {names.new_path!r}")
        _refused(lambda: old.rename(new))

    def _local(self, collection: str, path: str, access: Access, *, follow: bool = True) -> Path:
        try:
            return self.storage.local(collection, path, access, follow=follow)
        except UnknownCollectionError as error:
            raise ServiceError(404, "EndpointNotFound", f"No such endpoint '{collection}'") from error
        except CollectionDownError as error:
            raise ServiceError(502, "EndpointError", f"Failed to connect to your GridFTP server: {error}") from error
        except AccessDeniedError as error:
            raise ServiceError(403, "EndpointPermissionDenied", f"Denied by endpoint: {error}") from error


def validated(model: type[Model], document: Any) -> Model:
    """The document that a client sent. Raises ServiceError."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ServiceError(400, "ClientError.BadRequest", "; ".join(lines)) from error


def number(query: QueryParams, name: str, default: int, smallest: int, largest: int | None) -> int:
    """A whole number of the query. Raises ServiceError."""
    text = query.get(name)
    if text is None:
        return default
    if not text.isdecimal() or int(text) < smallest or (largest is not None and int(text) > largest):
        allowed = f"{smallest} to {largest}" if largest is not None else f"at least {smallest}"
        raise ServiceError(400, "ClientError.BadRequest", f"{name} must be {allowed}, is {text!r}")
    return int(text)


def queried(
    entries: list[dict[str, Any]], query: QueryParams, fields: frozenset[str], *, default_order: str
) -> list[Any]:
    """The entries that the query's filters leave, in its order. Raises ServiceError."""
    try:
        found = select(entries, query.getlist("filter"), fields)
        return list(order(found, query.get("orderby") or default_order, fields))
    except InvalidQueryError as error:
        raise ServiceError(400, "ClientError.BadRequest", str(error)) from error


def _entries(folder: Path, *, hidden: bool) -> list[dict[str, Any]]:
    entries = []
    for child in folder.iterdir():
        if hidden or not child.name.startswith("."):
            try:
                entries.append(file_document(child))
            except FileNotFoundError:
                continue  # gone between the listing and the look at it
    return entries


def _refused(operation: Callable[[], Result]) -> Result:
    try:
        return operation()
    except PermissionError as error:
        raise ServiceError(403, "EndpointPermissionDenied", f"Denied by endpoint: {error.strerror}") from error
    except OSError as error:
        raise ServiceError(502, "EndpointError", f"Fatal FTP response: {error.strerror}") from error
