"""However `als` ends, no process of its own is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from als.stack import StackError, alone, must_run, running
from resources.clock import SystemClock

UP = [sys.executable, "-c", "from als.main import main; main()", "up", "--port", "0", "--state"]


def carries(process: psutil.Process, state: Path) -> bool:
    try:
        return process.environ().get("ALS_STACK") == str(state)
    except psutil.Error:
        return False


def processes_of(state: Path) -> list[int]:
    return [process.pid for process in psutil.process_iter() if carries(process, state)]


def until_started(up: "subprocess.Popen[str]", state: Path) -> None:
    """Wait until the first of its processes runs."""
    while not processes_of(state):
        assert up.poll() is None


def test_ctrl_c_ends_everything_that_was_started(tmp_path: Path) -> None:
    with subprocess.Popen([*UP, str(tmp_path)], stdout=subprocess.PIPE, text=True) as up:
        assert any("make scan" in line for line in up.stdout or ())
        assert len(processes_of(tmp_path)) >= 3
        up.send_signal(signal.SIGINT)
        assert any("ending" in line for line in up.stdout or ())
        up.send_signal(signal.SIGINT)  # somebody is impatient
        up.communicate()
    assert up.returncode == 128 + signal.SIGINT
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_starting_ends_what_was_started_by_then(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen([*UP, str(tmp_path)], stdout=subprocess.PIPE, text=True) as up:
        until_started(up, tmp_path)
        up.send_signal(number)
        up.communicate()
    assert up.returncode == 128 + number
    assert processes_of(tmp_path) == []


def test_what_a_killed_command_left_is_ended_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen([*UP, str(tmp_path)], stdout=subprocess.PIPE, text=True) as up:
        until_started(up, tmp_path)
        os.kill(up.pid, signal.SIGKILL)
        up.wait()
    left = processes_of(tmp_path)
    assert left
    with running(tmp_path, SystemClock(), ui_port=0, twin_port=0):
        assert not set(left) & set(processes_of(tmp_path))
    assert processes_of(tmp_path) == []


def test_a_second_command_over_the_same_state_is_refused(tmp_path: Path) -> None:
    with (
        alone(tmp_path),
        pytest.raises(StackError, match="another `als` runs over"),
        running(tmp_path, SystemClock(), ui_port=0, twin_port=0),
    ):
        pass
    assert processes_of(tmp_path) == []


def test_without_a_running_stack_nothing_is_measured(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="run `make up` first"):
        must_run(tmp_path)
    with alone(tmp_path):
        must_run(tmp_path)
