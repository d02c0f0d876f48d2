"""The client of the Slurm REST API against the twin's: what is submitted, found, seen and listed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from resources.errors import ServiceUnavailableError
from resources.remote import JobState
from twin.scheduler import JobFault, Pace
from twin.scheduler import JobState as TwinState
from twin.testing import eventually

SUBMITS = "POST /slurm_rest/slurm/*/job/submit"
LONG_AGO = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def test_a_job_is_submitted_seen_and_succeeds(bench):
    before = now() - timedelta(seconds=1)
    seen = bench.ended(bench.submit("echo hello; echo oops >&2"))
    assert (seen.state, seen.job_state, seen.words, seen.exit_code) == ("COMPLETED", JobState.COMPLETED, "COMPLETED", 0)
    assert (seen.name, seen.interrupted) == (bench.name, False)
    assert before < seen.submitted <= seen.started <= seen.ended <= now()
    assert seen.nodes == bench.records()[0].nodes
    stdout, stderr = bench.client.log_paths(bench.job, seen)
    assert (Path(stdout).read_text(), Path(stderr).read_text()) == ("hello\n", "oops\n")


def test_everything_that_the_script_asks_for_is_said_in_the_document(bench):
    bench.ended(bench.submit("pwd; env"))
    [record] = bench.records()
    asked = record.request
    assert (asked.name, asked.comment, asked.qos, asked.account) == (bench.name, bench.name, "normal", "als832")
    assert (asked.nodes, asked.cpus_per_task, asked.exclusive) == (1, 8, True)
    assert asked.time_limit == timedelta(minutes=15)
    assert record.workdir == str(bench.job.resources.logs)


def test_a_job_finds_only_what_it_was_given(bench):
    printed = bench.log(bench.ended(bench.submit("env; pwd")))
    assert "HOME=" not in printed
    assert printed.endswith(f"{bench.job.resources.logs}\n")
    assert next(line for line in printed.splitlines() if line.startswith("PATH=")).endswith(
        "/usr/local/bin:/usr/bin:/bin"
    )


def test_a_failure_carries_the_exit_code(bench):
    seen = bench.ended(bench.submit("exit 7"))
    assert (seen.job_state, seen.words, seen.exit_code) == (JobState.FAILED, "FAILED, exit code 7", 7)


def test_a_cancelled_job_ends_and_is_no_success(bench):
    job_id = bench.submit("sleep 60")
    eventually(lambda: bench.client.job(job_id).job_state is JobState.ACTIVE)
    bench.client.cancel(job_id)
    assert bench.ended(job_id).job_state is JobState.CANCELED
    assert bench.records()[0].state is TwinState.CANCELLED


def test_the_end_of_what_has_ended_can_be_asked_for_again(bench):
    job_id = bench.submit()
    bench.ended(job_id)
    bench.client.cancel(job_id)
    bench.client.cancel("999")
    assert bench.client.job(job_id).job_state is JobState.COMPLETED


@pytest.mark.parametrize("fault", [{"status": 502}, {"drop": True}], ids=["502", "connection closed"])
def test_a_submit_whose_response_is_lost_is_not_repeated_and_found_again(bench, fault):
    before = now()
    bench.fault(match=SUBMITS, after=True, **fault)
    with pytest.raises(ServiceUnavailableError):
        bench.submit()
    [record] = bench.records()
    assert bench.client.find(bench.name, since=before) == str(record.job_id)
    assert len(bench.twin.control.injector.requests(SUBMITS)) == 1


def test_a_submit_that_takes_too_long_is_found_again(bench):
    bench.fault(match=SUBMITS, after=True, drop=True, delay_s=1)
    with bench.other(timeout_s=0.3) as client, pytest.raises(ServiceUnavailableError, match="ReadTimeout"):
        client.submit(replace(bench.job, body="true\n"), bench.name)
    assert bench.client.find(bench.name, since=now()) == str(bench.records()[0].job_id)


@pytest.mark.parametrize("forgotten", [False, True], ids=["remembered by the controller", "known to accounting alone"])
def test_a_job_is_found_by_the_whole_of_its_name_and_since_a_time(bench, forgotten):
    job_id = bench.submit()
    bench.ended(job_id)
    if forgotten:
        bench.forget()
    assert bench.client.find(bench.name, since=now()) == job_id
    assert bench.client.find(bench.name[:-1], since=now()) is None
    assert bench.client.find(f"{bench.name},{bench.name}0", since=now()) is None
    assert bench.client.find(bench.name, since=now() + 2 * LONG_AGO) is None


def test_a_job_that_the_controller_has_forgotten_is_known_to_accounting_but_for_its_exit_code(bench):
    job_id = bench.submit("exit 7")
    bench.ended(job_id)
    bench.forget()
    seen = bench.client.job(job_id)
    assert (seen.job_state, seen.words, seen.exit_code) == (JobState.FAILED, "FAILED", None)


def test_where_there_is_no_accounting_a_job_is_followed_as_long_as_the_controller_remembers_it(bench):
    with bench.other(accounting_url=None) as client:
        job_id = bench.submit()
        bench.ended(job_id)
        assert client.job(job_id).job_state is JobState.COMPLETED
        assert client.find(bench.name, since=now()) == job_id
        bench.forget()
        with pytest.raises(LookupError, match=job_id):
            client.job(job_id)
    assert bench.twin.control.injector.requests("GET /slurm_rest/slurmdb/*") == []


def test_a_job_that_no_table_shows_yet_is_not_found(bench):
    bench.site.scheduler.pace = Pace(lag_s=3600)
    job_id = bench.submit()
    with pytest.raises(LookupError, match=job_id):
        bench.client.job(job_id)
    assert bench.client.find(bench.name, since=now()) is None
    bench.site.scheduler.pace = Pace()
    assert bench.client.find(bench.name, since=now()) == job_id


def test_a_job_that_waits_has_not_started_and_has_no_end(bench):
    bench.site.scheduler.pace = Pace(nodes=0)
    job_id = bench.submit()
    seen = bench.client.job(job_id)
    assert (seen.job_state, seen.started, seen.ended, seen.exit_code) == (JobState.QUEUED, None, None, None)
    assert bench.client.find(bench.name, since=now()) == job_id
    bench.client.cancel(job_id)
    seen = bench.ended(job_id)
    assert (seen.job_state, seen.started) == (JobState.CANCELED, None)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("timeout", "TIMEOUT"),
        ("out_of_memory", "OUT_OF_MEMORY"),
        ("deadline", "DEADLINE"),
        ("node_fail", "NODE_FAIL"),
        ("boot_fail", "BOOT_FAIL"),
        ("preempt", "PREEMPTED"),
    ],
)
def test_whatever_ends_a_job_is_a_failure_and_some_are_no_fault_of_its_own(bench, kind, word):
    bench.site.scheduler.inject(JobFault(kind=kind, match=bench.name))
    seen = bench.ended(bench.submit("sleep 20"))
    assert (seen.state, seen.job_state) == (word, JobState.FAILED)
    assert seen.interrupted == (kind in ("node_fail", "boot_fail", "preempt"))


def test_a_job_that_is_queued_again_is_not_over(bench):
    bench.site.scheduler.inject(JobFault(kind="preempt", match=bench.name, requeue=True))
    assert bench.ended(bench.submit("sleep 0.3")).job_state is JobState.COMPLETED
    assert bench.records()[0].restarts == 1


def test_jobs_are_listed_by_the_beginning_of_their_names_those_that_run_however_old(bench):
    names = [f"{bench.name}-{number}" for number in (1, 2)]
    ended, running = bench.submit("true", names[0]), bench.submit("sleep 60", names[1])
    bench.ended(ended)
    eventually(lambda: bench.client.job(running).job_state is JobState.ACTIVE)
    listed = bench.client.jobs(bench.name, since=now())
    assert {seen.job_id: seen.state for seen in listed} == {ended: "COMPLETED", running: "RUNNING"}
    assert [seen.job_id for seen in bench.client.jobs(bench.name, since=now() + 2 * LONG_AGO)] == [running]
    bench.forget()
    assert {seen.job_id for seen in bench.client.jobs(bench.name, since=now())} == {ended, running}
    bench.client.cancel(running)
