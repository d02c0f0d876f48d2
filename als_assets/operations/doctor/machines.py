"""A look at every facility: its service, the key, the queue, and by a small job the image, the program and the folders.

Belongs here: what is right there. Does not: asking (resources.facilities).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from als_assets.operations.findings import Finding, Verdict, fault
from beamlines.config import Beamline
from beamlines.facilities import FacilityRules, SlurmResources
from beamlines.places import Place, Store
from resources.clock import Clock
from resources.errors import CredentialsRefusedError, PlatformError
from resources.facilities import Facility
from resources.facilities.credentials import ALERT_BEFORE, RENEWAL
from resources.facilities.examination import MAY_WAIT, Found, examination, read_found
from resources.facilities.service import Health
from resources.remote import Pulse
from resources.responsible import OPERATORS
from resources.work import WorkKey

_LOG_LINES = 200


@dataclass(frozen=True, slots=True)
class MachineLook:
    """One look at all facilities. ``whose`` is of this look alone: its jobs are named by it."""

    beamline: Beamline
    facilities: Mapping[str, Facility]
    clock: Clock
    pulse: Pulse
    whose: str

    def look(self) -> Iterator[Finding]:
        """Yield what was found, facility by facility. Nothing is left at any of them but the job's log."""
        for name, facility in self.facilities.items():
            rules = self.beamline.facilities[name]
            work = self.beamline.places[rules.work]
            yield from self._service(facility, work)
            usable = self._key(facility)
            yield usable
            if usable.verdict is not Verdict.FAULT:
                yield from self._job(facility, rules, work)

    def _service(self, facility: Facility, work: Place) -> Iterator[Finding]:
        try:
            state = facility.state()
        except PlatformError as error:
            yield fault(facility.name, "service", error, _who(error, work))
            return
        if state.health is Health.ACTIVE:
            yield Finding(facility.name, "service", Verdict.FINE, state.said)
        else:
            remedy = "wait, or switch the branch's router off until it is back"
            yield Finding(facility.name, "service", Verdict.WARNING, state.said, work.run_by, remedy)
        now = self.clock.now()
        for outage in state.outages:
            verdict, who = (Verdict.WARNING, work.run_by) if outage.covers(now) else (Verdict.FINE, "")
            yield Finding(facility.name, "outage", verdict, outage.said, who, "wait until it is over" if who else "")

    def _key(self, facility: Facility) -> Finding:
        try:
            until = facility.credentials_until()
        except PlatformError as error:
            return fault(facility.name, "key", error, OPERATORS)
        if until is None:
            return Finding(facility.name, "key", Verdict.FINE, "its credentials do not end")
        left = until - self.clock.now()
        if left <= timedelta():
            seen = f"it ended at {until:%Y-%m-%d %H:%M} UTC, by the time at which its file was written"
            return Finding(facility.name, "key", Verdict.FAULT, seen, OPERATORS, RENEWAL)
        seen = f"good until {until:%Y-%m-%d %H:%M} UTC, {left / timedelta(hours=1):.0f} hours"
        if left <= ALERT_BEFORE:
            return Finding(facility.name, "key", Verdict.WARNING, seen, OPERATORS, RENEWAL)
        return Finding(facility.name, "key", Verdict.FINE, seen)

    def _job(self, facility: Facility, rules: FacilityRules, work: Place) -> Iterator[Finding]:
        folders = {
            "raw": str(work.posix_root / work.stores[Store.RAW]),
            "results": str(work.posix_root / work.stores[Store.RESULTS]),
            "logs": str(rules.resources.logs),
        }
        key = WorkKey(f"{self.beamline.name}/doctor#job {facility.name}", self.whose, "", self.whose)
        try:
            result = facility.run(examination(rules, work, [*folders.values()]), key, self.pulse)
            log = facility.log(result.logs[0], tail_lines=_LOG_LINES)
        except PlatformError as error:
            yield fault(facility.name, "queue", error, _who(error, work))
            return
        except FileNotFoundError as error:
            remedy = "look at the mode and owner of the logs' folder"
            yield Finding(facility.name, "log", Verdict.FAULT, str(error), work.run_by, remedy)
            return
        queue = f" in {rules.resources.queue}" if isinstance(rules.resources, SlurmResources) else ""
        seen = f"a small job waited {result.queue_seconds or 0:.0f} s{queue} (at most {MAY_WAIT})"
        yield Finding(facility.name, "queue", Verdict.FINE, seen)
        found = read_found(log, len(folders))
        if rules.program.image is not None:
            yield self._image(facility, rules.program.image, found)
        yield self._program(facility, rules, found)
        for (name, folder), mode in zip(folders.items(), found.folders, strict=True):
            yield _folder(facility, work, f"jobs, {name}", folder, mode)

    def _image(self, facility: Facility, image: str, found: Found) -> Finding:
        if not found.digest.startswith("sha256:"):
            remedy = f"pull it there: podman-hpc pull {image}"
            return Finding(facility.name, "image", Verdict.FAULT, f"{image}: {found.digest}", OPERATORS, remedy)
        _, pinned, digest = image.partition("@")
        if pinned and digest != found.digest:
            seen = f"{image} is {found.digest} there"
            return Finding(facility.name, "image", Verdict.FAULT, seen, OPERATORS, "pull the pinned one there")
        return Finding(facility.name, "image", Verdict.FINE, f"{image} is {found.digest[:19]}...")

    def _program(self, facility: Facility, rules: FacilityRules, found: Found) -> Finding:
        program = rules.program
        if found.version == program.version:
            return Finding(facility.name, "program", Verdict.FINE, f"version {found.version}")
        seen = f"version {found.version!r} is in {program.said}, and {program.version} is configured"
        remedy = "build it anew there, or mend program.version: every job would end at once"
        return Finding(facility.name, "program", Verdict.FAULT, seen, OPERATORS, remedy)


def _folder(facility: Facility, work: Place, what: str, folder: str, mode: str) -> Finding:
    if not mode.isdecimal():
        remedy = "look at the folder there: whether it exists, whose it is, and whether the quota is used up"
        return Finding(facility.name, what, Verdict.FAULT, f"{folder}: {mode}", OPERATORS, remedy)
    if mode != work.file_mode:
        remedy = f"look for a default access list on it: umask {work.umask} should lead to {work.file_mode}"
        return Finding(facility.name, what, Verdict.WARNING, f"{folder}: files get {mode}", work.run_by, remedy)
    return Finding(facility.name, what, Verdict.FINE, f"can be written, files get {mode}")


def _who(error: PlatformError, work: Place) -> str:
    return OPERATORS if isinstance(error, CredentialsRefusedError) else work.run_by
