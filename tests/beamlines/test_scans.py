"""The identity of a scan and its partition key."""

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamlines.scans import (
    RESERVED_LABELS,
    InvalidPartitionKeyError,
    InvalidScanPathError,
    PartitionKey,
    ScanId,
)
from beamlines.testing import HOSTILE_NAMES, names, partition_keys, scan_ids

SAFE = re.compile(r"(?:[A-Za-z0-9._/-]|~[0-9A-F]{2})+")


@given(scan_ids())
def test_a_key_gives_back_its_scan(scan: ScanId) -> None:
    assert ScanId.from_key(scan.key) == scan


@given(scan_ids(), scan_ids())
def test_two_scans_have_two_keys(one: ScanId, other: ScanId) -> None:
    assert (one == other) == (one.key == other.key)


@given(partition_keys(), partition_keys())
def test_two_partitions_have_two_keys(one: PartitionKey, other: PartitionKey) -> None:
    assert (one == other) == (str(one) == str(other))


@given(partition_keys())
def test_a_partition_is_read_from_its_key(key: PartitionKey) -> None:
    assert PartitionKey.parse(str(key)) == key


@given(scan_ids())
def test_a_key_holds_only_safe_characters_and_never_two_dots(scan: ScanId) -> None:
    assert SAFE.fullmatch(scan.key)
    assert ".." not in scan.key


@given(st.text(alphabet="aB9._/-~25EF@ \n", max_size=12))
def test_a_text_is_refused_unless_it_is_the_one_key_of_its_scan(text: str) -> None:
    with suppress(InvalidPartitionKeyError):
        assert str(PartitionKey.parse(text)) == text


@given(st.text())
def test_no_text_at_all_breaks_the_reading_of_keys(text: str) -> None:
    with suppress(InvalidPartitionKeyError):
        assert str(PartitionKey.parse(text)) == text


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_scans_like_others(name: str) -> None:
    scan = ScanId(f"BLS-00564_dyparkinson/{name}.h5")
    assert ScanId.from_key(scan.key) == scan
    assert scan.name == name
    assert scan.folder == "BLS-00564_dyparkinson"


@given(names())
def test_bytes_that_are_no_utf_8_keep_their_identity(name: str) -> None:
    raw = f"{name}.h5".encode("utf-8", "surrogateescape")
    key = ScanId(f"{name}.h5").key
    decoded = re.sub(r"~(..)", lambda match: chr(int(match[1], 16)), key).encode("latin-1")
    assert decoded + b".h5" == raw


def test_escaped_bytes_that_are_utf_8_are_not_a_second_name_of_the_same_file() -> None:
    with pytest.raises(InvalidScanPathError, match="plain UTF-8"):
        ScanId("\udcc3\udca9.h5")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "a part is empty"),
        ("/a.h5", "a part is empty"),
        ("a//b.h5", "a part is empty"),
        ("a/", "a part is empty"),
        ("./a.h5", "a part is empty"),
        ("../a.h5", "a part is empty, '.' or '..'"),
        ("a/../../b.h5", "a part is empty, '.' or '..'"),
        ("a", "followed by .h5"),
        ("a.H5", "followed by .h5"),
        ("a.hdf5", "followed by .h5"),
        (".h5", "something followed by .h5"),
        ("a/.h5", "something followed by .h5"),
        ("a\0b.h5", "NUL"),
        ("a\ud800.h5", "lone surrogate"),
    ],
)
def test_what_is_no_scan_is_refused_with_the_rule_that_it_breaks(path: str, message: str) -> None:
    with pytest.raises(InvalidScanPathError, match=message):
        ScanId(path)


@pytest.mark.parametrize(
    "key", ["", "@a", "/a", "a/", "a//b", "~2E", "~41", "a~2Fb", "~00", "~ff", "~F", "a b", "a..b", "é", "a\n", "../a"]
)
def test_a_key_that_no_scan_has_is_refused(key: str) -> None:
    with pytest.raises(InvalidPartitionKeyError):
        PartitionKey.parse(key)


@pytest.mark.parametrize("label", ["", "A", "a b", "a.b", "a/b", "x" * 33, "é", "a\n", "a@b"])
def test_a_label_is_a_short_plain_word(label: str) -> None:
    with pytest.raises(InvalidPartitionKeyError, match="1 to 32"):
        PartitionKey.parse(f"scan@{label}")


@pytest.mark.parametrize("label", sorted(RESERVED_LABELS))
def test_a_label_that_reads_as_the_ending_of_a_product_is_reserved(label: str) -> None:
    with pytest.raises(InvalidPartitionKeyError, match="reserved"):
        PartitionKey(ScanId("a.h5"), label)


def test_a_labelled_key_knows_the_key_of_its_scan() -> None:
    key = PartitionKey.parse("folder/scan@wide-filter")
    assert str(key.of_scan) == "folder/scan"
    assert key.label == "wide-filter"


@pytest.mark.parametrize(
    ("path", "proposal", "user", "taken", "tile"),
    [
        ("BLS-00564_dyparkinson/20260701_120000_rock.h5", "BLS-00564", "dyparkinson", "20260701_120000", None),
        ("ALS-11532_a_b/deeper/20260701_120000_rock_x01y12.h5", "ALS-11532", "a_b", "20260701_120000", (1, 12)),
        ("dabramov/20260701_120000_.h5", None, None, "20260701_120000", None),
        ("BLS-564_x/rock.h5", None, None, None, None),
        ("rock.h5", None, None, None, None),
    ],
)
def test_what_a_name_tells_is_read_where_it_conforms_and_left_open_where_not(
    path: str, proposal: str | None, user: str | None, taken: str | None, tile: tuple[int, int] | None
) -> None:
    name = ScanId(path).describe()
    assert (name.proposal, name.user, name.taken, name.tile) == (proposal, user, taken, tile)


def test_the_tiles_of_a_scan_have_its_name_in_common_and_its_folder() -> None:
    tiles = [ScanId(f"{folder}/20260701_120000_a b_x0{x}y0{y}.h5") for folder in "ab" for x in "01" for y in "01"]
    assert {tile.describe().group for tile in tiles} == {"a/20260701_120000_a~20b", "b/20260701_120000_a~20b"}
    assert ScanId("a/20260701_120000_a b.h5").describe().group is None
    assert ScanId("a/rock_x00y00.h5").describe().group is None


@given(scan_ids())
def test_any_name_can_be_described(scan: ScanId) -> None:
    scan.describe()
