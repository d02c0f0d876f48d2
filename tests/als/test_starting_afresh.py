"""The demonstration removes what an earlier one left, and nothing else."""

from pathlib import Path

import pytest

from als.demonstration import NotADemonstrationError, start_afresh
from als.stack import StackError, alone


def test_an_earlier_demonstration_is_removed(tmp_path: Path) -> None:
    start_afresh(tmp_path)
    (tmp_path / "world" / "spot832").mkdir(parents=True)
    (tmp_path / "ledger.sqlite").write_text("old")
    start_afresh(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demonstration", "lock"]


def test_any_other_folder_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("irreplaceable")
    (tmp_path / "world").mkdir()
    with pytest.raises(NotADemonstrationError, match="not the state of a demonstration"):
        start_afresh(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex", "world"]


def test_a_demonstration_that_runs_is_left_alone(tmp_path: Path) -> None:
    start_afresh(tmp_path)
    (tmp_path / "world").mkdir()
    with alone(tmp_path), pytest.raises(StackError, match="another `als` runs over"):
        start_afresh(tmp_path)
    assert (tmp_path / "world").is_dir()
