"""Listings and other operations that answer at once, through globus_sdk."""

import os
from pathlib import Path

import globus_sdk
import pytest

from twin.testing import GlobusUser


def refusal(error: pytest.ExceptionInfo[globus_sdk.TransferAPIError]) -> tuple[int, str | None]:
    return error.value.http_status, error.value.code


def names(listing: globus_sdk.IterableTransferResponse) -> list[str]:
    return [entry["name"] for entry in listing]


def test_a_listing_shows_type_size_and_whole_seconds_of_utc(globus: GlobusUser) -> None:
    path = globus.source("shown/a.h5", b"12345")
    os.utime(path, (1_700_000_000.9, 1_700_000_000.9))
    path.chmod(0o640)
    (entry,) = globus.client.operation_ls(globus.spot, "/raw/shown")
    assert (entry["type"], entry["size"], entry["permissions"]) == ("file", 5, "0640")
    assert entry["last_modified"] == "2023-11-14 22:13:20+00:00"
    assert globus.client.operation_stat(globus.spot, "/raw/shown/a.h5").data == entry


def test_listings_are_filtered_ordered_and_paged(globus: GlobusUser) -> None:
    for number in range(5):
        globus.source(f"paged/s{number}.h5", bytes(number))
    globus.source("paged/.hidden", b"")
    globus.source("paged/sub/deep.h5", b"")
    scans: dict[str, str | list[str]] = {"name": "~*.h5", "type": "file"}
    page = globus.client.operation_ls(globus.spot, "/raw/paged", filter=scans, orderby=["size DESC"], limit=2, offset=1)
    assert (names(page), page["has_next_page"], page["total"]) == (["s3.h5", "s2.h5"], True, 5)
    last = globus.client.operation_ls(globus.spot, "/raw/paged", filter=scans, limit=2, offset=4)
    assert (names(last), last["has_next_page"]) == (["s4.h5"], False)
    everything = globus.client.operation_ls(globus.spot, "/raw/paged")
    assert names(everything) == ["sub", ".hidden", *(f"s{number}.h5" for number in range(5))]
    assert ".hidden" not in names(globus.client.operation_ls(globus.spot, "/raw/paged", show_hidden=False))
    either = globus.client.operation_ls(globus.spot, "/raw/paged", filter=["name:s1.h5", "size:>3/type:file"])
    assert names(either) == ["s1.h5", "s4.h5"]
    recent = globus.client.operation_ls(
        globus.spot, "/raw/paged", filter={"last_modified": ["2000-01-01", "2000-01-02"]}
    )
    assert names(recent) == []


def test_a_name_that_is_no_utf8_is_shown_and_found_again(globus: GlobusUser) -> None:
    folder = globus.source("bytes/first.h5", b"").parent
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.h5")).write_bytes(b"123")
    shown = names(globus.client.operation_ls(globus.spot, "/raw/bytes"))[1]
    assert shown == "\N{REPLACEMENT CHARACTER}café.h5"
    assert globus.client.operation_stat(globus.spot, f"/raw/bytes/{shown}")["size"] == 3


def test_what_is_not_there_is_not_found(globus: GlobusUser) -> None:
    with pytest.raises(globus_sdk.TransferAPIError) as listing:
        globus.client.operation_ls(globus.spot, "/raw/never was")
    with pytest.raises(globus_sdk.TransferAPIError) as stat:
        globus.client.operation_stat(globus.spot, "/raw/never was")
    with pytest.raises(globus_sdk.TransferAPIError) as collection:
        globus.client.operation_ls("00000000-0000-4000-8000-000000000000", "/")
    assert [refusal(error) for error in (listing, stat, collection)] == [
        (404, "ClientError.NotFound"),
        (404, "NotFound"),
        (404, "EndpointNotFound"),
    ]


@pytest.mark.parametrize(
    "path", ["/etc", "/", "/data/../etc", "/data/raw/../../../../etc", "/data/leads_out", "/~/raw"]
)
def test_no_path_leaves_the_places_of_a_collection(globus: GlobusUser, path: str) -> None:
    link = globus.data_dir / "leads_out"
    if not link.is_symlink():
        link.symlink_to("/etc")
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.operation_ls(globus.data, path)
    assert refusal(refused) == (403, "EndpointPermissionDenied")


def test_two_places_share_a_collection_and_each_path_is_at_its_own(globus: GlobusUser) -> None:
    places = globus.twin.world.beamline.places
    for name in ("nersc", "pscratch"):
        place = places[name]
        (Path(place.posix_root) / "raw" / f"{name}.h5").write_bytes(b"x")
        assert names(globus.client.operation_ls(place.collection, f"{place.collection_root}/raw")) == [f"{name}.h5"]


def test_the_two_roots_of_a_place_name_the_same_folder(globus: GlobusUser) -> None:
    alcf = globus.twin.world.beamline.places["alcf"]
    globus.client.operation_mkdir(alcf.collection, "/data/raw/made")
    assert (Path(alcf.posix_root) / "raw/made").is_dir()
    assert str(alcf.posix_root).endswith("/world/alcf/eagle/IRIBeta/als/data")


def test_a_folder_is_made_once(globus: GlobusUser) -> None:
    assert globus.client.operation_mkdir(globus.data, "/data/raw/new")["code"] == "DirectoryCreated"
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.operation_mkdir(globus.data, "/data/raw/new")
    assert refusal(refused) == (502, "ExternalError.MkdirFailed.Exists")


def test_a_file_is_renamed_but_never_over_another(globus: GlobusUser) -> None:
    globus.source("names/old.h5", b"x")
    answer = globus.client.operation_rename(globus.spot, "/raw/names/old.h5", "/raw/names/new.h5")
    assert answer["code"] == "FileRenamed"
    globus.source("names/other.h5", b"y")
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.operation_rename(globus.spot, "/raw/names/new.h5", "/raw/names/other.h5")
    assert refused.value.http_status == 502
    assert (globus.spot_dir / "raw/names/other.h5").read_bytes() == b"y"


def test_an_unknown_filter_is_a_bad_request(globus: GlobusUser) -> None:
    with pytest.raises(globus_sdk.TransferAPIError) as refused:
        globus.client.operation_ls(globus.spot, "/raw", filter="colour:red")
    assert refusal(refused) == (400, "ClientError.BadRequest")
