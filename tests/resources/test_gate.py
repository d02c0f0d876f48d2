"""Nothing of a scan is sent that may not be: asked of the real clients, with the twin counting what was asked for."""

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from beamlines.config import Beamline
from beamlines.decisions import Reason
from beamlines.flight import TestFile
from beamlines.places import Place, Store
from beamlines.policy import ExportControl, ExportDefault
from beamlines.scans import ScanId
from beamlines.standing import SeenFile
from beamlines.testing import scan_ids
from resources.database import IN_MEMORY, Database, remote_work, scans
from resources.errors import NotAllowedError, ServiceRefusedError, ServiceUnavailableError
from resources.facilities import JobSpec
from resources.facilities.batch import BatchFacility
from resources.facilities.nersc import NerscJobs
from resources.facilities.superfacility import Superfacility
from resources.gate import Beside, Gate, Watch
from resources.globus import Globus, NotFoundError
from resources.globus_session import Login
from resources.identities import Identities
from resources.ledger import Ledger
from resources.owner import Owner
from resources.remote import Remote
from resources.testing import QUICK, Desk, SleptClock, make_gate, outage
from resources.transfer import CopyRequest, Item, Transfer
from resources.work import WorkKey
from twin.faults import Fault
from twin.globus.conditions import Denied
from twin.server import Twin

CONTENT = b"a scan"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SILENCE = Fault(match="GET */stat", times=99, status=503)
OFF_SITE = ("nersc", "pscratch", "alcf")


def moved(twin: Twin) -> int:
    """How many transfers were submitted in this test."""
    return len(twin.control.injector.requests("POST /transfer/v0.10/transfer"))


def send(desk: Desk, path: str, destination: str = "nersc") -> object:
    request = desk.request(path, source="data832", destination=destination)
    return desk.transfer.copy(request, desk.key(request, f"bl832/{destination}/raw"), desk.pulses)


@pytest.fixture
def scan(desk: Desk, request: pytest.FixtureRequest) -> str:
    """A scan on the acquisition machine, as it was announced, and its copy on site."""
    path = f"gate/{request.node.name}.h5"
    desk.put(desk.raw("spot832", path), CONTENT)
    desk.put(desk.raw("data832", path), CONTENT)
    entry = desk.transfer.stat(desk.raw("spot832", path))
    desk.standings.arrived([(ScanId(path).key, SeenFile(entry.size_bytes, entry.modified))])
    return path


def test_a_scan_of_which_nothing_is_said_passes(desk: Desk, twin: Twin, scan: str) -> None:
    assert send(desk, scan)
    assert moved(twin) == 1


@pytest.mark.parametrize("content", [b"", b"export_control: false\n"], ids=["empty", "that says otherwise"])
def test_a_sidecar_keeps_a_scan_on_site_and_that_outlives_it(desk: Desk, twin: Twin, scan: str, content: bytes) -> None:
    sidecar = desk.raw("spot832", f"{scan}.export-control")
    desk.put(sidecar, content)
    with pytest.raises(NotAllowedError, match="a sidecar lay beside it"):
        send(desk, scan)
    Path(sidecar.posix).unlink()
    with pytest.raises(NotAllowedError, match="a sidecar lay beside it"):
        send(desk, scan)
    assert moved(twin) == 0
    desk.standings.lift(ScanId(scan).key, author="dula", note="it was a mistake", at=NOW)
    assert send(desk, scan)


def test_a_sidecar_that_comes_between_decision_and_submit_is_still_seen(desk: Desk, twin: Twin, scan: str) -> None:
    desk.gate.check(ScanId(scan), desk.beamline.places["nersc"])
    desk.put(desk.raw("spot832", f"{scan}.export-control"), b"")
    with pytest.raises(NotAllowedError):
        send(desk, scan)
    assert moved(twin) == 0


@pytest.mark.parametrize(
    ("break_it", "error"),
    [
        (
            lambda twin, _: twin.control.injector.add(Fault(match="GET */stat", times=99, status=503)),
            ServiceUnavailableError,
        ),
        (lambda twin, spot: twin.control.board.change({"down": [spot.collection]}), ServiceUnavailableError),
        (
            lambda twin, spot: twin.control.board.change(
                {"denied": [Denied(collection=spot.collection, prefix="/raw/gate").model_dump(mode="json")]}
            ),
            ServiceRefusedError,
        ),
    ],
    ids=["no answer", "the machine is down", "the folder may not be read"],
)
def test_where_nobody_can_see_whether_there_is_a_sidecar_nothing_is_sent(
    desk: Desk, twin: Twin, scan: str, break_it: Callable[[Twin, Place], None], error: type[Exception]
) -> None:
    request = desk.request(scan, source="data832", destination="nersc")
    break_it(twin, desk.beamline.places["spot832"])
    with pytest.raises(error):
        desk.gate.check_now(request.subject, request.destination)
    with pytest.raises(error):
        desk.transfer.copy(request, desk.key(request, "bl832/nersc/raw"), desk.pulses)
    assert moved(twin) == 0


def test_a_scan_whose_file_has_changed_is_copied_nowhere_until_a_person_decides(
    desk: Desk, twin: Twin, scan: str
) -> None:
    changed = desk.raw("spot832", scan)
    desk.put(changed, CONTENT * 2)
    with pytest.raises(NotAllowedError, match="changed since it was taken for complete"):
        send(desk, scan)
    assert desk.standings.of(ScanId(scan).key).changed
    on_site = desk.request(scan)
    with pytest.raises(NotAllowedError, match="changed"):
        desk.copy(on_site)
    with pytest.raises(NotAllowedError, match="changed"):
        desk.transfer.delete(
            ScanId(scan), desk.raw("data832", scan), desk.key(on_site, "delete"), desk.pulses, recursive=False
        )
    assert moved(twin) == 0
    assert desk.content(desk.raw("data832", scan)) == CONTENT
    entry = desk.transfer.stat(changed)
    seen = SeenFile(entry.size_bytes, entry.modified)
    desk.standings.accept(ScanId(scan).key, seen, author="dula", note="a calibration was added", at=NOW)
    assert send(desk, scan)


def test_a_scan_that_is_no_longer_on_the_acquisition_machine_passes(desk: Desk, scan: str) -> None:
    Path(desk.raw("spot832", scan).posix).unlink()
    assert send(desk, scan)


def test_a_refused_copy_is_no_excuse_for_what_lies_at_the_destination_later(desk: Desk, scan: str) -> None:
    desk.put(desk.raw("spot832", f"{scan}.export-control"), b"")
    with pytest.raises(NotAllowedError):
        send(desk, scan)
    Path(desk.raw("spot832", f"{scan}.export-control").posix).unlink()
    desk.standings.lift(ScanId(scan).key, author="dula", note="a mistake", at=NOW)
    foreign = desk.put(desk.raw("nersc", scan), b"sombdy")
    with pytest.raises(Exception, match="nothing was touched"):
        send(desk, scan)
    assert desk.content(desk.raw("nersc", scan)) == foreign


def test_the_message_of_a_refusal_does_not_carry_the_scans_name(desk: Desk, scan: str) -> None:
    desk.standings.restrict(ScanId(scan).key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="x", at=NOW)
    with pytest.raises(NotAllowedError) as refused:
        send(desk, scan)
    assert ScanId(scan).name not in str(refused.value)
    assert "gate" not in str(refused.value)


def test_a_sidecar_beside_the_copy_on_site_counts_and_a_mount_that_is_gone_is_no_answer(
    desk: Desk, scan: str, tmp_path: Path
) -> None:
    data832 = desk.beamline.places["data832"].model_copy(update={"mount": PurePosixPath(tmp_path / "data")})
    watch = Watch(desk.globus, [desk.beamline.places["spot832"], data832], ".export-control")
    with pytest.raises(ServiceUnavailableError, match="cannot be read at its mount here"):
        watch(ScanId(scan))
    (tmp_path / "data").mkdir()
    assert watch(ScanId(scan)).sidecar is None
    sidecar = tmp_path / "data" / "raw" / f"{scan}.export-control"
    sidecar.parent.mkdir(parents=True)
    sidecar.symlink_to("nowhere")
    assert watch(ScanId(scan)).sidecar == "data832"


# -- test files --------------------------------------------------------------------------------------------------


def test_the_test_file_passes_whatever_the_rules_say(desk: Desk, twin: Twin) -> None:
    closed = desk.but(export_control=ExportControl())
    file = TestFile("transfer_tests", "one.txt")
    source, destination = (file.at(desk.beamline.places[name]) for name in ("data832", "nersc"))
    desk.put(source, CONTENT)
    request = CopyRequest(file, (Item(source, destination),), "x")
    assert closed.transfer.copy(request, closed.key(request), closed.pulses)
    assert desk.content(destination) == CONTENT


@pytest.mark.parametrize("path", ["secret/a.h5", "transfer_tests/deeper/a.h5", "a.h5"])
def test_a_scan_cannot_be_called_a_test_file(desk: Desk, path: str) -> None:
    item = Item(desk.raw("data832", path), desk.raw("nersc", path))
    with pytest.raises(ValueError, match="only files in transfer_tests"):
        CopyRequest(TestFile("transfer_tests", "a.h5"), (item,), "x")


# -- many cases --------------------------------------------------------------------------------------------------


class Nowhere(Globus):
    """A Globus at which nothing lies, and that remembers what was sent."""

    def __init__(self) -> None:
        super().__init__(Login("none", lambda: "none"))
        self.submits = 0

    def stat(self, collection: str, path: str) -> NoReturn:
        raise NotFoundError(seen=f"{collection}: {path!r}", meaning="nothing lies there", remedy="none")

    def new_submission_id(self) -> str:
        return "id"

    def find_task(self, _: str) -> None:
        return None

    def submit_transfer(self, *_: object, **__: object) -> str:
        self.submits += 1
        return "task"


class Machine(Superfacility):
    """A machine that remembers what was submitted."""

    def __init__(self) -> None:
        self.submits = 0

    def jobs(self, **_: object) -> list[dict[str, Any]]:
        return []

    def submit(self, _: str) -> str:
        self.submits += 1
        return "1"


DOORS = (*OFF_SITE, "job", "submit alone")


class House:
    """Everything through which something of a scan can leave: Transfer to each place, and a facility's jobs."""

    def __init__(self, beamline: Beamline) -> None:
        self.beamline, self.clock, self.database = beamline, SleptClock(), Database(IN_MEMORY)
        self.globus, self.machine = Nowhere(), Machine()

    def close(self) -> None:
        self.database.close()

    def forget(self) -> None:
        with self.database.engine.begin() as connection:
            for table in (scans, remote_work):
                connection.exec_driver_sql(f"DELETE FROM {table.name}")  # noqa: S608

    @property
    def submits(self) -> int:
        return self.globus.submits + self.machine.submits

    def leave(self, scan: ScanId, gate: Gate, door: str) -> None:
        """Try to send something of a scan through one of the house."""
        ledger = Ledger(self.database)
        remote = Remote(ledger, Owner.this_process("run"), self.clock)
        key = WorkKey(door, scan.key, "", "x")
        if door in OFF_SITE:
            source, there = (self.beamline.places[name].at(Store.RAW, scan.path) for name in ("data832", door))
            transfer = Transfer(Identities(self.globus, self.globus), remote, ledger, gate, self.clock, QUICK)
            transfer.begin(CopyRequest(scan, (Item(source, there),), "x"), key)
            return
        slurm = self.beamline.facilities["nersc"].resources
        jobs = NerscJobs(self.machine)
        nersc = BatchFacility("nersc", jobs, self.machine, remote, self.clock, gate, QUICK)
        job = JobSpec("a job", (scan,), self.beamline.places["pscratch"], "true\n", slurm)
        if door == "job":
            nersc.begin(job, key)
        else:
            nersc.submit(job, "als-0-1")


@pytest.fixture(scope="module")
def house(shared_twin: Twin) -> Iterator[House]:
    with closing(House(shared_twin.world.beamline)) as house:
        yield house


KINDS = ("folder", "proposal", "announcement", "operator", "default", "sidecar", "changed", "unseen")


def gate_that_refuses(house: House, scan: ScanId, kinds: Collection[str]) -> Gate:
    """A gate that keeps the scan on site for each of these reasons, and no other."""
    proposal = scan.describe().proposal
    rules = ExportControl(
        default=ExportDefault.RESTRICTED if "default" in kinds else ExportDefault.UNRESTRICTED,
        restricted_folders=("*",) if "folder" in kinds else (),
        restricted_proposals=(proposal or "BLS-00007",) if "proposal" in kinds else (),
    )

    def watch(_: ScanId) -> Beside:
        if "unseen" in kinds:
            raise outage()
        return Beside(SeenFile(2, NOW) if "changed" in kinds else None, "spot832" if "sidecar" in kinds else None)

    house.forget()
    gate = make_gate(house.database, house.clock, rules, watch)
    gate.standings.arrived([(scan.key, SeenFile(1, NOW))])
    if "announcement" in kinds:
        gate.standings.announced(scan.key, export_control=True, withheld_from=frozenset(), author="", at=NOW)
    if "operator" in kinds:
        gate.standings.restrict(scan.key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="x", at=NOW)
    return gate


@pytest.mark.parametrize("door", DOORS)
def test_without_a_reason_every_door_is_open(house: House, door: str) -> None:
    scan, before = ScanId("open/a.h5"), house.submits
    house.leave(scan, gate_that_refuses(house, scan, ()), door)
    assert house.submits == before + 1


@settings(max_examples=2_000, phases=[Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)
@given(scan=scan_ids(), kinds=st.sets(st.sampled_from(KINDS), min_size=1, max_size=3))
def test_in_ten_thousand_cases_nothing_of_a_restricted_scan_goes_through_any_door(
    house: House, scan: ScanId, kinds: set[str]
) -> None:
    before = house.submits
    gate = gate_that_refuses(house, scan, kinds)
    for door in DOORS:  # five doors for each of two thousand scans
        with pytest.raises((NotAllowedError, ServiceUnavailableError)):
            house.leave(scan, gate, door)
    assert house.submits == before
