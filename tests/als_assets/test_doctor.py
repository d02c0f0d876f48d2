"""What the doctor sees of places, facilities and the platform itself, and who is told to act."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg
import pytest

from als_assets.operations.doctor.catalogue import look_at_catalogue
from als_assets.operations.doctor.clients import look_at_clients
from als_assets.operations.doctor.house import look_at_house
from als_assets.operations.doctor.machines import MachineLook
from als_assets.operations.doctor.places import PlaceLook
from als_assets.operations.findings import Finding, Verdict
from beamlines.flight import TestFile
from beamlines.places import Location, Store
from resources.errors import ServiceRefusedError, ServiceUnavailableError
from resources.facilities import examination
from resources.facilities.examination import Found
from resources.identities import Identities
from resources.ledger import Ledger
from resources.proof import FileHash
from resources.responsible import who_must_act
from resources.transfer import Transfer
from tests.als_assets.conftest import Platform
from twin.faults import Fault
from twin.globus.conditions import FaultCode, TaskFault
from twin.scheduler import Pace
from twin.superfacility.status import Outage

WHOSE = "0123456789abcdef"
DENIED = {"code": "PermissionDenied", "message": "You do not have permission"}


@contextmanager
def made(platform: Platform) -> Iterator[Any]:
    with dg.build_resources(platform.resources, instance=platform.instance) as parts:
        yield parts


def places(platform: Platform) -> list[Finding]:
    with made(platform) as parts:
        look = PlaceLook(platform.settings.beamline, parts.transfer, parts.clock, lambda *_: None, whose())
        return list(look.look())


def machines(platform: Platform, name: str = "nersc") -> list[Finding]:
    with made(platform) as parts:
        facilities = {name: parts.facilities[name]}
        look = MachineLook(platform.settings.beamline, facilities, parts.clock, lambda *_: None, whose())
        found = list(look.look())
        parts.remote.cancel_open()
        return found


def whose() -> str:
    return f"{time.monotonic_ns():016x}"


def wrong(findings: list[Finding]) -> dict[str, Finding]:
    return {f"{found.where} {found.what}": found for found in findings if found.verdict is not Verdict.FINE}


def probes(platform: Platform) -> list[Path]:
    return list(platform.twin.world.state_dir.rglob("doctor_*")) + list(
        platform.twin.world.state_dir.rglob(".als-examined*")
    )


def collection(platform: Platform, place: str) -> str:
    return platform.settings.beamline.places[place].collection


@pytest.fixture
def with_program(platform: Platform) -> Any:
    """The platform with another program at its facility."""
    facility = platform.settings.beamline.facilities["nersc"]

    def but(**changes: Any) -> Platform:
        program = facility.program.model_copy(update=changes)
        return platform.but(facilities={"nersc": facility.model_copy(update={"program": program})})

    return but


@pytest.fixture
def key_file(platform: Platform) -> Iterator[Path]:
    service = platform.settings.deployment.superfacility
    assert service is not None
    path = Path(service.key_file)
    before = path.stat()
    yield path
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    path.chmod(0o600)


# -- clients of Globus -------------------------------------------------------------------------------------------


def clients(platform: Platform) -> dict[str, Finding]:
    with made(platform) as parts:
        return {f"{found.where} {found.what}": found for found in look_at_clients(parts.globus)}


def test_both_clients_of_globus_are_let_in(platform: Platform) -> None:
    findings, service = clients(platform), platform.settings.deployment.globus
    assert {name: found.verdict for name, found in findings.items()} == {
        "globus client": Verdict.FINE,
        "globus (deletes) client": Verdict.FINE,
    }
    assert service.client_id in findings["globus client"].seen


def test_a_wrong_secret_of_the_client_that_deletes_is_for_the_operators(
    platform: Platform, deletes_secret: Path
) -> None:
    deletes_secret.write_text("wrong")
    findings = clients(platform)
    found = findings["globus (deletes) client"]
    assert (found.verdict, found.who) == (Verdict.FAULT, "those who run this platform")
    assert findings["globus client"].verdict is Verdict.FINE


def test_a_service_that_does_not_answer_is_not_for_the_operators(platform: Platform) -> None:
    platform.twin.control.injector.add(Fault(match="GET */task_list", status=503, times=100))
    findings = clients(platform)
    platform.twin.control.injector.clear()
    assert {found.who for found in findings.values()} == {"Globus itself (status.globus.org)"}


def test_one_client_for_both_is_a_warning(platform: Platform) -> None:
    with made(platform) as parts:
        globus = parts.globus.transfers
        *_, found = look_at_clients(Identities(globus, globus))
    assert (found.what, found.verdict) == ("deletes", Verdict.WARNING)
    assert "globus.deletes" in found.remedy


# -- the catalogue -----------------------------------------------------------------------------------------------


def the_catalogue(platform: Platform) -> list[Finding]:
    with made(platform) as parts:
        return list(look_at_catalogue(parts.catalogue))


def test_the_catalogues_account_is_let_in(platform: Platform) -> None:
    assert [(found.where, found.verdict) for found in the_catalogue(platform)] == [("scicat", Verdict.FINE)]


@pytest.mark.parametrize(
    ("fault", "who"),
    [
        (Fault(match="* /scicat/*", times=1_000, status=503), "whoever runs SciCat"),
        (Fault(match="POST */login", times=1_000, status=401), "those who run this platform"),
    ],
)
def test_a_catalogue_that_cannot_be_asked_says_who_must_act(platform: Platform, fault: Fault, who: str) -> None:
    platform.twin.control.injector.add(fault)
    [found] = the_catalogue(platform)
    platform.twin.control.injector.clear()
    assert (found.verdict, found.who) == (Verdict.FAULT, who)


def test_without_a_catalogue_nothing_is_said_of_one() -> None:
    assert list(look_at_catalogue(None)) == []


# -- places ------------------------------------------------------------------------------------------------------


def test_every_folder_of_every_place_is_listed_written_and_read_and_nothing_is_left(platform: Platform) -> None:
    findings = places(platform)
    expected = {(p.name, str(store)) for p in platform.settings.beamline.places.values() for store in p.stores}
    assert {(found.where, found.what) for found in findings} == expected
    assert wrong(findings) == {}
    done = ("listed", "written", "files get 664", "read back", "not deletable by the client that transfers", "deleted")
    assert all(word in found.seen for found in findings for word in done)
    assert probes(platform) == []


def test_where_the_client_that_transfers_can_delete_those_who_run_the_place_are_told(platform: Platform) -> None:
    platform.twin.control.board.change({"others_may_delete": [collection(platform, "alcf")]})
    warnings = wrong(places(platform))
    assert set(warnings) == {"alcf raw, rights", "alcf results, rights"}
    assert {(found.verdict, found.who) for found in warnings.values()} == {
        (Verdict.WARNING, "ALCF, support@alcf.anl.gov")
    }
    assert platform.settings.deployment.globus.client_id in warnings["alcf raw, rights"].seen
    assert probes(platform) == []


def test_without_the_right_to_delete_the_client_that_deletes_is_named(platform: Platform) -> None:
    platform.twin.control.injector.add(Fault(match="POST */v0.10/delete", status=403, body=DENIED, times=10_000))
    faults = wrong(places(platform))
    platform.twin.control.reset()
    assert all(name.endswith(", delete") and found.verdict is Verdict.FAULT for name, found in faults.items())
    deletes = platform.settings.deployment.globus.deletes
    assert deletes is not None
    assert all(deletes.client_id in found.seen for found in faults.values())
    for left in probes(platform):
        left.unlink()


def test_a_collection_that_is_down_is_for_those_who_run_it_and_the_others_are_looked_at(platform: Platform) -> None:
    platform.twin.control.board.change({"down": [collection(platform, "alcf")]})
    faults = wrong(places(platform))
    assert set(faults) == {"alcf raw, list", "alcf results, list"}
    assert {fault.who for fault in faults.values()} == {"ALCF, support@alcf.anl.gov"}
    assert probes(platform) == []


def test_a_folder_that_may_not_be_written_is_named(platform: Platform) -> None:
    denied = {"collection": collection(platform, "alcf"), "prefix": "/data/scratch", "access": ["write"]}
    platform.twin.control.board.change({"denied": [denied]})
    faults = wrong(places(platform))
    assert set(faults) == {"alcf results, write"}
    assert "PERMISSION_DENIED" in faults["alcf results, write"].seen
    assert "ALCF" in faults["alcf results, write"].who


def test_modes_that_others_cannot_work_with_are_told_with_the_umask_that_is_needed(platform: Platform) -> None:
    platform.twin.control.board.change({"umask": "0077"})
    faults = wrong(places(platform))
    assert len(faults) == 11
    assert "gets 600, not 664" in faults["alcf raw, modes"].seen
    assert "umask 0002" in faults["alcf raw, modes"].remedy
    assert probes(platform) == []


def test_a_missing_consent_is_for_the_operators_with_its_scope(platform: Platform) -> None:
    identifier, known = collection(platform, "alcf"), platform.twin.world.collections
    before = known[identifier]
    known[identifier] = replace(before, needs_data_access=True)
    try:
        faults = wrong(places(platform))
    finally:
        known[identifier] = before
    assert set(faults) == {"alcf raw, list", "alcf results, list"}
    assert faults["alcf raw, list"].who == "those who run this platform"
    assert f"{identifier}/data_access" in faults["alcf raw, list"].remedy


def test_a_way_back_that_damages_files_is_found(platform: Platform) -> None:
    def back_from_alcf() -> TestFile:
        look = PlaceLook(platform.settings.beamline, None, FixedClock(), lambda *_: None, WHOSE)  # type: ignore[arg-type]
        return look._probe(platform.settings.beamline.places["alcf"], Store.RAW).back

    platform.twin.control.board.add_fault(TaskFault(name=back_from_alcf().name, code=FaultCode.CORRUPT, times=10_000))
    with made(platform) as parts:
        quick = parts.transfer.within(timedelta(seconds=1))
        look = PlaceLook(platform.settings.beamline, quick, FixedClock(), lambda *_: None, WHOSE)
        faults = wrong(list(look.look()))
    assert set(faults) == {"alcf raw, read"}
    seen = faults["alcf raw, read"].seen
    assert "EXPIRED" in seen or "has not ended" in seen  # whichever deadline is noticed first
    assert probes(platform) == []


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 7, 1, 12, tzinfo=UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.05))


def test_what_a_look_that_was_cut_off_has_left_is_removed_a_day_later(platform: Platform) -> None:
    left = TestFile.unique("transfer_tests", "doctor", datetime.now(UTC) - timedelta(days=2), WHOSE, Store.RESULTS)
    there = Path(left.at(platform.settings.beamline.places["alcf"]).posix)
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("x")
    assert wrong(places(platform)) == {}
    assert probes(platform) == []


def test_a_group_that_others_do_not_share_is_told(platform: Platform) -> None:
    stated = platform.settings.beamline.places
    other = stated["nersc"].model_copy(update={"group": "m1234"})
    faults = wrong(places(platform.but(places={**stated, "nersc": other})))
    assert set(faults) == {"nersc raw, modes", "nersc results, modes"}
    assert "664 als, not 664 m1234" in faults["nersc raw, modes"].seen


def test_a_mount_that_is_gone_is_told_and_so_is_what_was_wrong_before(platform: Platform) -> None:
    stated = platform.settings.beamline.places
    gone = stated["data832"].model_copy(update={"mount": PurePosixPath("/no/such/mount")})
    platform.twin.control.board.change({"down": [collection(platform, "alcf")]})
    faults = wrong(places(platform.but(places={**stated, "data832": gone})))
    assert set(faults) == {"data832 mount", "alcf raw, list", "alcf results, list"}
    assert probes(platform) == []


@pytest.mark.parametrize("unreadable", [True, False])
def test_what_comes_back_is_read_and_must_be_what_was_sent(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, unreadable: bool
) -> None:
    def read(_: Path) -> FileHash:
        if unreadable:
            raise PermissionError(13, "Permission denied")
        return FileHash("0" * 64, 1)

    monkeypatch.setattr("als_assets.operations.doctor.places.hash_file", read)
    faults = wrong(places(platform))
    assert {what.rpartition(", ")[2] for what in faults} == {"read"}
    assert probes(platform) == []


def test_a_probe_that_cannot_be_deleted_is_told(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ServiceRefusedError(seen="no", meaning="it may not be deleted", remedy="look")

    monkeypatch.setattr(Transfer, "finish_delete", refuse)
    assert {what.rpartition(", ")[2] for what in wrong(places(platform))} == {"delete"}
    monkeypatch.undo()
    assert platform.eventually(lambda: probes(platform) == [])


# -- facilities --------------------------------------------------------------------------------------------------


def test_a_facility_in_order_is_told_by_service_key_queue_image_program_and_folders(platform: Platform) -> None:
    findings = machines(platform)
    assert wrong(findings) == {}
    looked_at = ["service", "key", "queue", "image", "program", "jobs, raw", "jobs, results", "jobs, logs"]
    assert [found.what for found in findings] == looked_at
    assert probes(platform) == []


@pytest.mark.parametrize("name", ["alcf", "olcf", "local"])
def test_a_facility_without_containers_is_looked_at_as_well(platform: Platform, name: str) -> None:
    findings = machines(platform, name)
    assert wrong(findings) == {}
    looked_at = ["service", "key", "queue", "program", "jobs, raw", "jobs, results", "jobs, logs"]
    assert [found.what for found in findings] == looked_at
    assert probes(platform) == []


@pytest.mark.parametrize(("days", "verdict"), [(0.5, Verdict.FINE), (1.5, Verdict.WARNING), (2.5, Verdict.FAULT)])
def test_a_key_is_told_a_day_before_it_ends(platform: Platform, key_file: Path, days: float, verdict: Verdict) -> None:
    made_at = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    os.utime(key_file, (made_at, made_at))
    jobs = len(platform.jobs)
    (key,) = [found for found in machines(platform) if found.what == "key"]
    assert key.verdict is verdict
    assert ("those who run this platform" in key.who) == (verdict is not Verdict.FINE)
    assert (len(platform.jobs) > jobs) == (verdict is not Verdict.FAULT)


def test_a_key_that_others_can_read_is_refused(platform: Platform, key_file: Path) -> None:
    key_file.chmod(0o640)
    fault = wrong(machines(platform))["nersc key"]
    assert "0640" in fault.seen


def test_a_machine_that_is_not_active_is_a_warning_in_its_services_own_words(platform: Platform) -> None:
    assert platform.twin.nersc is not None
    board = platform.twin.nersc.api.status
    board.set("perlmutter", "degraded", "Slow file system")
    try:
        warning = wrong(machines(platform))["nersc service"]
    finally:
        board.reset()
    assert (warning.verdict, warning.seen) == (Verdict.WARNING, "degraded: Slow file system")


def test_outages_are_told_and_one_that_has_begun_is_a_warning(platform: Platform) -> None:
    assert platform.twin.nersc is not None
    board, now = platform.twin.nersc.api.status, datetime.now(UTC)
    for start, status in ((now - timedelta(hours=1), "Active"), (now + timedelta(days=3), "Planned")):
        board.add(Outage(name="perlmutter", start_at=start, end_at=start + timedelta(hours=9), status=status))
    board.set("perlmutter", "unavailable", "Maintenance")
    try:
        found = [finding for finding in machines(platform) if finding.what == "outage"]
    finally:
        board.reset()
    assert [finding.verdict for finding in found] == [Verdict.WARNING, Verdict.FINE]
    assert all(finding.seen.startswith("Scheduled Maintenance, from 2") for finding in found)


def test_an_image_that_is_not_there_is_named_with_how_to_get_it(with_program: Any) -> None:
    faults = wrong(machines(with_program(image="nosuch/image:1")))
    assert set(faults) == {"nersc image", "nersc program"}
    assert "podman-hpc pull nosuch/image:1" in faults["nersc image"].remedy


@pytest.mark.parametrize(("found", "verdict"), [("sha256:aa", Verdict.FINE), ("sha256:bb", Verdict.FAULT)])
def test_a_pinned_image_must_be_the_one_that_is_there(with_program: Any, found: str, verdict: Verdict) -> None:
    platform = with_program(image="example/image@sha256:aa")
    with made(platform) as parts:
        look = MachineLook(platform.settings.beamline, parts.facilities, parts.clock, lambda *_: None, whose())
        pinned = str(platform.settings.beamline.facilities["nersc"].program.image)
        image = look._image(parts.facilities["nersc"], pinned, Found(found, "1", ()))
    assert image.verdict is verdict


def test_a_service_that_does_not_answer_is_for_those_who_run_it(platform: Platform) -> None:
    platform.twin.control.injector.add(Fault(match="GET /superfacility/status/*", status=503, times=100))
    fault = wrong(machines(platform))["nersc service"]
    assert (fault.verdict, fault.who) == (Verdict.FAULT, "NERSC, help.nersc.gov")


def test_another_program_than_the_configured_one_is_a_fault(with_program: Any) -> None:
    faults = wrong(machines(with_program(version="9.9.9")))
    assert set(faults) == {"nersc program"}
    assert "9.9.9" in faults["nersc program"].seen


def test_a_folder_that_jobs_cannot_write_is_named(platform: Platform) -> None:
    stated = platform.settings.beamline.places
    gone = stated["pscratch"].model_copy(update={"stores": {Store.RAW: "raw", Store.RESULTS: "no such folder"}})
    faults = wrong(machines(platform.but(places={**stated, "pscratch": gone})))
    assert set(faults) == {"nersc jobs, results"}
    assert "no such folder: cannot be written: No such file or directory" in faults["nersc jobs, results"].seen


def test_a_queue_that_does_not_move_is_given_up_and_the_job_is_cancelled(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "MAY_WAIT", timedelta(seconds=0.2))
    monkeypatch.setattr(examination, "_TIME_LIMIT", timedelta(seconds=1))
    assert platform.twin.nersc is not None
    platform.twin.nersc.scheduler.pace = Pace(nodes=0)
    fault = wrong(machines(platform))["nersc queue"]
    assert "has not ended" in fault.seen
    assert "NERSC" in fault.who
    assert platform.eventually(lambda: platform.jobs[-1].state.name == "CANCELLED")


# -- the platform itself -----------------------------------------------------------------------------------------


class Server:
    def __init__(self, silent: list[str], errors: list[str], away: bool = False) -> None:
        self.silent, self.errors, self.away = silent, errors, away

    def unhealthy_daemons(self) -> list[str]:
        return self.silent

    def load_errors(self) -> list[str]:
        if self.away:
            raise ServiceUnavailableError(seen="no answer", meaning="it is away", remedy="start it")
        return self.errors


@pytest.mark.parametrize(
    ("server", "faults"),
    [
        (Server([], []), {}),
        (Server(["sensor"], []), {"platform daemons": "sensor has no heartbeat"}),
        (Server([], ["als: SyntaxError"]), {"platform code": "als: SyntaxError"}),
        (Server([], [], away=True), {"platform webserver": "no answer: it is away"}),
    ],
)
def test_what_does_not_run_here_is_told(platform: Platform, server: Server, faults: dict[str, str]) -> None:
    found = wrong(list(look_at_house(Ledger(platform.database), server)))
    assert {where: finding.seen for where, finding in found.items()} == faults


def test_where_nothing_answers_at_all_nobody_of_one_place_is_called(platform: Platform) -> None:
    stated = platform.settings.beamline.places
    error = ServiceUnavailableError(seen="no answer", meaning="it is away", remedy="wait")

    def silent(_: Location) -> None:
        raise error

    who = who_must_act(error, [stated["data832"], stated["nersc"]], silent)
    assert "status.globus.org" in who
    assert "NERSC" not in who
