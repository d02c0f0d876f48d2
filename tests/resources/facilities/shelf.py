"""Copies with their manifests, put where a facility of the twin sees them, and damaged in every way.

Belongs here: making copies for tests of reading them again. Does not: assertions, or anything that reads.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from beamlines.layout import Artifact, Copy
from beamlines.manifest import Manifest, ManifestFile, Program
from beamlines.places import Place
from beamlines.scans import PartitionKey, ScanId
from resources.rereading import Asked

TILES = {"zarr.json": b"{}", "0/c/0/0": b"tile one", "0/c/0/1": b"tile two", "1/c/0/0": b"coarse"}
PROGRAM = Program(name="tomography", version="0.1.0")


@dataclass(frozen=True)
class Shelf:
    """Where one test puts its copies at one place."""

    place: Place
    folder: str
    maker: str

    def raw(self, name: str = "a", content: bytes = b"a scan") -> Asked:
        """A raw file and its manifest."""
        key = PartitionKey(ScanId(f"{self.folder}/{name}.h5"))
        asked = Asked(Copy(self.place, Artifact.RAW), key, hashlib.sha256(content).hexdigest())
        here(asked).parent.mkdir(parents=True, exist_ok=True)
        here(asked).write_bytes(content)
        write(asked, manifest_of({here(asked).name: content}, "raw"))
        return asked

    def zarr(self, name: str = "a", tiles: Mapping[str, bytes] = TILES) -> Asked:
        """A pyramid and its manifest."""
        key = PartitionKey(ScanId(f"{self.folder}/{name}.h5"))
        asked = Asked(Copy(self.place, Artifact.ZARR, self.maker), key)
        for path, content in tiles.items():
            put(here(asked) / path, content)
        write(asked, manifest_of(tiles, "zarr"))
        return asked


def here(asked: Asked) -> Path:
    """The copy itself, as this machine sees the twin's world."""
    return Path(asked.copy.location(asked.key).posix)


def listing(asked: Asked) -> Path:
    """Its manifest."""
    return Path(asked.copy.manifest(asked.key).posix)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write(asked: Asked, manifest: Manifest) -> None:
    put(listing(asked), manifest.to_json().encode())


def manifest_of(files: Mapping[str, bytes], artifact: str) -> Manifest:
    listed = tuple(
        ManifestFile(path=path, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for path, content in files.items()
    )
    total = sum(file.bytes for file in listed)
    return Manifest(
        manifest=1, artifact=artifact, program=PROGRAM, files=listed, total_files=len(listed), total_bytes=total
    )


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _swap(folder: Path) -> None:
    one, other = folder / "0/c/0/0", folder / "0/c/0/1"
    other.rename(folder / "swap")
    one.rename(other)
    (folder / "swap").rename(one)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def _file_instead(asked: Asked) -> None:
    here(asked).rename(here(asked).with_name("away"))
    here(asked).write_bytes(b"tile one")


def _remove_all(asked: Asked) -> None:
    here(asked).unlink()
    listing(asked).unlink()


DAMAGES: Mapping[str, tuple[Callable[[Shelf], Asked], Callable[[Asked], object], str, str]] = {
    "raw, one bit": (Shelf.raw, lambda a: _flip(here(a)), "DIFFERENT", "SHA-256 .*, not "),
    "raw, truncated": (Shelf.raw, lambda a: os.truncate(here(a), 3), "DIFFERENT", "3 bytes, not 6"),
    "raw, gone": (Shelf.raw, lambda a: here(a).unlink(), "DIFFERENT", "missing"),
    "raw, gone with its manifest": (Shelf.raw, _remove_all, "DIFFERENT", "missing"),
    "raw, a link": (Shelf.raw, lambda a: _link(here(a)), "DIFFERENT", "differs|link|regular"),
    "raw, a folder": (
        Shelf.raw,
        lambda a: (here(a).unlink(), here(a).mkdir()),
        "DIFFERENT",
        "differs|regular",
    ),
    "tile, one bit": (Shelf.zarr, lambda a: _flip(here(a) / "0/c/0/1"), "DIFFERENT", "0/c/0/1: SHA-256"),
    "tile, truncated": (
        Shelf.zarr,
        lambda a: os.truncate(here(a) / "0/c/0/1", 0),
        "DIFFERENT",
        "0/c/0/1: 0 bytes, not 8",
    ),
    "tile, missing": (Shelf.zarr, lambda a: (here(a) / "0/c/0/1").unlink(), "DIFFERENT", "0/c/0/1: missing"),
    "tile, too many": (Shelf.zarr, lambda a: put(here(a) / "0/x", b"x"), "DIFFERENT", "0/x: not in the manifest"),
    "tile, a double": (Shelf.zarr, lambda a: put(here(a) / "0/x", b"tile one"), "DIFFERENT", "differs"),
    "tiles, swapped": (Shelf.zarr, lambda a: _swap(here(a)), "DIFFERENT", "differs"),
    "tile, a link": (Shelf.zarr, lambda a: _link(here(a) / "0/c/0/1"), "DIFFERENT", "differs"),
    "tiles, a link too many": (Shelf.zarr, lambda a: (here(a) / "0/x").symlink_to("c"), "DIFFERENT", "differs"),
    "tiles, a pipe too many": (Shelf.zarr, lambda a: os.mkfifo(here(a) / "0/x"), "DIFFERENT", "differs"),
    "raw, a pipe": (Shelf.raw, lambda a: (here(a).unlink(), os.mkfifo(here(a))), "DIFFERENT", "differs|regular"),
    "tiles, a link in their place": (Shelf.zarr, lambda a: _link(here(a)), "DIFFERENT", "differs|link"),
    "tiles, a file in their place": (Shelf.zarr, _file_instead, "DIFFERENT", "differs|missing"),
    "tiles, gone": (Shelf.zarr, lambda a: here(a).rename(here(a).with_name("away")), "DIFFERENT", "missing"),
    "manifest, missing": (Shelf.zarr, lambda a: listing(a).unlink(), "UNREAD", "manifest"),
    "manifest, damaged": (Shelf.zarr, lambda a: os.truncate(listing(a), 100), "UNREAD", "cannot be used"),
    "manifest, a folder": (
        Shelf.raw,
        lambda a: (listing(a).unlink(), listing(a).mkdir()),
        "UNREAD",
        "manifest",
    ),
    "manifest, of another artifact": (
        Shelf.zarr,
        lambda a: write(a, manifest_of(TILES, "tiff")),
        "UNREAD",
        "is one of a tiff",
    ),
}
"""By name: what is made, how it is damaged, the verdict, and words of its detail."""


def damaged(shelf: Shelf, damage: str) -> Asked:
    """A copy that was damaged so."""
    make, harm, _, _ = DAMAGES[damage]
    folder = f"{shelf.folder}/{damage.replace(' ', '-').replace(',', '')}"
    asked = make(replace(shelf, folder=folder))
    harm(asked)
    return asked
