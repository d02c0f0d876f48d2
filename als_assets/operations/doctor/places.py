"""A look at every place: its folders are listed, and a probe is written there, read back and deleted, through Globus.

Belongs here: the probes, and the modes that they get.
Does not: places as jobs see them (machines).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from als_assets.operations.findings import Finding, Verdict, fault_between
from als_assets.operations.flight import SWEPT_AT_MOST, forgotten, unreadable_here
from beamlines.config import Beamline
from beamlines.flight import TestFile
from beamlines.places import Location, Place, Store
from resources.clock import Clock
from resources.errors import CopyNotIntactError, PlatformError, ServiceUnavailableError
from resources.proof import hash_file, make_folders
from resources.remote import Pulse
from resources.transfer import CopyRequest, Item, NotFoundError, PendingCopy, PendingDelete, Transfer
from resources.work import WorkKey

AT_MOST = timedelta(minutes=15)
"""For each copy: in this time a person would have looked; a scan is given hours."""
FOLDER = "transfer_tests"
BRIEFLY = timedelta(minutes=2)
"""For a delete that should be refused: Globus refuses at once, or a collection never does it."""
_CONTENT = b"A probe: it is written, read back and deleted.\n"


@dataclass(slots=True)
class Probe:
    """One store of one place, and how far its probe has come."""

    place: Place
    store: Store
    source: TestFile
    there: TestFile
    back: TestFile
    done: list[str] = field(default_factory=list)
    """What has worked so far, in words."""
    written: bool = False
    faults: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        """What was wrong; where nothing was, that all of it works."""
        fine = Finding(self.place.name, str(self.store), Verdict.FINE, ", ".join(self.done))
        return [*(self.faults or [fine]), *self.warnings]


@dataclass(slots=True)
class PlaceLook:
    """One look at all places. ``whose`` is hexadecimal and of this look alone: its probes are named by it."""

    beamline: Beamline
    transfer: Transfer
    clock: Clock
    pulse: Pulse
    whose: str

    def look(self) -> Iterator[Finding]:
        """Yield what was found, place by place. Every probe that was written is removed, here and there."""
        home = self.beamline.places[self.beamline.scans.first_copy]
        probes = [self._probe(place, store) for place in self.beamline.places.values() for store in place.stores]
        for probe in probes:
            self._list(probe)
            self._sweep(probe)
        try:
            yield from self._probe_all(home, probes)
        finally:
            for probe in probes:
                for file in (probe.source, probe.back):
                    with suppress(OSError):  # it was said above where this machine cannot write there
                        file.at(home).here.unlink(missing_ok=True)

    def _probe_all(self, home: Place, probes: Sequence[Probe]) -> Iterator[Finding]:
        try:
            for probe in probes:
                source = probe.source.at(home)
                make_folders(source.folder)
                source.here.write_bytes(_CONTENT)
        except OSError as error:
            yield from (finding for probe in probes for finding in probe.faults)
            yield Finding(
                home.name,
                "mount",
                Verdict.FAULT,
                f"{home.mount} cannot be written from here ({error.strerror}: {error.filename})",
                home.run_by,
                "see to the mount, and to the modes of its folders; nothing else of the places was probed",
            )
            return
        self._write(home, probes)
        for probe in probes:
            self._look_at_modes(probe)
        self._read(home, probes)
        if self.transfer.identities.are_two:
            self._try_to_delete_as_who_transfers(probes)
        self._delete(probes)
        for probe in probes:
            yield from probe.findings

    # -- steps ---------------------------------------------------------------------------------------------------

    def _list(self, probe: Probe) -> None:
        try:
            listing = self.transfer.list(Location(probe.place, probe.place.stores[probe.store]), limit=1)
        except NotFoundError:
            probe.done.append("not there yet")  # whoever writes there first makes it
        except PlatformError as error:
            self._wrong(probe, "list", error, [probe.place])
        else:
            probe.done.append("listed" if listing.entries else "listed (it is empty)")

    def _sweep(self, probe: Probe) -> None:
        """What a look that was cut off has left is removed a day later."""
        if probe.faults:
            return
        try:
            for left in forgotten(self.transfer, probe.there, probe.place, self.clock)[:SWEPT_AT_MOST]:
                self.transfer.delete(
                    left, left.at(probe.place), self._key(probe, left.name), self.pulse, recursive=False
                )
        except PlatformError as error:
            self._wrong(probe, "sweep", error, [probe.place])

    def _write(self, home: Place, probes: Sequence[Probe]) -> None:
        self._copy("write", probes, lambda probe: (probe.source.at(home), probe.there.at(probe.place)), "written")

    def _read(self, home: Place, probes: Sequence[Probe]) -> None:
        self._copy("read", probes, lambda probe: (probe.there.at(probe.place), probe.back.at(home)), "read back, equal")
        for probe in [probe for probe in probes if not probe.faults]:
            back = probe.back.at(home)
            try:
                read = hash_file(back.here).sha256
            except OSError as unreadable:
                self._wrong(probe, "read", unreadable_here(back, unreadable), [home])
                continue
            if read != _sha256():
                error = CopyNotIntactError(
                    seen=f"the probe came back from {probe.place.name} with another content",
                    meaning="the place, or the way from it, damages files",
                    remedy="send nothing there until that is understood",
                )
                self._wrong(probe, "read", error, [probe.place])

    def _look_at_modes(self, probe: Probe) -> None:
        if probe.faults:
            return
        at = probe.there.at(probe.place)
        try:
            file = self.transfer.stat(at)
        except PlatformError as error:
            self._wrong(probe, "modes", error, [probe.place])
            return
        place = probe.place
        expected = place.file_mode + (f" {place.group}" if place.group else "")
        found = (file.mode or "unknown") + (f" {file.group}" if place.group else "")
        if found == expected:
            probe.done.append(f"files get {found}")
        elif file.mode is None:
            probe.done.append("the collection does not tell modes")
        else:
            probe.faults.append(
                Finding(
                    place.name,
                    f"{probe.store}, modes",
                    Verdict.FAULT,
                    f"a file that Globus writes gets {found}, not {expected}: others cannot use, or not clean up, it",
                    place.run_by,
                    f"let the collection's server write with umask {place.umask}, into folders with setgid"
                    + (f" and group {place.group}" if place.group else ""),
                )
            )

    def _try_to_delete_as_who_transfers(self, probes: Sequence[Probe]) -> None:
        """It must not be able to: else a stolen secret of the client that transfers is enough to delete."""
        transfer = self.transfer.within(BRIEFLY).as_who_transfers()
        sound = [probe for probe in probes if not probe.faults]
        for probe, error in self._deletions(transfer, "must not delete", sound):
            if error is None:
                probe.warnings.append(_can_delete(probe, transfer.identities.deletes.client_id))
            elif not isinstance(error, ServiceUnavailableError):
                probe.done.append("not deletable by the client that transfers")

    def _delete(self, probes: Sequence[Probe]) -> None:
        left = [probe for probe in probes if probe.written and self._may_be_there(probe)]
        for probe, error in self._deletions(self.transfer, "delete", left):
            if error is None:
                probe.done.append("deleted")
            else:
                self._wrong(probe, "delete", error, [probe.place])

    def _deletions(
        self, transfer: Transfer, what: str, probes: Sequence[Probe]
    ) -> Iterator[tuple[Probe, PlatformError | None]]:
        """Delete these, all at once; yield each with why that was not possible, or None."""
        pending: list[tuple[Probe, PendingDelete]] = []
        for probe in probes:
            try:
                at, key = probe.there.at(probe.place), self._key(probe, what)
                pending.append((probe, transfer.begin_delete(probe.there, at, key, recursive=False)))
            except PlatformError as error:
                yield probe, error
        for probe, begun in pending:
            try:
                transfer.finish_delete(begun, self.pulse)
            except PlatformError as error:
                yield probe, error
            else:
                yield probe, None

    # -- parts ---------------------------------------------------------------------------------------------------

    def _copy(
        self,
        what: str,
        probes: Sequence[Probe],
        ends: Callable[[Probe], tuple[Location, Location]],
        done: str,
    ) -> None:
        """One copy a probe that is not wrong yet, all at once."""
        of: dict[int, Probe] = {}
        begun: list[PendingCopy] = []
        for probe in probes:
            if probe.faults:
                continue
            source, target = ends(probe)
            item = Item(source, target, sha256=_sha256(), bytes=len(_CONTENT))
            try:
                copy = self.transfer.begin(CopyRequest(probe.there, (item,), self.whose), self._key(probe, what))
            except PlatformError as error:
                self._wrong(probe, what, error, self._sides(probe))
            else:
                probe.written = True
                begun.append(copy)
                of[id(copy)] = probe
        for copy, outcome in self.transfer.finish_each(begun, self.pulse):
            if isinstance(outcome, PlatformError):
                self._wrong(of[id(copy)], what, outcome, self._sides(of[id(copy)]))
            else:
                of[id(copy)].done.append(f"{done} in {outcome.seconds:.0f} s")

    def _sides(self, probe: Probe) -> list[Place]:
        """Between which places a probe is copied; the one that it is a probe of last."""
        home = self.beamline.places[self.beamline.scans.first_copy]
        return list({place.name: place for place in (home, probe.place)}.values())

    def _probe(self, place: Place, store: Store) -> Probe:
        def named(role: str) -> TestFile:
            distinct = hashlib.sha256(f"{self.whose} {place.name} {store} {role}".encode()).hexdigest()
            return TestFile.unique(FOLDER, "doctor", self.clock.now(), distinct, store)

        return Probe(place, store, named("source"), named("there"), named("back"))

    def _may_be_there(self, probe: Probe) -> bool:
        """False where a failed write has left nothing: then there is nothing to delete, and nothing to say of it."""
        try:
            self.transfer.stat(probe.there.at(probe.place))
        except NotFoundError:
            return not probe.faults
        except PlatformError:
            return True
        return True

    def _key(self, probe: Probe, what: str) -> WorkKey:
        asset = f"{self.beamline.name}/doctor#{what} {probe.place.name} {probe.store}"
        return WorkKey(asset, probe.there.key, "", self.whose)

    def _wrong(self, probe: Probe, what: str, error: PlatformError, places: Sequence[Place]) -> None:
        probe.faults.append(fault_between(f"{probe.store}, {what}", error, places, self.transfer))


def _can_delete(probe: Probe, client_id: str) -> Finding:
    return Finding(
        probe.place.name,
        f"{probe.store}, rights",
        Verdict.WARNING,
        f"client {client_id}, which transfers, can delete here too: whoever has its secret could",
        probe.place.run_by,
        "take that right away from it (docs/production.md), and leave it to the client that deletes",
    )


def _sha256() -> str:
    return hashlib.sha256(_CONTENT).hexdigest()
