"""Jobs as tasks of Globus Compute, as ALCF runs them: submitted and asked after over REST, believed by what they leave.

Belongs here: a task around a job, finding it again, and how it stands, from the service's word and from its own marks.
Does not: what its end means (batch), or how files there are reached (globus_files).

The service forgets results after a while, cannot cancel, and may not know a task of which it lost the answer. So a job
keeps marks in the folder of the logs, under its name, and these decide (docs/decisions/0011-globus-compute.md):

| mark | what |
|---|---|
| `<name>/` | the name is taken: a second execution does nothing |
| `<name>/task.<uuid>` | by which task |
| `<name>/alive` | touched every other second for as long as the job runs |
| `<name>/out`, `<name>/err` | what it says |
| `<name>/exit.<code>` | its end |
| `<name>.stop/` | a folder that whoever cancels it has made: one is made at once, where a file would take a transfer |
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from beamlines.facilities import ComputeRules
from resources.clock import Clock
from resources.errors import CredentialsRefusedError, ServiceRefusedError
from resources.facilities.job import JobSpec
from resources.facilities.service import Entry, FacilityState, Files, Health, JobSeen
from resources.facilities.slurm import fill
from resources.globus_session import GlobusSession, Login
from resources.remote import JobState

if TYPE_CHECKING:
    import globus_sdk

TEMPLATE = Path(__file__).with_name("supervise.sh.template")
NO_LOGS, CLAIMED, CANCELED, TIMED_OUT, TERMINATED = 77, 78, 79, 124, 143
"""Exit codes: the folder of the logs cannot be used; another execution has the name; canceled; too long; a signal."""
BEAT, SILENT = timedelta(seconds=2), timedelta(minutes=10)
"""A job that has not touched its mark for so long is gone with its node. Clocks may differ by minutes."""
_GRACE_S = 20
_WALL_TIME_SLACK_S = 120
"""The job's own limit comes first: the service's ends only the wait for it."""
_GROUPS = uuid.UUID("4c5d0f5e-0832-4000-8000-000000000832")
"""Names become ids of task groups below this one, so that a task can be looked up by its name."""

STATES: Mapping[str, JobState] = {
    "pending": JobState.QUEUED,
    "received": JobState.QUEUED,
    "waiting-for-ep": JobState.QUEUED,
    "waiting-for-nodes": JobState.QUEUED,
    "waiting-for-launch": JobState.QUEUED,
    "execution-start": JobState.ACTIVE,
    "running": JobState.ACTIVE,
    "execution-end": JobState.ACTIVE,
    "result-received": JobState.ACTIVE,
    "result-enqueued": JobState.ACTIVE,
    "action-provider-received": JobState.QUEUED,
    "action-provider-task-submitted": JobState.QUEUED,
    "action-provider-task-group-in-progress": JobState.ACTIVE,
    "success": JobState.COMPLETED,
    "failed": JobState.FAILED,
}
"""Every state of globus_compute_common.tasks.constants.TaskState, and what the service says before the first. A word
that is not here is unknown: it is waited out for a while, and never taken for success."""


class MarkedFiles(Files, Protocol):
    """Files at a facility where folders can be made."""

    def make_folder(self, path: str) -> None:
        """Make one folder, at once; one that is there stays."""


class ComputeJobs:
    """A JobService on one endpoint. A job's id is ``<task's uuid>/<job's name>``."""

    def __init__(
        self, login: Login, rules: ComputeRules, files: MarkedFiles, clock: Clock, *, compute_url: str | None = None
    ) -> None:
        self._rules = rules
        self._files = files
        self._clock = clock
        self._logs = PurePosixPath(rules.resources.logs)
        # A submit is not idempotent: nothing is asked twice by the SDK itself.
        self._session: GlobusSession[_Clients] = GlobusSession(
            login, _connect_to(compute_url), retries=0, http_timeout_s=60
        )

    def submit(self, job: JobSpec, name: str) -> str:
        limit_s = job.resources.time_limit.total_seconds()
        function = self._ask("function", lambda c: c.v3.register_function(_function(limit_s)), "function_uuid")
        identifier = str(function["function_uuid"])
        document = {
            "tasks": {identifier: [_payload(self._script(job, name))]},
            "task_group_id": _group(name),
            "create_queue": False,
            "user_endpoint_config": self._rules.user_endpoint_config,
            "result_serializers": ["globus_compute_sdk.serialize.JSONData"],
        }
        endpoint = self._rules.endpoint
        try:
            answer = self._ask(f"submit of {name}", lambda c: c.v3.submit(endpoint, document), "tasks")
        except LookupError as error:
            raise ServiceRefusedError(
                seen=str(error),
                meaning="the endpoint does not exist any more, or not for this client",
                remedy="compare 'endpoint' in the beamline's file with the facility's documentation",
            ) from error
        return f"{answer['tasks'][identifier][0]}/{name}"

    def find(self, name: str, *, since: datetime) -> str | None:  # noqa: ARG002
        # A service that takes no group ids of ours knows none: then the job's own mark tells, once it has begun.
        task = self._task_of_group(name) or self._marks(name).task
        return None if task is None else f"{task}/{name}"

    def job(self, job_id: str) -> JobSeen:
        task_id, _, name = job_id.partition("/")
        marks = self._marks(name)
        if marks.exit_code is not None:
            return marks.ended(job_id, name)
        task = self._task(task_id)
        if task is None and not marks.taken:
            raise LookupError(f"Globus Compute does not know task {task_id}, and it has not begun")
        # Ended in the service's eyes, and without a mark: it has had no folder to work in, or never ran.
        if task is not None and not marks.taken and (why := task.why_it_failed) is not None:
            words = f"failed: {why}"
            return JobSeen(job_id, name, task.status, JobState.FAILED, words, task.return_code)
        if marks.taken:
            if self._clock.now() - marks.last_sign > SILENT:
                words = f"gone: it has given no sign since {marks.last_sign:%Y-%m-%d %H:%M} UTC"
                return JobSeen(job_id, name, "gone", JobState.FAILED, words, started=marks.started, interrupted=True)
            return JobSeen(job_id, name, "running", JobState.ACTIVE, "running", started=marks.started)
        assert task is not None  # noqa: S101 - else it is taken
        return JobSeen(job_id, name, task.status, STATES.get(task.status, JobState.UNKNOWN), task.words)

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        """Those that have begun: the service itself does not list tasks by name."""
        try:
            entries = self._files.list(str(self._logs))
        except FileNotFoundError:
            return []
        names = [
            entry.name
            for entry in entries
            if entry.is_folder and entry.name.startswith(prefix) and not entry.name.endswith(".stop")
        ]
        seen = [self.job(f"{self._marks(name).task or 'unknown'}/{name}") for name in sorted(names)]
        return [job for job in seen if job.job_state is JobState.ACTIVE or (job.started or since) >= since]

    def cancel(self, job_id: str) -> None:
        name = job_id.partition("/")[2]
        self._make_logs()
        self._files.make_folder(f"{self._logs}/{name}.stop")

    def log_paths(self, job: JobSpec, seen: JobSeen) -> tuple[str, str]:
        return f"{job.resources.logs}/{seen.name}/out", f"{job.resources.logs}/{seen.name}/err"

    def state(self) -> FacilityState:
        endpoint = self._rules.endpoint
        answer = self._ask("endpoint's status", lambda c: c.v2.get_endpoint_status(endpoint), "status")
        if answer["status"] == "online":
            return FacilityState(Health.ACTIVE)
        return FacilityState(Health.UNAVAILABLE, f"the endpoint {endpoint} is {answer['status']}")

    def credentials_until(self) -> datetime | None:
        return None

    def close(self) -> None:
        self._session.close()

    # -- what the service says -----------------------------------------------------------------------------------

    def _task_of_group(self, name: str) -> str | None:
        try:
            group = self._ask("task group", lambda c: c.v2.get_task_group(_group(name)), "tasks")
        except LookupError:
            return None
        tasks = [str(task["id"]) for task in group["tasks"]]
        return tasks[0] if tasks else None

    def _task(self, task_id: str) -> "_Task | None":
        try:
            return _Task(self._ask("task", lambda c: c.v2.get_task(task_id), "status"))
        except LookupError:
            return None

    def _ask(self, what: str, ask: "Callable[[_Clients], globus_sdk.GlobusHTTPResponse]", needs: str) -> dict[str, Any]:
        try:
            return self._session.call(f"Compute, {what}", ask, needs)
        except CredentialsRefusedError:
            # Refused before it was carried out: with a new token it may be asked again, also a submit.
            self._session.close()
        return self._session.call(f"Compute, {what}", ask, needs)

    # -- what the job says ---------------------------------------------------------------------------------------

    def _marks(self, name: str) -> "_Marks":
        try:
            entries = self._files.list(f"{self._logs}/{name}")
        except FileNotFoundError:
            return _Marks((), taken=False)
        return _Marks(tuple(entries), taken=True)

    def _make_logs(self) -> None:
        try:
            self._files.list(str(self._logs))
        except FileNotFoundError:
            self._files.make_folder(str(self._logs))

    def _script(self, job: JobSpec, name: str) -> str:
        values = {
            "logs": str(self._logs),
            "name": name,
            "limit": f"{job.resources.time_limit.total_seconds():.0f}",
            "no_logs": str(NO_LOGS),
            "claimed": str(CLAIMED),
            "canceled": str(CANCELED),
            "grace": str(_GRACE_S),
            "beat": f"{BEAT.total_seconds():.0f}",
        }
        # The job goes in as it is: between two lines that nothing in it can be.
        script = fill(TEMPLATE.read_text(encoding="utf-8"), values).replace("@[end]", f"als-end-of-{name}")
        return script.replace("@[body]", job.body)


@dataclass(frozen=True)
class _Clients:
    v2: "globus_sdk.ComputeClientV2"
    v3: "globus_sdk.ComputeClientV3"


@dataclass(frozen=True)
class _Marks:
    """What lies in a job's folder."""

    entries: tuple[Entry, ...]
    taken: bool

    @cached_property
    def task(self) -> str | None:
        return self._after("task.")

    @cached_property
    def exit_code(self) -> int | None:
        code = self._after("exit.")
        return int(code) if code and code.isdecimal() else None

    @cached_property
    def started(self) -> datetime | None:
        return next((entry.modified for entry in self.entries if entry.name.startswith("task.")), None)

    @cached_property
    def last_sign(self) -> datetime:
        """When anything was written there. Raises LookupError where nothing has been yet."""
        times = [entry.modified for entry in self.entries if entry.modified is not None]
        if not times:
            raise LookupError("its folder is empty: it is about to begin")
        return max(times)

    def ended(self, job_id: str, name: str) -> JobSeen:
        code = self.exit_code
        ended = next((entry.modified for entry in self.entries if entry.name.startswith("exit.")), None)
        state, words = _END.get(code or 0, (JobState.FAILED, f"failed, exit code {code}"))
        return JobSeen(
            job_id=job_id,
            name=name,
            state=words,
            job_state=state,
            words=words,
            exit_code=code,
            submitted=self.started,
            started=self.started,
            ended=ended,
            interrupted=code == TERMINATED,
        )

    def _after(self, prefix: str) -> str | None:
        return next((entry.name.removeprefix(prefix) for entry in self.entries if entry.name.startswith(prefix)), None)


_END = {
    0: (JobState.COMPLETED, "completed"),
    CANCELED: (JobState.CANCELED, "canceled"),
    TIMED_OUT: (JobState.FAILED, "failed, it ran longer than it may"),
    TERMINATED: (JobState.FAILED, "failed, it was ended by a signal: its node or its allocation went away"),
}


@dataclass(frozen=True)
class _Task:
    """A task's document."""

    document: Mapping[str, Any]

    @property
    def status(self) -> str:
        return str(self.document["status"]).lower()

    @property
    def words(self) -> str:
        return self.status if self.status in STATES else f"{self.status} (a state that this program does not know)"

    @property
    def return_code(self) -> int | None:
        code = self._result.get("returncode")
        return code if isinstance(code, int) else None

    @property
    def why_it_failed(self) -> str | None:
        """None where it has not ended, or another execution of its name is at work."""
        if "exception" in self.document:
            return _last_line(str(self.document["exception"]))
        if self.status == "failed":
            return str(self.document.get("reason") or "the service does not say why")
        if self.status != "success" or self.return_code == CLAIMED:
            return None
        if self.return_code == NO_LOGS:
            return "it cannot use the folder of the logs"
        return f"it ended with exit code {self.return_code}, and has left no mark: {_last_line(self._stderr)}"

    @property
    def _stderr(self) -> str:
        return str(self._result.get("stderr") or "")

    @cached_property
    def _result(self) -> dict[str, Any]:
        if "result" not in self.document:
            return {}
        from globus_compute_sdk.serialize import JSONData

        # Only JSON: anything else could run code here.
        text, json_data = str(self.document["result"]), JSONData()  # type: ignore[no-untyped-call]
        result = json_data.deserialize(text) if text.startswith(json_data.identifier) else None
        return result if isinstance(result, dict) else {}


def _connect_to(url: str | None) -> "Callable[[globus_sdk.ClientApp, dict[str, Any]], _Clients]":
    def connect(app: "globus_sdk.ClientApp", how: dict[str, Any]) -> _Clients:
        from globus_sdk import ComputeClientV2, ComputeClientV3

        return _Clients(ComputeClientV2(app=app, base_url=url, **how), ComputeClientV3(app=app, base_url=url, **how))

    return connect


def _group(name: str) -> str:
    return str(uuid.uuid5(_GROUPS, name))


def _function(limit_s: float) -> dict[str, Any]:
    """The registration of a function that runs the script which it is given."""
    from globus_compute_sdk import ShellFunction
    from globus_compute_sdk.sdk.client import FunctionRegistrationData
    from globus_compute_sdk.serialize import AllCodeStrategies, ComputeSerializer

    shell = ShellFunction("{script}", walltime=limit_s + _WALL_TIME_SLACK_S, name="als_job", return_dict=True)
    serializer = ComputeSerializer(strategy_code=AllCodeStrategies())
    document: dict[str, Any] = FunctionRegistrationData(function=shell, serializer=serializer).to_dict()  # type: ignore[no-untyped-call]
    return document


def _payload(script: str) -> str:
    from globus_compute_sdk.serialize import ComputeSerializer, JSONData

    serializer = ComputeSerializer(strategy_data=JSONData())  # type: ignore[no-untyped-call]
    return str(serializer.pack_buffers([serializer.serialize([]), serializer.serialize({"script": script})]))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "nothing was said"
