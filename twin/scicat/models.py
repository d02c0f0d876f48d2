"""Which documents the backend takes: the models of its own OpenAPI description, made as strict as the backend is.

Belongs here: that, and the rules that a description does not say: addresses, and times as texts.
Does not: what is done with a document (service).

The SDK's models ignore what they do not know, and take a time as a number. The backend refuses both (its validation
pipe forbids what is not in a class, and a time must be a date string). The SDK takes more than a second to import, so
it is imported when the first document comes.
"""

import re
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

_ADDRESS = re.compile(r"[^@\s;,]{1,64}@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}", re.IGNORECASE)
_ADDRESSES = ("contactEmail", "ownerEmail")

Document = dict[str, Any]


class RefusedError(Exception):
    """A document that the backend does not take: why, line by line."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


class _Forbids(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=False)


def check(name: str, document: object) -> Document:
    """A document as it came, if a DTO of this name takes it. Raises RefusedError."""
    if not isinstance(document, dict):
        raise RefusedError(["Unexpected token in JSON"])
    try:
        _strict(_dto(name)).model_validate(document)
    except ValidationError as error:
        raise RefusedError([_message(item) for item in error.errors(include_url=False, include_input=False)]) from error
    wrong = [f"{key} must be an email" for key in _ADDRESSES if key in document and not _is_address(document[key])]
    wrong += [f"{where} must be a valid ISO 8601 date string" for where in _numbers_for_times(_dto(name), document)]
    if wrong:
        raise RefusedError(wrong)
    return document


def _is_address(said: object) -> bool:
    return isinstance(said, str) and all(_is_one(part.strip()) for part in said.split(";"))


def _is_one(part: str) -> bool:
    local = part.partition("@")[0]
    return bool(_ADDRESS.fullmatch(part)) and ".." not in part and not local.startswith(".") and not local.endswith(".")


def _message(item: Any) -> str:
    where = ".".join(str(part) for part in item["loc"])
    return f"property {where} should not exist" if item["type"] == "extra_forbidden" else f"{where}: {item['msg']}"


def _numbers_for_times(model: type[BaseModel], document: Document) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        said = document.get(field.alias or name)
        kinds = [kind for kind in _parts(field.annotation) if isinstance(kind, type)]
        if datetime in kinds and said is not None and not isinstance(said, str):
            found.append(field.alias or name)
        for kind in kinds:
            if issubclass(kind, BaseModel):
                for item in said if isinstance(said, list) else [said]:
                    found += _numbers_for_times(kind, item) if isinstance(item, dict) else []
    return found


def _dto(name: str) -> type[BaseModel]:
    import scicat_sdk_py

    found: type[BaseModel] = getattr(scicat_sdk_py, name)
    return found


@cache
def _strict(model: type[BaseModel]) -> type[BaseModel]:
    """The same model, and those in it, that take nothing beside what they name."""
    nested: dict[str, Any] = {
        name: (_strict_kind(field.annotation), field)
        for name, field in model.model_fields.items()
        if any(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in _parts(field.annotation))
    }
    return create_model(model.__name__, __base__=(model, _Forbids), **nested)


def _strict_kind(annotation: Any) -> Any:
    if isinstance(annotation, type) and not get_origin(annotation):
        return _strict(annotation) if issubclass(annotation, BaseModel) else annotation
    arguments = tuple(_strict_kind(argument) for argument in get_args(annotation))
    origin = get_origin(annotation)
    return Union[arguments] if origin in (Union, UnionType) else origin[arguments] if origin else annotation  # noqa: UP007


def _parts(annotation: Any) -> list[Any]:
    """Every type that an annotation is put together of."""
    arguments = get_args(annotation)
    return [annotation] if not arguments else [part for argument in arguments for part in _parts(argument)]
