"""Jobs at ALCF, through Globus Compute's own clients over real HTTP: submitted, found again, ended, believed."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from globus_compute_common.tasks.constants import TaskState

from beamlines.layout import Artifact
from beamlines.places import Store
from resources.clock import SystemClock
from resources.errors import (
    CredentialsRefusedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    WorkFailedError,
    WorkInterruptedError,
    WorkLostError,
)
from resources.facilities import JobSpec, Output
from resources.facilities.batch import BatchFacility
from resources.facilities.compute import STATES, ComputeJobs
from resources.facilities.marks import BEAT, SILENT
from resources.facilities.service import Health
from resources.facilities.slurm import quote
from resources.remote import JobState, RemoteStatus
from resources.testing import HastyClock
from resources.work import Record, WorkKey
from tests.resources.facilities.conftest import Bench, make_bench
from twin.compute.conditions import ComputeConditions, ComputeFault
from twin.faults import Fault
from twin.server import Twin
from twin.testing import eventually

SUBMIT = "POST /compute/v3/endpoints/*/submit"
TASK = "GET /compute/v2/tasks/*"
HOSTILE = "-$(touch pwned); 'rm' \"x\" é 🦷 {braces} @{no} \\"


@pytest.fixture
def alcf(twin: Twin, tmp_path: Path, phantom: bytes) -> Iterator[Bench]:
    assert twin.compute is not None
    twin.control.reset()
    twin.compute.reset()
    made = make_bench(twin, tmp_path.name, f"sqlite:///{tmp_path}/ledger.sqlite", phantom, "alcf")
    yield made
    made.facility.close()
    made.globus.close()
    made.ledger.database.close()
    twin.control.reset()
    twin.compute.reset()


def until(service: ComputeJobs, job_id: str, state: JobState) -> None:
    """Wait until a job is in a state. Between its folder and its first mark there is nothing to be said of it."""

    def reached() -> bool:
        with suppress(LookupError):
            return service.job(job_id).job_state is state
        return False

    eventually(reached)


def jobs_of(bench: Bench) -> ComputeJobs:
    assert isinstance(bench.facility, BatchFacility)
    assert isinstance(bench.facility._service, ComputeJobs)
    return bench.facility._service


def small(bench: Bench, body: str = "echo done", outputs: tuple[Output, ...] = ()) -> JobSpec:
    resources = bench.beamline.facilities["alcf"].resources
    return JobSpec("small", (bench.scan("small/a.h5"),), bench.beamline.places["alcf"], f"{body}\n", resources, outputs)


def key(bench: Bench, name: str = "a") -> WorkKey:
    return WorkKey("test", f"{bench.name}/{name}", "", "")


def run(bench: Bench, spec: JobSpec, name: str = "a"):
    return bench.facility.run(spec, key(bench, name), bench.pulses)


def tasks(bench: Bench, name: str = "a"):
    """The service's own records of this work."""
    return bench.twin.compute.tasks(key(bench, name).digest)


def logs(bench: Bench) -> Path:
    return Path(bench.beamline.facilities["alcf"].resources.logs)


def name_of(bench: Bench) -> str:
    [record] = bench.facility_records(key(bench))
    return record.name


def count_in(bench: Bench) -> Path:
    return logs(bench) / f"{bench.name}.count"


def counting(bench: Bench, more: str = "") -> JobSpec:
    """A job that writes a line whenever its body runs."""
    return small(bench, f"echo once >>{quote(str(count_in(bench)))}; {more}")


def test_a_job_is_a_task_with_a_log_and_evidence_in_utc(alcf: Bench) -> None:
    result = run(
        alcf, small(alcf, "echo als-step stage begin 10; echo als-step stage end 12.5; echo hello; echo err >&2")
    )
    [task] = tasks(alcf)
    assert (result.state, result.exit_code, result.facility) == ("completed", 0, "alcf")
    assert result.job_id == f"{task['task_id']}/{name_of(alcf)}"
    assert result.stage_seconds == {"stage": 2.5}
    assert "hello" in result.log_tail
    assert result.ended is not None
    assert result.ended.utcoffset() == timedelta()


def test_a_short_jobs_log_costs_one_transfer_at_its_end(alcf: Bench) -> None:
    result = run(alcf, small(alcf, "echo hello"))
    assert alcf.requests("POST /transfer/v0.10/transfer") == 1
    assert "hello" in result.log_tail


def test_what_goes_to_the_shell_is_the_text_itself_whatever_it_holds(alcf: Bench) -> None:
    result = run(alcf, small(alcf, f"printf %s {quote(HOSTILE)}"))
    assert result.log_tail == HOSTILE
    assert not list(logs(alcf).rglob("pwned"))


def test_a_job_that_fails_is_told_with_its_code_and_last_words(alcf: Bench) -> None:
    with pytest.raises(WorkFailedError, match="failed, exit code 3: error: no projections"):
        run(alcf, small(alcf, "echo error: no projections >&2; exit 3"))


def test_a_job_that_runs_longer_than_it_may_is_ended_there(alcf: Bench) -> None:
    spec = small(alcf, "echo $$ >pid; sleep 600")
    spec = replace(spec, resources=spec.resources.model_copy(update={"time_limit": timedelta(seconds=1)}))
    with pytest.raises(WorkFailedError, match="it ran longer than it may"):
        run(alcf, spec)
    assert not psutil.pid_exists(int((logs(alcf) / "pid").read_text()))


def test_a_success_without_its_manifest_is_a_failure(alcf: Bench) -> None:
    product = alcf.beamline.places["alcf"].at(Store.RESULTS, f"{alcf.name}/x")
    output = Output(Artifact.TIFF, product, product.beside("x.tiff.manifest.json"), "0.1.0")
    with pytest.raises(WorkFailedError, match="completed at alcf, but its tiff is not there in full"):
        run(alcf, small(alcf, "true", (output,)))


def test_a_submit_whose_answer_was_lost_is_found_again_and_nothing_runs_twice(alcf: Bench) -> None:
    alcf.twin.control.injector.add(Fault(match=SUBMIT, drop=True, after=True))
    assert run(alcf, counting(alcf)).exit_code == 0
    assert len(tasks(alcf)) == 1
    assert count_in(alcf).read_text() == "once\n"


@pytest.mark.parametrize("status", [429, 502, 503])
def test_a_submit_that_was_refused_after_all_is_found_again(alcf: Bench, status: int) -> None:
    alcf.twin.control.injector.add(Fault(match=SUBMIT, status=status, after=True))
    assert run(alcf, counting(alcf)).exit_code == 0
    assert len(tasks(alcf)) == 1


def test_where_the_service_knows_no_groups_a_lost_task_is_found_by_its_mark_or_its_double_does_nothing(
    alcf: Bench,
) -> None:
    alcf.twin.compute.conditions = ComputeConditions(takes_group_ids=False)
    alcf.twin.control.injector.add(Fault(match=SUBMIT, drop=True, after=True))
    assert run(alcf, counting(alcf, "sleep 1")).exit_code == 0
    assert count_in(alcf).read_text() == "once\n"


def test_a_look_up_that_is_refused_tells_nothing_and_the_job_runs_once(alcf: Bench) -> None:
    injector = alcf.twin.control.injector
    injector.add(Fault(match=SUBMIT, drop=True, after=True))
    injector.add(Fault(match="GET /compute/v2/taskgroup/*", status=403, body={"reason": "no access"}, times=1000))
    assert run(alcf, counting(alcf, "sleep 1")).exit_code == 0
    assert count_in(alcf).read_text() == "once\n"


def test_a_second_task_of_the_same_name_does_nothing_and_ends_as_the_first_one_does(alcf: Bench) -> None:
    service, name = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    spec = counting(alcf, "sleep 2; exit 5")
    first, second = (service.submit(spec, name) for _ in range(2))
    # Whichever the endpoint begins first takes the name.
    until(service, first, JobState.FAILED)
    assert [service.job(job_id).exit_code for job_id in (first, second)] == [5, 5]
    assert count_in(alcf).read_text() == "once\n"


def test_the_truth_is_what_the_job_has_left_where_its_result_was_abandoned(alcf: Bench) -> None:
    alcf.twin.compute.inject(ComputeFault(kind="abandon", match=key(alcf).digest))
    assert run(alcf, small(alcf)).state == "completed"


def test_a_task_that_the_service_forgets_goes_on_and_is_followed_by_its_marks(alcf: Bench) -> None:
    def forget(record: Record, status: RemoteStatus) -> None:
        if status.state is JobState.ACTIVE and record.handle and tasks(alcf):
            alcf.twin.compute.forget(record.handle.partition("/")[0])

    alcf.pulses.act = forget
    assert run(alcf, counting(alcf, "sleep 1")).state == "completed"
    assert count_in(alcf).read_text() == "once\n"


def test_a_task_that_vanishes_before_it_has_begun_is_lost_by_name(alcf: Bench) -> None:
    alcf.twin.compute.inject(ComputeFault(kind="vanish", match=key(alcf).digest))
    with pytest.raises(WorkLostError, match="no longer knows"):
        run(alcf, small(alcf))


def test_a_task_that_the_endpoint_cannot_run_is_told_in_its_words(alcf: Bench) -> None:
    alcf.twin.compute.inject(ComputeFault(kind="exception", match=key(alcf).digest))
    with pytest.raises(WorkFailedError, match="WorkerLost: Task failure due to loss of worker"):
        run(alcf, small(alcf))


def test_a_job_whose_node_is_lost_is_interrupted_and_may_be_tried_again(alcf: Bench) -> None:
    def wait_long(record: Record, status: RemoteStatus) -> None:
        if (logs(alcf) / record.name / "alive").exists():
            alcf.twin.compute.lose(tasks(alcf)[0]["task_id"])
            long_ago = time.time() - SILENT.total_seconds() - 60
            for mark in (logs(alcf) / record.name).iterdir():
                os.utime(mark, (long_ago, long_ago))

    alcf.pulses.act = wait_long
    with pytest.raises(WorkInterruptedError, match="gone: it has given no sign since"):
        run(alcf, small(alcf, "sleep 600"))


def test_a_job_that_lives_is_not_taken_for_gone_where_our_clock_is_ahead(alcf: Bench) -> None:
    service, name = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    job_id = service.submit(small(alcf, "exec sleep 600"), name)
    until(service, job_id, JobState.ACTIVE)
    service._clock = HastyClock(2 * SILENT)
    assert service.job(job_id).job_state is JobState.ACTIVE
    service.cancel(job_id)
    until(service, job_id, JobState.CANCELED)


def test_what_a_person_cancels_is_gone_and_says_so(alcf: Bench) -> None:
    service, name = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    job_id = service.submit(small(alcf, "echo $$ >pid; exec sleep 600"), name)
    eventually(lambda: (logs(alcf) / name / "out").exists())
    service.cancel(job_id)
    until(service, job_id, JobState.CANCELED)
    assert not psutil.pid_exists(int((logs(alcf) / "pid").read_text()))


def test_what_is_cancelled_while_it_waits_never_begins(alcf: Bench) -> None:
    alcf.twin.compute.conditions = ComputeConditions(online=False)
    service, name = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    job_id = service.submit(counting(alcf), name)
    assert service.job(job_id).job_state is JobState.QUEUED
    service.cancel(job_id)
    alcf.twin.compute.conditions = ComputeConditions()
    until(service, job_id, JobState.CANCELED)
    assert not count_in(alcf).exists()


def test_an_endpoint_that_is_offline_is_unavailable_and_its_tasks_wait(alcf: Bench) -> None:
    assert alcf.facility.state().health is Health.ACTIVE
    alcf.twin.compute.conditions = ComputeConditions(online=False)
    state = alcf.facility.state()
    assert state.health is Health.UNAVAILABLE
    assert "is offline" in state.why


def test_a_configuration_that_the_endpoint_does_not_take_is_told(alcf: Bench) -> None:
    service = jobs_of(alcf)
    service._rules = service._rules.model_copy(update={"user_endpoint_config": {"evil": "rm"}})
    with pytest.raises(WorkFailedError, match=r"not allowed \('evil' was unexpected\)"):
        run(alcf, small(alcf))


def test_an_expired_token_is_renewed_and_nothing_is_submitted_twice(alcf: Bench) -> None:
    run(alcf, small(alcf))
    alcf.twin.control.issuer.expire_all()
    run(alcf, small(alcf), "b")
    assert len(tasks(alcf, "b")) == 1


def test_a_missing_consent_is_for_the_operators_with_its_scope(alcf: Bench) -> None:
    body = {
        "code": "ConsentRequired",
        "message": "Missing required data_access consent",
        "required_scopes": ["urn:globus:auth:scope:x:all"],
    }
    alcf.twin.control.injector.add(Fault(match="POST /compute/v3/functions", status=403, body=body, times=2))
    with pytest.raises(CredentialsRefusedError, match="urn:globus:auth:scope:x:all"):
        run(alcf, small(alcf))


def test_a_permission_that_is_missing_is_told_and_nothing_is_asked_again(alcf: Bench) -> None:
    body = {"status": "Failed", "code": 24, "reason": "not permitted", "http_status_code": 403}
    alcf.twin.control.injector.add(Fault(match=SUBMIT, status=403, body=body))
    with pytest.raises(ServiceRefusedError):
        run(alcf, small(alcf))
    assert alcf.requests(SUBMIT) == 1


def test_a_service_that_does_not_answer_is_waited_for(alcf: Bench) -> None:
    alcf.twin.control.injector.add(Fault(match=TASK, status=503, times=3))
    assert run(alcf, small(alcf, "sleep 0.3")).exit_code == 0
    assert any("state unknown" in heard for heard in alcf.pulses.heard)


def test_a_silent_service_is_named(alcf: Bench) -> None:
    alcf.twin.control.injector.add(Fault(match="GET /compute/v2/endpoints/*/status", status=502))
    with pytest.raises(ServiceUnavailableError, match="Compute, endpoint's status: HTTP 502"):
        alcf.facility.state()


def test_jobs_are_listed_by_the_beginning_of_their_names(alcf: Bench) -> None:
    service, prefix = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    done = service.submit(small(alcf, "true"), f"{prefix}-1")
    until(service, done, JobState.COMPLETED)
    hour = timedelta(hours=1)
    assert [job.job_id for job in service.jobs(prefix, since=SystemClock().now() - hour)] == [done]
    assert service.jobs(prefix, since=SystemClock().now() + hour) == []


def test_every_state_of_the_installed_client_is_mapped() -> None:
    assert {state.value for state in TaskState} <= set(STATES)


def test_a_job_shows_that_it_lives_more_often_than_its_silence_counts() -> None:
    assert timedelta(seconds=10) > BEAT


@pytest.mark.parametrize("code", [78, 79, 124, 143])
def test_a_job_may_end_with_any_code_of_its_own(alcf: Bench, code: int) -> None:
    with pytest.raises(WorkFailedError, match=f"failed, exit code {code}"):
        run(alcf, small(alcf, f"exit {code}"))


def test_a_task_whose_job_could_not_begin_is_no_success(alcf: Bench) -> None:
    service, name = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    (logs(alcf) / name).write_text("in the way")
    job_id = service.submit(counting(alcf), name)
    eventually(lambda: alcf.twin.compute.task(job_id.partition("/")[0])["status"] == "success")
    (logs(alcf) / name).unlink()
    seen = service.job(job_id)
    assert (seen.job_state, seen.exit_code) == (JobState.FAILED, 77)
    assert "cannot use the folder of the logs" in seen.words
    assert not count_in(alcf).exists()


def test_a_job_that_begins_and_ends_between_two_looks_is_not_called_failed(alcf: Bench) -> None:
    service, name = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    job_id = service.submit(small(alcf), name)
    eventually(lambda: alcf.twin.compute.task(job_id.partition("/")[0])["status"] == "success")
    nothing = {"code": "NotFound", "message": "Path not found"}
    alcf.twin.control.injector.add(Fault(match="GET /transfer/*/stat", status=404, body=nothing))
    assert service.job(job_id).job_state is JobState.COMPLETED


def test_a_job_that_its_allocation_takes_along_is_interrupted(alcf: Bench) -> None:
    service, name = jobs_of(alcf), f"als-{uuid.uuid4().hex}"
    job_id = service.submit(small(alcf, "echo $PPID; sleep 600"), name)
    told = logs(alcf) / name / "out"
    limiter = psutil.Process(int(eventually(lambda: told.exists() and told.read_text().strip())))
    supervisor = limiter.parent()
    assert supervisor is not None
    supervisor.terminate()
    until(service, job_id, JobState.FAILED)
    seen = service.job(job_id)
    assert seen.interrupted
    assert "ended by a signal" in seen.words
    assert not limiter.is_running()


def test_what_a_job_leaves_running_ends_with_it(alcf: Bench) -> None:
    run(alcf, small(alcf, "sleep 600 & echo $! >left"))
    left = int((logs(alcf) / "left").read_text())
    eventually(lambda: not psutil.pid_exists(left))


def test_an_endpoint_that_the_service_does_not_know_is_unavailable_by_name(alcf: Bench) -> None:
    service = jobs_of(alcf)
    service._rules = service._rules.model_copy(update={"endpoint": str(uuid.UUID(int=7))})
    state = service.state()
    assert state.health is Health.UNAVAILABLE
    assert "Endpoint 00000000-0000-0000-0000-000000000007 could not be resolved" in state.why


@pytest.mark.parametrize("name", ["", "a/../b", "a'b", "A"])
def test_a_name_that_no_folder_and_no_script_should_have_is_refused(alcf: Bench, name: str) -> None:
    with pytest.raises(ValueError, match="is no job name"):
        jobs_of(alcf).submit(small(alcf), name)
    assert alcf.requests("POST /compute/*") == 0
