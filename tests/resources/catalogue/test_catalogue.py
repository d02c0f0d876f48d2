"""An entry of the catalogue: put there again and again there is one, whatever is lost on the way."""

import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from beamlines.catalogue.entries import ListedFile, Made, Picture, Whereabouts
from beamlines.catalogue.rules import Restricted
from beamlines.decisions import Reason
from resources.catalogue import documents
from resources.catalogue.session import NoEntryError
from resources.errors import (
    CredentialsRefusedError,
    NotAllowedError,
    PlatformError,
    ServiceRefusedError,
    ServiceUnavailableError,
)
from tests.resources.catalogue.conftest import AT_NERSC, NOW, ON_SITE, PNG, entry_of
from twin.faults import Fault
from twin.traps import Trap

CALLS = [
    "POST /scicat/api/v3/auth/login",
    "GET /scicat/api/v3/Datasets/*",
    "POST /scicat/api/v3/Datasets",
    "GET /scicat/api/v3/Datasets/*/origdatablocks",
    "POST /scicat/api/v3/Datasets/*/origdatablocks",
    "GET /scicat/api/v3/Datasets/*/attachments",
    "POST /scicat/api/v3/Datasets/*/attachments",
]
CHANGES = "P* /scicat/api/v3/Datasets*"


def held(scicat, pid):
    return next(one for one in scicat.all() if one["dataset"]["pid"] == pid)


def is_once_and_right(scicat, entry):
    assert len(scicat.all()) == 1
    one = held(scicat, entry.pid)
    assert documents.differences(documents.dataset(entry), one["dataset"]) == []
    assert len(one["origdatablocks"]) == 1
    assert len(one["attachments"]) == (entry.picture is not None)


def put_until_it_is_there(catalogue, scan, entry):
    for _ in range(5):
        try:
            return catalogue.put(scan, entry)
        except ServiceUnavailableError:
            continue
    raise AssertionError("it was never there")


def test_an_entry_is_put_there_as_it_is_meant(catalogue, scicat, scan, entry):
    put = catalogue.put(scan, entry)
    assert (put.created, put.differs) == (True, ())
    is_once_and_right(scicat, entry)
    one = held(scicat, entry.pid)
    assert one["dataset"]["creationTime"] == "2026-01-01T12:00:00.250Z"
    assert one["dataset"]["sourceFolder"] == "/data/raw/BLS-00564_user"
    assert one["origdatablocks"][0]["chkAlg"] == "sha256"
    assert one["origdatablocks"][0]["dataFileList"][0]["chk"] == "0" * 64
    assert one["attachments"][0]["thumbnail"] == f"data:image/png;base64,{PNG}"


def test_put_again_it_changes_nothing(catalogue, connect, scicat, scan, entry, twin):
    catalogue.put(scan, entry)
    before, asked = scicat.all(), len(twin.control.injector.requests(CHANGES))
    for client in [catalogue] * 20 + [connect() for _ in range(5)]:
        assert client.put(scan, entry).sent == 0
    assert scicat.all() == before
    assert len(twin.control.injector.requests(CHANGES)) == asked


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "fault",
    [{"drop": True}, {"drop": True, "after": True}, {"status": 503}, {"status": 502, "after": True}, {"status": 429}],
)
def test_whatever_is_lost_there_is_one_entry_and_it_is_right(catalogue, scicat, scan, entry, twin, call, fault):
    twin.control.injector.add(Fault(match=call, **fault))
    put = put_until_it_is_there(catalogue, scan, entry)
    assert put.differs == ()
    assert twin.control.injector.faults() == []
    is_once_and_right(scicat, entry)


@pytest.mark.parametrize("call", CALLS[1:])
def test_a_token_that_ends_in_the_middle_is_renewed(catalogue, scicat, scan, entry, twin, call):
    catalogue.find("nothing")
    twin.control.injector.add(Fault(match=call, status=401))
    assert catalogue.put(scan, entry).differs == ()
    is_once_and_right(scicat, entry)


def test_every_token_ended_is_one_login_more(catalogue, scicat, scan, entry, twin):
    catalogue.put(scan, entry)
    scicat.expire_all()
    assert catalogue.put(scan, entry).sent == 0
    assert len(twin.control.injector.requests("POST */auth/login")) == 2


def test_an_answer_that_comes_too_late_is_no_answer(catalogue, scicat, scan, entry, twin):
    twin.control.injector.add(Fault(match="POST */Datasets", delay_s=2.5))
    with pytest.raises(ServiceUnavailableError):
        catalogue.put(scan, entry)


def test_a_login_has_a_limit_too(catalogue, scan, entry, twin):
    twin.control.injector.add(Fault(match="POST */auth/login", delay_s=2.5))
    with pytest.raises(ServiceUnavailableError):
        catalogue.put(scan, entry)


def test_a_page_instead_of_an_answer_is_no_answer(catalogue, scan, entry, twin):
    twin.control.injector.add(
        Fault(match="GET */Datasets/*", status=200, body="<html>", headers={"content-type": "text/html"})
    )
    with pytest.raises(ServiceUnavailableError):
        catalogue.put(scan, entry)


def test_a_redirect_is_not_followed_with_the_token(catalogue, scan, entry, twin):
    twin.control.injector.add(Fault(match="GET */Datasets/*", status=302, headers={"location": "http://127.0.0.1:9/"}))
    with pytest.raises(ServiceRefusedError, match="302"):
        catalogue.put(scan, entry)


def test_nobody_at_the_address_is_an_outage(connect, scan, entry):
    with pytest.raises(ServiceUnavailableError):
        connect(url="http://127.0.0.1:9/api/v3").put(scan, entry)


def test_a_wrong_password_is_named_and_not_shown(connect, scan, entry):
    with pytest.raises(CredentialsRefusedError) as caught:
        connect(password="geheim").put(scan, entry)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_a_refusal_is_final_and_says_what_the_service_says(catalogue, scan, entry, twin, status):
    fault = Fault(match="POST */Datasets", status=status, times=9, body={"message": "property x should not exist"})
    twin.control.injector.add(fault)
    with pytest.raises(ServiceRefusedError, match="property x should not exist"):
        catalogue.put(scan, entry)


def test_no_error_shows_a_token(catalogue, scan, entry, twin):
    catalogue.put(scan, entry)
    for fault in ({"drop": True}, {"status": 503}, {"status": 418}):
        twin.control.injector.add(Fault(match="GET */Datasets/*", **fault))
        with pytest.raises(PlatformError) as caught:
            catalogue.put(scan, entry)
        assert not re.search(r"access_token|ey[A-Za-z0-9_-]{10}", f"{caught.value} {caught.value.__cause__}")


# -- changes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"contact_email": "me@lbl.gov"},
        {"metadata": {"/new": 1}},
        {"files": (ListedFile("scan.h5", 2_000, "1" * 64, NOW),)},
        {"files": tuple(ListedFile(f"{n}.tiff", n, f"{n:064}", NOW) for n in range(300))},
        {"picture": Picture("first look", PNG[:-8] + "AAAAAAA=")},
        {"picture": None},
        {"whereabouts": Whereabouts((replace(ON_SITE, gone="deleted", gone_at=NOW), AT_NERSC))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_has_changed_is_brought_up_to_date(catalogue, scicat, scan, entry, change):
    catalogue.put(scan, entry)
    changed = replace(entry, **change)
    put = catalogue.put(scan, changed)
    assert (put.created, put.differs) == (False, ())
    assert put.sent > 0
    is_once_and_right(scicat, changed)


def test_many_files_are_listed_in_several_lists(catalogue, scicat, scan, entry, monkeypatch):
    monkeypatch.setattr(documents, "FILES_A_BLOCK", 100)
    files = tuple(ListedFile(f"{n}.tiff", n, f"{n:064}", NOW) for n in range(250))
    put = catalogue.put(scan, replace(entry, files=files))
    assert put.differs == ()
    one = held(scicat, entry.pid)
    assert [len(block["dataFileList"]) for block in one["origdatablocks"]] == [100, 100, 50]
    assert (one["dataset"]["numberOfFiles"], one["dataset"]["size"]) == (250, sum(range(250)))


def test_what_somebody_else_has_changed_is_put_right(catalogue, scicat, scan, entry):
    catalogue.put(scan, entry)
    scicat.update(entry.pid, {"owner": "somebody", "isPublished": True})
    scicat.add_block(entry.pid, {"size": 1, "dataFileList": [{"path": "x", "size": 1, "time": "2026-01-01T00:00:00Z"}]})
    assert catalogue.put(scan, entry).differs == ()
    is_once_and_right(scicat, entry)


def test_a_picture_of_a_person_stays(catalogue, scicat, scan, entry):
    catalogue.put(scan, entry)
    scicat.add_picture(entry.pid, {"ownerGroup": "a", "caption": "my best one", "thumbnail": "data:,"})
    catalogue.put(scan, replace(entry, picture=None))
    assert [item["caption"] for item in held(scicat, entry.pid)["attachments"]] == ["my best one"]


def test_two_workers_at_once_make_one_entry(connect, scicat, scan, entry):
    clients, errors = [connect() for _ in range(6)], []
    start = threading.Barrier(len(clients))

    def work(client):
        start.wait()
        try:
            client.put(scan, entry)
        except PlatformError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    is_once_and_right(scicat, entry)


def test_another_worker_that_was_first_is_seen(catalogue, connect, scicat, scan, entry, twin):
    # The look before finds nothing, and then the entry is there.
    twin.control.injector.add(Fault(match="GET */Datasets/*", status=404, body={"message": "not found"}))
    connect().put(scan, replace(entry, picture=None))
    twin.control.injector.add(Fault(match="GET */Datasets/*", status=404, body={"message": "not found"}))
    put = catalogue.put(scan, entry)
    assert (put.created, put.differs) == (False, ())
    is_once_and_right(scicat, entry)


@pytest.mark.parametrize("part", ["origdatablocks", "attachments"])
def test_what_is_there_twice_is_made_one(catalogue, scicat, scan, entry, part):
    catalogue.put(scan, entry)
    again = documents.attachment(entry) if part == "attachments" else next(documents.blocks(entry.files))
    for _ in range(3):
        (scicat.add_picture if part == "attachments" else scicat.add_block)(entry.pid, again)
    catalogue.put(scan, entry)
    is_once_and_right(scicat, entry)


def test_a_reconstruction_is_an_entry_of_its_own_kind(catalogue, scicat, scan, entry):
    made = Made("Unknown", ("20.500.00000/raw",), ("als-tomography 0.1.0",), {"filter": "ramp"})
    derived = replace(entry, pid="20.500.00000/derived", origin=made)
    assert catalogue.put(scan, derived).differs == ()
    said = held(scicat, derived.pid)["dataset"]
    assert (said["type"], said["inputDatasets"]) == ("derived", ["20.500.00000/raw"])
    assert "instrumentId" not in said


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE", "a/b?c=d#e", "..%2F..", "ünïcödé 🔬", "a\nb\tc", "$(rm -rf /)", '"</script>"']
)
def test_hostile_texts_go_there_and_come_back(catalogue, scicat, scan, entry, name):
    hostile = replace(
        entry, name=name, description=name, owner=name, keywords=(name,), metadata={name: {"value": name}}
    )
    assert catalogue.put(scan, hostile).differs == ()
    is_once_and_right(scicat, hostile)


# -- where the data lie ------------------------------------------------------------------------------------------


def test_a_deleted_copy_is_said_to_be_gone_and_all_else_stays(catalogue, scicat, scan, entry):
    catalogue.put(scan, entry)
    before = held(scicat, entry.pid)
    gone = replace(ON_SITE, gone="deleted on 2026-02-01 by certificate 7", gone_at=datetime(2026, 2, 1, tzinfo=UTC))
    put = catalogue.move(entry.pid, Whereabouts((gone, AT_NERSC)))
    assert put.differs == ()
    said = held(scicat, entry.pid)["dataset"]
    assert (said["sourceFolderHost"], said["sourceFolder"]) == ("nersc", "/global/cfs/raw/BLS-00564_user")
    life = said["datasetlifecycle"]
    assert (life["isOnCentralDisk"], life["retrievable"]) == (False, True)
    assert life["dateOfDiskPurging"] == "2026-02-01T00:00:00.000Z"
    assert "certificate 7" in life["archiveStatusMessage"]
    assert [copy["there"] for copy in said["scientificMetadata"]["copies"]] == [False, True]
    assert said["scientificMetadata"]["/a/b.c"]["value"] == 25.0
    changed = {"sourceFolder", "sourceFolderHost", "datasetlifecycle", "scientificMetadata", "updatedAt"}
    assert {name for name in said if said[name] != before["dataset"][name]} == changed
    assert held(scicat, entry.pid)["attachments"] == before["attachments"]


def test_said_again_it_changes_nothing(catalogue, scan, entry):
    catalogue.put(scan, entry)
    where = Whereabouts((replace(ON_SITE, gone="deleted"), AT_NERSC))
    assert catalogue.move(entry.pid, where).sent == 1
    assert catalogue.move(entry.pid, where).sent == 0


def test_of_what_was_never_there_nothing_can_be_said(catalogue, entry):
    with pytest.raises(NoEntryError, match="never described"):
        catalogue.move(entry.pid, entry.whereabouts)


# -- restricted scans --------------------------------------------------------------------------------------------


def restrict(gate, scan):
    gate.standings.restrict(scan.key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="x", at=NOW)


def test_nothing_of_a_restricted_scan_is_sent(catalogue, scicat, scan, entry, gate, twin):
    restrict(gate, scan)
    with pytest.raises(NotAllowedError):
        catalogue.put(scan, replace(entry, picture=None))
    assert twin.control.injector.requests("* /scicat/*") == []


def test_where_configuration_says_so_it_has_an_entry_without_a_picture(connect, scicat, scan, entry, gate):
    restrict(gate, scan)
    catalogue = connect(restricted=Restricted.UNPUBLISHED)
    with pytest.raises(NotAllowedError):
        catalogue.put(scan, entry)
    assert catalogue.put(scan, replace(entry, picture=None)).differs == ()
    assert held(scicat, entry.pid)["dataset"]["isPublished"] is False


def test_a_scan_restricted_while_it_is_sent_is_taken_away_again(catalogue, scicat, scan, entry, gate, twin):
    done = []

    def put():
        try:
            catalogue.put(scan, entry)
        except NotAllowedError as error:
            done.append(error)

    caught = twin.control.injector.traps.set(Trap(match="POST */attachments"))
    thread = threading.Thread(target=put)
    thread.start()
    assert caught.await_catch(10)
    restrict(gate, scan)
    caught.release()
    thread.join()
    assert done
    assert scicat.all() == []


def test_an_entry_is_withdrawn_with_all_that_belongs_to_it(catalogue, scicat, scan, entry):
    catalogue.put(scan, entry)
    assert catalogue.withdraw(entry.pid)
    assert scicat.all() == []
    assert not catalogue.withdraw(entry.pid)


@pytest.mark.parametrize(
    "call", ["DELETE */attachments/*", "DELETE */origdatablocks/*", "DELETE /scicat/api/v3/Datasets/*"]
)
@pytest.mark.parametrize("after", [False, True])
def test_a_withdrawal_that_is_lost_goes_on(catalogue, scicat, scan, entry, twin, call, after):
    catalogue.put(scan, entry)
    twin.control.injector.add(Fault(match=call, drop=True, after=after))
    with pytest.raises(ServiceUnavailableError):
        catalogue.withdraw(entry.pid)
    catalogue.withdraw(entry.pid)
    assert scicat.all() == []


def test_an_account_that_may_not_delete_is_told_who_must(catalogue, scicat, scan, entry):
    catalogue.put(scan, entry)
    scicat.may_delete = False
    with pytest.raises(ServiceRefusedError, match="administrators"):
        catalogue.withdraw(entry.pid)


def test_a_scan_that_has_changed_is_left_alone(catalogue, scicat, scan, entry, gate):
    gate.standings.changed(scan.key, "another size", at=NOW)
    with pytest.raises(NotAllowedError, match="als scan accept"):
        catalogue.put(scan, entry)
    assert scicat.all() == []


def test_an_entry_without_an_owner_cannot_be(scan):
    with pytest.raises(ValueError, match="nobody's"):
        entry_of(scan, owner_group=" ")


def test_a_time_without_a_zone_cannot_be(scan):
    with pytest.raises(ValueError, match="time zone"):
        entry_of(scan, created=datetime(2026, 1, 1))  # noqa: DTZ001


def test_another_zone_is_told_as_utc(catalogue, scicat, scan, entry):
    zone = timezone(timedelta(hours=-8))
    catalogue.put(scan, replace(entry, created=datetime(2026, 1, 1, 4, 0, tzinfo=zone)))
    assert held(scicat, entry.pid)["dataset"]["creationTime"] == "2026-01-01T12:00:00.000Z"
