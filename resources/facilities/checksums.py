"""A job at a facility that reads many copies again, and what its answer proves.

Belongs here: the job, running it, and fetching the manifests that its answer is held against.
Does not: the form of its answer (checksum_answers), which copies are read (resources.keepers), or how it is submitted
(batch).

The job is not told what it must find. Of every copy it says the SHA-256 of two lists: its files by type, size and name,
and its files by content and name. Here the same two are made of the manifest: only who has read every byte can answer
with them. Nothing that a shell compares, echoes or forgets to compare can turn into a proof.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from beamlines.config import Beamline
from beamlines.facilities import FacilityRules, SlurmResources
from beamlines.places import Place
from resources.clock import Clock
from resources.errors import DeadlineExceededError, EpochLostError, PlatformError, ServiceRefusedError, WorkFailedError
from resources.facilities import Facility, JobResult, JobSpec
from resources.facilities.checksum_answers import Said, held_against, parse_answer
from resources.facilities.job import FileTooLargeError
from resources.facilities.service import Content
from resources.facilities.slurm import fill, links
from resources.remote import Pulse
from resources.rereading import Asked, NoVerdictError, Reread, proven, unread
from resources.work import Record, WorkKey

_PROOF = "proof"
TEMPLATE = Path(__file__).with_name("checksums.sh.template")
FRESH = timedelta(hours=6)
"""What was begun longer ago was not read just before."""
MAY_WAIT = timedelta(hours=1)
"""In the queue: a pass that waits for longer is not worth its proof."""
WRITING = timedelta(seconds=30)
"""Of the job's time, what is left for its answer when reading must end."""
LARGEST_ANSWER_BYTES = 8 * 1024**2
LARGEST_MANIFEST_BYTES = 8 * 1024**2
MANIFESTS_AT_ONCE = 20
"""In memory; of the pyramid of a 2560-cubed volume each has 1 MB."""


@dataclass(frozen=True, slots=True)
class ChecksumJob:
    """Copies that all lie at places of one facility, to be read again by one job of one pass."""

    beamline: str
    facility: str
    rules: FacilityRules
    work: Place
    occasion: str
    """Of this pass alone: the job of another one proves nothing now."""
    asked: tuple[Asked, ...]

    @classmethod
    def at(cls, beamline: Beamline, facility: str, occasion: str, asked: Sequence[Asked]) -> "ChecksumJob":
        """The job at a facility of the beamline's file. Raises ValueError for a copy that its jobs do not see."""
        elsewhere = [one.said for one in asked if one.copy.place.facility != facility]
        if elsewhere or not asked:
            raise ValueError(f"jobs at {facility} do not see {elsewhere or 'anything of nothing'}")
        rules = beamline.facilities[facility]
        return cls(beamline.name, facility, rules, beamline.places[rules.work], occasion, tuple(asked))

    @property
    def token(self) -> str:
        """Stands for the pass and for what it asked: the answer to anything else has another."""
        said = [self.occasion, *(path for one in self.asked for path in (_copy(one), _manifest(one)))]
        return hashlib.sha256(os.fsencode("\0".join(said))).hexdigest()[:32]

    @property
    def key(self) -> WorkKey:
        """The ledger's: one job a facility and pass, whoever asks again."""
        return WorkKey(f"{self.beamline}/{self.facility}/{_PROOF}", self.token, "", self.token)

    def spec(self) -> JobSpec:
        """The job as any facility takes it. It touches no scan: nothing is sent, and what is read is there already."""
        resources = self.rules.resources
        at_once = min(resources.cpus_per_task, len(self.asked))
        small: dict[str, Any] = {"cpus_per_task": at_once}
        if isinstance(resources, SlurmResources):
            small |= {"nodes": 1, "exclusive": False}
        manifests = tuple(_manifest(one) for one in self.asked)
        values: dict[str, str | tuple[str, ...]] = {
            "token": self.token,
            "at_once": str(at_once),
            "limit": f"{(resources.time_limit - WRITING).total_seconds():.0f}",
            "stores": tuple(one.store.posix for one in self.asked),
            "copies": tuple(_copy(one) for one in self.asked),
            "manifests": manifests,
        }
        body = links(manifests, resources.logs) + fill(TEMPLATE.read_text(encoding="utf-8"), values)
        return JobSpec(
            label=f"reading {len(self.asked)} copies again",
            scans=(),
            place=self.work,
            body=body,
            resources=resources.model_copy(update=small),
            may_wait=MAY_WAIT,
        )


def reads_copies(record: Record) -> bool:
    """Whether a piece of work in the ledger is such a job."""
    return record.asset.endswith(f"/{_PROOF}")


def read_there(job: ChecksumJob, facility: Facility, pulse: Pulse, clock: Clock) -> list[Reread]:
    """Read every copy of a job again, there; the verdicts in the order in which they were asked for.

    Whatever goes wrong with the facility is the verdict on all that nothing is known of. Raises EpochLostError where
    another worker has taken the pass over.
    """
    try:
        result = _ended(job, facility, pulse)
        answer = facility.read(result.logs[0], limit_bytes=LARGEST_ANSWER_BYTES)
    except EpochLostError:
        raise
    except (PlatformError, FileNotFoundError, FileTooLargeError) as error:
        return [unread(one, f"it was not read at {job.facility}: {error}") for one in job.asked]
    said = parse_answer(answer, job.token)
    if result.started is None or clock.now() - result.started > FRESH:
        said = f"it was begun at {result.started}, which is not now"
    if isinstance(said, str):
        why = f"what job {result.job_id} at {job.facility} has said is not believed: {said}"
        return [unread(one, why) for one in job.asked]
    return [
        _verdict(one, said.get(number), content, result)
        for number, (one, content) in enumerate(_manifests(job.asked, said, facility))
    ]


def _ended(job: ChecksumJob, facility: Facility, pulse: Pulse) -> JobResult:
    spec = job.spec()
    attempt = facility.begin(spec, job.key)
    try:
        return facility.finish(attempt, pulse)
    except DeadlineExceededError as overdue:
        # Nobody will ever attach to it: the next pass has another job. It is ended, and the ledger told.
        if attempt.record.handle is not None:
            facility.cancel(attempt.record.handle)
        try:
            return facility.finish(facility.begin(spec, job.key), pulse)  # it may have ended well in that moment
        except WorkFailedError as error:
            raise overdue from error


# -- the manifests -----------------------------------------------------------------------------------------------


def _manifests(
    asked: Sequence[Asked], said: Mapping[int, Said], facility: Facility
) -> Iterator[tuple[Asked, Content | PlatformError]]:
    """Every copy with its manifest, a few at a time; of one that the job has not read none is asked for.

    After the job, not before it: only then are there links to those whose paths cannot be asked for.
    """
    for first in range(0, len(asked), MANIFESTS_AT_ONCE):
        some = asked[first : first + MANIFESTS_AT_ONCE]
        wanted = [_manifest(one) for n, one in enumerate(some, first) if n in said and said[n].manifest != "-"]
        contents = _fetched(wanted, facility)
        for one in some:
            yield one, contents.get(_manifest(one), FileNotFoundError("it was not asked for"))


def _fetched(paths: Sequence[str], facility: Facility) -> Mapping[str, Content | PlatformError]:
    if not paths:
        return {}
    try:
        return facility.read_all(paths, limit_bytes=LARGEST_MANIFEST_BYTES)
    except ServiceRefusedError as error:
        if len(paths) == 1:
            return {paths[0]: error}
        # One that cannot be read must not spoil the others.
        return {path: content for one in paths for path, content in _fetched([one], facility).items()}
    except PlatformError as error:
        return dict.fromkeys(paths, error)


# -- the verdict -------------------------------------------------------------------------------------------------


def _verdict(asked: Asked, said: Said | None, content: Content | PlatformError, result: JobResult) -> Reread:
    evidence: dict[str, Any] = {"began": result.started, "ended": result.ended, "job_id": result.job_id}
    where = f"by job {result.job_id} at {result.facility}"
    try:
        manifest, listing = held_against(asked, said, content)
    except NoVerdictError as error:
        return Reread(asked, error.found, f"{error} ({where})", **evidence)
    return proven(asked, manifest, listing, f"read again {where}", **evidence)


def _copy(asked: Asked) -> str:
    return asked.copy.location(asked.key).posix


def _manifest(asked: Asked) -> str:
    return asked.copy.manifest(asked.key).posix
