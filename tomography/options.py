"""The settings of a reconstruction as options of a command line: one for each, made from the model itself.

Belongs here: names, help and limits of these options, and the settings of what was given.
Does not: what a setting does, or its limits (tomography.settings).
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from tomography.errors import SettingsError
from tomography.settings import Settings, described, option, read_settings


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """A command with an option for every setting of the program: it is called with what was given, as ``given``."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    own = [parameter for parameter in parameters if parameter.name != "given"]
    settings = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_option(name))
        for name in Settings.model_fields
    ]

    def run(**words: Any) -> None:
        given = {name: words.pop(name) for name in Settings.model_fields}
        command(**words, given={name: value for name, value in given.items() if value is not None})

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature([*own, *settings])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *settings)}
    return run


def settings_of(given: dict[str, Any], file: Path | None = None) -> Settings:
    """The settings of a file, if there is one, with what was given on the command line over them.

    Raises SettingsError, which names the option and what it may be.
    """
    known = {} if file is None else read_settings(file).model_dump()
    try:
        return Settings.model_validate({**known, **given})
    except ValidationError as error:
        found = error.errors()[0]
        name = str(found["loc"][0]) if found["loc"] else ""
        if name not in Settings.model_fields:
            raise SettingsError(f"{found['msg']}.") from error
        raise SettingsError(f"{option(name)} {found['input']}: {_described(name)}") from error


def _option(name: str) -> Any:
    field = Settings.model_fields[name]
    default = "" if field.default is None or field.default == "" else f" By default {str(field.default).lower()}."
    words = typer.Option(option(name), help=_described(name) + default, rich_help_panel="Settings")
    if field.annotation is bool:
        words = typer.Option(f"{option(name)}/{no(name)}", help=_described(name) + default, rich_help_panel="Settings")
    return Annotated[field.annotation | None, words]  # type: ignore[operator]


def named(word: str) -> str:
    """The setting that an option's name stands for: ``center`` for ``center_px``. Raises SettingsError."""
    names = {option(name).removeprefix("--"): name for name in Settings.model_fields}
    if word not in names:
        raise SettingsError(f"there is no setting {word!r}; there are {', '.join(names)}.")
    return names[word]


def no(name: str) -> str:
    """The option that switches a setting off."""
    return f"--no-{option(name).removeprefix('--')}"


def _described(name: str) -> str:
    return described(name).replace("``", "")
