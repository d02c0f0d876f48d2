"""The client against the twin's batch system: what is submitted, waited for and believed."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from beamlines.layout import Artifact
from beamlines.places import Store
from beamlines.policy import ExportControl
from resources.clock import SystemClock
from resources.errors import (
    NotAllowedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    WorkFailedError,
    WorkInterruptedError,
    WorkLostError,
)
from resources.facilities import JobSpec, Output
from resources.facilities.factory import make_facility
from resources.facilities.slurm import quote
from resources.owner import Owner
from resources.remote import Patience, Remote
from resources.testing import make_gate
from resources.work import WorkKey, WorkState
from twin.faults import Fault
from twin.scheduler import JobState as TwinState
from twin.scheduler import Pace

SUBMITS = "POST /superfacility/compute/jobs/*"
ASKS = "GET /superfacility/compute/jobs/*"
PROJECT = Path(__file__).parents[3]


def small(bench, body="echo done", outputs=()):
    """A job of a fraction of a second."""
    scan = bench.scan("small/a.h5")
    resources = bench.beamline.facilities["nersc"].resources
    return JobSpec("small", (scan,), bench.beamline.places["pscratch"], f"{body}\n", resources, outputs)


def small_key(bench, name="a"):
    return WorkKey("test", f"{bench.name}/{name}", "", "")


def leaving(bench, name, text, artifact=Artifact.TIFF):
    """A job that leaves a product of one file, and ``text`` for its manifest."""
    product = bench.beamline.places["pscratch"].at(Store.RESULTS, f"{bench.name}/{name}")
    output = Output(artifact, product, product.beside(f"{name}.tiff.manifest.json"), "0.1.0", raw_sha256="a" * 64)
    lines = [
        f"mkdir -p {quote(product.posix)}",
        f"printf abc > {quote(product.posix)}/one.tiff",
        f"printf %s {quote(text)} > {quote(output.manifest.posix)}",
    ]
    return small(bench, "\n".join(lines), (output,))


def manifest(artifact="tiff", version="0.1.0", raw="a" * 64, total=3):
    return (
        f'{{"manifest": 1, "artifact": "{artifact}", "program": {{"name": "tomography", "version": "{version}"}},'
        f' "input": {{"name": "a.h5", "sha256": "{raw}"}},'
        f' "files": [{{"path": "one.tiff", "bytes": 3, "sha256": "{"b" * 64}"}}],'
        f' "total_files": 1, "total_bytes": {total}}}'
    )


def run(bench, spec, name="a"):
    return bench.facility.run(spec, small_key(bench, name), bench.pulses)


def test_the_result_is_evidence_in_utc(bench):
    result = run(bench, small(bench, "echo als-step stage begin 10; echo als-step stage end 12.5; echo hello"))
    [record] = bench.records(small_key(bench))
    assert (result.state, result.exit_code, result.job_id) == ("COMPLETED", 0, str(record.job_id))
    assert result.submitted == record.submitted.replace(microsecond=0)
    assert result.started == record.started.replace(microsecond=0)
    assert result.ended == record.ended.replace(microsecond=0)
    assert result.nodes == record.nodes
    assert result.stage_seconds == {"stage": 2.5}
    assert result.log_tail.endswith("hello")
    assert Path(result.logs[0]).name == f"{record.request.name}_{record.job_id}.out"


def test_the_job_carries_the_key_in_its_name_and_its_comment(bench):
    run(bench, small(bench))
    [record] = bench.records(small_key(bench))
    installation = bench.ledger.database.installation
    assert record.request.name == record.request.comment == f"als-{installation}-{small_key(bench).digest}-1"
    assert record.request.qos == "realtime"
    assert record.request.time_limit == timedelta(minutes=15)


@pytest.mark.parametrize("fault", [{"status": 502}, {"drop": True}], ids=["502", "connection closed"])
def test_a_submit_whose_response_is_lost_makes_one_job(bench, fault):
    bench.twin.control.injector.add(Fault(match=SUBMITS, after=True, **fault))
    result = run(bench, small(bench))
    assert result.state == "COMPLETED"
    assert len(bench.records(small_key(bench))) == 1
    assert bench.requests(SUBMITS) == 1


def test_a_submit_whose_task_cannot_be_asked_after_makes_one_job(bench):
    bench.twin.control.injector.add(Fault(match="GET /superfacility/tasks/*", status=503))
    assert run(bench, small(bench)).state == "COMPLETED"
    assert len(bench.records(small_key(bench))) == 1


def test_a_submit_that_never_arrived_is_repeated(bench):
    bench.twin.control.injector.add(Fault(match=SUBMITS, status=503))
    bench.twin.nersc.api.tasks.fail_next(1)
    with pytest.raises(ServiceUnavailableError, match="failed"):
        run(bench, small(bench))
    assert run(bench, small(bench)).state == "COMPLETED"
    assert len(bench.records(small_key(bench))) == 1


def test_a_job_that_no_table_shows_yet_is_waited_for(bench):
    bench.pace(Pace(lag_s=3600))
    bench.pulses.act = lambda _, status: "not shown" not in status.detail or bench.pace(Pace())
    assert run(bench, small(bench)).state == "COMPLETED"
    assert "queued: accepted, not shown by the service yet" in bench.pulses.heard


def test_a_record_that_accounting_has_no_name_for_yet_is_no_end(bench):
    attempt = bench.facility.begin(small(bench, "sleep 0.3; echo hello"), small_key(bench))
    row = {"jobid": attempt.record.handle, "jobname": "allocation", "state": "COMPLETED", "exitcode": "0:0"}
    nameless = {"status": "OK", "output": [row], "error": None}
    bench.twin.control.injector.add(Fault(match=ASKS, status=200, body=nameless))
    result = bench.facility.finish(attempt, bench.pulses)
    assert (result.name, result.log_tail) == (attempt.record.name, "hello")


def test_a_job_that_vanishes_is_lost_and_never_a_success(bench):
    bench.break_job(small_key(bench), kind="vanish")
    with pytest.raises(WorkLostError, match="no longer knows"):
        run(bench, small(bench))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("timeout", WorkFailedError),
        ("out_of_memory", WorkFailedError),
        ("deadline", WorkFailedError),
        ("node_fail", WorkInterruptedError),
        ("boot_fail", WorkInterruptedError),
        ("preempt", WorkInterruptedError),
    ],
)
def test_whatever_ends_a_job_is_a_named_failure_and_only_the_services_own_are_tried_again(bench, kind, error):
    bench.break_job(small_key(bench), kind=kind)
    word = {"preempt": "PREEMPTED", "node_fail": "NODE_FAIL"}.get(kind, kind.upper())
    with pytest.raises(error, match=word):
        run(bench, small(bench, "sleep 20"))
    [record] = bench.facility_records(small_key(bench))
    assert record.state is WorkState.FAILED
    assert record.evidence["state"] == word


@pytest.mark.parametrize("kind", ["preempt", "node_fail"])
def test_a_job_that_is_queued_again_is_waited_for(bench, kind):
    bench.break_job(small_key(bench), kind=kind, requeue=True)
    assert run(bench, small(bench, "sleep 0.3")).state == "COMPLETED"
    [record] = bench.records(small_key(bench))
    assert record.restarts == 1


def test_while_a_job_runs_its_log_is_told_line_by_line_and_none_of_it_twice(bench):
    run(bench, small(bench, "echo hello; sleep 1; echo there; sleep 1.5"))
    [record] = bench.records(small_key(bench))
    log = f"{record.request.name}_{record.job_id}.out"
    assert bench.pulses.lines[0].endswith(f"{log})")
    assert bench.pulses.lines.count("hello") == 1
    assert bench.pulses.lines.count("there") <= 1


def test_a_log_that_cannot_be_read_while_the_job_runs_is_no_failure(bench):
    bench.twin.control.injector.add(Fault(match="GET /superfacility/utilities/*", status=503, times=3))
    assert run(bench, small(bench, "sleep 1")).state == "COMPLETED"


def test_a_failure_carries_the_exit_code_and_the_last_words_of_the_program(bench):
    with pytest.raises(WorkFailedError, match=r"FAILED, exit code 7: error: the axis cannot be found"):
        run(bench, small(bench, "echo 'error: the axis cannot be found' >&2; exit 7"))
    [record] = bench.facility_records(small_key(bench))
    assert record.evidence["exit_code"] == 7
    assert record.evidence["log_tail"] == "error: the axis cannot be found"


def test_a_job_that_failed_is_made_anew_under_another_name(bench):
    with pytest.raises(WorkFailedError):
        run(bench, small(bench, "exit 1"))
    assert run(bench, small(bench)).state == "COMPLETED"
    assert [one.request.name[-2:] for one in bench.records(small_key(bench))] == ["-1", "-2"]


def test_a_cancelled_job_ends_and_is_no_success(bench):
    attempt = bench.facility.begin(small(bench, "sleep 20"), small_key(bench))
    bench.facility.cancel(attempt.record.handle)
    with pytest.raises(WorkFailedError, match="canceled"):
        bench.facility.finish(attempt, bench.pulses)
    [record] = bench.records(small_key(bench))
    assert record.state is TwinState.CANCELLED


def test_a_worker_that_is_killed_leaves_a_job_that_the_next_one_attaches_to(bench):
    bench.pace(Pace(nodes=0))
    worker = subprocess.Popen(
        [sys.executable, PROJECT / "tests/resources/facilities/waiting_worker.py", bench.ledger.database.url],
        env=os.environ | bench.environment | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
    )
    try:
        assert worker.stdout.readline() == b"waiting\n"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    bench.pace(Pace())
    key = WorkKey("test", "killed", "", "")
    assert bench.facility.run(small(bench), key, bench.pulses).state == "COMPLETED"
    assert len(bench.records(key)) == 1
    assert bench.requests(SUBMITS) == 1


def test_an_api_that_is_away_while_a_job_runs_is_waited_for(bench):
    away = [Fault(match=ASKS, status=503, times=2), Fault(match=ASKS, drop=True), Fault(match=ASKS, status=429)]
    attempt = bench.facility.begin(small(bench), small_key(bench))
    for fault in away:
        bench.twin.control.injector.add(fault)
    assert bench.facility.finish(attempt, bench.pulses).state == "COMPLETED"
    assert sum("state unknown" in line for line in bench.pulses.heard) == 4


def test_a_controller_that_is_away_while_a_job_runs_is_waited_for(bench):
    attempt = bench.facility.begin(small(bench), small_key(bench))
    bench.pace(Pace(controller_down=True))
    bench.pulses.act = lambda _, status: "state unknown" not in status.detail or bench.pace(Pace())
    assert bench.facility.finish(attempt, bench.pulses).state == "COMPLETED"
    assert any("state unknown" in line for line in bench.pulses.heard)


def test_manifests_that_cannot_be_read_at_once_are_asked_for_again(bench):
    bench.twin.control.injector.add(Fault(match="GET /superfacility/utilities/*", status=503, times=2))
    assert run(bench, leaving(bench, "later", manifest())).manifests[Artifact.TIFF].total_files == 1


def test_a_token_that_has_expired_is_replaced(bench):
    attempt = bench.facility.begin(small(bench, "sleep 0.3"), small_key(bench))
    bench.twin.nersc.api.tokens.expire_all()
    assert bench.facility.finish(attempt, bench.pulses).state == "COMPLETED"


def test_a_client_that_has_expired_is_refused_by_the_name_of_its_key_file(bench):
    [client] = bench.twin.nersc.api.tokens.clients.values()
    alive = client.expires_at
    client.expires_at = SystemClock().now()
    bench.twin.nersc.api.tokens.expire_all()
    try:
        with pytest.raises(ServiceRefusedError, match=r"superfacility_key\.json.*two days"):
            run(bench, small(bench))
    finally:
        client.expires_at = alive
    assert run(bench, small(bench)).state == "COMPLETED"


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "1"}},
        {"status": 200, "body": {"login": "a proxy's page"}},
        {"status": 200, "body": ["no object"]},
        {"status": 503},
    ],
    ids=["asked too often", "a proxy's page", "no object", "away"],
)
def test_a_token_that_is_not_issued_now_is_no_fault_of_the_credentials(bench, fault):
    bench.twin.nersc.api.tokens.expire_all()
    bench.twin.control.injector.add(Fault(match="POST /superfacility/token", times=2, **fault))
    with pytest.raises(ServiceUnavailableError, match="Superfacility API gave no usable answer"):
        run(bench, small(bench))


def test_a_key_file_that_others_may_read_is_refused(bench):
    key_file = Path(bench.twin.world.deployment.superfacility.key_file)
    key_file.chmod(0o640)
    try:
        with pytest.raises(ServiceRefusedError, match=r"mode 0640.*chmod 600"):
            run(bench, small(bench))
    finally:
        key_file.chmod(0o600)


def test_what_sbatch_refuses_is_refused_in_its_words_and_not_repeated(bench):
    spec = small(bench)
    spec = replace(spec, resources=spec.resources.model_copy(update={"queue": "nosuch"}))
    with pytest.raises(ServiceRefusedError, match="Invalid qos specification"):
        run(bench, spec)
    assert bench.requests(SUBMITS) == 1


def test_a_restricted_scan_is_refused_before_anything_is_sent(bench):
    remote = Remote(bench.ledger, Owner.this_process("run-1"), SystemClock())
    rules = ExportControl(default="unrestricted", restricted_folders=("small",))
    gate = make_gate(bench.ledger.database, SystemClock(), rules)
    strict = make_facility(
        "nersc", bench.beamline, bench.twin.world.deployment, remote, gate, SystemClock(), bench.globus
    )
    with pytest.raises(NotAllowedError, match="export controlled"):
        strict.run(small(bench), small_key(bench), bench.pulses)
    with pytest.raises(NotAllowedError, match="export controlled"):
        strict.submit(small(bench), "als-0-1")
    assert bench.requests("* /superfacility/*") == 0
    assert bench.facility_records(small_key(bench)) == []


def test_a_success_without_its_manifest_is_a_failure(bench):
    spec = leaving(bench, "without", manifest())
    with pytest.raises(WorkFailedError, match="COMPLETED at nersc, but its tiff is not there in full"):
        run(bench, replace(spec, body="true\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be used"),
        (manifest(total=4), "totals"),
        (manifest(artifact="zarr"), "is one of a zarr"),
        (manifest(version="0.0.9"), "made by tomography 0.0.9, not version 0.1.0"),
        (manifest(raw="c" * 64), "made from a raw file of SHA-256 cccc"),
    ],
    ids=["damaged", "totals", "artifact", "version", "input"],
)
def test_a_success_with_a_manifest_that_is_not_the_expected_one_is_a_failure(bench, text, message):
    with pytest.raises(WorkFailedError, match=message):
        run(bench, leaving(bench, "other", text))


def test_what_is_there_intact_is_not_made_again(bench):
    first = run(bench, leaving(bench, "kept", manifest()))
    again = run(bench, leaving(bench, "kept", manifest()))
    assert again == first.model_copy(update={"reused": True})
    assert not first.reused
    assert len(bench.records(small_key(bench))) == 1


@pytest.mark.parametrize("loss", ["manifest", "file", "size"])
def test_what_is_no_longer_there_is_made_again(bench, loss):
    spec = leaving(bench, "lost", manifest())
    run(bench, spec)
    product = Path(spec.outputs[0].product.posix)
    {
        "manifest": lambda: Path(spec.outputs[0].manifest.posix).unlink(),
        "file": lambda: (product / "one.tiff").unlink(),
        "size": lambda: (product / "one.tiff").write_bytes(b"ab"),
    }[loss]()
    assert run(bench, spec).job_id == str(bench.records(small_key(bench))[-1].job_id)
    assert len(bench.records(small_key(bench))) == 2


def test_names_with_marks_of_urls_can_be_read(bench):
    path = Path(bench.beamline.places["pscratch"].posix_root) / "scratch" / "a?b#c%20d é.txt"
    path.write_bytes(b"\x00\xff")
    assert bench.facility.read(str(path), limit_bytes=2) == b"\x00\xff"


@pytest.mark.parametrize("name", ["line\nfeed", "no utf-8 \udcff"])
def test_a_manifest_whose_path_no_url_can_hold_is_read_through_a_link(bench, name):
    result = run(bench, leaving(bench, name, manifest()), name=ascii(name))
    assert result.manifests[Artifact.TIFF].total_files == 1


def test_a_file_beyond_the_limit_is_not_fetched(bench):
    path = Path(bench.beamline.places["pscratch"].posix_root) / "scratch" / "large.txt"
    path.write_bytes(b"123")
    with pytest.raises(ValueError, match="3 bytes, more than 2"):
        bench.facility.read(str(path), limit_bytes=2)
    assert bench.requests("GET /superfacility/utilities/download/*") == 0


def test_waiting_keeps_one_session(bench):
    run(bench, small(bench, "sleep 0.5"))
    assert bench.requests("POST /superfacility/token") == 1


def test_the_deadline_is_the_queues_with_the_jobs_own_limit_on_top(bench):
    attempt = bench.facility.begin(small(bench), small_key(bench))
    assert attempt.patience == Patience(
        first_poll=timedelta(seconds=0.5), longest_poll=timedelta(seconds=2), deadline=timedelta(seconds=3600 + 900)
    )
    bench.facility.finish(attempt, bench.pulses)


def test_importing_the_facility_imports_no_sdk():
    program = (
        "import sys, resources.facilities.factory;"
        "print([name for name in sys.modules if name.split('.')[0] in ('sfapi_client', 'authlib', 'httpx')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
    assert done.stdout == "[]\n"
