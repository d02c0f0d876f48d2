"""What messages say, whatever others have written; who is told; and when many become one."""

import string
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamlines import messages
from beamlines.deployment import Recipient, SecretName
from beamlines.messages import Failure, Kind, Links, Rate, Result, Told, plain, portions
from beamlines.scans import PartitionKey, ScanId
from beamlines.testing import HOSTILE_NAMES, partition_keys, texts

NOW = datetime(2026, 7, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RATE = Rate(an_hour=3, digest_every=15 * MINUTE)
LINKS = Links("https://dagster.example.org/")
KEY = PartitionKey(ScanId("BLS-00564_demo/a b.h5"))
PUNCTUATION = set(string.punctuation) - set(".,;:'+-=/%()_~?")


# -- text of others --------------------------------------------------------------------------------------------------


@given(st.one_of(st.text(), texts(), st.sampled_from(HOSTILE_NAMES)))
def test_text_of_others_is_one_line_without_anything_that_a_markup_knows(text: str) -> None:
    said = plain(text)
    assert all(char.isprintable() for char in said)
    assert not set(said) & PUNCTUATION
    said.encode()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!channel> <@U123> @here", "~3C~21channel~3E ~3C~40U123~3E ~40here"),
        ("[a](https://evil.example.com/x)", "~5Ba~5D(https~3A//evil~2Eexample~2Ecom/x)"),
        ("www.evil.com", "www~2Eevil~2Ecom"),
        ("somebody@example.com", "somebody~40example~2Ecom"),
        ("*bold* `code` ~~gone~~ :smile:", "~2Abold~2A ~60code~60 ~7E~gone~7E~ ~3Asmile:"),
        ("a\r\nBcc: x\r\n.\r\n", "a Bcc: x ."),
        ("\u202egpj\u200b", "~E2~80~AEgpj~E2~80~8B"),
        ("20260101_120000_foo.h5 at 12:30: fine", "20260101_120000_foo.h5 at 12:30: fine"),
    ],
)
def test_nothing_of_it_mentions_anybody_or_reads_as_an_address(text: str, said: str) -> None:
    assert plain(text) == said


def test_text_of_others_is_bounded() -> None:
    assert len(plain("x" * 10_000)) == 304


@given(partition_keys())
def test_a_scan_is_called_by_its_key_and_links_lead_to_our_own_ui_alone(key: PartitionKey) -> None:
    said = messages.safe_and_seen(key, [key.scan.path], None, LINKS.asset(["bl832", "data832", "preview"], key))
    addresses = [word for word in f"{said.title} {said.body}".split() if "://" in word]
    assert len(addresses) == 1
    assert addresses[0].startswith(
        "https://dagster.example.org/assets/bl832/data832/preview?view=partitions&partition="
    )
    assert set(addresses[0].rpartition("=")[2]) <= set(string.ascii_letters + string.digits + "._-~%")


# -- words -----------------------------------------------------------------------------------------------------------


def test_a_scan_that_is_done_is_told_with_its_results_and_how_long_they_are_kept() -> None:
    results = [Result("data832/tiff", "https://a", date(2026, 7, 15)), Result("data832/zarr", "https://b", None)]
    assert messages.done(KEY, "nersc", results).lines == (
        "Reconstructed at nersc, copied and verified.",
        "data832/tiff, kept until 2026-07-15 at least: https://a",
        "data832/zarr, kept for good: https://b",
    )


def test_a_failure_is_told_with_its_name_and_a_link() -> None:
    said = messages.failed(Failure("bl832_nersc", "DeadlineExceededError", "it took too long"), KEY, "https://run")
    assert said.title == "bl832_nersc has failed"
    assert said.lines == (
        "Scan: BLS-00564_demo/a~20b",
        "DeadlineExceededError: it took too long",
        "The run: https://run",
    )


def test_what_is_said_of_a_restricted_scan_takes_nothing_of_it() -> None:
    assert messages.restricted().title == "A restricted scan has arrived"


def test_many_flags_and_long_digests_are_cut_short() -> None:
    said = messages.safe_and_seen(KEY, [f"flag {number}" for number in range(50)], None, "https://a")
    assert said.lines[-2:] == ("... and 30 more", "First look: https://a")
    assert len(messages.digest([said] * 1_000, "https://runs").lines) == messages.MOST_LINES + 2


# -- who -------------------------------------------------------------------------------------------------------------


def recipient(**about: tuple[str, ...]) -> Recipient:
    return Recipient.model_validate({"address": SecretName(env="A"), "kinds": [Kind.DONE], **about})


@pytest.mark.parametrize(
    ("about", "wanted"),
    [
        ({}, True),
        ({"folders": ("BLS-00564_*",)}, True),
        ({"folders": ("BLS-00564_demo",)}, True),
        ({"folders": ("BLS-00565_*",)}, False),
        ({"proposals": ("BLS-00564",)}, True),
        ({"proposals": ("ALS-1",)}, True),
        ({"proposals": ("BLS-00565",)}, False),
    ],
)
def test_a_recipient_is_told_of_the_scans_that_it_is_configured_for(
    about: dict[str, tuple[str, ...]], wanted: bool
) -> None:
    scan = ScanId("BLS-00564_demo/below/a.h5")
    assert recipient(**about).wants(Kind.DONE, scan, "ALS-1") == wanted
    assert recipient(**about).wants(Kind.DONE, None, None) == (about == {})
    assert not recipient(**about).wants(Kind.FAILED, scan, "ALS-1")


# -- how many --------------------------------------------------------------------------------------------------------


def test_few_messages_go_each_by_itself() -> None:
    assert portions("abc", Told(), RATE, NOW) == [["a"], ["b"], ["c"]]


def test_more_than_the_rate_allows_become_one_digest() -> None:
    assert portions("abcd", Told(), RATE, NOW) == [["a", "b", "c", "d"]]
    assert portions("ab", Told(alone=[NOW - MINUTE] * 2), RATE, NOW) == [["a", "b"]]


def test_an_hour_later_they_go_by_themselves_again() -> None:
    assert portions("ab", Told(alone=[NOW - 60 * MINUTE] * 3), RATE, NOW) == [["a"], ["b"]]


def test_a_digest_waits_for_the_one_before() -> None:
    assert portions("abcd", Told(digests=[NOW - 14 * MINUTE]), RATE, NOW) == []
    assert portions("abcd", Told(digests=[NOW - 15 * MINUTE]), RATE, NOW) == [["a", "b", "c", "d"]]


def test_nothing_that_waits_is_no_message() -> None:
    assert portions("", Told(), RATE, NOW) == []
