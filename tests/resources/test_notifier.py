"""Messages as real receivers get them: mail over SMTP, Slack's and Mattermost's documents and plain JSON over HTTP."""

import email
import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from email import policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as Mails

from beamlines import messages
from beamlines.messages import Message
from beamlines.scans import PartitionKey, ScanId
from beamlines.testing import HOSTILE_NAMES
from resources.errors import PlatformError
from resources.notifier import Notifier, NotToldError, UnconfirmedError
from resources.sending import Outcome, send

PASSWORD = "geheim-4711"
LINK = "https://dagster.example.org/runs/1_2_3"
HOSTILE = "<b>&amp; <!channel> @here *x* _y_ `z` [a](http://evil.example.com) www.evil.com\r\nBcc: all@example.com"
SAID = messages.failed(
    messages.Failure("bl832_nersc", "WorkFailedError", HOSTILE), PartitionKey(ScanId("a/<img src=x>.h5")), LINK
)
PLAIN = "~3Cb~3E~26amp; ~3C~21channel~3E ~40here ~2Ax~2A _y_ ~60z~60 ~5Ba~5D(http~3A//evil~2Eexample~2Ecom)"


class Web(ThreadingHTTPServer):
    """Takes what is posted; ``/refuse`` says no, ``/drop`` closes the connection, ``/wait`` never answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[Any] = []
        self.ended = threading.Event()

    @property
    def netloc(self) -> str:
        return f"127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Web

    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        if self.path.startswith("/drop"):
            self.close_connection = True
            return
        if self.path.startswith("/wait"):
            self.server.ended.wait(60)
        self.send_response(500 if self.path.startswith("/refuse") else 200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


class Inbox(Mails):
    """Keeps mails."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[email.message.Message] = []

    def prepare_message(self, _: Any, envelope: Any) -> email.message.Message:
        return email.message_from_bytes(envelope.content, policy=policy.default)

    def handle_message(self, message: email.message.Message) -> None:
        self.mails.append(message)


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield web
        web.ended.set()
        web.shutdown()
        thread.join()


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, str]]:
    inbox = Inbox()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield inbox, f"127.0.0.1:{port}"
    controller.stop()


def notifier(address: str, limit: timedelta = timedelta(seconds=60)) -> Notifier:
    return Notifier({"somebody": lambda: address}, limit)


def shown(mail: email.message.Message, kind: str) -> str:
    return next(str(part.get_content()) for part in mail.walk() if part.get_content_type() == kind)  # type: ignore[attr-defined]


def test_a_mail_has_the_title_as_its_subject_and_nothing_of_others_in_its_headers(inbox: tuple[Inbox, str]) -> None:
    box, host = inbox
    notifier(f"mailto://{host}?to=all@example.org&from=als@example.org&mode=insecure").send("somebody", SAID)
    (mail,) = box.mails
    assert mail["Subject"] == "bl832_nersc has failed"
    assert mail["Bcc"] is None
    assert PLAIN in " ".join(shown(mail, "text/plain").split())
    assert LINK in shown(mail, "text/plain")


def test_a_mail_in_html_has_no_element_but_its_own(inbox: tuple[Inbox, str]) -> None:
    box, host = inbox
    notifier(f"mailto://{host}?to=all@example.org&from=als@example.org&mode=insecure&format=html").send(
        "somebody", SAID
    )
    shown_as = shown(box.mails[0], "text/html")
    assert "~3Cimg~20src~3Dx~3E" in shown_as
    for word in ("<b>", "<img", 'href="http://evil', "<!channel"):
        assert word not in shown_as
    assert LINK in shown_as


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # apprise's own, in this process for once
def test_slack_is_given_no_mention_no_markup_and_no_link_of_others(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    from apprise.plugins.slack import NotifySlack

    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://{web.netloc}/slack")
    address = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/%23general"
    assert send(address, SAID.title, SAID.body) is Outcome.SENT
    said = json.dumps(web.received[-1])
    assert PLAIN.replace("&", "&amp;") in said
    assert LINK in said
    assert not {"<!channel", "@here", "*x*", "[a]", "evil.example.com"} & {
        word for word in ("<!channel", "@here", "*x*", "[a]", "evil.example.com") if word in said
    }


def test_what_takes_markdown_is_given_nothing_of_others_that_is_any(web: Web) -> None:
    notifier(f"mmost://{web.netloc}/abcdefghijklmnop").send("somebody", SAID)
    assert PLAIN in web.received[-1]["text"]
    assert LINK in web.received[-1]["text"]


def test_hostile_names_arrive_as_their_keys(web: Web) -> None:
    names = [ScanId(f"{name}.h5") for name in HOSTILE_NAMES]
    each = [messages.safe_and_seen(PartitionKey(scan), [scan.name], None, LINK) for scan in names]
    said = Message("all of them", tuple(f"{one.title} {one.body}" for one in each))
    notifier(f"json://{web.netloc}/").send("somebody", said)
    assert web.received[-1]["message"] == said.body


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("json://127.0.0.1:1/", NotToldError),
        ("mailto://als:geheim-4711@127.0.0.1:1?to=a@example.org&mode=insecure", NotToldError),
        ("geheim-4711", NotToldError),
        ("nosuch://geheim-4711@host/", NotToldError),
        ("json://als:geheim-4711@{web}/refuse", UnconfirmedError),
        ("json://als:geheim-4711@{web}/drop", UnconfirmedError),
    ],
)
def test_what_did_not_arrive_is_told_from_what_perhaps_did_and_no_error_has_a_secret(
    web: Web, address: str, error: type[PlatformError], capfd: pytest.CaptureFixture[str]
) -> None:
    sender = notifier(address.format(web=web.netloc))
    with pytest.raises(error) as raised:
        sender.send("somebody", Message("a", ("b",)))
    printed = capfd.readouterr()
    assert PASSWORD not in f"{raised.value} {raised.value.__cause__} {sender} {printed.out} {printed.err}"
    assert "als messages test somebody" in str(raised.value) or "docs/messages.md" in str(raised.value)


def test_a_server_that_never_answers_is_not_waited_for(web: Web) -> None:
    with pytest.raises(UnconfirmedError):
        notifier(f"json://{web.netloc}/wait", timedelta(seconds=8)).send("somebody", Message("a", ("b",)))


def test_an_address_that_cannot_be_read_is_a_named_error() -> None:
    def missing() -> str:
        raise OSError("the disk is gone")

    readers: dict[str, Callable[[], str]] = {"somebody": missing}
    with pytest.raises(NotToldError, match="the address of somebody cannot be read"):
        Notifier(readers).send("somebody", Message("a"))
