"""What of ours goes on elsewhere: found at every service, joined with the ledger, ended by name."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from als_assets.operations.remote_work import Everything, Piece, cancel, look
from beamlines.layout import Artifact
from resources.database import remote_work
from resources.facilities import JobSpec
from resources.identities import DELETES, TRANSFERS
from resources.ledger import Ledger
from resources.owner import Owner
from resources.waiting import APPEARS_WITHIN
from resources.work import CLIENT, Claimed, Record, WorkKey, WorkState
from tests.als_assets.conftest import Platform
from twin.faults import Fault

GONE = replace(Owner.this_process("run-of-a-dead-worker"), pid=2**22 + 1)
JOBS = ("bl832/pscratch/raw", "bl832/pscratch/tiff", "bl832/pscratch/zarr")


@pytest.fixture
def parts(platform: Platform) -> Any:
    with dg.build_resources(platform.resources, instance=platform.instance) as made:
        yield made
        ledger = Ledger(platform.database)
        for record in ledger.in_flight():  # what one test leaves in flight is no other's
            ledger.finish(record, WorkState.CANCELED, {}, datetime.now(UTC))
        for piece in look(made.ending).pieces:
            list(cancel(made.ending, [piece]))


def in_flight(platform: Platform, key: WorkKey, facility: str | None = None, handle: str | None = None) -> Record:
    """A row as a worker that was killed has left it."""
    ledger, now = Ledger(platform.database), datetime.now(UTC)
    claim = ledger.claim(key, GONE, now)
    assert isinstance(claim, Claimed)
    record = ledger.store_intent(claim.record, {"facility": facility} if facility else {"submission_id": "s"}, now)
    return record if handle is None else ledger.store_handle(record, handle, now)


def aged(platform: Platform, record: Record) -> None:
    """Nobody has been at it for long."""
    before = datetime.now(UTC) - APPEARS_WITHIN - timedelta(seconds=1)
    with platform.database.engine.begin() as connection:
        connection.execute(sa.update(remote_work).where(remote_work.c.key == record.key).values(updated=before))


def job_of(platform: Platform, parts: Any, name: str) -> str:
    """A job that waits in the queue at NERSC."""
    platform.hold_jobs()
    rules = platform.settings.beamline.facilities["nersc"]
    spec = JobSpec("small", (), platform.settings.beamline.places["pscratch"], "sleep 60\n", rules.resources)
    return str(parts.facilities["nersc"].submit(spec, name))


def task_of(platform: Platform, parts: Any, name: str, path: str) -> str:
    """A transfer that does not begin for long."""
    key = platform.measured(path)
    platform.twin.control.board.change({"start_delay_s": 600})
    globus = parts.globus.transfers
    places = platform.settings.beamline.places
    from resources.globus import Paths

    paths = [Paths(f"/raw/{path}", f"/data/raw/{path}.copy", None)]
    assert platform.file("spot832", Artifact.RAW, key).exists()
    return str(
        globus.submit_transfer(
            places["spot832"].collection,
            places["data832"].collection,
            paths,
            skip_equal=False,
            label=name,
            submission_id=globus.new_submission_id(),
            deadline=datetime.now(UTC) + timedelta(hours=1),
        )
    )


def delete_of(platform: Platform, parts: Any, name: str) -> str:
    """A delete that does not begin for long."""
    platform.twin.control.board.change({"start_delay_s": 600})
    globus = parts.globus.deletes
    return str(
        globus.submit_delete(
            platform.settings.beamline.places["data832"].collection,
            "/data/raw/remote/to-be-deleted.h5",
            recursive=False,
            label=name,
            submission_id=globus.new_submission_id(),
            deadline=datetime.now(UTC) + timedelta(hours=1),
        )
    )


def delete_in_flight(platform: Platform, parts: Any, partition: str) -> tuple[Record, str]:
    """A delete whose worker was killed, and its task."""
    ledger, now = Ledger(platform.database), datetime.now(UTC)
    claim = ledger.claim(WorkKey("bl832/data832/raw#retention 1", partition, "", ""), GONE, now)
    assert isinstance(claim, Claimed)
    record = ledger.store_intent(claim.record, {"submission_id": "s", CLIENT: parts.globus.deletes.client_id}, now)
    task = delete_of(platform, parts, record.name)
    return ledger.store_handle(record, task, now), task


def piece_of(found: Everything, name: str) -> Piece:
    [piece] = [piece for piece in found.pieces if piece.name == name]
    return piece


def ended(platform: Platform, handle: str) -> bool:
    return bool(platform.outside_has_ended(SimpleNamespace(handle=handle)))  # type: ignore[arg-type]


def unknown_name(platform: Platform, number: int) -> str:
    return f"als-{platform.database.installation}-{number:032x}-1"


def test_a_job_whose_worker_is_dead_is_shown_with_its_row_and_is_no_orphan(platform: Platform, parts: Any) -> None:
    record = in_flight(platform, WorkKey("bl832/pscratch/tiff", "remote/'; $(x)", "", "1"), facility="nersc")
    job = job_of(platform, parts, record.name)
    Ledger(platform.database).store_handle(record, job, datetime.now(UTC))
    piece = piece_of(look(parts.ending), record.name)
    assert piece.there is not None
    assert (piece.service, piece.there.remote_id, piece.there.ended) == ("nersc", job, False)
    assert piece.record is not None
    assert (piece.record.state, piece.record.owner.run_id) == (WorkState.SUBMITTED, GONE.run_id)
    assert "is gone" in str(piece.death)
    assert not piece.is_orphan


def test_jobs_and_transfers_that_no_record_knows_are_orphans_and_are_cancelled(platform: Platform, parts: Any) -> None:
    names = [unknown_name(platform, number) for number in (1, 2)]
    job, task = job_of(platform, parts, names[0]), task_of(platform, parts, names[1], "remote/orphan.h5")
    pieces = [piece_of(look(parts.ending), name) for name in names]
    assert [(piece.is_orphan, piece.record) for piece in pieces] == [(True, None)] * 2
    assert [piece.there.remote_id for piece in pieces if piece.there] == [job, task]
    assert [problem for _, problem in cancel(parts.ending, pieces)] == [None, None]
    platform.eventually(lambda: ended(platform, job) and ended(platform, task))
    assert look(parts.ending).pieces == []


def test_work_that_goes_on_though_the_ledger_calls_it_ended_is_an_orphan(platform: Platform, parts: Any) -> None:
    record = in_flight(platform, WorkKey("bl832/pscratch/tiff", "remote/ended", "", "1"), facility="nersc")
    Ledger(platform.database).finish(record, WorkState.CANCELED, {}, datetime.now(UTC))
    job_of(platform, parts, record.name)
    piece = piece_of(look(parts.ending), record.name)
    assert piece.is_orphan
    assert piece.record is not None
    assert piece.record.state is WorkState.CANCELED


def test_a_second_job_of_the_same_name_is_an_orphan_and_is_cancelled_alone(platform: Platform, parts: Any) -> None:
    record = in_flight(platform, WorkKey("bl832/pscratch/tiff", "remote/twice", "", "1"), facility="nersc")
    job, second = job_of(platform, parts, record.name), job_of(platform, parts, record.name)
    Ledger(platform.database).store_handle(record, job, datetime.now(UTC))
    pieces = {piece.there.remote_id: piece for piece in look(parts.ending).pieces if piece.there}
    assert {remote_id: piece.is_orphan for remote_id, piece in pieces.items()} == {job: False, second: True}
    assert [problem for _, problem in cancel(parts.ending, [pieces[second]])] == [None]
    platform.eventually(lambda: ended(platform, second))
    assert not ended(platform, job)
    assert Ledger(platform.database).get(record.key, 1).in_flight


def test_what_is_ours_of_another_database_and_what_is_not_ours_is_not_shown(platform: Platform, parts: Any) -> None:
    for name in (f"als-00000000-{3:032x}-1", "somebody-elses"):
        job_of(platform, parts, name)
    assert look(parts.ending).pieces == []


def test_work_in_flight_is_cancelled_at_its_service_and_in_the_ledger(platform: Platform, parts: Any) -> None:
    record = in_flight(platform, WorkKey("bl832/data832/raw", "remote/transfer", "", "1"))
    task = task_of(platform, parts, record.name, "remote/transfer.h5")
    found = look(parts.ending)
    assert [problem for _, problem in cancel(parts.ending, found.named([task]))] == [None]
    row = Ledger(platform.database).get(record.key, 1)
    assert (row.state, row.evidence) == (WorkState.CANCELED, {"handle": task, "detail": "canceled by a person"})
    platform.eventually(lambda: ended(platform, task))


@pytest.mark.parametrize(
    ("facility", "handle"), [("nersc", "999999"), (None, "00000000-0000-4000-8000-000000000832")], ids=["job", "task"]
)
def test_what_its_service_does_not_know_is_shown_as_lost_when_it_is_not_new_and_is_closed_in_the_ledger(
    platform: Platform, parts: Any, facility: str | None, handle: str
) -> None:
    key = WorkKey("bl832/nersc/raw", f"remote/lost-{facility}", "", "1")
    record = in_flight(platform, key, facility=facility, handle=handle)
    assert not piece_of(look(parts.ending), record.name).is_lost
    aged(platform, record)
    piece = piece_of(look(parts.ending), record.name)
    assert (piece.is_lost, piece.is_orphan) == (True, False)
    assert [problem for _, problem in cancel(parts.ending, [piece])] == [None]
    assert Ledger(platform.database).get(record.key, 1).state is WorkState.CANCELED


def test_deletes_are_shown_as_the_client_that_asks_for_them_sees_them_and_are_cancelled(
    platform: Platform, parts: Any
) -> None:
    orphan = unknown_name(platform, 6)
    tasks = [delete_of(platform, parts, orphan)]
    record, task = delete_in_flight(platform, parts, "remote/delete")
    pieces = [piece_of(look(parts.ending), name) for name in (orphan, record.name)]
    assert [(piece.service, piece.is_orphan, piece.is_lost) for piece in pieces] == [
        (DELETES, True, False),
        (DELETES, False, False),
    ]
    assert [problem for _, problem in cancel(parts.ending, pieces)] == [None, None]
    platform.eventually(lambda: all(ended(platform, one) for one in (*tasks, task)))
    assert look(parts.ending).pieces == []
    assert Ledger(platform.database).get(record.key, 1).state is WorkState.CANCELED


def test_a_delete_that_died_before_its_handle_was_stored_is_found_and_cancelled(platform: Platform, parts: Any) -> None:
    ledger, now = Ledger(platform.database), datetime.now(UTC)
    claim = ledger.claim(WorkKey("bl832/data832/raw#retention 2", "remote/delete", "", ""), GONE, now)
    assert isinstance(claim, Claimed)
    record = ledger.store_intent(claim.record, {"submission_id": "s", CLIENT: parts.globus.deletes.client_id}, now)
    task = delete_of(platform, parts, record.name)
    assert parts.ending.end(record, "a person") is not None
    assert ended(platform, task)


def test_the_secret_of_the_client_that_deletes_hides_nothing_of_the_other(
    platform: Platform, parts: Any, deletes_secret: Path
) -> None:
    name = unknown_name(platform, 7)
    task_of(platform, parts, name, "remote/seen.h5")
    record, _ = delete_in_flight(platform, parts, "remote/unseen")
    deletes_secret.write_text("wrong")
    found = look(parts.ending)
    [problem] = found.problems
    assert problem.startswith(f"{DELETES}: ")
    assert parts.globus.deletes.client_id in problem
    assert {piece.name for piece in found.pieces} == {name, record.name}
    assert not piece_of(found, record.name).asked


@pytest.mark.parametrize(
    ("match", "silent", "other"),
    [("* /superfacility/compute/*", ["nersc"], "globus"), ("GET */task_list", [TRANSFERS, DELETES], "nersc")],
)
def test_a_service_that_does_not_answer_is_named_and_the_others_are_shown(
    platform: Platform, parts: Any, match: str, silent: list[str], other: str
) -> None:
    names = {"nersc": unknown_name(platform, 4), "globus": unknown_name(platform, 5)}
    job_of(platform, parts, names["nersc"])
    task_of(platform, parts, names["globus"], f"remote/{silent[0]}-is-silent.h5")
    record = in_flight(
        platform, WorkKey("bl832/nersc/raw", f"remote/{silent[0]}", "", "1"), None if other == "nersc" else "nersc", "7"
    )
    platform.twin.control.injector.add(Fault(match=match, status=503, times=100))
    found = look(parts.ending)
    platform.twin.control.injector.clear()
    assert [problem.partition(":")[0] for problem in found.problems] == silent
    assert {piece.name for piece in found.pieces} == {names[other], record.name}
    unasked = piece_of(found, record.name)
    assert (unasked.asked, unasked.is_lost) == (False, False)


def test_what_cannot_be_cancelled_is_named_and_left_to_whoever_comes_next(platform: Platform, parts: Any) -> None:
    record = in_flight(platform, WorkKey("bl832/data832/raw", "remote/cannot", "", "1"))
    task_of(platform, parts, record.name, "remote/cannot.h5")
    found = look(parts.ending)
    platform.twin.control.injector.add(Fault(match="POST */cancel", status=503, times=100))
    [(_, problem)] = cancel(parts.ending, found.pieces)
    platform.twin.control.injector.clear()
    assert "503" in str(problem)
    row = Ledger(platform.database).get(record.key, 1)
    assert (row.in_flight, row.owner.pid) == (True, 0)


def test_a_name_that_is_not_there_is_refused_before_anything_is_cancelled() -> None:
    with pytest.raises(ValueError, match="nothing of ours is called 'nosuch'"):
        Everything().named(["nosuch"])
