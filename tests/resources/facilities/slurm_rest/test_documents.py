"""The shapes of the API's documents.

``answers/v0.0.38.json`` are answers of a real slurmrestd (22.05.8, Debian), less the fields that nothing reads.
``answers/v0.0.40.json`` are the same jobs in the shapes of the later versions, as their schema has them: no such server
was asked.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from beamlines.facilities import SlurmResources
from resources.facilities.job import JobSpec
from resources.facilities.service import Outage
from resources.facilities.slurm import STATES
from resources.facilities.slurm_documents import job_request, maintenance, moment, number, read_job, usable_nodes, word
from resources.remote import JobState

ANSWERS = Path(__file__).parent / "answers"
VERSIONS = ("v0.0.38", "v0.0.40")
LATER = ("v0.0.40", "v0.0.42", "v0.0.43", "v0.0.44")
OBJECT_OF_15 = {"set": True, "infinite": False, "number": 15}


def answer(version: str, job: str, table: str) -> dict:
    return json.loads((ANSWERS / f"{version}.json").read_text())[job][table]


def spec(**changes: object) -> JobSpec:
    asked = SlurmResources(
        queue="normal",
        account="als832",
        constraint=None,
        nodes=2,
        cpus_per_task=8,
        exclusive=True,
        time_limit=timedelta(seconds=841),
        logs=PurePosixPath("/lustre/als/logs"),
    ).model_copy(update=changes)
    return JobSpec("small", (), None, "true\n", asked)


@pytest.mark.parametrize("table", ["controller", "accounting"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_success_is_read_whole(version, table):
    row = read_job(answer(version, "completed", table))
    assert (row.job_id, row.name, row.state, row.nodes) == ("11", "als-completed-1", "COMPLETED", ("localhost",))
    assert (row.exit_code, row.signal) == (0, 0)
    assert row.submitted == row.started == row.ended == datetime(2026, 11, 25, 7, 47, 32, tzinfo=UTC)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("completed", "COMPLETED"),
        ("failed", "FAILED, exit code 3"),
        ("signal", "FAILED, signal 9"),
        ("node_fail", "NODE_FAIL, exit code 0"),
        ("long", "RUNNING"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_controller_says_how_a_job_ended(version, job, words):
    assert read_job(answer(version, job, "controller")).words == words


def test_accounting_of_the_first_version_does_not_say_the_exit_code():
    assert read_job(answer("v0.0.38", "failed", "accounting")).words == "FAILED"
    assert read_job(answer("v0.0.38", "signal", "accounting")).words == "FAILED, signal 9"
    assert read_job(answer("v0.0.40", "failed", "accounting")).words == "FAILED, exit code 3"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_has_not_happened_yet_has_no_time(version):
    changes = {"v0.0.38": ("PENDING", 1795592760, 1795592820), "v0.0.40": (["PENDING"], {"set": False}, OBJECT_OF_15)}
    state, start, end = changes[version]
    pending = {**answer(version, "completed", "controller"), "job_state": state, "start_time": start, "end_time": end}
    row = read_job(pending)
    assert (row.started, row.ended, row.exit_code, row.signal) == (None, None, None, None)
    running = {**answer(version, "completed", "controller"), "job_state": word(state).replace("PENDING", "RUNNING")}
    row = read_job(running)
    assert row.started is not None
    assert (row.ended, row.exit_code) == (None, None)


def test_a_job_of_s3m_is_read_in_either_of_its_two_shapes():
    # As its documentation shows the answers of v0.0.43: one job as accounting's, a list as the controller's.
    one = {"job_id": 12345, "name": "my-job", "nodes": "node001", "state": {"current": ["RUNNING"], "reason": "None"}}
    row = read_job({**one, "time": {"start": 1741827600, "elapsed": 95}})
    assert (row.job_id, row.job_state, row.started.year, row.submitted) == ("12345", JobState.ACTIVE, 2025, None)
    listed = {"job_id": 12345, "name": "my-job", "job_state": ["RUNNING"], "node_count": {"number": 1, "set": True}}
    assert read_job(listed).job_state is JobState.ACTIVE


@pytest.mark.parametrize(
    ("shown", "meant"),
    [
        ("RUNNING", "RUNNING"),
        ("running", "RUNNING"),
        (["COMPLETED"], "COMPLETED"),
        (["CANCELLED", "COMPLETING"], "COMPLETING"),
        (["RUNNING", "CONFIGURING"], "CONFIGURING"),
        (["PENDING", "REQUEUED"], "REQUEUED"),
        (["FAILED", "REQUEUED"], "REQUEUED"),
        (["PENDING", "REQUEUE_HOLD"], "REQUEUE_HOLD"),
        (["FAILED", "LAUNCH_FAILED"], "FAILED"),
        (["COMPLETED", "SOMETHING_NEW"], "SOMETHING_NEW"),
    ],
)
def test_a_state_and_its_flags_are_one_word(shown, meant):
    assert word(shown) == meant


@pytest.mark.parametrize("shown", [[], "", [""]])
def test_a_job_without_a_state_is_none(shown):
    with pytest.raises(KeyError):
        word(shown)


@pytest.mark.parametrize("state", sorted(STATES))
def test_every_state_is_read_as_a_word_and_as_a_list(state):
    for shown in (state, [state]):
        assert read_job({"job_id": 1, "job_state": shown}).job_state is STATES[state]
        assert read_job({"job_id": 1, "state": {"current": shown}}).job_state is STATES[state]


def test_every_state_of_the_rest_api_has_a_meaning():
    # JOB_STATE of the schema of v0.0.43.
    known = """PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE
        OUT_OF_MEMORY LAUNCH_FAILED REQUEUED REQUEUE_HOLD SPECIAL_EXIT RESIZING CONFIGURING COMPLETING STOPPED
        RECONFIG_FAIL POWER_UP_NODE REVOKED REQUEUE_FED RESV_DEL_HOLD SIGNALING STAGE_OUT EXPEDITING"""
    assert set(known.split()) == set(STATES)


@pytest.mark.parametrize(
    ("shown", "meant"),
    [
        (7, 7),
        (0, 0),
        ({"set": True, "infinite": False, "number": 7}, 7),
        ({"set": True, "number": 7}, 7),
        ({"set": False, "infinite": False, "number": 7}, None),
        ({"set": True, "infinite": True, "number": 0}, None),
        (4294967294, None),
        (4294967295, None),
        (None, None),
        (True, None),
        ("7", None),
    ],
)
def test_a_number_is_bare_or_an_object(shown, meant):
    assert number(shown) == meant


def test_no_time_is_nought():
    assert moment(0) is None
    assert moment({"set": True, "infinite": False, "number": 0}) is None
    assert moment(1795592852) == datetime(2026, 11, 25, 7, 47, 32, tzinfo=UTC)


def test_a_request_of_the_first_version_has_words_and_numbers():
    request = job_request("v0.0.38", spec(), "als-1", "#!/bin/bash\n", {"PATH": "/bin"}, "batch")
    assert request == {
        "script": "#!/bin/bash\n",
        "job": {
            "name": "als-1",
            "comment": "als-1",
            "account": "als832",
            "qos": "normal",
            "partition": "batch",
            "nodes": [2, 2],
            "tasks_per_node": 1,
            "cpus_per_task": 8,
            "time_limit": 15,
            "exclusive": "exclusive",
            "current_working_directory": "/lustre/als/logs",
            "environment": {"PATH": "/bin"},
            "standard_output": "/lustre/als/logs/%x_%j.out",
            "standard_error": "/lustre/als/logs/%x_%j.err",
        },
    }


@pytest.mark.parametrize("version", LATER)
def test_a_request_of_a_later_version_has_objects_and_holds_its_script(version):
    request = job_request(version, spec(constraint="nvme"), "als-1", "#!/bin/bash\n", {"PATH": "/bin"}, None)
    job = request["job"]
    assert set(request) == {"job"}
    assert (job["script"], job["environment"], job["time_limit"]) == ("#!/bin/bash\n", ["PATH=/bin"], OBJECT_OF_15)
    assert (job["minimum_nodes"], job["maximum_nodes"], job["shared"]) == (2, 2, ["none"])
    assert job["constraints"] == "nvme"
    assert not {"partition", "nodes", "exclusive"} & set(job)


def test_a_job_that_may_share_its_node_says_nothing_of_that():
    for version in VERSIONS:
        job = job_request(version, spec(exclusive=False), "als-1", "", {"PATH": "/bin"}, None)["job"]
        assert not {"shared", "exclusive"} & set(job)


@pytest.mark.parametrize(
    ("node", "usable"),
    [
        ({"state": "idle", "state_flags": []}, 1),
        ({"state": "allocated", "state_flags": ["COMPLETING"]}, 1),
        ({"state": "down", "state_flags": []}, 0),
        ({"state": "idle", "state_flags": ["DRAIN"]}, 0),
        ({"state": ["IDLE"]}, 1),
        ({"state": ["MIXED", "RESERVED"]}, 1),
        ({"state": ["IDLE", "DRAIN"]}, 0),
        ({"state": ["DOWN", "NOT_RESPONDING"]}, 0),
        ({}, 1),
    ],
)
def test_a_node_that_is_down_or_drained_cannot_be_used(node, usable):
    assert usable_nodes([node]) == usable


def test_only_a_reservation_for_maintenance_is_an_outage():
    start, end = datetime(2026, 12, 1, 12, tzinfo=UTC), datetime(2026, 12, 1, 20, tzinfo=UTC)
    bare = {"name": "pm", "flags": ["MAINT", "SPEC_NODES"], "start_time": 1796126400, "end_time": 1796155200}
    times = {"start_time": {"set": True, "number": 1796126400}, "end_time": {"set": True, "number": 1796155200}}
    assert (
        maintenance([bare]) == maintenance([{**bare, **times}]) == (Outage(start, end, "maintenance (reservation pm)"),)
    )
    assert maintenance([{**bare, "flags": ["DAILY"]}, {**bare, "start_time": 0}, {}]) == ()
