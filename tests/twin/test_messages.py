"""The twin's mailboxes: only the owner of an address can put something in, and what is in them is shown escaped."""

import stat
from pathlib import Path

import httpx
import pytest

from twin.server import Twin


def address(module_twin: Twin) -> str:
    return (Path(module_twin.world.state_dir) / "secrets" / "messages_operators").read_text()


def test_an_address_may_be_read_by_its_owner_alone(module_twin: Twin) -> None:
    path = Path(module_twin.world.state_dir) / "secrets" / "messages_operators"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("name", "authorization"),
    [("operators", ""), ("operators", "Basic !"), ("operators", "Basic YTpi"), ("nobody", "Basic YTpi")],
)
def test_nobody_else_puts_anything_in(module_twin: Twin, name: str, authorization: str) -> None:
    before = len(module_twin.mailboxes.received)
    headers = {"authorization": authorization}
    answer = httpx.post(f"{module_twin.url}/messages/{name}", json={"title": "x"}, headers=headers)
    assert answer.status_code == 401
    assert len(module_twin.mailboxes.received) == before


def test_what_was_received_is_listed_and_shown_escaped(module_twin: Twin) -> None:
    to = address(module_twin).replace("json://", "http://", 1)
    for title in ("first", "<script>x</script>"):
        assert httpx.post(to, json={"title": title, "message": "<b>&"}).status_code == 200
    page = httpx.get(f"{module_twin.url}/messages/").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.index("<h3>&lt;script&gt;") < page.index("<h3>first")
    assert [one["title"] for one in httpx.get(f"{module_twin.url}/messages/received").json()][-2:] == [
        "first",
        "<script>x</script>",
    ]


def test_what_is_no_document_is_refused(module_twin: Twin) -> None:
    to = address(module_twin).replace("json://", "http://", 1)
    assert httpx.post(to, content=b"{").status_code == 422
