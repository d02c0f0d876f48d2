"""Transfers and deletes, through globus_sdk."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import globus_sdk
import pytest

from twin.clock import SettableClock
from twin.testing import GlobusUser, eventually

HOSTILE = "20240101_120000_'\"$(rm -rf) `x` & ; ünï 🦀\nnew\tline %2F#?.h5"
CHECKED: dict[str, Any] = {"sync_level": "checksum", "verify_checksum": True}


def test_a_transfer_copies_the_file_and_counts_it(globus: GlobusUser) -> None:
    content = os.urandom(30_000)
    source = globus.source("happy/a.h5", content)
    os.utime(source, (1_600_000_000.75, 1_600_000_000.75))
    task = globus.ended(globus.submit("happy/a.h5", label="a scan", preserve_timestamp=True, **CHECKED))
    landed = globus.landed("happy/a.h5")
    assert landed.read_bytes() == content
    assert landed.stat().st_mtime == 1_600_000_000
    assert (task["status"], task["label"], task["fatal_error"]) == ("SUCCEEDED", "a scan", None)
    assert (task["files"], task["files_transferred"], task["bytes_transferred"]) == (1, 1, 30_000)
    assert (task["bytes_checksummed"], task["faults"], task["subtasks_succeeded"]) == (30_000, 0, 1)
    assert task["effective_bytes_per_second"] > 0


def test_events_and_successful_transfers_tell_what_happened(globus: GlobusUser) -> None:
    globus.source("told.h5", b"x")
    task_id = globus.submit("told.h5")
    globus.ended(task_id)
    assert [event["code"] for event in globus.client.task_event_list(task_id)] == ["SUCCEEDED", "STARTED"]
    assert [
        (one["source_path"], one["destination_path"]) for one in globus.client.task_successful_transfers(task_id)
    ] == [("/raw/told.h5", "/data/raw/told.h5")]


def test_the_same_submission_id_never_makes_two_tasks(globus: GlobusUser) -> None:
    globus.source("once.h5", b"x")
    data = globus.transfer("once.h5")
    first = globus.client.submit_transfer(data)
    second = globus.client.submit_transfer(data)
    assert (first["code"], first.http_status) == ("Accepted", 202)
    assert (second["code"], second.http_status, second["task_id"]) == ("Duplicate", 200, first["task_id"])


def test_a_submission_id_that_was_not_issued_is_refused(globus: GlobusUser) -> None:
    data = globus.transfer("any.h5", submission_id="00000000-0000-4000-8000-000000000000")
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.submit_transfer(data)
    assert (refused.value.http_status, refused.value.code) == (400, "ClientError.BadRequest")


@pytest.mark.parametrize("fault", [{"status": 503}, {"drop": True}])
def test_a_submit_whose_response_was_lost_is_found_again_by_the_clients_own_retry(
    globus: GlobusUser, fault: dict[str, object]
) -> None:
    name = f"lost-{'-'.join(fault)}.h5"
    globus.source(name, b"x")
    globus.control("POST", "/faults", {"match": "POST */v0.10/transfer", "after": True, **fault})
    answer = globus.client.submit_transfer(globus.transfer(name, label=name))
    assert answer["code"] == "Duplicate"
    tasks = globus.client.task_list(filter={"label": name})
    assert [task["task_id"] for task in tasks] == [answer["task_id"]]


def test_two_transfers_of_the_same_paths_at_once_are_a_conflict(globus: GlobusUser) -> None:
    globus.submit("nowhere.h5")
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.submit("nowhere.h5")
    assert (refused.value.http_status, refused.value.code) == (409, "Conflict")


def test_a_checksum_sync_overwrites_what_differs_and_skips_what_is_equal(globus: GlobusUser) -> None:
    globus.source("sync/equal.h5", b"equal")
    globus.source("sync/differs.h5", b"right")
    globus.landed("sync").mkdir()
    globus.landed("sync/equal.h5").write_bytes(b"equal")
    globus.landed("sync/differs.h5").write_bytes(b"wrong")
    task = globus.ended(globus.submit("sync/equal.h5", "sync/differs.h5", **CHECKED))
    assert globus.landed("sync/differs.h5").read_bytes() == b"right"
    assert (task["files_skipped"], task["files_transferred"], task["bytes_transferred"]) == (1, 1, 5)


def test_without_a_sync_level_everything_is_overwritten(globus: GlobusUser) -> None:
    globus.source("again.h5", b"same")
    globus.landed("again.h5").write_bytes(b"same")
    assert globus.ended(globus.submit("again.h5"))["files_transferred"] == 1


def test_a_file_grows_under_its_final_name_while_it_is_transferred(globus: GlobusUser) -> None:
    globus.source("grows.h5", bytes(100_000))
    globus.control("PATCH", "/conditions", {"bandwidth_bytes_per_s": 20_000})
    task_id = globus.submit("grows.h5")

    def listed() -> list[int]:
        return [one["size"] for one in globus.client.operation_ls(globus.data, "/data/raw/", filter="name:grows.h5")]

    first = eventually(lambda: any(listed()) and listed())[0]
    assert 0 < first < 100_000
    eventually(lambda: listed()[0] > first)
    globus.control("PATCH", "/conditions", {"bandwidth_bytes_per_s": None})
    assert globus.ended(task_id)["bytes_transferred"] == 100_000


def test_a_cancelled_transfer_leaves_its_partial_file_and_writes_no_more(globus: GlobusUser) -> None:
    globus.source("halted.h5", bytes(100_000))
    globus.control("PATCH", "/conditions", {"bandwidth_bytes_per_s": 20_000})
    task_id = globus.submit("halted.h5")
    eventually(lambda: globus.task(task_id)["bytes_transferred"])
    assert globus.client.cancel_task(task_id)["code"] == "Canceled"
    size = globus.landed("halted.h5").stat().st_size
    task = globus.task(task_id)
    assert (task["status"], task["fatal_error"]["code"], task["subtasks_canceled"]) == ("FAILED", "CANCELED", 1)
    assert 0 < size < 100_000
    assert size == task["bytes_transferred"]
    assert globus.client.cancel_task(task_id)["code"] == "TaskComplete"


def test_three_transfers_are_worked_on_and_others_wait_in_the_queue(globus: GlobusUser) -> None:
    globus.control("PATCH", "/conditions", {"bandwidth_bytes_per_s": 1000})
    names = [f"many{number}.h5" for number in range(5)]
    for name in names:
        globus.source(name, bytes(20_000))
    ids = [globus.submit(name) for name in names]
    working = eventually(lambda: sum(globus.task(one)["nice_status"] == "OK" for one in ids) == 3)
    assert working
    waiting = [globus.task(one) for one in ids[3:]]
    assert [(one["status"], one["nice_status"], one["is_ok"]) for one in waiting] == [("ACTIVE", "Queued", True)] * 2
    globus.client.cancel_task(ids[0])
    eventually(lambda: globus.task(ids[3])["nice_status"] == "OK")
    assert globus.task(ids[4])["nice_status"] == "Queued"


def test_a_hundred_pending_tasks_are_all_that_the_service_takes(own_globus: GlobusUser) -> None:
    own_globus.control("PATCH", "/conditions", {"start_delay_s": 3600})
    for number in range(100):
        own_globus.submit(f"pending{number}.h5")
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        own_globus.submit("one more.h5")
    assert (refused.value.http_status, refused.value.code) == (409, "TooManyPendingJobs")


def test_a_missing_source_leaves_the_task_active_and_faulty_until_it_is_cancelled(globus: GlobusUser) -> None:
    task_id = globus.submit("none.h5")
    task = globus.faulty(task_id)
    assert (task["status"], task["nice_status"], task["is_ok"]) == ("ACTIVE", "FILE_NOT_FOUND", False)
    assert task["subtasks_retrying"] == 1
    eventually(lambda: globus.task(task_id)["faults"] > task["faults"])
    event = globus.client.task_event_list(task_id)["DATA"][0]
    assert (event["code"], event["is_error"]) == ("FILE_NOT_FOUND", True)
    globus.client.cancel_task(task_id)
    assert globus.task(task_id)["status"] == "FAILED"


def test_a_source_that_appears_lets_the_task_go_on(globus: GlobusUser) -> None:
    task_id = globus.submit("late.h5")
    globus.faulty(task_id)
    globus.source("late.h5", b"here")
    assert globus.ended(task_id)["status"] == "SUCCEEDED"


def test_a_task_that_backs_off_makes_way_for_others(globus: GlobusUser) -> None:
    globus.control("PATCH", "/conditions", {"retry_delay_s": 3600})
    for number in range(3):
        globus.faulty(globus.submit(f"absent{number}.h5"))
    globus.source("present.h5", b"x")
    assert globus.ended(globus.submit("present.h5"))["status"] == "SUCCEEDED"


def test_permission_is_denied_outside_the_collections_places(globus: GlobusUser) -> None:
    globus.source("out.h5", b"x")
    data = globus_sdk.TransferData(globus.spot, globus.data)
    data.add_item("/raw/out.h5", "/elsewhere/out.h5")
    task = globus.faulty(str(globus.client.submit_transfer(data)["task_id"]))
    assert (task["status"], task["nice_status"]) == ("ACTIVE", "PERMISSION_DENIED")


def test_a_denied_folder_is_read_only_until_it_is_opened(globus: GlobusUser) -> None:
    globus.source("shut/a.h5", b"x")
    denied = {"collection": globus.data, "prefix": "/data/raw/shut", "access": ["write"]}
    globus.control("PATCH", "/conditions", {"denied": [denied]})
    task_id = globus.submit("shut/a.h5")
    assert globus.faulty(task_id)["nice_status"] == "PERMISSION_DENIED"
    globus.control("PATCH", "/conditions", {"denied": []})
    assert globus.ended(task_id)["status"] == "SUCCEEDED"


def test_source_errors_can_be_skipped_and_are_listed(globus: GlobusUser) -> None:
    globus.source("there.h5", b"x")
    task_id = globus.submit("not there.h5", "there.h5", skip_source_errors=True)
    task = globus.ended(task_id)
    assert (task["status"], task["subtasks_skipped_errors"], task["files_transferred"]) == ("SUCCEEDED", 1, 1)
    skipped = globus.client.task_skipped_errors(task_id)["DATA"]
    assert [(one["error_code"], one["source_path"]) for one in skipped] == [("FILE_NOT_FOUND", "/raw/not there.h5")]


def test_corruption_on_the_way_is_found_and_transferred_again_when_verified(globus: GlobusUser) -> None:
    globus.source("bent.h5", b"straight")
    globus.control("POST", "/task_faults", {"name": "bent.h5", "code": "CORRUPT"})
    task = globus.ended(globus.submit("bent.h5", verify_checksum=True))
    assert globus.landed("bent.h5").read_bytes() == b"straight"
    assert (task["status"], task["faults"], task["bytes_transferred"], task["bytes_checksummed"]) == (
        "SUCCEEDED",
        1,
        16,
        16,
    )


def test_corruption_on_the_way_goes_unseen_when_nothing_verifies(globus: GlobusUser) -> None:
    globus.source("unseen.h5", b"straight")
    globus.control("POST", "/task_faults", {"name": "unseen.h5", "code": "CORRUPT"})
    assert globus.ended(globus.submit("unseen.h5"))["status"] == "SUCCEEDED"
    assert globus.landed("unseen.h5").read_bytes() != b"straight"


@pytest.mark.parametrize("code", ["FILE_NOT_FOUND", "PERMISSION_DENIED", "ENDPOINT_ERROR"])
def test_a_fault_of_one_file_passes_after_its_times(globus: GlobusUser, code: str) -> None:
    name = f"faulty {code}.h5"
    globus.source(name, b"x")
    globus.control("POST", "/task_faults", {"name": name, "code": code, "times": 3})
    task = globus.ended(globus.submit(name))
    assert (task["status"], task["faults"]) == ("SUCCEEDED", 3)


@pytest.mark.parametrize("algorithm", ["SHA256", "MD5", "sha512"])
def test_a_checksum_that_was_given_must_be_that_of_the_file(globus: GlobusUser, algorithm: str) -> None:
    name = f"given {algorithm}.h5"
    globus.source(name, b"content")
    right = hashlib.new(algorithm.lower(), b"content").hexdigest()
    item = {"external_checksum": right, "checksum_algorithm": algorithm}
    assert globus.ended(globus.submit(name, item=item, **CHECKED))["status"] == "SUCCEEDED"


def test_another_checksum_than_the_one_given_fails_the_whole_task(globus: GlobusUser) -> None:
    globus.source("claimed.h5", b"content")
    item = {"external_checksum": "0" * 64, "checksum_algorithm": "SHA256"}
    task = globus.ended(globus.submit("claimed.h5", item=item))
    assert task["status"] == "FAILED"
    assert task["fatal_error"] is not None
    assert task["subtasks_failed"] == 1


def test_a_full_collection_keeps_the_task_waiting_for_room(globus: GlobusUser) -> None:
    globus.source("big.h5", bytes(10_000))
    globus.control("PATCH", "/conditions", {"quota_bytes": {globus.data: 1}})
    task_id = globus.submit("big.h5")
    task = globus.faulty(task_id)
    assert (task["status"], task["nice_status"]) == ("ACTIVE", "QUOTA_EXCEEDED")
    globus.control("PATCH", "/conditions", {"quota_bytes": {}})
    assert globus.ended(task_id)["status"] == "SUCCEEDED"


def test_a_full_collection_fails_the_task_that_asked_for_it(globus: GlobusUser) -> None:
    globus.source("bigger.h5", bytes(10_000))
    globus.control("PATCH", "/conditions", {"quota_bytes": {globus.data: 1}})
    task = globus.ended(globus.submit("bigger.h5", fail_on_quota_errors=True))
    assert (task["status"], task["fatal_error"]["code"]) == ("FAILED", "QUOTA_EXCEEDED")


def test_a_task_ends_at_its_deadline(own_globus: GlobusUser, clock: SettableClock) -> None:
    task_id = own_globus.submit("never.h5", deadline=datetime.now(UTC) + timedelta(hours=2))
    own_globus.faulty(task_id)
    clock.ahead = timedelta(hours=3)
    task = own_globus.task(task_id)
    assert (task["status"], task["fatal_error"]["code"], task["subtasks_expired"]) == ("FAILED", "EXPIRED", 1)


def test_a_collection_that_is_down_stalls_tasks_and_refuses_listings(globus: GlobusUser) -> None:
    globus.source("down.h5", b"x")
    globus.control("PATCH", "/conditions", {"down": [globus.data]})
    task_id = globus.submit("down.h5")
    assert globus.faulty(task_id)["nice_status"] == "CONNECT_FAILED"
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.operation_ls(globus.data, "/data/raw")
    assert (refused.value.http_status, refused.value.code) == (502, "EndpointError")
    globus.control("PATCH", "/conditions", {"down": []})
    assert globus.ended(task_id)["status"] == "SUCCEEDED"


def test_a_folder_is_transferred_with_what_is_below_it(globus: GlobusUser) -> None:
    for name in ("tree/a.h5", "tree/deep/er/b.h5", "tree/deep/no.log"):
        globus.source(name, name.encode())
    (globus.spot_dir / "raw/tree/empty").mkdir()
    data = globus.transfer("tree", item={"recursive": True})
    data.add_filter_rule("*.log", method="exclude", type="file")
    task = globus.ended(str(globus.client.submit_transfer(data)["task_id"]))
    found = sorted(str(path.relative_to(globus.landed("tree"))) for path in globus.landed("tree").rglob("*"))
    assert found == ["a.h5", "deep", "deep/er", "deep/er/b.h5", "empty"]
    assert (task["files"], task["directories"]) == (2, 4)


def test_a_hostile_name_arrives_as_it_is(globus: GlobusUser) -> None:
    globus.source(f"hostile/{HOSTILE}", b"x")
    task_id = globus.submit(f"hostile/{HOSTILE}")
    assert globus.ended(task_id)["status"] == "SUCCEEDED"
    assert [one["name"] for one in globus.client.operation_ls(globus.data, "/data/raw/hostile")] == [HOSTILE]
    assert globus.client.operation_stat(globus.data, f"/data/raw/hostile/{HOSTILE}")["size"] == 1


def test_a_label_that_the_service_would_refuse_is_refused(globus: GlobusUser) -> None:
    for label in ("x" * 129, "two\nlines", " spaces "):
        with pytest.raises(globus_sdk.TransferAPIError, match="label"):
            globus.submit("any.h5", label=label)


def test_a_delete_removes_folders_and_ignores_what_is_missing(deleting: GlobusUser) -> None:
    deleting.source("gone/deep/a.h5", b"x")
    data = globus_sdk.DeleteData(deleting.spot, recursive=True, ignore_missing=True)
    data.add_item("/raw/gone/")
    data.add_item("/raw/never was")
    task = deleting.ended(str(deleting.client.submit_delete(data)["task_id"]))
    assert (task["status"], task["type"], task["subtasks_succeeded"]) == ("SUCCEEDED", "DELETE", 2)
    assert not (deleting.spot_dir / "raw/gone").exists()


def test_a_delete_of_what_is_missing_stays_active(deleting: GlobusUser) -> None:
    data = globus_sdk.DeleteData(deleting.spot)
    data.add_item("/raw/never was")
    task = deleting.faulty(str(deleting.client.submit_delete(data)["task_id"]))
    assert (task["status"], task["nice_status"]) == ("ACTIVE", "FILE_NOT_FOUND")


def test_a_delete_takes_a_link_and_leaves_what_it_points_to(deleting: GlobusUser) -> None:
    target = deleting.source("kept/a.h5", b"x")
    link = deleting.spot_dir / "raw/link"
    link.symlink_to(target.parent)
    data = globus_sdk.DeleteData(deleting.spot, recursive=True)
    data.add_item("/raw/link")
    deleting.ended(str(deleting.client.submit_delete(data)["task_id"]))
    assert (link.is_symlink(), target.exists()) == (False, True)


def test_the_task_list_is_filtered_ordered_and_paged(globus: GlobusUser) -> None:
    for number in range(5):
        globus.source(f"listed{number}.h5", b"x")
        globus.ended(globus.submit(f"listed{number}.h5", label=f"listed {number}"))
    page = globus.client.task_list(
        filter={"status": ["SUCCEEDED"], "label": "~listed *", "type": "TRANSFER"},
        orderby="label DESC",
        limit=2,
        offset=1,
    )
    assert [task["label"] for task in page] == ["listed 3", "listed 2"]
    assert page["total"] == 5
