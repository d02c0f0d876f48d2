"""What reading a copy again has shown: what is asked, and the verdict with its evidence.

Belongs here: values, what a manifest must be before anything is held against it, and the words of a verdict.
Does not: reading here (keepers) or at a facility (facilities.checksums), or what follows from it (beamlines.deletion).
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from beamlines.deletion import Found, Reading
from beamlines.layout import Artifact, Copy
from beamlines.manifest import Manifest, ManifestError
from beamlines.places import Location, Store
from beamlines.retention import name_of
from beamlines.scans import PartitionKey

DIFFERENCES_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """One copy that is to be read again."""

    copy: Copy
    key: PartitionKey
    sha256: str | None = None
    """Of a raw file, where it is known from elsewhere: then its manifest must list the same."""

    @property
    def store(self) -> Location:
        """The folder of the place that it lies in: where that is gone, nothing in it is called missing."""
        return self.copy.place.at(Store.RAW if self.copy.artifact is Artifact.RAW else Store.RESULTS, "")

    @property
    def said(self) -> str:
        """Which copy it is, in words."""
        return f"{name_of(self.copy)} of {self.key}"


@dataclass(frozen=True, slots=True)
class Reread:
    """What became of one copy that was asked for. Only ``EQUAL`` says that all of it was read, and is right."""

    asked: Asked
    found: Found
    detail: str
    """In words: what differs, why it was not read, or how it was."""
    files: int = 0
    """As its manifest lists them, where the copy equals it; as are the bytes."""
    bytes: int = 0
    manifest_sha256: str | None = None
    """Of the manifest itself, as it was held against the copy."""
    began: datetime | None = None
    """When reading began and ended: by the clock of whoever read it; of a job, of the whole job."""
    ended: datetime | None = None
    job_id: str | None = None
    """Of the job that read it; None where it was read here."""

    @property
    def reading(self) -> Reading:
        """As ``beamlines.deletion.judge`` takes it."""
        return Reading(name_of(self.asked.copy), self.asked.copy.place.role, self.found, self.detail)

    def to_json(self) -> dict[str, Any]:
        """As a certificate keeps it."""
        return {
            "copy": name_of(self.asked.copy),
            "partition": str(self.asked.key),
            "location": ascii(str(self.asked.copy.location(self.asked.key)))[1:-1],
            "found": str(self.found),
            "detail": self.detail,
            "files": self.files,
            "bytes": self.bytes,
            "manifest_sha256": self.manifest_sha256,
            "began": self.began and self.began.isoformat(),
            "ended": self.ended and self.ended.isoformat(),
            "job_id": self.job_id,
        }


class NoVerdictError(Exception):
    """Why a copy is not proven, before or after it was read. ``found`` says whether it is to be suspected."""

    def __init__(self, found: Found, why: str) -> None:
        super().__init__(why)
        self.found = found


def usable_manifest(asked: Asked, content: bytes) -> Manifest:
    """The manifest that a copy is held against. Raises NoVerdictError for one that cannot stand for it."""
    source = str(asked.copy.manifest(asked.key))
    try:
        manifest = Manifest.parse(content, source=source)
    except ManifestError as error:
        raise NoVerdictError(Found.UNREAD, str(error)) from error
    if manifest.artifact != asked.copy.artifact:
        raise NoVerdictError(Found.UNREAD, f"the manifest {source} is one of a {manifest.artifact}")
    if asked.copy.artifact is Artifact.RAW and asked.sha256 not in (None, manifest.files[0].sha256):
        listed, known = manifest.files[0].sha256, str(asked.sha256)
        raise NoVerdictError(
            Found.DIFFERENT, f"its manifest lists SHA-256 {listed[:12]}..., and {known[:12]}... is on record"
        )
    return manifest


def proven(asked: Asked, manifest: Manifest, content: bytes, how: str, **evidence: Any) -> Reread:
    """The one verdict that lets something else be deleted."""
    return Reread(
        asked,
        Found.EQUAL,
        f"{manifest.total_files} files of {manifest.total_bytes} bytes {how}",
        files=manifest.total_files,
        bytes=manifest.total_bytes,
        manifest_sha256=hashlib.sha256(content).hexdigest(),
        **evidence,
    )


def unread(asked: Asked, why: str) -> Reread:
    """Of a copy of which nothing was found out."""
    return Reread(asked, Found.UNREAD, why)


def shown(differences: list[str]) -> str:
    """The first few, and how many more there are."""
    more = len(differences) - DIFFERENCES_SHOWN
    return "; ".join(differences[:DIFFERENCES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
