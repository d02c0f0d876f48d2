"""Jobs as tasks of Globus Compute, as ALCF runs them: submitted and asked after over REST, believed by what they leave.

Belongs here: a task around a job, finding it again, and how it stands, from the service's word and from its own marks.
Does not: what the marks say (marks), what an end means (batch), or how files there are reached (globus_files).
"""

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

from beamlines.facilities import ComputeRules
from resources.clock import Clock
from resources.errors import CredentialsRefusedError, ServiceRefusedError, ServiceUnavailableError
from resources.facilities.job import JobSpec
from resources.facilities.marks import BEAT, CLAIMED, NO_LOGS, SILENT, Marks
from resources.facilities.service import Entry, FacilityState, Files, Health, JobSeen
from resources.facilities.slurm import fill
from resources.globus_session import GlobusSession, Login, NotFoundError
from resources.remote import TERMINAL, JobState

if TYPE_CHECKING:
    import globus_sdk

TEMPLATE = Path(__file__).with_name("supervise.sh.template")
_GRACE_S = 20
_NAME = re.compile(r"[a-z0-9-]{1,128}")
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
    "action-provider-task-group-completed": JobState.COMPLETED,
    "action-provider-task-group-error": JobState.FAILED,
    "success": JobState.COMPLETED,
    "failed": JobState.FAILED,
}
"""Every state of globus_compute_common.tasks.constants.TaskState, and what the service says before the first. A word
that is not here is unknown: it is waited out for a while, and never taken for success."""

_STOP = ".stop"
_CLOCK = ".clock-"
_NO_SANDBOX = "WARNING: Task sandboxing will not work"
"""The SDK writes this to the errors of every task at an endpoint that has no sandboxes, as by default."""


class MarkedFiles(Files, Protocol):
    """Files at a facility where folders can be made."""

    def make_folder(self, path: str) -> None:
        """Make one folder, at once; one that is there stays. Raises NotFoundError where its parent is not there."""


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
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no job name: 1 to 128 of a-z, 0-9 and '-'")
        registration = _function(job.resources.time_limit.total_seconds())
        function = self._ask("function", lambda c: c.v3.register_function(registration), "function_uuid")
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
        if marks.taken:
            return self._seen(marks, job_id, name)
        task = self._task(task_id)
        if task is None or task.has_ended:
            marks = self._marks(name)  # it may have begun, and ended, since they were looked at
            if marks.taken:
                return self._seen(marks, job_id, name)
        if task is None:
            raise LookupError(f"Globus Compute does not know task {task_id}, and it has not begun")
        return task.seen(job_id, name)

    def jobs(self, prefix: str, *, since: datetime) -> list[JobSeen]:
        """Those that have begun: the service itself does not list tasks by name."""
        # A folder's own time is that of its last new entry: a job that runs for longer than its limit does not exist.
        oldest = since - self._rules.resources.time_limit - SILENT
        names = [
            entry.name
            for entry in self._entries(str(self._logs))
            if entry.is_folder
            and entry.name.startswith(prefix)
            and not entry.name.endswith(_STOP)
            and (entry.modified is None or entry.modified >= oldest)
        ]
        found = ((name, self._marks(name)) for name in sorted(names))
        seen = [marks.seen(f"{marks.task}/{name}", name, self._clock.now()) for name, marks in found if marks.task]
        return [job for job in seen if job.job_state is JobState.ACTIVE or (job.started or since) >= since]

    def cancel(self, job_id: str) -> None:
        name = job_id.partition("/")[2]
        stop = f"{self._logs}/{name}{_STOP}"
        try:
            self._files.make_folder(stop)
        except NotFoundError:
            # Before the very first job has begun there is no folder for logs.
            self._files.make_folder(str(self._logs))
            self._files.make_folder(stop)

    def log_paths(self, job: JobSpec, seen: JobSeen) -> tuple[str, str]:
        return f"{job.resources.logs}/{seen.name}/out", f"{job.resources.logs}/{seen.name}/err"

    def state(self) -> FacilityState:
        endpoint = self._rules.endpoint
        try:
            answer = self._ask("endpoint's status", lambda c: c.v2.get_endpoint_status(endpoint), "status")
        except LookupError as error:
            return FacilityState(Health.UNAVAILABLE, str(error))
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
        except CredentialsRefusedError:
            raise
        except (LookupError, ServiceRefusedError):
            return None  # how the service refuses a group that it does not know is not documented
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

    def _seen(self, marks: Marks, job_id: str, name: str) -> JobSeen:
        now = self._clock.now()
        if marks.is_silent(now):
            # A job that lives would be begun twice if our clock were ahead: the facility's own has the last word.
            now = min(now, self._time_there())
        return marks.seen(job_id, name, now)

    def _time_there(self) -> datetime:
        """The facility's time: that of a folder which is made now, and stays, empty."""
        folder = f"{_CLOCK}{uuid.uuid4().hex}"
        self._files.make_folder(f"{self._logs}/{folder}")
        made = [entry.modified for entry in self._entries(str(self._logs)) if entry.name == folder]
        if not made or made[0] is None:
            raise ServiceUnavailableError(
                seen=f"{self._logs} does not show a folder that was made there just now",
                meaning="whether a silent job lives cannot be told",
                remedy="nothing to do at once: it is asked again",
            )
        return made[0]

    def _marks(self, name: str) -> Marks:
        try:
            entries = self._files.list(f"{self._logs}/{name}")
        except FileNotFoundError:
            return Marks((), taken=False)
        return Marks(tuple(entries), taken=True)

    def _entries(self, folder: str) -> list[Entry]:
        try:
            return self._files.list(folder)
        except FileNotFoundError:
            return []

    def _script(self, job: JobSpec, name: str) -> str:
        values = {
            "logs": str(self._logs),
            "name": name,
            "limit": f"{job.resources.time_limit.total_seconds():.0f}",
            "no_logs": str(NO_LOGS),
            "claimed": str(CLAIMED),
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
class _Task:
    """A task's document."""

    document: Mapping[str, Any]

    @property
    def status(self) -> str:
        return str(self.document["status"]).lower()

    @property
    def has_ended(self) -> bool:
        return STATES.get(self.status) in TERMINAL or "exception" in self.document

    def seen(self, job_id: str, name: str) -> JobSeen:
        """How it stands by the service alone: its job has left no mark, so one that has ended has not ended well."""
        if self.has_ended:
            words = f"failed: {self._why}"
            return JobSeen(job_id, name, self.status, JobState.FAILED, words, self._return_code)
        if self.status in STATES:
            return JobSeen(job_id, name, self.status, STATES[self.status], self.status)
        words = f"{self.status} (a state that this program does not know)"
        return JobSeen(job_id, name, self.status, JobState.UNKNOWN, words)

    @property
    def _return_code(self) -> int | None:
        code = self._result.get("returncode")
        return code if isinstance(code, int) else None

    @property
    def _why(self) -> str:
        if "exception" in self.document:
            return _reason(str(self.document["exception"]))
        if self.status == "failed":
            return str(self.document.get("reason") or "the service does not say why")
        if self._return_code == NO_LOGS:
            return f"it cannot use the folder of the logs: {_last_line(self._stderr)}"
        said = f"it ended with exit code {self._return_code}" if self._result else "its result is gone"
        return f"{said}, and it has left no mark: {_last_line(self._stderr)}"

    @property
    def _stderr(self) -> str:
        lines = str(self._result.get("stderr") or "").splitlines()
        return "\n".join(line for line in lines if not line.startswith(_NO_SANDBOX))

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


def _reason(told: str) -> str:
    """What went wrong, of what an endpoint tells: the last line of a traceback, which may stand between two rules; the
    first line of anything else, such as why a user's endpoint could not be started."""
    lines = [line for line in told.splitlines() if line.strip(" +-")]
    return _last_line("\n".join(lines if "Traceback" in told else lines[:1]))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else "nothing was said"
