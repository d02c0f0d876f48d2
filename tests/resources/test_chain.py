"""What makes a chain of entries whole, without any database."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamlines.testing import HOSTILE_NAMES, partition_keys, texts
from resources.chain import EMPTY, ChainBrokenError, Head, Link, What, canonical, linked, verify, verify_lines

BEGUN, DONE, GIVEN_UP = str(What.BEGUN), str(What.DONE), str(What.GIVEN_UP)


def chain(*entries: tuple[str, int | None], names: tuple[str, ...] = ("a",), after: Head = EMPTY) -> list[Link]:
    """A chain of such entries (what, of), each with the next of the names."""
    links: list[Link] = []
    for number, (what, of) in enumerate(entries):
        name = names[number % len(names)]
        fields = {"what": what, "of": of, "scan": "f/a", "asset": "data832/raw", "partition": "f/a", "storage_id": 1}
        rest = {"at": "2026-01-01T12:00:00.000000+00:00", "document": canonical({"path": name})}
        links.append(linked(links[-1].head if links else after, fields | rest))
    return links


WHOLE = chain((BEGUN, None), (BEGUN, None), (DONE, 2), (GIVEN_UP, 1), (BEGUN, None))
LINES = [link.line for link in WHOLE]
HEAD = WHOLE[-1].head


def broken(lines: list[str], **arguments: Any) -> tuple[int, str]:
    with pytest.raises(ChainBrokenError) as error:
        verify_lines(lines, **arguments)
    return error.value.sequence, error.value.wrong


def test_a_whole_chain_ends_with_its_head() -> None:
    assert verify(WHOLE) == verify_lines(LINES) == verify_lines(f"{line}\n" for line in LINES) == HEAD
    assert verify([]) == EMPTY


@given(st.lists(st.one_of(st.sampled_from(HOSTILE_NAMES), texts(), partition_keys().map(str)), min_size=1, max_size=9))
def test_any_name_is_exported_as_ascii_and_read_again(names: list[str]) -> None:
    links = chain(*[(BEGUN, None)] * len(names), names=tuple(names))
    lines = [link.line for link in links]
    assert all(line.isascii() and "\n" not in line for line in lines)
    assert verify_lines(lines) == links[-1].head
    assert [json.loads(json.loads(line)["document"])["path"] for line in lines] == names


@given(st.integers(0, len(LINES) - 1), st.data())
def test_one_changed_character_of_a_file_is_found(number: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(LINES[number]) - 1))
    other = data.draw(st.characters().filter(lambda character: character != LINES[number][place]))
    lines = [*LINES]
    lines[number] = lines[number][:place] + other + lines[number][place + 1 :]
    assert broken(lines)[0] == number + 1


@pytest.mark.parametrize("number", range(len(LINES) - 1))
def test_a_removed_line_is_found(number: int) -> None:
    assert broken(LINES[:number] + LINES[number + 1 :]) == (
        number + 1,
        f"there is a gap: the next entry is {number + 2}",
    )


@pytest.mark.parametrize("length", range(len(LINES)))
def test_a_file_that_was_cut_short_is_found_by_the_head(length: int) -> None:
    assert verify_lines(LINES[:length]).entries == length
    assert broken(LINES[:length], known=HEAD) == (length + 1, "it is missing: there were 5 entries")


def test_a_chain_that_was_made_anew_is_found_by_the_head() -> None:
    anew = chain(*[(link.what, link.of) for link in WHOLE], names=("b",))
    assert verify(anew).entries == 5
    assert broken([link.line for link in anew], known=HEAD)[0] == 5
    assert broken([link.line for link in anew], known=WHOLE[1].head)[0] == 2


def test_lines_in_another_order_are_found() -> None:
    assert broken([LINES[1], LINES[0]])[0] == 1


@pytest.mark.parametrize(
    ("entries", "wrong"),
    [
        ([(DONE, None)], "an end without a beginning"),
        ([(BEGUN, None), (DONE, 7)], "an end without a beginning"),
        ([(BEGUN, None), (DONE, 2)], "an end without a beginning"),
        ([(BEGUN, None), (DONE, 3)], "an end without a beginning"),
        ([(BEGUN, None), (DONE, 0)], "an end without a beginning"),
        ([(BEGUN, None), (DONE, -1)], "an end without a beginning"),
        ([(BEGUN, None), (DONE, 1), (GIVEN_UP, 2)], "an end without a beginning"),
        ([(BEGUN, None), (DONE, 1), (GIVEN_UP, 1)], "a second end of 1"),
        ([(BEGUN, None), (BEGUN, 1)], "no kind of entry"),
        ([("undone", None)], "no kind of entry"),
    ],
)
def test_entries_that_make_no_sense_are_found_though_their_hashes_fit(
    entries: list[tuple[str, int | None]], wrong: str
) -> None:
    links = chain(*entries)
    sequence, said = broken([link.line for link in links])
    assert (sequence, wrong in said) == (len(links), True)


def test_a_part_is_verified_after_the_head_before_it() -> None:
    middle = WHOLE[2].head
    assert verify_lines(LINES[3:], after=middle, known=HEAD) == HEAD
    assert broken(LINES[3:])[0] == 1
    assert broken(LINES[3:], after=replace(middle, hash="0" * 64))[0] == 4


def test_a_part_may_end_what_began_last_before_it() -> None:
    assert verify(chain((DONE, 5), after=HEAD), after=HEAD).entries == 6


def test_a_second_end_is_found_in_a_part_too() -> None:
    part = chain((BEGUN, None), (DONE, 4), (DONE, 4), after=WHOLE[2].head)
    assert broken([link.line for link in part], after=WHOLE[2].head) == (6, "it is a second end of 4")


@pytest.mark.parametrize(
    "line", ["", "{}", "[]", "null", "x", "[" * 100_000, '{"sequence": 1}', LINES[0] + " ", " " + LINES[0]]
)
def test_a_line_that_is_no_entry_is_named(line: str) -> None:
    assert broken([line])[0] == 1


@pytest.mark.parametrize("of", ["1", 1.0, True, [1]])
def test_a_beginning_that_is_no_number_is_found_though_the_hash_fits(of: Any) -> None:
    assert broken([link.line for link in chain((BEGUN, None), (DONE, of))])[0] == 2


def test_a_sequence_that_is_no_integer_is_found_though_the_hash_fits() -> None:
    no_integer: Any = 0.0
    assert broken([link.line for link in chain((BEGUN, None), after=Head(no_integer, EMPTY.hash))])[0] == 1
