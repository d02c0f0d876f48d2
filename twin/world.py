"""The world that the twin's services share: collections on local directories, and the credentials that open them.

Belongs here: which folder a path on a collection is, and making folders and secrets before the first start.
Does not: what a client may do there (globus.storage), or what jobs do (scheduler).
"""

import os
import posixpath
import secrets
import shlex
import stat
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from beamlines.config import Beamline
from beamlines.deployment import Deployment, GlobusClient
from beamlines.places import Place, Store

SECRET_MODE = 0o600


class NotInTheWorldError(ValueError):
    """A deployment that the twin cannot serve, because it would touch something outside its state folder."""


class UnknownCollectionError(LookupError):
    """A collection id that no place has."""


class OutsideCollectionError(PermissionError):
    """A path that no place of the collection holds, or that a link leads out of it."""


@dataclass(frozen=True)
class Mount:
    """A place on a collection: ``root`` as Globus names it, ``directory`` on this machine."""

    place: str
    root: PurePosixPath
    directory: Path


@dataclass(frozen=True)
class Collection:
    """What Globus shows under one id. Two places may share it: the longest root that fits a path holds it."""

    id: str
    mounts: tuple[Mount, ...]
    needs_data_access: bool

    def local(self, path: str, *, follow: bool = True) -> Path:
        """The local path of ``path``; with ``follow=False`` a link that ``path`` itself is stays a link.

        Raises OutsideCollectionError, also where a link on the way leads out.
        """
        clean = PurePosixPath(posixpath.normpath(path))
        if not path.startswith("/"):
            raise OutsideCollectionError(f"{path!r} is no absolute path on collection {self.id}")
        # normpath keeps two leading slashes: POSIX gives them a meaning of their own, Globus does not.
        clean = PurePosixPath("/", *clean.parts[1:])
        for mount in self.mounts:
            if clean.is_relative_to(mount.root):
                wanted = mount.directory / clean.relative_to(mount.root)
                real = wanted.resolve() if follow else wanted.parent.resolve() / wanted.name
                self._must_hold(real, path)
                return real
        raise OutsideCollectionError(f"{path!r} lies in no place on collection {self.id}")

    def _must_hold(self, real: Path, path: str) -> None:
        if not any(real.is_relative_to(mount.directory) for mount in self.mounts):
            raise OutsideCollectionError(f"{path!r} is a link out of collection {self.id}")

    def size_bytes(self) -> int:
        """What lies on the collection, in bytes; this is what a quota counts."""
        total = 0
        for mount in self.mounts:
            for folder, _, names in os.walk(mount.directory):
                for name in names:
                    try:
                        total += os.lstat(Path(folder, name)).st_size
                    except FileNotFoundError:
                        continue  # deleted while we were counting
        return total


@dataclass(frozen=True)
class World:
    """One running twin's directories, collections and credentials."""

    deployment: Deployment
    beamline: Beamline
    state_dir: Path
    collections: dict[str, Collection]
    client_secret: str
    deletes_secret: str | None
    """Of the client that deletes; None where the deployment has none."""

    @property
    def clients(self) -> dict[str, str]:
        """Secrets of the clients of Globus, by client id."""
        globus = self.deployment.globus
        known = {globus.client_id: self.client_secret}
        if globus.deletes is not None and self.deletes_secret is not None:
            known[globus.deletes.client_id] = self.deletes_secret
        return known

    def collection(self, identifier: str) -> Collection:
        """Raises UnknownCollectionError."""
        try:
            return self.collections[identifier]
        except KeyError:
            raise UnknownCollectionError(f"no place has the collection {identifier!r}") from None


def create_world(deployment: Deployment, beamline: Beamline, state_dir: Path) -> World:
    """Make the folders and the Globus secrets of ``deployment``, where they are not there yet.

    ``beamline`` is as its file states it: the deployment is applied here. Raises NotInTheWorldError for a place
    outside ``state_dir``: the twin writes and deletes, and must not do so in a real place.
    """
    state_dir = state_dir.resolve()
    applied = deployment.apply_to(beamline)
    for place in applied.places.values():
        must_be_inside(Path(place.posix_root), state_dir, f"places.{place.name}")
    for name, facility in applied.facilities.items():
        must_be_inside(Path(facility.resources.logs), state_dir, f"facilities.{name}.resources.logs")
    for place in applied.places.values():
        _make_folders(place)
    for name, facility in applied.facilities.items():
        Path(facility.resources.logs).mkdir(parents=True, exist_ok=True)
        if facility.program.environment is not None:
            script = Path(facility.program.environment)
            must_be_inside(script, state_dir, f"facilities.{name}.program.environment")
            _make_environment(script)
    _put_test_file(applied)
    globus, deletes = deployment.globus, deployment.globus.deletes
    return World(
        deployment=deployment,
        beamline=applied,
        state_dir=state_dir,
        collections=_collections(applied),
        client_secret=_client_secret("globus", globus, state_dir),
        deletes_secret=None if deletes is None else _client_secret("globus.deletes", deletes, state_dir),
    )


def write_secret(path: Path, content: str) -> None:
    """Write a file that only its owner may read; it never exists with another mode."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_MODE), "w") as file:
        file.write(content)
    partial.replace(path)


def _collections(beamline: Beamline) -> dict[str, Collection]:
    places: dict[str, list[Place]] = {}
    for place in beamline.places.values():
        places.setdefault(place.collection, []).append(place)
    return {identifier: _collection(identifier, there) for identifier, there in places.items()}


def _collection(identifier: str, places: list[Place]) -> Collection:
    mounts = [Mount(place.name, place.collection_root, Path(place.posix_root).resolve()) for place in places]
    mounts.sort(key=lambda mount: len(mount.root.parts), reverse=True)
    return Collection(identifier, tuple(mounts), any(place.data_access_consent for place in places))


def _make_folders(place: Place) -> None:
    root = Path(place.posix_root)
    for folder in (root, *(root / store for store in place.stores.values())):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(int(place.dir_mode, 8))


def _make_environment(script: Path) -> None:
    """What deploy/environment.sh makes at a facility: here the programs are this very checkout's."""
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n")


def _put_test_file(beamline: Beamline) -> None:
    """The file of the flight check, which somebody has once put on the acquisition machine."""
    if beamline.flight_check is not None:
        file = Path(beamline.places[beamline.scans.place].at(Store.RAW, beamline.flight_check.file).posix)
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text("A test of the way that scans take.\n")


def must_be_inside(path: Path, state_dir: Path, key: str) -> None:
    """Raises NotInTheWorldError for a path that the twin must not write to."""
    if not path.resolve().is_relative_to(state_dir):
        raise NotInTheWorldError(
            f"{key}: {path} is not below the twin's state folder {state_dir}: the deployment needs a prefix for it"
        )


def _client_secret(key: str, client: GlobusClient, state_dir: Path) -> str:
    name = client.client_secret.file
    if name is None:
        raise NotInTheWorldError(f"{key}.client_secret: the twin writes this secret itself and needs its file")
    path = Path(name)
    must_be_inside(path, state_dir, f"{key}.client_secret")
    if not path.exists():
        write_secret(path, secrets.token_urlsafe(32))
    if stat.S_IMODE(path.stat().st_mode) != SECRET_MODE:
        raise NotInTheWorldError(f"{path} may be read by others: chmod 600 it, or delete it to get a new one")
    return path.read_text().strip()
