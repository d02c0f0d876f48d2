"""What Globus still knows after the twin was stopped and started again."""

from pathlib import Path

from twin.server import serve
from twin.testing import GlobusUser, transfer_client

NAME = "line\u2028separator\x85 and \x0b.h5"


def test_a_restarted_twin_knows_ended_tasks_and_their_submissions(deployment_file: Path, tmp_path: Path) -> None:
    with serve(deployment_file, tmp_path) as twin, transfer_client(twin) as client:
        globus = GlobusUser(twin, client)
        globus.source(NAME, b"x")
        data = globus.transfer(NAME, label="before")
        task_id = client.submit_transfer(data)["task_id"]
        before = globus.ended(task_id)
        successes = client.task_successful_transfers(task_id)["DATA"]
    with serve(deployment_file, tmp_path) as twin, transfer_client(twin) as client:
        globus = GlobusUser(twin, client)
        assert globus.task(task_id) == before
        assert client.task_successful_transfers(task_id)["DATA"] == successes
        answer = client.submit_transfer(data)
        assert (answer["code"], answer["task_id"]) == ("Duplicate", task_id)


def test_a_restarted_twin_goes_on_with_a_transfer(deployment_file: Path, tmp_path: Path) -> None:
    with serve(deployment_file, tmp_path) as twin, transfer_client(twin) as client:
        task_id = GlobusUser(twin, client).submit("late.h5")
        GlobusUser(twin, client).faulty(task_id)
        unused = client.get_submission_id()["value"]
    with serve(deployment_file, tmp_path) as twin, transfer_client(twin) as client:
        globus = GlobusUser(twin, client)
        globus.source("late.h5", b"x")
        globus.source("other.h5", b"x")
        assert globus.ended(task_id)["status"] == "SUCCEEDED"
        assert globus.ended(globus.submit("other.h5", submission_id=unused))["status"] == "SUCCEEDED"


def test_half_a_line_of_a_killed_twin_is_forgotten(deployment_file: Path, tmp_path: Path) -> None:
    with serve(deployment_file, tmp_path) as twin, transfer_client(twin) as client:
        known = client.get_submission_id()["value"]
    journal = tmp_path / "twin/globus.jsonl"
    journal.write_bytes(journal.read_bytes() + b'{"entry": {"what": "iss')
    with serve(deployment_file, tmp_path) as twin, transfer_client(twin) as client:
        client.get_submission_id()
    with serve(deployment_file, tmp_path) as twin, transfer_client(twin) as client:
        globus = GlobusUser(twin, client)
        globus.source("b.h5", b"x")
        assert globus.ended(globus.submit("b.h5", submission_id=known))["status"] == "SUCCEEDED"
