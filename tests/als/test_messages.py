"""``als messages test``: a message that a person sends, to a receiver over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from als.main import app
from resources.settings import PROJECT
from twin.server import Twin, serve


@pytest.fixture
def twin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twin]:
    file = PROJECT / "config" / "twin.yaml"
    with serve(file, tmp_path) as twin:
        for name, value in {"ALS_DEPLOYMENT": file, "ALS_STATE": tmp_path, "ALS_TWIN_URL": twin.url}.items():
            monkeypatch.setenv(name, str(value))
        yield twin


def test_a_recipient_gets_a_message_and_one_that_is_not_configured_is_named(twin: Twin) -> None:
    sent = CliRunner().invoke(app, ["messages", "test", "operators"])
    assert sent.exit_code == 0, sent.output
    assert "operators was told" in sent.output
    assert [message["title"] for message in twin.mailboxes.received] == ["A test"]
    refused = CliRunner().invoke(app, ["messages", "test", "somebody"])
    assert "there are beamtime, operators" in str(refused.exception)
    assert len(twin.mailboxes.received) == 1
