"""How the tests are shared out among workers: a file is a piece, and all tests of a whole running Dagster are one too.

Belongs here: that, what every test must leave as it found it, that none fails for being slow, and the programs, loaded
once. Does not: other fixtures, which each room's folder has for itself.
"""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from resources import program
from twin.image import warm_image

hypothesis.settings.register_profile("als", deadline=None)  # a busy machine is no fault
hypothesis.settings.load_profile("als")

LONGEST = "tests/end_to_end/"
"""What shares one running Dagster: starting another takes half a minute."""


class Pieces(LoadFileScheduling):
    """A worker takes one file after another; the longest piece is one folder."""

    def _split_scope(self, nodeid: str) -> str:
        return LONGEST if nodeid.startswith(LONGEST) else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Pieces:
    """Called by xdist; its own ``--dist loadgroup`` groups nothing with the pytest of the lock."""
    config.option.loadscopereorder = False  # it would begin with the file that has the most tests, not with the longest
    return Pieces(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest piece goes first, so that no worker waits for it in the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session")
def loaded_programs() -> Iterator[Path]:
    """An interpreter that has the tomography programs loaded: the same programs, without a second of imports each.

    Those that the platform runs beside it use it too, once a test has asked for it.
    """
    # Not a folder of pytest's: the path of a socket has at most 107 characters.
    with tempfile.TemporaryDirectory(prefix="als-image-") as folder, warm_image(Path(folder)) as python:
        before, program.INTERPRETER = program.INTERPRETER, python
        yield python
        program.INTERPRETER = before


@pytest.fixture(autouse=True)
def sigterm_as_it_was() -> Iterator[None]:
    """Dagster lets SIGTERM do what SIGINT does, for good.

    Where a shell has SIGINT ignored, so would be SIGTERM, also by every program that a later test starts and ends.
    """
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
