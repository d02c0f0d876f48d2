"""A facility: jobs submitted once, waited for, and believed by what they leave behind.

Belongs here: submitting, finding, judging and reading jobs, whatever service carries them out.
Does not: any one service (nersc, ...), Slurm's texts (slurm), what a job does (reconstruction).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from beamlines.layout import Artifact
from beamlines.manifest import Manifest, ManifestError
from resources.clock import Clock
from resources.errors import WorkFailedError
from resources.facilities import FileTooLargeError, JobResult, JobSpec, Output, Staged, seconds_between
from resources.facilities.evidence import last_words, step_seconds, tail
from resources.facilities.following import FOLLOWED_BYTES, Following
from resources.facilities.service import Content, FacilityState, Files, JobSeen, JobService
from resources.gate import Gate
from resources.remote import TERMINAL, Attempt, JobState, Patience, Pulse, Remote, RemoteStatus
from resources.waiting import typical
from resources.work import FACILITY, Record, WorkKey

LARGEST_FILE_BYTES = 8 * 1024**2
"""Of a log or a manifest. The pyramid of a 2560-cubed volume has about 9,400 files: 1 MB of manifest."""


class BatchFacility:
    """The facility, over the service that runs its jobs and the one that shows its files; ``close`` it."""

    def __init__(
        self,
        name: str,
        service: JobService,
        files: Files,
        remote: Remote,
        clock: Clock,
        gate: Gate,
        patience: Patience,
    ) -> None:
        """``patience.deadline`` is for the queue: each job's own time limit comes on top."""
        self.name = name
        self._service = service
        self._files = files
        self._remote = remote
        self._clock = clock
        self._gate = gate
        self._patience = patience

    # -- the whole way -------------------------------------------------------------------------------------------

    def run(self, job: JobSpec, key: WorkKey, pulse: Pulse) -> JobResult:
        return self.finish(self.begin(job, key), pulse)

    def begin(self, job: JobSpec, key: WorkKey) -> Attempt:
        for scan in job.scans:
            self._gate.check(scan, job.place)
        work = _Work(self, self._clock, job)
        may_wait = self._patience.deadline if job.may_wait is None else job.may_wait
        deadline = may_wait + job.resources.time_limit
        patience = Patience(self._patience.first_poll, self._patience.longest_poll, deadline, self._patience.appear)
        return self._remote.begin(work, key, patience, intact=work.is_intact)

    def finish(self, attempt: Attempt, pulse: Pulse) -> JobResult:
        record = self._remote.finish(attempt, pulse)
        assert isinstance(attempt.work, _Work)  # noqa: S101 - begin made it
        manifests = attempt.work.manifests_of(record)
        return JobResult.from_evidence(record.evidence or {}, manifests, reused=attempt.reused)

    # -- single calls --------------------------------------------------------------------------------------------

    def submit(self, job: JobSpec, name: str) -> str:
        self.permit(job)
        return self.submit_permitted(job, name)

    def submit_permitted(self, job: JobSpec, name: str) -> str:
        """The same, where ``permit`` was asked just before."""
        return self._service.submit(job, name)

    def find(self, name: str, *, since: datetime) -> str | None:
        return self._service.find(name, since=since)

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        return self._service.jobs(prefix, since=since)

    def status(self, job_id: str) -> RemoteStatus:
        seen = self._service.job(job_id)
        return RemoteStatus(seen.job_state, seen.words, self._evidence(seen))

    def cancel(self, job_id: str) -> None:
        self._service.cancel(job_id)

    def log(self, path: str, *, tail_lines: int) -> str:
        return tail(self._text(path), tail_lines)

    def read(self, path: str, *, limit_bytes: int) -> bytes:
        return self._files.read(path, limit_bytes=limit_bytes)

    def read_all(self, paths: Sequence[str], *, limit_bytes: int) -> Mapping[str, Content]:
        return self._files.read_all(paths, limit_bytes=limit_bytes)

    def state(self) -> FacilityState:
        return self._service.state()

    def credentials_until(self) -> datetime | None:
        return self._service.credentials_until()

    def close(self) -> None:
        self._service.close()

    def permit(self, job: JobSpec) -> None:
        for scan in job.scans:
            self._gate.check_now(scan, job.place)

    # -- judging -------------------------------------------------------------------------------------------------

    def judge(
        self, job: JobSpec, job_id: str, manifests: dict[Artifact, Manifest], following: Following
    ) -> RemoteStatus:
        """How a job stands; what is new in its log; once it has ended also how that ends and, of a success, what the
        job left behind.

        Believable manifests are put into ``manifests``. A success without them is a failure.
        """
        seen = self._service.job(job_id)
        evidence = self._evidence(seen)
        logs = self._service.log_paths(job, seen)
        if seen.job_state not in TERMINAL:
            running = seen.job_state is JobState.ACTIVE
            lines = following.news(logs, self._clock.now()) if running else ()
            return RemoteStatus(seen.job_state, seen.words, evidence, seen.started, lines)
        outputs = job.outputs if seen.job_state is JobState.COMPLETED else ()
        contents = self._texts([*logs, *(output.manifest.posix for output in outputs)])
        stdout, stderr = (_log(contents[path]) for path in logs)
        evidence |= {
            "logs": list(logs),
            "stage_seconds": step_seconds(stdout),
            "log_tail": "\n".join(part for part in (tail(stdout), tail(stderr)) if part),
        }
        if seen.job_state is not JobState.COMPLETED:
            words = last_words(stderr)
            evidence["interrupted"] = seen.interrupted
            return RemoteStatus(seen.job_state, f"{seen.words}: {words}" if words else seen.words, evidence)
        try:
            digests = _believed(job, contents, manifests)
        except _UnbelievableError as error:
            return RemoteStatus(JobState.FAILED, f"{seen.words} at {self.name}, but {error}", evidence)
        return RemoteStatus(JobState.COMPLETED, seen.words, {**evidence, "manifest_sha256": digests})

    def lies_complete(self, job: JobSpec, record: Record, manifests: dict[Artifact, Manifest]) -> bool:
        """Whether a former success still lies there: the same manifests, and beside them, by one listing of each
        product, every top-level file with its size and every top-level folder. Contents are not read (resources.proof).
        """
        try:
            digests = self.believe(job, manifests)
        except _UnbelievableError:
            return False
        recorded = (record.evidence or {}).get("manifest_sha256") or {}
        if any(recorded.get(artifact) != digest for artifact, digest in digests.items()):
            return False
        return all(self._is_listed(output, manifests[output.artifact]) for output in job.outputs) and all(
            self._lies_there(file) for file in job.staged
        )

    def _lies_there(self, file: Staged) -> bool:
        try:
            return [entry.size_bytes for entry in self._files.list(file.location.posix)] == [file.bytes]
        except FileNotFoundError:
            return False

    def believe(self, job: JobSpec, manifests: dict[Artifact, Manifest]) -> dict[str, str]:
        """Read the manifests beside the outputs into ``manifests``; the SHA-256 of each manifest by its artifact."""
        return _believed(job, self._texts([output.manifest.posix for output in job.outputs]), manifests)

    def _is_listed(self, output: Output, manifest: Manifest) -> bool:
        try:
            entries = {entry.name: entry for entry in self._files.list(output.product.posix)}
        except FileNotFoundError:
            return False  # or it cannot be asked for: a new job looks itself, and leaves what is intact as it is
        for file in manifest.files:
            top, inside, _ = file.path.partition("/")
            entry = entries.get(top)
            if entry is None or entry.is_folder != bool(inside) or (not inside and entry.size_bytes != file.bytes):
                return False
        return True

    # -- reading -------------------------------------------------------------------------------------------------

    def _evidence(self, seen: JobSeen) -> dict[str, Any]:
        return {
            "facility": self.name,
            "job_id": seen.job_id,
            "name": seen.name,
            "state": seen.state,
            "exit_code": seen.exit_code,
            "submitted": seen.submitted and seen.submitted.isoformat(),
            "started": seen.started and seen.started.isoformat(),
            "ended": seen.ended and seen.ended.isoformat(),
            "queue_seconds": seconds_between(seen.submitted, seen.started),
            "job_seconds": seconds_between(seen.started, seen.ended),
            "nodes": list(seen.nodes),
        }

    @property
    def look_every(self) -> timedelta:
        """How often a log is looked at while its job runs."""
        return self._files.look_every

    def followed(self, path: str) -> str:
        """A log while its job runs. Raises FileNotFoundError, and FileTooLargeError."""
        return self._text(path, FOLLOWED_BYTES)

    def _text(self, path: str, limit_bytes: int = LARGEST_FILE_BYTES) -> str:
        return _decoded(self.read(path, limit_bytes=limit_bytes))

    def _texts(self, paths: Sequence[str]) -> Mapping[str, Content]:
        return self.read_all(paths, limit_bytes=LARGEST_FILE_BYTES)


class _UnbelievableError(Exception):
    """A success that left nothing believable behind."""


@dataclass(slots=True)
class _Work:
    """One job, as resources.remote carries it through."""

    facility: BatchFacility
    clock: Clock
    job: JobSpec
    manifests: dict[Artifact, Manifest] = field(default_factory=dict)
    shared: None = None
    """A run waits for one job at a time."""
    following: Following = field(init=False)

    def __post_init__(self) -> None:
        self.following = Following(self.facility.followed, self.facility.look_every)

    def prepare(self, name: str) -> dict[str, Any]:  # noqa: ARG002
        return {FACILITY: self.facility.name, "since": self.clock.now().isoformat()}

    def find(self, name: str, intent: dict[str, Any]) -> str | None:
        return self.facility.find(name, since=datetime.fromisoformat(intent["since"]))

    def permit(self) -> None:
        self.facility.permit(self.job)

    def submit(self, name: str, intent: dict[str, Any]) -> str:  # noqa: ARG002
        return self.facility.submit_permitted(self.job, name)

    def status(self, handle: str, _seen: Any = None) -> RemoteStatus:
        return self.facility.judge(self.job, handle, self.manifests, self.following)

    def expected(self, before: Sequence[Record]) -> timedelta | None:
        took = ((record.evidence or {}).get("job_seconds") for record in before)
        return typical([float(seconds) for seconds in took if seconds is not None])

    def cancel(self, handle: str) -> None:
        self.facility.cancel(handle)

    def describe(self) -> str:
        return f"the job at {self.facility.name} ({self.job.label})"

    def is_intact(self, record: Record) -> bool:
        return self.facility.lies_complete(self.job, record, self.manifests)

    def manifests_of(self, record: Record) -> dict[Artifact, Manifest]:
        """The manifests, read now where another worker saw the job end."""
        if len(self.manifests) < len(self.job.outputs):
            try:
                self.facility.believe(self.job, self.manifests)
            except _UnbelievableError as error:
                raise WorkFailedError(
                    seen=f"{self.describe()} succeeded ({record.handle}), but {error}",
                    meaning="its result has been changed or removed since",
                    remedy="run it again: what is missing is made again",
                ) from error
        return self.manifests


def _believed(job: JobSpec, contents: Mapping[str, Content], manifests: dict[Artifact, Manifest]) -> dict[str, str]:
    digests: dict[str, str] = {}
    for output in job.outputs:
        path = output.manifest.posix
        content = contents[path]
        try:
            if isinstance(content, Exception):
                raise content
            manifest = Manifest.parse(content, source=path)
        except (FileNotFoundError, FileTooLargeError, ManifestError) as error:
            raise _UnbelievableError(f"its {output.artifact} is not there in full: {error}") from error
        _refuse_other(manifest, output)
        manifests[output.artifact] = manifest
        digests[str(output.artifact)] = hashlib.sha256(content).hexdigest()
    return digests


def _log(content: Content) -> str:
    # A job that never started has no log; one that wrote too much is judged without it.
    return f"(no log: {content})" if isinstance(content, Exception) else _decoded(content)


def _decoded(content: bytes) -> str:
    return content.decode("utf-8", "backslashreplace")


def _refuse_other(manifest: Manifest, output: Output) -> None:
    if manifest.artifact != output.artifact:
        raise _UnbelievableError(f"the manifest of its {output.artifact} is one of a {manifest.artifact}")
    if manifest.program.version != output.program_version:
        made_by = f"{manifest.program.name} {manifest.program.version}"
        raise _UnbelievableError(f"its {output.artifact} was made by {made_by}, not version {output.program_version}")
    told = manifest.input.sha256 if manifest.input else None
    if None not in (told, output.raw_sha256) and told != output.raw_sha256:
        raise _UnbelievableError(f"its {output.artifact} was made from a raw file of SHA-256 {told}")
