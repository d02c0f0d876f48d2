"""`als reconstruct` as it is typed: every setting of the program is an option, with its unit, limits and default."""

import re

import pytest
from typer.testing import CliRunner

from als.main import app
from tomography.settings import Settings, described, option


@pytest.fixture(scope="module")
def help_text() -> str:
    shown = CliRunner().invoke(app, ["reconstruct", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    return re.sub(r"[\s│]+", " ", shown)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_an_option_with_its_own_words(help_text: str, name: str) -> None:
    assert f"{option(name)} " in help_text
    assert described(name).replace("``", "") in help_text


def test_the_words_say_what_is_allowed_and_what_is_taken_by_itself(help_text: str) -> None:
    assert "More than 0, at most 0.5. By default 0.25." in help_text
    assert "ramp|butterworth" in help_text


def test_a_setting_that_no_reconstruction_has_is_no_option() -> None:
    refused = CliRunner().invoke(app, ["reconstruct", "u/a", "--label", "x", "--boxcar", "3"])
    assert refused.exit_code == 2
    assert "No such option" in refused.output
