"""Lost answers, killed workers, several workers: whatever happens, there is one task."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from resources.errors import EpochLostError, WorkFailedError
from resources.remote import RemoteStatus
from resources.testing import QUICK, Desk
from resources.transfer import CopyRequest
from resources.work import Record, WorkState
from twin.faults import Fault
from twin.server import Twin
from twin.testing import eventually

PROJECT = Path(__file__).parents[2]
CONTENT = b"a scan" * 1000

WORKER = """
import sys
from pathlib import Path
from resources.database import Database
from resources.ledger import Ledger
from resources.settings import load_settings, secret
from resources.testing import QUICK, Desk

state, url, ledger, path = sys.argv[1:]
settings = load_settings(Path("config/twin.yaml"), {"ALS_STATE": state, "ALS_TWIN_URL": url})
globus = settings.deployment.globus
desk = Desk(settings.beamline, globus, secret(globus.client_secret), Ledger(Database(ledger)), run_id="killed")
desk.copy(desk.request(path))
"""


@contextmanager
def worker(twin: Twin, desk: Desk, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that copies ``path`` and waits for it; killed at the end."""
    arguments = [str(twin.world.state_dir), twin.url, desk.ledger.database.url, path]
    process = subprocess.Popen([sys.executable, "-c", WORKER, *arguments], cwd=PROJECT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def labelled(twin: Twin, desk: Desk, request: CopyRequest) -> list[str]:
    return [
        task.id
        for task in twin.engine.tasks()
        if str(task.document.label).startswith(f"als-{desk.ledger.database.installation}-{desk.key(request).digest}")
    ]


def record_of(desk: Desk, request: CopyRequest) -> Record | None:
    return desk.ledger.last(desk.key(request))


@pytest.mark.parametrize("lost", [{"drop": True}, {"status": 503}, {"status": 200, "body": {}}], ids=str)
def test_a_submit_whose_answer_was_lost_makes_one_task(desk: Desk, twin: Twin, lost: dict[str, Any]) -> None:
    request = desk.scan(f"lost/{next(iter(lost))}{len(lost)}.h5", CONTENT)
    twin.control.injector.add(Fault(match="POST */v0.10/transfer", after=True, **lost))
    receipt = desk.copy(request)
    assert labelled(twin, desk, request) == [receipt.task_id]


def test_a_submit_that_the_client_itself_repeats_makes_one_task(desk: Desk, twin: Twin) -> None:
    request = desk.scan("lost/repeated.h5", CONTENT)
    twin.control.injector.add(Fault(match="POST */v0.10/transfer", after=True, drop=True))
    receipt = desk.but(retries=1).copy(request)
    assert labelled(twin, desk, request) == [receipt.task_id]


def test_a_submit_that_never_arrived_is_repeated(desk: Desk, twin: Twin) -> None:
    request = desk.scan("lost/never.h5", CONTENT)
    twin.control.injector.add(Fault(match="POST */v0.10/transfer", status=503))
    twin.control.injector.add(Fault(match="GET */v0.10/task_list", delay_s=0.01))
    twin.control.injector.add(Fault(match="GET */v0.10/task_list", status=503, times=2))
    receipt = desk.copy(request)
    assert labelled(twin, desk, request) == [receipt.task_id]


def test_the_copy_of_a_worker_that_was_killed_is_found_again(desk: Desk, twin: Twin) -> None:
    request = desk.scan("killed/a.h5", CONTENT)
    twin.control.board.change({"bandwidth_bytes_per_s": 100.0})
    with worker(twin, desk, "killed/a.h5") as process:
        started = eventually(lambda: (r := record_of(desk, request)) and r.state is WorkState.SUBMITTED and r)
        process.kill()
    twin.control.board.change({"bandwidth_bytes_per_s": None})
    receipt = desk.copy(request)
    assert labelled(twin, desk, request) == [receipt.task_id] == [started.handle]
    assert (started.owner.run_id, started.epoch) == ("killed", 1)
    assert desk.pulses.records[0].epoch == 2


def test_a_worker_that_is_killed_between_submit_and_answer_leaves_one_task(desk: Desk, twin: Twin) -> None:
    request = desk.scan("killed/b.h5", CONTENT)
    twin.control.injector.add(Fault(match="POST */v0.10/transfer", after=True, status=503, delay_s=2))
    with worker(twin, desk, "killed/b.h5"):
        eventually(lambda: labelled(twin, desk, request))
    twin.control.injector.clear_log()
    eventually(lambda: twin.control.injector.requests("POST */v0.10/transfer"))
    left = record_of(desk, request)
    assert left is not None
    assert (left.state, left.handle) == (WorkState.INTENT, None)
    receipt = desk.copy(request)
    assert labelled(twin, desk, request) == [receipt.task_id]


def test_beside_a_living_worker_the_second_one_watches(desk: Desk, twin: Twin) -> None:
    request = desk.scan("watched/a.h5", CONTENT)
    first = desk.transfer.begin(request, desk.key(request))
    other = desk.but(run_id="second")
    second = other.transfer.begin(request, other.key(request))
    assert (first.attempt.owned, second.attempt.owned) == (True, False)
    receipt = desk.transfer.finish(first, desk.pulses)
    assert other.transfer.finish(second, other.pulses) == receipt
    assert labelled(twin, desk, request) == [receipt.task_id]


def test_what_a_worker_let_go_the_next_one_takes_up(desk: Desk, twin: Twin) -> None:
    request = desk.scan("released/a.h5", CONTENT)
    desk.transfer.begin(request, desk.key(request))
    desk.remote.release_open()
    receipt = desk.but(run_id="next").copy(request)
    assert labelled(twin, desk, request) == [receipt.task_id]


def test_a_worker_that_lost_its_copy_stops_and_leaves_the_task_alone(desk: Desk, twin: Twin) -> None:
    request = desk.scan("taken/a.h5", CONTENT)
    pending = desk.transfer.begin(request, desk.key(request))
    taken = desk.ledger.take_over(pending.attempt.record, desk.owner, desk.clock.now())
    assert taken is not None
    with pytest.raises(EpochLostError):
        desk.transfer.finish(pending, desk.pulses)
    assert twin.engine.tasks()[0].fatal_error is None


def test_a_person_who_stops_a_copy_ends_its_task(desk: Desk, twin: Twin) -> None:
    request = desk.scan("stopped/a.h5", CONTENT)
    twin.control.board.change({"start_delay_s": 60})
    pending = desk.transfer.begin(request, desk.key(request))

    def stop(_: Record, __: RemoteStatus) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        desk.transfer.finish(pending, stop)
    desk.remote.cancel_open()
    assert twin.engine.tasks()[0].fatal_error == {"code": "CANCELED", "description": "canceled"}
    record = record_of(desk, request)
    assert record is not None
    assert record.state is WorkState.CANCELED


def test_a_copy_that_takes_too_long_is_ended_and_the_next_one_is_another_attempt(desk: Desk, twin: Twin) -> None:
    request = desk.scan("slow/a.h5", CONTENT)
    twin.control.board.change({"start_delay_s": 60})
    hasty = desk.but(patience=replace(QUICK, deadline=timedelta(seconds=0.2), longest_poll=timedelta(seconds=0.2)))
    with pytest.raises(WorkFailedError, match="EXPIRED"):
        hasty.copy(request)
    twin.control.board.change({"start_delay_s": 0})
    assert desk.copy(request).label.endswith("-2")
