"""The manifest: what a product consists of, byte by byte, and how it was made.

Belongs here: the form of the manifest, digests, the fingerprint of an input.
Does not: when it is written (tomography.product).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tomography import __version__
from tomography.errors import OutputError
from tomography.parts import Part

Artifact = Literal["tiff", "zarr", "preview", "comparison", "sweep", "projections"]

PICTURES = ("thumbnail_png", "contact_sheet_jpeg")
"""Results that are pictures, in base64: for whoever shows them, and too long for a terminal."""

_SUFFIX: dict[Artifact, str] = {
    "tiff": ".tiff",
    "zarr": "",
    "preview": ".preview",
    "comparison": ".comparison",
    "sweep": ".sweep",
    "projections": ".projections",
}
_SAMPLES = 16
_SAMPLE_BYTES = 64 * 1024


class FileEntry(BaseModel):
    """One file of a product; ``path`` is relative to the product, with forward slashes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int
    sha256: str


class FlatFile(BaseModel):
    """Another file, of which the flat fields are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    bytes: int
    fingerprint: str


class Input(BaseModel):
    """What a product was made from. ``sha256`` is only as told by whoever started the program."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    bytes: int
    sha256: str | None
    fingerprint: str
    flat_file: FlatFile | None = None

    @property
    def content(self) -> list[int | str]:
        """What tells one input from another; the name and where it came from do not matter."""
        if self.flat_file is None:
            return [self.bytes, self.fingerprint]
        return [self.bytes, self.fingerprint, self.flat_file.bytes, self.flat_file.fingerprint]

    @property
    def said(self) -> str:
        """The input in words."""
        flats = "" if self.flat_file is None else f", flat fields of {self.flat_file.name!r}"
        return f"{self.name!r}, {self.bytes} bytes{flats}"

    def same_content(self, other: Self) -> bool:
        """Whether both are the same bytes, those of the flat fields' own file included."""
        return self.content == other.content

    def same_file(self, other: Self) -> bool:
        """Whether the scan's file is the same, whatever the flat fields are."""
        return self.content[:2] == other.content[:2]


class Program(BaseModel):
    """The program that made a product."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "tomography"
    version: str = __version__


class Manifest(BaseModel):
    """The manifest of a product. No time and no machine in it: equal runs give equal manifests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest: Literal[1] = 1
    artifact: Artifact
    program: Program = Program()
    input: Input
    settings: dict[str, Any]
    results: dict[str, Any]
    files: list[FileEntry]
    total_files: int
    total_bytes: int

    def encode(self) -> bytes:
        """The bytes of the manifest file: JSON with sorted keys. Names that are no text are escaped: it is UTF-8."""
        return (json.dumps(self.model_dump(mode="python"), sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def manifest_path(product: Path, artifact: Artifact) -> Path:
    """Where the manifest of a product lies: beside it."""
    return product.with_name(f"{product.name}{_SUFFIX[artifact]}.manifest.json")


def journal_path(product: Path, artifact: Artifact, part: Part | None = None) -> Path:
    """Where an unfinished product, or a part of one, keeps account of what is done: beside it."""
    of_part = "" if part is None else f".{part}"
    return product.with_name(f"{product.name}{_SUFFIX[artifact]}{of_part}.partial.jsonl")


def journals_of_parts(product: Path, artifact: Artifact) -> dict[Part, Path]:
    """The journals of a product's parts, in order."""
    name = re.compile(re.escape(f"{product.name}{_SUFFIX[artifact]}") + r"\.(\d+)-of-(\d+)\.partial\.jsonl")
    matches = [(match, path) for path in product.parent.iterdir() if (match := name.fullmatch(path.name))]
    found = [(Part(int(match[1]), int(match[2])), path) for match, path in matches]
    return dict(sorted(found, key=lambda one: (one[0].of, one[0].number)))


def read_manifest(product: Path, artifact: Artifact) -> Manifest | None:
    """The manifest of a product, or None where there is none. Raises OutputError where it cannot be understood."""
    path = manifest_path(product, artifact)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        # Not model_validate_json: that refuses the escapes of names which are no text.
        return Manifest.model_validate(json.loads(content))
    except (ValueError, ValidationError) as error:
        raise OutputError(
            f"{str(path)!r} is not a manifest that this program understands. If nobody needs it, remove it."
        ) from error


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sampled_sha256(path: Path, samples: int = _SAMPLES, sample_bytes: int = _SAMPLE_BYTES) -> str:
    """A digest of a file's size, both ends and some samples between: cheap for tens of gigabytes."""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size}\n".encode())
    with path.open("rb", buffering=0) as file:
        for i in range(samples + 1):
            file.seek(max(0, size - sample_bytes) * i // samples)
            digest.update(file.read(sample_bytes))
    return f"sampled-sha256:{digest.hexdigest()}"


def raw_input(path: Path, told_sha256: str | None, flat_file: Path | None = None) -> Input:
    """A raw file as input, perhaps with another one that has the flat fields."""
    size = path.stat().st_size
    flats = None
    if flat_file is not None:
        flats = FlatFile(name=flat_file.name, bytes=flat_file.stat().st_size, fingerprint=sampled_sha256(flat_file))
    return Input(name=path.name, bytes=size, sha256=told_sha256, fingerprint=sampled_sha256(path), flat_file=flats)


def files_input(name: str, files: Iterable[tuple[str, int, str]]) -> Input:
    """A directory as input: of each file its path, its bytes and some digest of its content."""
    ordered = sorted(files)
    digest = sha256(json.dumps(ordered).encode())
    total = sum(size for _, size, _ in ordered)
    return Input(name=name, bytes=total, sha256=None, fingerprint=f"files-sha256:{digest}")
