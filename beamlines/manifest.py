"""The manifest: the list of an artifact's files with sizes and SHA-256, written by whoever made it.

Belongs here: its form, as the programs in `tomography` write it and the platform reads it.
Does not: reading files or computing checksums (resources.proof).
"""

import json
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ManifestError(ValueError):
    """A manifest that cannot be believed: damaged, of another form, or inconsistent in itself."""


class ManifestFile(BaseModel):
    """One file: its path relative to the artifact, its size in bytes, its SHA-256 in hexadecimal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _stays_inside(self) -> "ManifestFile":
        path = PurePosixPath(self.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"{self.path!r} leaves the artifact's folder")
        if str(path) != self.path:
            raise ValueError(f"{self.path!r} is {str(path)!r} in its plain form")
        return self


class Program(BaseModel):
    """Which program made the artifact."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    version: str


class ManifestInput(BaseModel):
    """What the program read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    bytes: int | None = None
    sha256: str | None = None


class Manifest(BaseModel):
    """A manifest of form 1. Its totals are checked against its list when it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    manifest: Literal[1]
    artifact: Literal["raw", "tiff", "zarr", "preview", "comparison"]
    program: Program
    input: ManifestInput | None = None
    settings: dict[str, Any] = {}
    results: dict[str, Any] = {}
    files: tuple[ManifestFile, ...]
    total_files: int
    total_bytes: int

    @model_validator(mode="after")
    def _adds_up(self) -> "Manifest":
        if not self.files or (self.artifact == "raw" and len(self.files) != 1):
            raise ValueError(f"{len(self.files)} files are not a {self.artifact}")
        if len({file.path for file in self.files}) != len(self.files):
            raise ValueError("a path is listed twice")
        if self.total_files != len(self.files) or self.total_bytes != sum(file.bytes for file in self.files):
            raise ValueError("its totals are not the sums of its files")
        return self

    @classmethod
    def parse(cls, text: str | bytes, *, source: str) -> "Manifest":
        """Read a manifest; ``source`` is where it came from, for the message. Raises ManifestError."""
        try:
            # Not model_validate_json: that refuses the escapes of file names which are no UTF-8.
            return cls.model_validate(json.loads(text))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "as a whole"
            raise _unusable(source, f"{where}: {first['msg']}") from error
        except (ValueError, RecursionError) as error:
            raise _unusable(source, f"not JSON: {error}") from error

    def to_json(self) -> str:
        """The text of the file: sorted keys, no times, so that equal content is equal bytes."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1, ensure_ascii=True) + "\n"


def _unusable(source: str, why: str) -> ManifestError:
    return ManifestError(
        f"the manifest {source} cannot be used ({why}); "
        "it is damaged, or another program wrote it: make the artifact again"
    )
