"""The settings of a reconstruction as run configuration.

Belongs here: the one translation of the program's settings into Dagster's launchpad.
Does not: their names, units, defaults and limits, which are the program's (tomography.settings).
"""

import hashlib
import json
from enum import Enum
from typing import Any, Literal

import dagster as dg
from pydantic import Field, create_model
from pydantic.fields import FieldInfo

from tomography.settings import Settings, described


def _field(name: str, field: FieldInfo) -> tuple[Any, FieldInfo]:
    """A setting with its limits in words, which the launchpad does not show by itself.

    An enum as its values: Dagster would ask for the names, which stand in no manifest and on no command line.
    """
    if not (isinstance(field.annotation, type) and issubclass(field.annotation, Enum)):
        return field.annotation, FieldInfo.merge_field_infos(field, description=described(name))
    values = tuple(member.value for member in field.annotation)
    return Literal[values], Field(default=field.default.value, description=described(name))


ReconstructionConfig = create_model(  # type: ignore[call-overload]
    "ReconstructionConfig",
    __base__=dg.Config,
    __doc__=Settings.__doc__,
    **{name: _field(name, field) for name, field in Settings.model_fields.items()},
)


def settings_of(config: dg.Config) -> Settings:
    """The program's settings from a run's configuration."""
    return Settings.model_validate(config.model_dump())


def digest(*parts: object) -> str:
    """What stands for settings in the key of remote work."""
    text = json.dumps(parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
