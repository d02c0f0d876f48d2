"""What a task's state means, and what an error of the service means."""

import re
import traceback
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from resources.errors import ServiceRefusedError, ServiceUnavailableError, WorkFailedError
from resources.globus_tasks import GlobusCopy, GlobusTask
from resources.remote import JobState, RemoteStatus
from resources.testing import Desk
from resources.transfer import NotFoundError
from twin.faults import Fault
from twin.globus.conditions import FaultCode, TaskFault
from twin.server import Twin

CONTENT = b"a scan" * 1000
A_TASK: dict[str, Any] = {
    "task_id": "t",
    "label": "l",
    "status": "SUCCEEDED",
    "request_time": "2026-01-01T00:00:00+00:00",
    "completion_time": "2026-01-01T00:01:00+00:00",
    "files": 1,
    "files_transferred": 1,
    "files_skipped": 0,
    "bytes_transferred": len(CONTENT),
    "bytes_checksummed": len(CONTENT),
    "faults": 0,
    "subtasks_failed": 0,
    "subtasks_skipped_errors": 0,
    "nice_status": None,
    "fatal_error": None,
}


def fault(twin: Twin, match: str, **what: Any) -> None:
    twin.control.injector.add(Fault(match=match, **what))


def last_task(twin: Twin) -> tuple[str, str | None]:
    task = twin.engine.tasks()[0]
    return task.status, (task.fatal_error or {}).get("code")


# -- how a task ends ---------------------------------------------------------------------------------------------


def test_a_missing_source_is_a_named_error_and_its_task_is_cancelled(desk: Desk, twin: Twin) -> None:
    request = desk.scan("fails/missing.h5", CONTENT)
    Path(desk.raw("spot832", "fails/missing.h5").posix).unlink()
    with pytest.raises(WorkFailedError, match="FILE_NOT_FOUND"):
        desk.copy(request)
    assert last_task(twin) == ("FAILED", "CANCELED")
    record = desk.ledger.last(desk.key(request))
    assert record is not None
    assert (record.evidence or {})["reason"] == "FILE_NOT_FOUND"


def test_after_a_failure_that_was_mended_the_copy_is_made(desk: Desk) -> None:
    request = desk.scan("fails/mended.h5", CONTENT)
    source = Path(desk.raw("spot832", "fails/mended.h5").posix)
    source.unlink()
    with pytest.raises(WorkFailedError):
        desk.copy(request)
    source.write_bytes(CONTENT)
    assert desk.copy(request).label.endswith("-2")


def test_a_folder_that_may_not_be_written_is_a_named_error(desk: Desk, twin: Twin) -> None:
    denied = {"collection": desk.beamline.places["nersc"].collection, "access": ["write"]}
    prefix = str(desk.beamline.places["nersc"].collection_root / "raw/denied")
    twin.control.board.change({"denied": [{**denied, "prefix": prefix}]})
    desk.put(desk.raw("spot832", "denied/a.h5"), CONTENT)
    with pytest.raises(WorkFailedError, match="PERMISSION_DENIED"):
        desk.copy(desk.request("denied/a.h5", destination="nersc"))


def test_a_full_quota_is_a_named_error(desk: Desk, twin: Twin) -> None:
    request = desk.scan("fails/quota.h5", CONTENT)
    twin.control.board.change({"quota_bytes": {desk.beamline.places["data832"].collection: 100}})
    with pytest.raises(WorkFailedError, match="QUOTA_EXCEEDED"):
        desk.copy(request)


def test_a_source_that_is_not_what_its_checksum_says_is_a_failed_copy(desk: Desk) -> None:
    request = desk.scan("fails/checksum.h5", CONTENT)
    wrong = replace(request, items=(replace(request.items[0], sha256="0" * 64),))
    with pytest.raises(WorkFailedError, match="EXTERNAL_CHECKSUM_MISMATCH"):
        desk.copy(wrong)


def test_a_source_that_has_grown_is_a_failed_copy_although_the_task_succeeded(desk: Desk) -> None:
    request = desk.scan("fails/grown.h5", CONTENT)
    short = replace(request, items=(replace(request.items[0], sha256=None, bytes=10),))
    with pytest.raises(WorkFailedError, match="source has changed"):
        desk.copy(short)


def test_faults_that_pass_by_themselves_do_not_fail_a_copy(desk: Desk, twin: Twin) -> None:
    request = desk.scan("fails/passing.h5", CONTENT)
    twin.control.board.add_fault(TaskFault(name="passing.h5", code=FaultCode.ENDPOINT_ERROR, times=5))
    twin.control.board.add_fault(TaskFault(name="passing.h5", code=FaultCode.CORRUPT, times=1))
    assert desk.copy(request).faults == 6
    assert desk.content(desk.raw("data832", "fails/passing.h5")) == CONTENT


def test_a_task_that_passes_its_deadline_is_a_failed_copy(desk: Desk, twin: Twin) -> None:
    twin.control.board.change({"start_delay_s": 60})
    request = desk.scan("fails/deadline.h5", CONTENT)
    errand = GlobusCopy(desk.globus, desk.clock, request.items, timedelta(seconds=-1), skip_equal=True)
    copy = GlobusTask(desk.globus, errand, lambda: None)
    handle = copy.submit("too-late", copy.prepare("too-late"))
    assert copy.status(handle).state is JobState.FAILED
    assert copy.status(handle).detail.startswith("EXPIRED")


def status_of(desk: Desk, twin: Twin, **changes: Any) -> RemoteStatus:
    """What is made of a task's document that the twin would not give by itself."""
    request = desk.scan("documents/a.h5", CONTENT)
    fault(twin, "GET *task/*", status=200, body={**A_TASK, **changes})
    errand = GlobusCopy(desk.globus, desk.clock, request.items, timedelta(hours=1), skip_equal=True)
    return GlobusTask(desk.globus, errand, lambda: None).status("t")


@pytest.mark.parametrize(
    ("changes", "state", "word"),
    [
        ({}, JobState.COMPLETED, "SUCCEEDED"),
        ({"subtasks_skipped_errors": 1, "files_transferred": 0}, JobState.FAILED, "left out"),
        ({"subtasks_failed": 1}, JobState.FAILED, "failed"),
        ({"files_transferred": 0}, JobState.FAILED, "0 of 1 files"),
        ({"files_transferred": 0, "files_skipped": 1, "bytes_transferred": 0}, JobState.COMPLETED, "SUCCEEDED"),
        ({"bytes_transferred": 1}, JobState.FAILED, "1 bytes arrived"),
        ({"bytes_transferred": 2 * len(CONTENT), "faults": 1}, JobState.COMPLETED, "SUCCEEDED"),
        ({"status": "FAILED", "fatal_error": {"code": "CANCELED"}}, JobState.CANCELED, "CANCELED"),
        ({"status": "FAILED", "fatal_error": None}, JobState.FAILED, "FAILED"),
        ({"status": "INACTIVE"}, JobState.HELD, "credentials"),
        ({"status": "ACTIVE", "is_paused": True}, JobState.HELD, "paused"),
        ({"status": "ACTIVE", "nice_status": "CONNECT_FAILED", "faults": 50}, JobState.ACTIVE, "50 faults"),
        ({"status": "ACTIVE", "nice_status": "FILE_NOT_FOUND", "faults": 50}, JobState.ACTIVE, "FILE_NOT_FOUND"),
        ({"status": "REWINDING"}, JobState.UNKNOWN, "REWINDING (a state that this program does not know)"),
    ],
)
def test_the_meaning_of_a_task(desk: Desk, twin: Twin, changes: dict[str, Any], state: JobState, word: str) -> None:
    status = status_of(desk, twin, **changes)
    assert status.state is state
    assert word in status.detail


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, timedelta(seconds=15)),
        ({"bytes_transferred": 0}, None),
        ({"completion_time": None}, None),
    ],
    ids=["by its seconds a byte", "nothing moved", "no end"],
)
def test_how_long_a_copy_takes_is_judged_by_those_before(
    desk: Desk, changes: dict[str, Any], expected: timedelta | None
) -> None:
    errand = GlobusCopy(
        desk.globus, desk.clock, desk.scan("long/a.h5", CONTENT).items, timedelta(hours=1), skip_equal=True
    )
    before = {
        "request_time": "2026-01-01T00:00:00+00:00",
        "completion_time": "2026-01-01T00:00:30+00:00",
        "bytes_transferred": 2 * len(CONTENT),
    }
    assert errand.expected([{**before, **changes}]) == expected


# -- what the service may answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 429},
        {"status": 500},
        {"status": 503},
        {"status": 502, "body": {"code": "EndpointError", "message": "GridFTP is down"}},
        {"status": 502, "body": {"code": "ExternalError.DirListingFailed.GCDisconnected", "message": "gone"}},
        {"status": 404, "headers": {"content-type": "text/html"}},
        {"status": 200, "body": {"hello": "world"}},
        {"status": 200, "body": ["hello"]},
        {"status": 200, "headers": {"content-type": "text/html"}, "body": "log in"},
        {"drop": True},
    ],
    ids=str,
)
def test_no_usable_answer_is_an_outage(desk: Desk, twin: Twin, answer: dict[str, Any]) -> None:
    fault(twin, "GET */stat", **answer)
    with pytest.raises(ServiceUnavailableError):
        desk.transfer.stat(desk.raw("spot832", "any.h5"))


def test_an_answer_that_does_not_come_is_an_outage(desk: Desk, twin: Twin) -> None:
    fault(twin, "GET */stat", status=200, delay_s=1)
    with pytest.raises(ServiceUnavailableError, match="Timeout"):
        desk.but(http_timeout_s=0.1).transfer.stat(desk.raw("spot832", "any.h5"))


def test_a_service_that_is_not_there_is_an_outage(desk: Desk) -> None:
    nowhere = desk.service.model_copy(update={"transfer_url": "http://127.0.0.1:9/", "auth_url": "http://127.0.0.1:9/"})
    with pytest.raises(ServiceUnavailableError, match="Connection"):
        desk.but(service=nowhere).transfer.stat(desk.raw("spot832", "any.h5"))


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        ({"status": 400, "body": {"code": "ClientError.BadRequest", "message": "no"}}, "ClientError.BadRequest"),
        ({"status": 403, "body": {"code": "EndpointPermissionDenied", "message": "no"}}, "role or permission"),
        ({"status": 502, "body": {"code": "ExternalError.DirListingFailed.PermissionDenied", "message": ""}}, "role"),
        ({"status": 404, "body": {"code": "EndpointNotFound", "message": "no"}}, "EndpointNotFound"),
    ],
)
def test_a_no_of_the_service_is_a_refusal(desk: Desk, twin: Twin, answer: dict[str, Any], word: str) -> None:
    fault(twin, "GET */stat", **answer)
    with pytest.raises(ServiceRefusedError, match=re.escape(word)):
        desk.transfer.stat(desk.raw("spot832", "any.h5"))


def test_a_consent_that_is_missing_names_its_scopes(desk: Desk, twin: Twin) -> None:
    scope = "urn:globus:auth:scope:transfer.api.globus.org:all[*https://auth.globus.org/scopes/x/data_access]"
    body = {"code": "ConsentRequired", "message": "Missing consent", "required_scopes": [scope]}
    fault(twin, "GET */stat", status=403, body=body)
    with pytest.raises(ServiceRefusedError, match=re.escape(scope)):
        desk.transfer.stat(desk.raw("spot832", "any.h5"))


def test_a_token_that_ended_is_renewed_without_anybody_noticing(desk: Desk, twin: Twin) -> None:
    desk.put(desk.raw("spot832", "token.h5"), CONTENT)
    desk.transfer.stat(desk.raw("spot832", "token.h5"))
    twin.control.issuer.expire_all()
    assert desk.but(retries=1).transfer.stat(desk.raw("spot832", "token.h5")).size_bytes == len(CONTENT)


def test_a_wrong_secret_is_a_refusal_that_does_not_tell_it(desk: Desk) -> None:
    wrong = "hunter2"
    with pytest.raises(ServiceRefusedError, match="credentials") as refused:
        desk.but(secret=lambda: wrong).transfer.stat(desk.raw("spot832", "any.h5"))
    assert wrong not in "".join(traceback.format_exception(refused.value))


def test_a_rotated_secret_is_used_at_once(desk: Desk, twin: Twin) -> None:
    secrets = ["stale", twin.world.client_secret]
    other = desk.but(secret=lambda: secrets[0])
    with pytest.raises(ServiceRefusedError):
        other.transfer.stat(desk.raw("spot832", "any.h5"))
    secrets.pop(0)
    with pytest.raises(NotFoundError):
        other.transfer.stat(desk.raw("spot832", "any.h5"))


def test_an_outage_while_waiting_does_not_fail_a_copy(desk: Desk, twin: Twin) -> None:
    request = desk.scan("outage/a.h5", CONTENT)
    pending = desk.transfer.begin(request, desk.key(request))
    fault(twin, "GET */v0.10/task/*", status=503, times=3)
    assert desk.transfer.finish(pending, desk.pulses).files == 1
    assert [s.detail[:13] for s in desk.pulses.statuses[:3]] == ["state unknown"] * 3


def test_an_outage_while_a_destination_is_looked_at_is_no_empty_destination(desk: Desk, twin: Twin) -> None:
    request = desk.scan("outage/b.h5", CONTENT)
    fault(twin, "GET */stat", status=503)
    with pytest.raises(ServiceUnavailableError):
        desk.copy(request)
    assert desk.ledger.last(desk.key(request)) is None
