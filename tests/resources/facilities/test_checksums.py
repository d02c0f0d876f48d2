"""Reading copies again at a facility: every kind of facility, every damage, and answers that must not be believed."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from beamlines.deletion import Found
from beamlines.places import Place
from resources.clock import SystemClock
from resources.facilities import checksums
from resources.facilities.checksum_answers import parse_answer
from resources.facilities.checksums import FRESH, ChecksumJob, read_there
from resources.remote import JobState, RemoteStatus
from resources.rereading import Asked, Reread
from resources.testing import HastyClock
from resources.work import Record, WorkState
from tests.resources.facilities.conftest import Bench, make_bench
from tests.resources.facilities.shelf import DAMAGES, TILES, Shelf, damaged, here, listing
from twin.faults import Fault
from twin.scheduler import Pace
from twin.server import Twin

PROJECT = Path(__file__).parents[3]
PLACES = {"nersc": "nersc", "alcf": "alcf", "olcf": "olcf", "local": "data832"}
HOSTILE = (
    "-$(touch pwned); 'rm' \"x\" é 🦷 {braces} @{no} *",
    "line\nfeed",
    "back\\slash and \\n",
    "no utf-8 \udcff",
    "tab\tand\rreturn",
    "--check",
    "# %20 ? &",
)
TOKEN = "a" * 32


@dataclass
class Desk:
    """One facility, and a shelf of copies there."""

    bench: Bench
    name: str
    shelf: Shelf

    def job(self, *asked: Asked, occasion: str = "pass 1") -> ChecksumJob:
        return ChecksumJob.at(self.bench.beamline, self.name, occasion, asked)

    def read(self, *asked: Asked, occasion: str = "pass 1") -> list[Reread]:
        job = self.job(*asked, occasion=occasion)
        return read_there(job, self.bench.facility, self.bench.pulses, SystemClock())

    def tamper(self, change: Callable[[bytes], bytes]) -> None:
        """Change the job's log between its end and the reading of it."""

        def act(_: Record, status: RemoteStatus) -> None:
            if status.state is JobState.COMPLETED:
                log = Path(status.evidence["logs"][0])
                log.write_bytes(change(log.read_bytes()))

        self.bench.pulses.act = act


def at(twin: Twin, where: str, folder: Path, phantom: bytes) -> Iterator[Desk]:
    assert twin.compute is not None
    twin.control.reset()
    bench = make_bench(twin, folder.name, f"sqlite:///{folder}/ledger.sqlite", phantom, where)
    place: Place = bench.beamline.places[PLACES[where]].model_copy(update={"facility": where})
    yield Desk(bench, where, Shelf(place, f"shelf/{folder.name}", where))
    bench.facility.close()
    bench.globus.close()
    bench.ledger.database.close()
    twin.control.reset()
    twin.compute.reset()
    if twin.nersc is not None:
        twin.nersc.scheduler.clear_faults()
        twin.nersc.scheduler.pace = Pace()


@pytest.fixture(params=PLACES)
def desk(request: pytest.FixtureRequest, twin: Twin, tmp_path: Path, phantom: bytes) -> Iterator[Desk]:
    """Every kind of facility, one after the other."""
    yield from at(twin, request.param, tmp_path, phantom)


@pytest.fixture
def nersc(twin: Twin, tmp_path: Path, phantom: bytes) -> Iterator[Desk]:
    yield from at(twin, "nersc", tmp_path, phantom)


@pytest.fixture
def local(twin: Twin, tmp_path: Path, phantom: bytes) -> Iterator[Desk]:
    yield from at(twin, "local", tmp_path, phantom)


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put something before what ``sha256sum`` does to files by their names, in jobs on this machine."""

    def put(script: str) -> None:
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "sha256sum"
        program.write_text(f'#!/bin/bash\nif [[ "$*" == *./* ]]; then {script}; fi\nexec /usr/bin/sha256sum "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    return put


def within(job: ChecksumJob, limit: timedelta) -> ChecksumJob:
    """The same job with less time: half a minute of it is for its answer."""
    resources = job.rules.resources.model_copy(update={"time_limit": limit})
    return replace(job, rules=job.rules.model_copy(update={"resources": resources}))


def found(readings: list[Reread]) -> list[Found]:
    return [one.found for one in readings]


# -- what is right -----------------------------------------------------------------------------------------------


def test_copies_that_equal_their_manifests_are_proven_by_one_job_with_evidence(desk: Desk) -> None:
    raw, zarr = desk.shelf.raw(), desk.shelf.zarr()
    first, second = desk.read(raw, zarr)
    assert (first.found, first.files, first.bytes) == (Found.EQUAL, 1, 6)
    assert (second.found, second.files, second.bytes) == (Found.EQUAL, 4, sum(map(len, TILES.values())))
    assert first.manifest_sha256 == hashlib.sha256(listing(raw).read_bytes()).hexdigest()
    assert first.job_id == second.job_id
    assert first.began is not None
    assert first.began.utcoffset() == timedelta()
    assert f"read again by job {first.job_id} at {desk.name}" in first.detail
    assert (first.asked, second.asked) == (raw, zarr)


def test_names_are_only_names_whatever_they_hold(desk: Desk) -> None:
    copies = [desk.shelf.raw(name) for name in HOSTILE]
    tiles = {name: name.encode("utf-8", "surrogateescape") for name in HOSTILE}
    copies.append(desk.shelf.zarr("names\n\\ 'inside' \udcff", tiles))
    assert found(desk.read(*copies)) == [Found.EQUAL] * len(copies)
    assert not list(Path(desk.shelf.place.posix_root).rglob("pwned"))


def test_every_damage_has_its_own_verdict_and_spoils_no_other(desk: Desk) -> None:
    good = [desk.shelf.raw("good"), desk.shelf.zarr("good")]
    bad = [damaged(desk.shelf, damage) for damage in DAMAGES]
    readings = desk.read(good[0], *bad, good[1])
    assert found(readings) == [Found.EQUAL, *(Found[verdict] for _, _, verdict, _ in DAMAGES.values()), Found.EQUAL]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_told_in_words(local: Desk, damage: str) -> None:
    [reading] = local.read(damaged(local.shelf, damage))
    assert reading.found is Found[DAMAGES[damage][2]]
    assert re.search(DAMAGES[damage][3], reading.detail)


def test_a_name_that_no_line_can_hold_is_named_where_its_file_differs(local: Desk) -> None:
    asked = local.shelf.zarr(tiles={"line\nfeed \\ \udcff": b"content"})
    (here(asked) / "line\nfeed \\ \udcff").write_bytes(b"other c")
    [reading] = local.read(asked)
    assert reading.found is Found.DIFFERENT
    assert "line\nfeed \\ \udcff: SHA-256" in reading.detail


def test_a_raw_manifest_that_disagrees_with_what_is_on_record_is_a_difference(local: Desk) -> None:
    asked = replace(local.shelf.raw(), sha256="b" * 64)
    [reading] = local.read(asked)
    assert reading.found is Found.DIFFERENT
    assert "bbbbbbbbbbbb... is on record" in reading.detail


def test_a_place_that_is_not_there_condemns_nothing(local: Desk, tmp_path: Path) -> None:
    asked = local.shelf.raw()
    away = local.shelf.place.model_copy(update={"posix_root": tmp_path / "away"})
    [reading] = local.read(replace(asked, copy=replace(asked.copy, place=away)))
    assert reading.found is Found.UNREAD
    assert "there is no" in reading.detail


def test_a_file_that_cannot_be_read_is_not_read_and_not_condemned(local: Desk, shim: Callable[[str], None]) -> None:
    shim('[[ "$*" != *0/c/0/1* ]] || { echo "sha256sum: ./0/c/0/1: Input/output error" >&2; exit 1; }')
    bad, good = local.read(local.shelf.zarr("bad"), local.shelf.zarr("good", {"x": b"y"}))
    assert (bad.found, good.found) == (Found.UNREAD, Found.EQUAL)
    assert "./0/c/0/1: Input/output error" in bad.detail


def test_a_file_that_is_truncated_after_it_was_listed_is_a_difference(local: Desk, shim: Callable[[str], None]) -> None:
    shim(": >0/c/0/1")
    [reading] = local.read(local.shelf.zarr())
    assert reading.found is Found.DIFFERENT
    assert "0/c/0/1: 0 bytes, not 8" in reading.detail


def test_files_that_change_while_they_are_read_prove_nothing(local: Desk, shim: Callable[[str], None]) -> None:
    shim("touch -d 2020-01-01 0/c/0/1")
    [reading] = local.read(local.shelf.zarr())
    assert reading.found is Found.UNREAD
    assert "changed while they were read" in reading.detail


def test_a_job_without_time_says_so_of_what_it_has_not_read(local: Desk, shim: Callable[[str], None]) -> None:
    shim("sleep 60")
    job = within(local.job(local.shelf.zarr()), timedelta(seconds=31))
    [reading] = read_there(job, local.bench.facility, local.bench.pulses, SystemClock())
    assert reading.found is Found.UNREAD
    assert "no time left" in reading.detail


def test_two_hundred_copies_are_read_by_one_job(nersc: Desk) -> None:
    copies = [nersc.shelf.raw(f"many {number}", str(number).encode()) for number in range(200)]
    assert found(nersc.read(*copies)) == [Found.EQUAL] * 200
    assert len(nersc.bench.records(nersc.job(*copies).key)) == 1


# -- what goes wrong with jobs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["timeout", "node_fail", "vanish", "out_of_memory", "exit", "deadline"])
def test_a_job_that_does_not_end_well_proves_nothing(nersc: Desk, kind: str) -> None:
    asked = nersc.shelf.raw()
    nersc.bench.break_job(nersc.job(asked).key, kind=kind)
    [reading] = nersc.read(asked)
    assert reading.found is Found.UNREAD
    assert "not read at nersc" in reading.detail


def test_a_facility_that_is_away_proves_nothing(nersc: Desk) -> None:
    nersc.bench.twin.control.injector.add(Fault(match="* /superfacility/*", status=503, times=10_000))
    [reading] = nersc.read(nersc.shelf.raw())
    assert reading.found is Found.UNREAD
    assert "503" in reading.detail


def test_a_job_that_overruns_its_deadline_proves_nothing_and_is_ended(
    nersc: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checksums, "MAY_WAIT", timedelta())
    nersc.bench.pace(Pace(nodes=0))
    job = within(nersc.job(nersc.shelf.raw()), timedelta(seconds=31))
    [reading] = read_there(job, nersc.bench.facility, nersc.bench.pulses, SystemClock())
    assert reading.found is Found.UNREAD
    assert "has not ended after" in reading.detail
    [record] = nersc.bench.facility_records(job.key)
    assert record.state is WorkState.CANCELED


def test_manifests_that_cannot_be_had_after_the_job_prove_nothing(nersc: Desk) -> None:
    nersc.tamper(lambda log: (nersc.bench.twin.control.injector.add(Fault(match=DOWNLOAD, status=503)), log)[1])
    asked = nersc.shelf.raw("away"), nersc.shelf.raw("there")
    assert found(nersc.read(*asked)) == [Found.UNREAD, Found.UNREAD]


DOWNLOAD = "GET /superfacility/utilities/download/*manifest.json"


def test_a_manifest_that_is_refused_spoils_no_other(nersc: Desk) -> None:
    refused = {"status": "ERROR", "error": "cat: Permission denied", "file": None}
    nersc.bench.twin.control.injector.add(Fault(match=f"{DOWNLOAD}*", status=200, body=refused, times=2))
    assert found(nersc.read(nersc.shelf.raw("refused"), nersc.shelf.raw("given"))) == [Found.UNREAD, Found.EQUAL]


def test_a_manifest_that_changes_after_the_copy_was_read_proves_nothing(local: Desk) -> None:
    asked = local.shelf.raw()
    local.tamper(lambda log: (listing(asked).write_bytes(listing(asked).read_bytes() + b"\n"), log)[1])
    [reading] = local.read(asked)
    assert reading.found is Found.UNREAD
    assert "not the one that lay there" in reading.detail


def test_a_worker_that_is_killed_leaves_a_job_that_the_next_one_attaches_to(nersc: Desk) -> None:
    bench, asked = nersc.bench, nersc.shelf.raw()
    bench.pace(Pace(nodes=0))
    script = PROJECT / "tests/resources/facilities/proving_worker.py"
    worker = subprocess.Popen(
        [sys.executable, script, bench.ledger.database.url, asked.key.scan.path],
        env=os.environ | bench.environment | {"PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    try:
        assert worker.stdout.readline() == b"waiting\n"
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
    bench.pace(Pace())
    asked = replace(asked, sha256=None)
    assert found(nersc.read(asked)) == [Found.EQUAL]
    assert len(bench.records(nersc.job(asked).key)) == 1


def test_the_same_pass_reads_once_and_another_pass_reads_again(nersc: Desk) -> None:
    asked = nersc.shelf.raw()
    first, same, other = (nersc.read(asked, occasion=name)[0].job_id for name in ("one", "one", "two"))
    assert first == same
    assert first != other


def test_what_was_read_long_ago_proves_nothing_now(local: Desk) -> None:
    job, later = local.job(local.shelf.raw()), HastyClock(FRESH + timedelta(minutes=1))
    [reading] = read_there(job, local.bench.facility, local.bench.pulses, later)
    assert reading.found is Found.UNREAD
    assert "which is not now" in reading.detail


def test_copies_that_a_facilitys_jobs_do_not_see_are_refused(nersc: Desk) -> None:
    with pytest.raises(ValueError, match="do not see"):
        ChecksumJob.at(nersc.bench.beamline, "alcf", "pass 1", [nersc.shelf.raw()])


# -- answers that are not believed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        bytes.swapcase,
        lambda log: log[: len(log) // 2],
        lambda log: log[:-1],
        lambda log: log.replace(b" read ", b" unread ", 1),
        lambda log: log + log,
        lambda log: log.replace(b"als-read begin ", b"als-read begin 0"),
        lambda log: b"\n".join(log.split(b"\n")[::-1]),
        lambda log: log.replace(b"als-read copy 1", b"als-read copy 0"),
    ],
    ids=["swapped", "half", "unfinished", "changed", "twice", "another's", "reversed", "renumbered"],
)
def test_an_answer_that_was_touched_is_not_believed(local: Desk, change: Callable[[bytes], bytes]) -> None:
    local.tamper(change)
    readings = local.read(local.shelf.raw("a"), local.shelf.raw("b"))
    assert found(readings) == [Found.UNREAD, Found.UNREAD]
    assert "not believed" in readings[0].detail


def test_an_answer_of_an_earlier_pass_is_not_believed(local: Desk) -> None:
    asked, kept = local.shelf.raw(), []
    local.tamper(lambda log: (kept.append(log), log)[1])
    assert found(local.read(asked)) == [Found.EQUAL]
    here(asked).write_bytes(b"damage")
    local.tamper(lambda _: kept[0])
    assert found(local.read(asked, occasion="pass 2")) == [Found.UNREAD]


def answer(*lines: str) -> bytes:
    block = "".join(f"{line}\n" for line in lines).encode()
    digest = hashlib.sha256(block).hexdigest()
    return b"noise\nals-read begin %s\n%sals-read end %s %s\n" % (
        TOKEN.encode(),
        block,
        TOKEN.encode(),
        digest.encode(),
    )


LINE = f"als-read copy 0 read {'1' * 64} {'2' * 64} {'3' * 64} 4 - - LQ== ."


def test_a_whole_answer_is_believed() -> None:
    said = parse_answer(answer(LINE, LINE.replace("copy 0", "copy 1")), TOKEN)
    assert isinstance(said, dict)
    assert (sorted(said), said[0].files, said[1].why) == ([0, 1], 4, "-")


@pytest.mark.parametrize(
    "lines",
    [
        (LINE, LINE),
        (LINE.replace(" .", ""),),
        (LINE.replace("read ", "fine "),),
        (LINE.replace("1" * 64, "1" * 63),),
        (LINE.replace("LQ==", "LQ="),),
        ("noise",),
        (),
    ],
    ids=["two verdicts", "cut", "unknown state", "short checksum", "no base64", "noise", "nothing"],
)
def test_of_a_copy_with_no_single_whole_verdict_nothing_is_said(lines: tuple[str, ...]) -> None:
    assert parse_answer(answer(*lines), TOKEN) == {}
