"""Programs of others: started, told apart from everything else, and every one of them ended."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from twin.programs import SANE_PATH, Programs, ServersFailedError, free_ports, listens
from twin.testing import eventually

ALONE = "sleep 600 & env --ignore-environment sleep 600 & wait"
"""One child with its parent's environment, and one that has none: as a program that has changed its title."""


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    made = Programs(tmp_path, {"PATH": SANE_PATH, "FOLDER": str(tmp_path)}, mark="FOLDER")
    yield made
    made.end_all()


def begin(programs: Programs) -> int:
    process = programs.start("bash", "-c", ALONE, ready=lambda: True)
    eventually(lambda: len([one for one in programs.left() if one.name() == "sleep"]) == 2)
    return process.pid


def test_a_program_ends_with_everything_that_it_has_started(programs: Programs) -> None:
    begin(programs)
    family = programs.left()
    programs.end_all()
    eventually(lambda: not any(process.is_running() for process in family))


def test_what_a_killed_program_has_left_is_known_by_its_mark(programs: Programs) -> None:
    os.kill(begin(programs), signal.SIGKILL)
    assert "sleep" in {process.name() for process in programs.left()}
    programs.kill_all()
    assert programs.left() == set()


def test_other_programs_are_left_alone(programs: Programs, tmp_path: Path) -> None:
    other = Programs(tmp_path, {"PATH": SANE_PATH, "FOLDER": "another"}, mark="FOLDER")
    pid = begin(other)
    programs.kill_all()
    assert pid in {process.pid for process in other.left()}
    other.end_all()


def test_a_program_that_ends_before_it_is_ready_is_told_with_its_last_words(programs: Programs) -> None:
    with pytest.raises(ServersFailedError, match="bash ended with 3: no room"):
        programs.start("bash", "-c", "echo no room; exit 3", ready=lambda: False)


def test_free_ports_are_different_ones_on_which_nobody_listens() -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    assert not any(listens(port) for port in ports)
