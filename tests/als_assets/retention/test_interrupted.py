"""A pass that is killed, cut off or terminated at any moment: what it began is finished or given up, once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from beamlines.decisions import Reason
from resources.certificates import Certificates
from resources.chain import What
from resources.facilities.checksums import reads_copies
from resources.owner import Owner
from resources.work import WorkState
from tests.als_assets.retention.carrying import CANDIDATE, KEEPER, READ_THERE, Room, make_room
from tests.resources.facilities.shelf import here
from twin.faults import Fault
from twin.globus.task import Kind
from twin.scheduler import JobFault
from twin.testing import eventually
from twin.traps import Moment, Release, Trap

SUBMISSION_ID, SUBMIT = "GET */v0.10/submission_id", "POST */v0.10/delete"
LOOK_UP, TASK, LISTING, STAT = "GET */v0.10/task_list", "GET */v0.10/task/*", "GET */ls", "GET */stat"
JOB_SUBMIT, JOB_STATE = "POST /superfacility/compute/jobs/*", "GET /superfacility/compute/jobs/*"
JOB_ANSWER = "GET /superfacility/utilities/download/*"
CAUGHT_S = 30.0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    with make_room(tmp_path_factory.mktemp("interrupted")) as room:
        yield room


@pytest.fixture
def room(shared: Room) -> Iterator[Room]:
    shared.twin.control.reset()
    shared.twin.control.board.change({"retry_delay_s": 0.02})
    yield shared
    shared.twin.control.reset()


@pytest.fixture
def key(room: Room, request: pytest.FixtureRequest) -> str:
    return room.product(named_after(request))


def named_after(request: pytest.FixtureRequest) -> str:
    """A scan's name that no other test has."""
    return f"20260101_{abs(hash(request.node.nodeid)) % 10**6:06d}_a"


def killed_at(room: Room, key: str, trap: Trap, release: Release | None = Release.DROP) -> Any:
    """Start a pass, and kill it when its request is caught; the trap, where that is still to be released."""
    caught = room.twin.control.injector.traps.set(trap)
    process = room.start(key)
    assert caught.await_catch(CAUGHT_S), "the pass never came to this request"
    process.kill()
    process.join()
    if release is not None:
        caught.release(release)
    return caught


def ended_well(room: Room, key: str, keeper: str = KEEPER) -> None:
    """One deletion, with all that must be known of it, and nothing left open or under way."""
    states = [certificate.state for certificate in room.certificates(key)]
    assert states.count(What.DONE) == 1
    assert set(states) <= {What.DONE, What.GIVEN_UP}
    assert not room.lies(CANDIDATE, key)
    assert not room.listed(CANDIDATE, key)
    assert room.is_intact(keeper, key)
    assert sorted(Path(path.rstrip("/")).suffix for path in room.deletes(key)) == ["", ".json"]
    assert room.told(key) >= 1
    assert room.in_flight(key) == []
    assert room.open(key) == []
    room.tables.certificates.verify()


def test_what_nothing_disturbs_goes_in_one_pass(room: Room, key: str) -> None:
    assert room.carry_out(key), room.said
    ended_well(room, key)
    assert room.told(key) == 1


KILLED = {
    "between proof and certificate": Trap(match=LISTING, nth=4),
    "between certificate and intent": Trap(match=SUBMISSION_ID),
    "before the submit": Trap(match=LOOK_UP),
    "in the submit, not executed": Trap(match=SUBMIT),
    "in the submit, executed": Trap(match=SUBMIT, moment=Moment.EXECUTED),
    "after the answer": Trap(match=TASK),
    "when the copy is gone": Trap(match=STAT),
    "between the copy and its manifest": Trap(match=SUBMISSION_ID, nth=2),
    "in the submit of the manifest, executed": Trap(match=SUBMIT, nth=2, moment=Moment.EXECUTED),
    "before the certificate is complete": Trap(match=STAT, nth=3),
}


@pytest.mark.parametrize("moment", KILLED)
def test_what_a_killed_pass_has_begun_the_next_one_ends(room: Room, key: str, moment: str) -> None:
    killed_at(room, key, KILLED[moment])
    assert room.carry_out(key), room.said
    ended_well(room, key)


def test_a_submit_that_arrives_after_its_worker_is_dead_makes_no_second_task(room: Room, key: str) -> None:
    late = killed_at(room, key, Trap(match=SUBMIT), release=None)
    assert room.carry_out(key), room.said
    late.release()
    eventually(lambda: len(room.twin.control.injector.requests(SUBMIT)) == 3)
    ended_well(room, key)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(match=SUBMIT, after=True, drop=True),
        Fault(match=SUBMIT, drop=True),
        Fault(match=SUBMIT, after=True, status=503),
        Fault(match=SUBMIT, status=503, times=2),
        Fault(match=SUBMIT, status=401),
        Fault(match=TASK, status=503, times=3),
        Fault(match=SUBMISSION_ID, status=503, times=4),
        Fault(match=STAT, status=503, times=2),
        Fault(match=SUBMIT, after=True, drop=True, skip=1),
        Fault(match=SUBMIT, drop=True, skip=1),
        Fault(match=SUBMIT, after=True, status=503, skip=1),
        Fault(match=SUBMISSION_ID, status=503, times=4, skip=1),
        Fault(match=LOOK_UP, status=503, times=4, skip=1),
        Fault(match=TASK, after=True, drop=True, skip=1),
        Fault(match=STAT, after=True, drop=True, skip=1),
    ],
    ids=lambda fault: f"{fault.match} {fault.status or 'dropped'}{' after' * fault.after} {fault.skip}",
)
def test_lost_answers_and_outages_delay_a_deletion_and_double_none(room: Room, key: str, fault: Fault) -> None:
    room.twin.control.injector.add(fault)
    room.carry_out(key)
    room.twin.control.injector.clear()
    assert room.carry_out(key), room.said
    ended_well(room, key)


# -- what comes between ------------------------------------------------------------------------------------------


def test_a_hold_that_comes_between_is_kept_where_nothing_may_have_gone_yet(room: Room, key: str) -> None:
    killed_at(room, key, KILLED["in the submit, not executed"])
    now = datetime.now(UTC)
    hold = room.tables.holds.hold_scan(key, author="dula", note="a paper", at=now)
    assert not room.carry_out(key)
    assert "a paper" in room.said[0]
    assert room.is_intact(CANDIDATE, key)
    room.tables.holds.release(hold.id, author="dula", note="printed", at=now)
    assert room.carry_out(key), room.said
    ended_well(room, key)


@pytest.mark.parametrize("how", ["restricted", "changed"])
def test_a_scan_that_people_must_look_at_since_is_not_deleted_any_further(room: Room, key: str, how: str) -> None:
    killed_at(room, key, KILLED["in the submit, not executed"])
    standings, now = room.tables.standings, datetime.now(UTC)
    if how == "restricted":
        standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="a test", at=now)
    else:
        standings.changed(key, "7 bytes", at=now)
    assert not room.carry_out(key)
    assert how in room.said[0]
    assert room.is_intact(CANDIDATE, key)


def test_a_keeper_that_was_damaged_since_blocks_what_was_begun(room: Room, key: str) -> None:
    killed_at(room, key, KILLED["in the submit, not executed"])
    (here(room.asked(KEEPER, key)) / "a_0000.tif").write_bytes(b"slice onf")
    assert not room.carry_out(key)
    assert KEEPER in room.said[0]
    assert room.is_intact(CANDIDATE, key)


@pytest.mark.parametrize("secret", ["wrong", ""])
def test_without_the_secret_of_the_client_that_deletes_nothing_goes_and_afterwards_it_does(
    room: Room, key: str, secret: str
) -> None:
    client = room.settings.deployment.globus.deletes
    assert client is not None
    file = Path(str(client.client_secret.file))
    before = file.read_text()
    file.write_text(secret)
    try:
        assert not room.carry_out(key)
    finally:
        file.write_text(before)
    assert client.client_id in room.said[0]
    assert room.is_intact(CANDIDATE, key)
    assert room.deletes(key) == []
    assert room.carry_out(key), room.said
    ended_well(room, key)


def test_every_delete_is_asked_for_by_the_client_that_deletes(room: Room, key: str) -> None:
    assert room.carry_out(key), room.said
    deleted = [task for task in room.twin.engine.tasks() if task.kind is Kind.DELETE]
    client = room.settings.deployment.globus.deletes
    assert client is not None
    assert {task.owner for task in deleted} == {client.client_id}


@pytest.mark.parametrize("moment", ["in the submit, not executed", "in the submit, executed", "when the copy is gone"])
def test_a_copy_that_was_made_again_meanwhile_is_a_new_copy(room: Room, key: str, moment: str) -> None:
    killed_at(room, key, KILLED[moment])
    eventually(lambda: all(task.status != "ACTIVE" for task in room.twin.engine.tasks()))
    room.put(CANDIDATE, key)
    assert room.carry_out(key, dry_run=False), room.said
    assert room.open(key) == []
    assert room.in_flight(key) == []
    *earlier, last = room.certificates(key)
    assert earlier, "what was begun for the first copy says nothing of the second"
    assert last.deletion.storage_id > earlier[0].deletion.storage_id
    assert (last.state, room.lies(CANDIDATE, key)) == (What.DONE, False)


def test_a_new_copy_that_is_young_stays_when_an_old_deletion_is_ended(room: Room, key: str) -> None:
    killed_at(room, key, KILLED["in the submit, executed"])
    eventually(lambda: all(task.status != "ACTIVE" for task in room.twin.engine.tasks()))
    room.put(CANDIDATE, key)
    hold = room.tables.holds.hold_scan(key, author="dula", note="a paper", at=datetime.now(UTC))
    assert room.carry_out(key), room.said
    assert room.is_intact(CANDIDATE, key)
    assert room.listed(CANDIDATE, key)
    assert room.open(key) == []
    assert room.in_flight(key) == []
    room.tables.holds.release(hold.id, author="dula", note="printed", at=datetime.now(UTC))


def test_half_a_product_is_finished_by_the_next_pass(room: Room, key: str) -> None:
    killed_at(room, key, KILLED["in the submit, not executed"])
    (here(room.asked(CANDIDATE, key)) / "a_0001.tif").unlink()
    assert room.carry_out(key), room.said
    ended_well(room, key)


# -- while a facility reads --------------------------------------------------------------------------------------


HANGS = JobFault(kind="hang")
THERE: dict[str, tuple[list[JobFault], Trap]] = {
    "before its submit": ([], Trap(match=JOB_SUBMIT)),
    "in its submit, executed": ([HANGS], Trap(match=JOB_SUBMIT, moment=Moment.EXECUTED)),
    "while it runs": ([HANGS], Trap(match=JOB_STATE, nth=3)),
    "when its answer is fetched": ([], Trap(match=JOB_ANSWER)),
}
"""What the job does, and at which request the pass is killed."""


@pytest.mark.parametrize("moment", THERE)
def test_a_pass_killed_while_a_job_reads_its_keeper_proves_nothing_and_the_next_one_reads_again(
    room: Room, request: pytest.FixtureRequest, moment: str
) -> None:
    key = room.product(named_after(request), READ_THERE)
    faults, trap = THERE[moment]
    for fault in faults:
        room.nersc.inject(fault)
    killed_at(room, key, trap)
    assert (room.certificates(key), room.deletes(key)) == ([], [])
    assert room.is_intact(CANDIDATE, key)
    left = {job.job_id for job in room.nersc.jobs()}
    assert room.carry_out(key), room.said
    ended_well(room, key, READ_THERE)
    [certificate] = room.certificates(key)
    [keeper] = certificate.deletion.keepers
    assert (keeper.asset, keeper.job) == (READ_THERE, str(max(job.job_id for job in room.nersc.jobs())))
    assert int(keeper.job) not in left
    assert [record.said for record in room.tables.ledger.in_flight() if reads_copies(record)] == []
    eventually(lambda: all(job.ended for job in room.nersc.jobs()))


# -- by this process ---------------------------------------------------------------------------------------------


def test_a_deletion_that_dies_as_it_is_completed_is_told_and_completed(
    room: Room, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(Certificates, "finish", lambda *_: (_ for _ in ()).throw(MemoryError("as good as dead")))
        assert not room.carry_out(key)
    assert [one.state for one in room.certificates(key)] == [What.BEGUN]
    assert room.carry_out(key), room.said
    ended_well(room, key)


def test_a_pass_that_a_person_terminates_ends_its_task_and_deletes_nothing_more(room: Room, key: str) -> None:
    room.twin.control.board.change({"start_delay_s": 60})
    caught = room.twin.control.injector.traps.set(Trap(match=TASK, moment=Moment.ANSWERED))
    process = room.start(key)
    assert caught.await_catch(CAUGHT_S)
    [run] = room.instance.get_runs(limit=1)
    room.instance.report_run_canceling(run)
    process.join(CAUGHT_S)
    assert process.exitcode is not None
    room.twin.control.board.change({"start_delay_s": 0})
    assert room.is_intact(CANDIDATE, key)
    assert room.in_flight(key) == []
    assert room.carry_out(key), room.said
    assert not room.lies(CANDIDATE, key)
    assert [one.state for one in room.certificates(key)] == [What.DONE]


def test_two_passes_at_once_wait_for_each_other(room: Room, key: str) -> None:
    caught = room.twin.control.injector.traps.set(Trap(match=SUBMIT))
    first = room.start(key)
    assert caught.await_catch(CAUGHT_S)
    second = room.start(key)
    eventually(lambda: _waits(room))
    caught.release()
    first.join(CAUGHT_S)
    second.join(CAUGHT_S)
    ended_well(room, key)
    assert len(room.certificates(key)) == 1


def _waits(room: Room) -> bool:
    [run] = room.instance.get_runs(limit=1)
    said = [entry.user_message for entry in room.instance.all_logs(run.run_id)]
    return any("waits for its turn" in text for text in said)


def test_a_pass_that_loses_its_turn_while_keepers_are_read_deletes_nothing_more(room: Room, key: str) -> None:
    caught = room.twin.control.injector.traps.set(KILLED["between proof and certificate"])
    process = room.start(key)
    assert caught.await_catch(CAUGHT_S)
    ledger, now = room.tables.ledger, datetime.now(UTC)
    [turn] = [record for record in ledger.in_flight() if record.asset.endswith("#turn")]
    taken = ledger.seize(turn, Owner.this_process("another pass"), now)
    caught.release()
    process.join(CAUGHT_S)
    assert process.exitcode is not None
    assert room.is_intact(CANDIDATE, key)
    assert (room.certificates(key), room.deletes(key)) == ([], [])
    ledger.finish(taken, WorkState.SUCCEEDED, {}, now)
    assert room.carry_out(key), room.said
    ended_well(room, key)


def test_a_work_key_is_of_one_certificate_alone(room: Room, key: str) -> None:
    assert room.carry_out(key), room.said
    room.put(CANDIDATE, key)
    assert room.carry_out(key), room.said
    assert [one.state for one in room.certificates(key)] == [What.DONE, What.DONE]
    assert len(set(room.deletes(key))) == 2
    assert len(room.deletes(key)) == 4
