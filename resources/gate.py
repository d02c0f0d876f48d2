"""The gate before every submit: whether anything of a scan may be sent to a place, now.

Belongs here: asking the rules, the standing, and what lies beside the raw file at this moment.
Does not: the rules themselves (beamlines.policy), or keeping standings (standings). Transfer and every facility stand
behind it, each by itself: a backfill or a click passes no sensor.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from beamlines.decisions import Decision, Reason
from beamlines.flight import Subject, TestFile
from beamlines.layout import Artifact, Copy
from beamlines.places import Location, Place
from beamlines.policy import ExportControl
from beamlines.scans import PartitionKey, ScanId
from beamlines.standing import SeenFile, may_be_touched
from resources.clock import Clock
from resources.errors import NotAllowedError, ServiceUnavailableError
from resources.globus import Globus, NotFoundError

if TYPE_CHECKING:
    from resources.standings import Standings  # its database library costs every importer 0.3 s

AUTHOR = "the platform"


@dataclass(frozen=True, slots=True)
class Gate:
    """Lets a scan pass to a place, or raises NotAllowedError. What cannot be read is refused."""

    export_control: ExportControl
    standings: "Standings"
    watch: "Callable[[ScanId], Beside]"
    """How it looks beside a raw file; raises ServiceUnavailableError or another error where that cannot be seen."""
    clock: Clock
    deletes: bool = True
    """False in a deployment that must delete nothing but its own test files."""

    def check(self, subject: Subject, place: Place) -> None:
        """From what is known: nothing is asked outside. Raises NotAllowedError."""
        if isinstance(subject, TestFile):
            return
        standing = self.standings.of(subject.key)
        _refuse(self.export_control.may_be_at(subject, place, standing), place)
        _refuse(may_be_touched(standing), place)

    def check_now(self, subject: Subject, place: Place) -> None:
        """From what is known and what lies beside the scan now, which is kept. Raises NotAllowedError.

        To be called just before a submit. Raises ServiceUnavailableError where the acquisition machine does not answer:
        a sidecar that nobody can see may be there.
        """
        self.check(subject, place)
        if place.off_site and not isinstance(subject, TestFile):
            self.take_in(subject)
            self.check(subject, place)

    def check_deletion(self, subject: Subject, place: Place) -> None:
        """Whether something of a scan may be deleted at all. Raises NotAllowedError."""
        if isinstance(subject, TestFile):
            return
        if not self.deletes:
            raise NotAllowedError(
                seen=f"something was to be deleted at {place.name}",
                meaning="this deployment runs in the shadow of another system and deletes nothing",
                remedy="nothing was done; docs/cutover.md says what comes before the section 'shadow' is removed",
            )
        _refuse(may_be_touched(self.standings.of(subject.key)), place)

    def take_in(self, scan: ScanId) -> None:
        """Look beside a scan, and keep what restricts it or shows that it has changed."""
        beside, now = self.watch(scan), self.clock.now()
        if beside.sidecar is not None:
            self.standings.restrict(scan.key, Reason.RESTRICTED_BY_SIDECAR, author=AUTHOR, note=beside.sidecar, at=now)
        known = self.standings.of(scan.key).file
        if known is not None and beside.file is not None and beside.file != known:
            self.standings.changed(scan.key, f"{beside.file}, and not {known}", at=now)

    def is_restricted(self, scan: ScanId) -> bool:
        """Whether the scan must stay on site, from what is known."""
        return self.export_control.restriction(scan, self.standings.of(scan.key)) is not None


@dataclass(frozen=True, slots=True)
class Beside:
    """What was seen where a raw file is, or was."""

    file: SeenFile | None
    """The file on the acquisition machine; None where it is no longer."""
    sidecar: str | None
    """The place at which a sidecar lies beside it; None where none does."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks beside raw files through Globus, and on this machine where a place is mounted."""

    globus: Globus
    places: Sequence[Place]
    """The acquisition machine first; then where else on site a sidecar counts."""
    sidecar: str

    def __call__(self, scan: ScanId) -> Beside:
        acquired, *others = [Copy(place, Artifact.RAW).location(PartitionKey(scan)) for place in self.places]
        found = next(
            (raw.place.name for raw in (acquired, *others) if self._exists(raw.beside(f"{raw.name}{self.sidecar}"))),
            None,
        )
        return Beside(self._file(acquired), found)

    def _file(self, raw: Location) -> SeenFile | None:
        try:
            entry = self.globus.stat(raw.place.collection, raw.on_collection)
        except NotFoundError:
            return None
        return SeenFile(entry.size_bytes, entry.modified)

    def _exists(self, location: Location) -> bool:
        if location.place.mount is not None:
            return _exists_here(location)
        try:
            self.globus.stat(location.place.collection, location.on_collection)
        except NotFoundError:
            return False
        return True


def _exists_here(location: Location) -> bool:
    root = Location(location.place, PurePosixPath()).here
    try:
        root.stat()
        location.here.lstat()
    except FileNotFoundError as error:
        if error.filename != str(root):
            return False
        raise _unreadable(location.place, error) from error
    except OSError as error:
        raise _unreadable(location.place, error) from error
    return True


def _unreadable(place: Place, error: OSError) -> ServiceUnavailableError:
    return ServiceUnavailableError(
        seen=f"{place.name} cannot be read at its mount here ({error.strerror})",
        meaning="whether a sidecar lies beside the scan cannot be told, so nothing is sent",
        remedy="see to the mount; then this is tried again",
    )


def _refuse(decision: Decision, place: Place) -> None:
    if not decision.allowed:
        # Without the scan's name: an error can be shown, logged and mailed where that must not be read.
        raise NotAllowedError(
            seen=f"something of this scan was to be sent to {place.name}, or deleted there",
            meaning=f"that is not allowed: {decision}",
            remedy="nothing was done; who decided what about it is shown by `als scan show`",
        )
