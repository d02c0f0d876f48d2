"""Copies through the real Globus client, over HTTP, against the twin: what arrives, and what is never overwritten."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from beamlines.policy import ExportControl, ExportDefault
from beamlines.scans import ScanId
from resources.errors import (
    DestinationOccupiedError,
    NotAllowedError,
    OtherInputError,
    PlatformError,
    ServiceRefusedError,
    WorkFailedError,
)
from resources.testing import Desk
from resources.transfer import CopyRequest, TransferReceipt
from resources.work import WorkState
from twin.faults import Fault
from twin.server import Twin
from twin.testing import eventually

SECRET = ExportControl(default=ExportDefault.UNRESTRICTED, restricted_folders=("secret",))
CONTENT = b"a scan" * 1000
FOREIGN = b"foreig" * 1000


def tasks(twin: Twin, kind: str = "TRANSFER") -> list[str]:
    return [task.id for task in twin.engine.tasks() if task.kind == kind]


def asked(twin: Twin, match: str) -> int:
    return len(twin.control.injector.requests(match))


def slowly(twin: Twin) -> None:
    twin.control.board.change({"bandwidth_bytes_per_s": 2000.0})


def normally(twin: Twin) -> None:
    twin.control.board.change({"bandwidth_bytes_per_s": None})


# -- what arrives ------------------------------------------------------------------------------------------------


def test_a_copy_arrives_and_its_receipt_says_how_it_was_verified(desk: Desk) -> None:
    receipt = desk.copy(desk.scan("arrives/a.h5", CONTENT))
    assert desk.content(desk.raw("data832", "arrives/a.h5")) == CONTENT
    assert (receipt.files, receipt.bytes, receipt.bytes_checksummed) == (1, len(CONTENT), len(CONTENT))
    assert (receipt.verified_by, receipt.files_skipped, receipt.faults) == ("external sha256", 0, 0)
    assert receipt.destination == str(desk.raw("data832", "arrives/a.h5"))
    assert receipt.requested <= receipt.completed


def test_a_receipt_can_be_stored_as_json(desk: Desk) -> None:
    receipt = desk.copy(desk.scan("json/a.h5", CONTENT))
    assert receipt.to_json()["completed"] == receipt.completed.isoformat()


def test_a_copy_whose_checksum_is_not_known_is_verified_by_globus_alone(desk: Desk) -> None:
    desk.put(desk.raw("spot832", "unknown/a.h5"), CONTENT)
    receipt = desk.copy(desk.request("unknown/a.h5", known=False))
    assert (receipt.verified_by, receipt.bytes) == ("globus checksum", len(CONTENT))


def test_the_same_copy_again_moves_nothing_and_has_the_same_receipt(desk: Desk, twin: Twin) -> None:
    request = desk.scan("again/a.h5", CONTENT)
    first = desk.copy(request)
    before = tasks(twin)
    assert desk.but(run_id="later").copy(request) == replace(first, reused=True)
    assert not first.reused
    assert tasks(twin) == before


def test_a_copy_that_has_vanished_is_made_again_as_another_attempt(desk: Desk) -> None:
    request = desk.scan("vanished/a.h5", CONTENT)
    first = desk.copy(request)
    Path(desk.raw("data832", "vanished/a.h5").posix).unlink()
    second = desk.copy(request)
    assert desk.content(desk.raw("data832", "vanished/a.h5")) == CONTENT
    assert (first.label[-2:], second.label[-2:]) == ("-1", "-2")


def test_many_files_of_many_folders_are_one_task_and_few_requests(desk: Desk, twin: Twin) -> None:
    paths = [f"many/{folder}/{number}.h5" for folder in "abc" for number in range(20)]
    for path in paths:
        desk.put(desk.raw("spot832", path), path.encode())
    before = len(tasks(twin))
    receipt = desk.copy(desk.request(*paths))
    assert [desk.content(desk.raw("data832", path)) for path in paths] == [path.encode() for path in paths]
    assert (receipt.files, len(tasks(twin)) - before) == (60, 1)
    assert asked(twin, "GET */ls") + asked(twin, "GET */stat") <= 3


def test_hostile_names_arrive_under_their_own_names(desk: Desk) -> None:
    names = [
        "20240101_120000_'\"$(reboot) `x` & ; ünï 🦀\nnew\tline %2F#?*[a]~.h5",
        os.fsdecode(b"20240101_120000_\xff\xfe latin.h5"),
        "20240101_120000_:,=!,name:~*.h5",
    ]
    for name in names:
        desk.put(desk.raw("spot832", f"hostile/{name}"), name.encode("utf-8", "surrogateescape"))
    desk.copy(desk.request(*[f"hostile/{name}" for name in names]))
    listing = desk.transfer.list(desk.raw("data832", "hostile"))
    assert sorted(entry.name for entry in listing.entries) == sorted(names)


def test_a_label_carries_the_key_and_nothing_that_people_typed(desk: Desk) -> None:
    request = desk.scan("private/somebody's sample.h5", CONTENT)
    assert desk.copy(request).label == f"als-{desk.ledger.database.installation}-{desk.key(request).digest}-1"


def test_of_two_copies_each_is_handed_back_with_its_own_outcome(desk: Desk) -> None:
    good, bad = desk.scan("two/good.h5", CONTENT), desk.scan("two/bad.h5", CONTENT)
    bad = replace(bad, items=(replace(bad.items[0], sha256="0" * 64),))
    pending = [desk.transfer.begin(request, desk.key(request)) for request in (good, bad)]
    outcomes = {copy.request.subject.key: outcome for copy, outcome in desk.transfer.finish_each(pending, desk.pulses)}
    assert isinstance(outcomes["two/good"], TransferReceipt)
    assert isinstance(outcomes["two/bad"], WorkFailedError)


def test_copies_that_are_waited_for_together_are_asked_after_in_one_request_a_round(desk: Desk, twin: Twin) -> None:
    twin.control.board.change({"start_delay_s": 0.5})
    requests = [desk.scan(f"together/{number}.h5", CONTENT) for number in range(5)]
    pending = [desk.transfer.begin(request, desk.key(request)) for request in requests]
    before = len(twin.control.injector.requests("GET */task*"))
    outcomes = [outcome for _, outcome in desk.transfer.finish_each(pending, desk.pulses)]
    asked = len(twin.control.injector.requests("GET */task*")) - before
    polls = Counter(record.partition for record in desk.pulses.records)
    assert all(isinstance(outcome, TransferReceipt) for outcome in outcomes)
    assert asked == max(polls.values())
    assert polls.total() > asked


# -- what is never overwritten -----------------------------------------------------------------------------------


@pytest.mark.parametrize("foreign", [FOREIGN, b"short", b""], ids=["equal size", "other size", "empty"])
@pytest.mark.parametrize("place", ["data832", "nersc"])
def test_a_copy_onto_foreign_content_is_refused_and_the_content_untouched(
    desk: Desk, twin: Twin, place: str, foreign: bytes
) -> None:
    path = f"occupied/{place}-{len(foreign)}.h5"
    desk.put(desk.raw("spot832", path), CONTENT)
    desk.put(desk.raw(place, path), foreign)
    before = tasks(twin)
    with pytest.raises(DestinationOccupiedError):
        desk.copy(desk.request(path, destination=place))
    assert desk.content(desk.raw(place, path)) == foreign
    assert tasks(twin) == before


def test_a_folder_where_the_file_should_go_is_in_the_way(desk: Desk) -> None:
    request = desk.scan("folder/a.h5", CONTENT)
    desk.put(desk.raw("data832", "folder/a.h5/inside"), FOREIGN)
    with pytest.raises(DestinationOccupiedError, match="a dir lies there"):
        desk.copy(request)


def test_a_file_where_a_folder_should_be_is_in_the_way(desk: Desk) -> None:
    paths = ["blocked/x/a.h5", "blocked/y/a.h5"]
    for path in paths:
        desk.put(desk.raw("spot832", path), CONTENT)
    desk.put(desk.raw("data832", "blocked/x"), FOREIGN)
    with pytest.raises(DestinationOccupiedError, match="where a folder should be"):
        desk.copy(desk.request(*paths))
    assert desk.content(desk.raw("data832", "blocked/x")) == FOREIGN


def test_equal_content_that_can_be_read_from_here_is_adopted_and_nothing_is_sent(desk: Desk, twin: Twin) -> None:
    request = desk.scan("adopted/a.h5", CONTENT)
    desk.put(desk.raw("data832", "adopted/a.h5"), CONTENT)
    before = tasks(twin)
    receipt = desk.copy(request)
    assert (receipt.task_id, receipt.files_skipped, receipt.bytes) == (None, 1, len(CONTENT))
    assert receipt.verified_by == "sha256, read again at the destination"
    assert tasks(twin) == before
    assert desk.but(run_id="later").copy(request) == replace(receipt, reused=True)


def test_of_equal_files_and_missing_ones_only_the_missing_are_sent(desk: Desk) -> None:
    paths = ["partly/a.h5", "partly/b.h5"]
    for path in paths:
        desk.put(desk.raw("spot832", path), CONTENT)
    desk.put(desk.raw("data832", paths[0]), CONTENT)
    receipt = desk.copy(desk.request(*paths))
    assert (receipt.files, receipt.files_skipped, receipt.verified_by) == (2, 1, "globus checksum")


def test_a_copy_that_was_interrupted_goes_on_over_its_own_remains(desk: Desk, twin: Twin) -> None:
    request = desk.scan("remains/a.h5", CONTENT)
    slowly(twin)
    pending = desk.transfer.begin(request, desk.key(request))
    landed = Path(desk.raw("data832", "remains/a.h5").posix)
    eventually(lambda: landed.exists() and landed.stat().st_size)
    desk.remote.cancel_open()
    normally(twin)
    assert 0 < landed.stat().st_size < len(CONTENT)
    receipt = desk.but(run_id="later").copy(request)
    assert (desk.content(desk.raw("data832", "remains/a.h5")), receipt.label[-2:]) == (CONTENT, "-2")
    assert desk.ledger.get(pending.attempt.record.key, 1).state is WorkState.CANCELED


def test_what_appears_after_an_attempt_that_moved_nothing_is_foreign(desk: Desk) -> None:
    request = desk.scan("nothing-moved/a.h5", CONTENT)
    source = Path(desk.raw("spot832", "nothing-moved/a.h5").posix)
    source.unlink()
    with pytest.raises(WorkFailedError):
        desk.copy(request)
    source.write_bytes(CONTENT)
    desk.put(desk.raw("data832", "nothing-moved/a.h5"), FOREIGN)
    with pytest.raises(DestinationOccupiedError):
        desk.copy(request)


def test_what_appears_after_an_attempt_that_was_never_accepted_is_foreign(desk: Desk, twin: Twin) -> None:
    request = desk.scan("never-accepted/a.h5", CONTENT)
    twin.control.injector.add(Fault(match="POST */v0.10/transfer", status=403))
    with pytest.raises(ServiceRefusedError):
        desk.copy(request)
    desk.put(desk.raw("data832", "never-accepted/a.h5"), FOREIGN)
    with pytest.raises(DestinationOccupiedError):
        desk.copy(request)


def test_a_copy_that_was_changed_at_its_destination_is_not_made_anew(desk: Desk) -> None:
    request = desk.scan("changed/a.h5", CONTENT)
    desk.copy(request)
    desk.put(desk.raw("data832", "changed/a.h5"), b"mended by hand")
    with pytest.raises(DestinationOccupiedError):
        desk.copy(request)
    assert desk.content(desk.raw("data832", "changed/a.h5")) == b"mended by hand"


def test_an_unfinished_copy_before_a_good_one_is_no_excuse_for_what_lies_there_now(desk: Desk, twin: Twin) -> None:
    request = desk.scan("excuse/a.h5", CONTENT)
    slowly(twin)
    desk.transfer.begin(request, desk.key(request))
    desk.remote.cancel_open()
    normally(twin)
    desk.copy(request)
    desk.put(desk.raw("data832", "excuse/a.h5"), b"mended by hand")
    with pytest.raises(DestinationOccupiedError):
        desk.copy(request)
    assert desk.content(desk.raw("data832", "excuse/a.h5")) == b"mended by hand"


def test_a_copy_of_another_input_is_refused_before_anything_is_looked_at(desk: Desk, twin: Twin) -> None:
    desk.copy(desk.scan("other/a.h5", CONTENT))
    other = replace(desk.scan("other/a.h5", FOREIGN), fingerprint="another input")
    twin.control.injector.clear_log()
    with pytest.raises(OtherInputError, match="other input"):
        desk.copy(other)
    assert asked(twin, "*") == 0
    assert desk.content(desk.raw("data832", "other/a.h5")) == CONTENT


# -- who may go where --------------------------------------------------------------------------------------------


def test_of_a_restricted_scan_no_request_leaves(desk: Desk, twin: Twin) -> None:
    desk.put(desk.raw("spot832", "secret/a.h5"), CONTENT)
    request = desk.request("secret/a.h5", destination="nersc")
    twin.control.injector.clear_log()
    with pytest.raises(NotAllowedError, match="restricted-folder"):
        desk.but(export_control=SECRET).copy(request)
    assert asked(twin, "*") == 0


def test_a_restricted_scan_may_be_copied_on_site(desk: Desk) -> None:
    request = desk.scan("secret/b.h5", CONTENT)
    assert desk.but(export_control=SECRET).copy(request).files == 1


def test_a_request_goes_from_one_place_to_one_other(desk: Desk) -> None:
    one, other = desk.scan("mixed/a.h5", CONTENT), desk.request("mixed/a.h5", destination="nersc")
    with pytest.raises(ValueError, match="one place"):
        CopyRequest(ScanId("mixed/a.h5"), one.items + other.items, "")


def test_a_request_has_no_destination_twice(desk: Desk) -> None:
    one = desk.scan("twice/a.h5", CONTENT)
    with pytest.raises(ValueError, match="same destination"):
        replace(one, items=one.items * 2)


def test_every_refusal_says_what_was_seen_and_what_to_do(desk: Desk) -> None:
    request = desk.scan("words/a.h5", CONTENT)
    desk.put(desk.raw("data832", "words/a.h5"), FOREIGN)
    with pytest.raises(PlatformError) as refused:
        desk.copy(request)
    assert "SHA-256" in refused.value.seen
    assert "nothing was touched" in refused.value.meaning
    assert refused.value.remedy
