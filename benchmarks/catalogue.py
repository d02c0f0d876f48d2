"""What the catalogue costs: seconds a scan, and whether a thousand runs of one entry leave one entry.

Belongs here: a file read, described and put into a SciCat over HTTP, and then put there again and again.
Does not: Dagster's own time for a run (ticks, imports), or whether what stands there is right (tests).
"""

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from als_assets.catalogue.describing import Describer
from beamlines.catalogue.entries import Entry, Lying, Whereabouts
from beamlines.layout import Artifact, Copy
from beamlines.manifest import Program
from beamlines.scans import PartitionKey, ScanId
from benchmarks.limits import against
from resources import proof
from resources.catalogue import Account, Catalogue, ScicatSession
from resources.clock import SystemClock
from resources.database import IN_MEMORY, Database
from resources.settings import PROJECT, secret
from resources.testing import make_gate
from tomography.phantom import Phantom, write_phantom
from twin.server import Twin, serve

SCANS = 20
RUNS = 1_000
LIMIT_S = 5.0
_PEER = [sys.executable, "-c", "import h5py"]
_CHANGES = "P* /scicat/api/v3/Datasets*"


@dataclass(frozen=True, slots=True)
class _Bench:
    """A twin, and a client of its catalogue."""

    twin: Twin
    catalogue: Catalogue
    phantom: Path

    def described(self, scan: ScanId) -> Entry:
        """An entry, as a step makes it: the file read by its program, and hashed for the manifest."""
        beamline = self.twin.world.beamline
        rules, first = beamline.catalogue, Copy(beamline.places[beamline.scans.first_copy], Artifact.RAW)
        assert rules is not None
        file = first.location(PartitionKey(scan))
        file.here.parent.mkdir(parents=True, exist_ok=True)
        file.here.write_bytes(self.phantom.read_bytes())
        manifest = proof.make_raw_manifest(file, program=Program(name="benchmark", version="0"))
        describer = Describer(beamline.name, rules, self.catalogue.pid_prefix)
        where = Whereabouts((Lying("raw", first.place.name, file.posix, on_site=True),))
        png = "iVBORw0KGgo" + "A" * 60_000  # as long as a first look may be
        return describer.raw(scan, describer.described(file, scan, None), file, manifest, where, png)


def run(console: Console) -> None:
    """Twenty scans that are new to the catalogue; then one of them a thousand times."""
    with tempfile.TemporaryDirectory() as folder, serve(PROJECT / "config" / "twin.yaml", Path(folder)) as twin:
        service = twin.world.deployment.catalogue
        assert service is not None
        session = ScicatSession(service.url, Account(service.username, secret(service.password)))
        with closing(Database(IN_MEMORY)) as database:
            gate = make_gate(database, SystemClock())
            phantom = Path(folder) / "phantom.h5"
            write_phantom(phantom, Phantom(rows=16, columns=64, angles=61, seed=1, noisy=False), lambda *_: None)
            rules = twin.world.beamline.catalogue
            assert rules is not None
            catalogue = Catalogue(session, gate, rules.restricted, service.pid_prefix, service.page)
            with closing(catalogue):
                _measure(console, _Bench(twin, catalogue, phantom))


def _measure(console: Console, bench: _Bench) -> None:
    catalogue, scicat = bench.catalogue, bench.twin.scicat
    assert scicat is not None
    catalogue.find("nothing")  # the twin's models are imported by the first document
    call_s = statistics.median(_seconds(lambda: httpx.get(f"{bench.twin.url}/health")) for _ in range(SCANS))
    opening = [_seconds(lambda: subprocess.run(_PEER, check=True)) for _ in range(SCANS // 2)]
    scans = [ScanId(f"benchmark/{number:03}.h5") for number in range(SCANS)]
    entries: list[Entry] = []
    reading = [_seconds(lambda scan=scan: entries.append(bench.described(scan))) for scan in scans]
    putting = [
        _seconds(lambda scan=scan, entry=entry: catalogue.put(scan, entry))
        for scan, entry in zip(scans, entries, strict=True)
    ]
    opening += [_seconds(lambda: subprocess.run(_PEER, check=True)) for _ in range(SCANS // 2)]
    before = len(bench.twin.control.injector.requests(_CHANGES))
    again = [_seconds(lambda: catalogue.put(scans[0], entries[0])) for _ in range(RUNS)]
    sent = len(bench.twin.control.injector.requests(_CHANGES)) - before
    held = next(one for one in scicat.all() if one["dataset"]["pid"] == entries[0].pid)
    whole = [one + other for one, other in zip(reading, putting, strict=True)]
    table = Table(title=f"The catalogue: {SCANS} new scans, and one of them {RUNS} times", title_justify="left")
    table.add_column("what")
    for column in ("median s", "slowest s", "times its peer", "limit"):
        table.add_column(column, justify="right")
    peer_s = statistics.median(opening)
    for what, seconds, beside_s, limit in (
        ("a process that imports h5py", opening, peer_s, ""),
        ("a scan read and described, beside it", reading, peer_s, ""),
        ("put there: times one call of the twin", putting, call_s, ""),
        ("both, beside the process", whole, peer_s, against(statistics.median(whole), LIMIT_S, "s")),
        ("put there again: times one call", again, call_s, ""),
    ):
        median = statistics.median(seconds)
        table.add_row(what, f"{median:.3f}", f"{max(seconds):.3f}", f"{median / beside_s:.1f}", limit)
    console.print(table)
    parts = f"{len(held['origdatablocks'])} list of files, {len(held['attachments'])} picture"
    console.print(f"after {RUNS} runs: {len(scicat.all())} entries for {SCANS} scans, {parts}, {sent} changes sent")


def _seconds(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
