"""A program run on this machine: its progress, its message when it fails, and its end with its caller."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from resources.errors import WorkFailedError
from resources.program import run_program
from twin.testing import eventually

MINUTE = timedelta(minutes=1)
PROJECT = Path(__file__).parents[2]
SMALL = ("--rows", "4", "--columns", "32", "--angles", "31")
LARGE = ("--rows", "512", "--columns", "512", "--angles", "721")


def nothing(_: dict[str, Any]) -> None:
    """Take progress and lose it."""


def programs(marked: str) -> list[psutil.Process]:
    """Processes that live and were started with this word."""
    living = [p for p in psutil.process_iter(["cmdline", "status"]) if p.info["status"] != psutil.STATUS_ZOMBIE]
    return [process for process in living if marked in (process.info["cmdline"] or [])]


def test_a_program_that_succeeds_gives_its_result_and_its_progress(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    done = run_program(["phantom", str(tmp_path / "a.h5"), *SMALL], limit=MINUTE, progress=heard.append)
    assert done.result["artifact"] == "raw"
    assert done.result["bytes"] == (tmp_path / "a.h5").stat().st_size
    assert heard
    assert {event["event"] for event in heard} == {"progress"}


def test_a_program_that_says_more_than_a_pipe_holds_is_not_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONVERBOSE", "1")  # every import is told on standard error: some hundred kilobytes
    assert run_program(["phantom", str(tmp_path / "a.h5"), *SMALL], limit=MINUTE, progress=nothing).result


def test_what_a_program_writes_is_for_the_group(tmp_path: Path) -> None:
    run_program(["phantom", str(tmp_path / "a.h5"), *SMALL], limit=MINUTE, progress=nothing)
    assert stat.S_IMODE((tmp_path / "a.h5").stat().st_mode) == 0o664


def test_a_program_that_refuses_says_why_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"no HDF5")
    with pytest.raises(WorkFailedError) as failed:
        run_program(["preview", str(tmp_path / "a.h5"), str(tmp_path / "out")], limit=MINUTE, progress=nothing)
    assert "tomography preview ended with exit code 2: error: " in failed.value.seen
    assert "the program found the scan unusable" in failed.value.meaning


def test_a_program_that_takes_too_long_is_ended_and_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(WorkFailedError, match="It took longer than it was given"):
        run_program(["phantom", str(tmp_path / "a.h5"), *LARGE], limit=timedelta(seconds=1), progress=nothing)
    assert programs(str(tmp_path / "a.h5")) == []


def test_when_its_progress_is_no_longer_wanted_the_program_is_ended(tmp_path: Path) -> None:
    def stop(_: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_program(["phantom", str(tmp_path / "a.h5"), *LARGE], limit=MINUTE, progress=stop)
    assert programs(str(tmp_path / "a.h5")) == []


def test_arguments_are_passed_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "it's $(touch x);\n\udcff.h5"
    run_program(["phantom", str(path), *SMALL], limit=MINUTE, progress=nothing)
    assert path.is_file()


def test_a_program_ends_with_a_caller_that_is_killed(tmp_path: Path) -> None:
    caller = textwrap.dedent(
        """
        import sys
        from datetime import timedelta
        from resources.program import run_program
        run_program(sys.argv[1:], limit=timedelta(minutes=1), progress=lambda event: print(event, flush=True))
        """
    )
    marked = str(tmp_path / "a.h5")
    with subprocess.Popen(
        [sys.executable, "-c", caller, "phantom", marked, *LARGE], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: not programs(marked))


def test_what_the_program_prints_last_is_json_that_can_be_kept(tmp_path: Path) -> None:
    done = run_program(["phantom", str(tmp_path / "a.h5"), *SMALL], limit=MINUTE, progress=nothing)
    assert json.loads(json.dumps(done.result)) == done.result
