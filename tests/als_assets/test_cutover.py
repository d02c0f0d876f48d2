"""Beside and after the old system: what is still on there, own folders in its shadow, and what stands in the way."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import dagster as dg
import pytest

from als_assets.operations.cutover import look_at_flight, look_at_mode, look_at_old_system, look_at_scans
from als_assets.operations.findings import Finding, Verdict
from als_assets.registry import build_graph
from beamlines.config import Beamline, ConfigurationError, parse_beamline
from beamlines.decisions import Reason
from beamlines.deployment import Shadow
from beamlines.flight import TestFile
from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey, ScanId
from beamlines.standing import SeenFile, Standing
from resources.database import Database, OtherInstallationError
from resources.errors import NotAllowedError
from resources.prefect import Prefect
from resources.settings import PROJECT, Settings
from resources.standings import Standings
from resources.testing import SleptClock
from resources.work import WorkKey
from tests.als_assets.conftest import INGEST, Platform

POOL = "prune_832_pool"
SHADOW = Shadow(folder=PurePosixPath("als-shadow"))


@dataclass
class OldSystem:
    """A Prefect server's answers in the shape of 3.9, from deployments and runs in memory; it pages as that does."""

    deployments: list[dict[str, Any]] = field(default_factory=list)
    flow_runs: list[dict[str, Any]] = field(default_factory=list)
    work_pools: list[dict[str, Any]] = field(default_factory=lambda: [{"name": POOL, "is_paused": False}])
    workers: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    def deployment(self, name: str, *, paused: bool = False, pool: str | None = POOL) -> None:
        self.deployments.append({"name": name, "paused": paused, "work_pool_name": pool, "schedules": []})

    def run(self, name: str, state: str = "SCHEDULED", *, pool: str | None = POOL) -> None:
        starts = "2026-11-28T03:17:33.641857Z"
        self.flow_runs.append(
            {"name": name, "state_type": state, "expected_start_time": starts, "work_pool_name": pool}
        )

    def answer(self, path: str, wanted: dict[str, Any]) -> Any:
        found: list[dict[str, Any]] = getattr(self, path.split("/")[-2])
        if "flow_runs" in wanted:
            states = wanted["flow_runs"]["state"]["type"]["any_"]
            found = [run for run in found if run["state_type"] in states]
        return found[wanted["offset"] : wanted["offset"] + min(wanted["limit"], 200)]


@pytest.fixture
def old() -> Iterator[OldSystem]:
    system = OldSystem()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            system.keys.append(self.headers["Authorization"])
            wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(system.answer(self.path, wanted)).encode()
            self.send_response(system.status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    system.url = f"http://127.0.0.1:{server.server_port}/api"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield system
    server.shutdown()
    thread.join()
    server.server_close()


def looked(platform: Platform, old: OldSystem, key: str | None = None) -> dict[str, Finding]:
    found = look_at_old_system(platform.settings.beamline, Prefect(old.url, key))
    return {finding.what: finding for finding in found}


def shadowed(platform: Platform) -> Platform:
    """The platform in the shadow of another system."""
    stated = parse_beamline((PROJECT / "config" / "bl832.yaml").read_text(), source="bl832.yaml")
    ledger = f"sqlite:///{platform.twin.world.state_dir}/shadow.sqlite"
    deployment = platform.settings.deployment.model_copy(update={"shadow": SHADOW, "ledger": ledger, "catalogue": None})
    settings = Settings(deployment, deployment.apply_to(stated))
    return Platform(platform.twin, settings, platform.instance, platform.phantom)


# -- the old system ----------------------------------------------------------------------------------------------


def test_an_old_system_that_is_all_off_stands_in_no_way(platform: Platform, old: OldSystem) -> None:
    old.deployment("new_file_832", paused=True)
    old.deployment("run_733_dispatcher", pool="dispatcher_733_pool")
    old.run("delete spot832: a.h5", "COMPLETED")
    old.run("move 733", pool="new_file_733_pool")
    old.workers.append({"name": "a worker of old", "status": "OFFLINE"})
    looks = dict.fromkeys(("workers", "deployments", "runs"), Verdict.FINE)
    assert {what: found.verdict for what, found in looked(platform, old).items()} == looks


def test_a_deployment_that_is_not_paused_is_named(platform: Platform, old: OldSystem) -> None:
    old.deployment("prune_spot832")
    fault = looked(platform, old)["deployments"]
    assert (fault.verdict, fault.seen) == (Verdict.FAULT, "1 are not paused: prune_spot832")


@pytest.mark.parametrize("state", ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"])
def test_a_run_that_would_still_delete_files_is_named_also_where_all_is_paused(
    platform: Platform, old: OldSystem, state: str
) -> None:
    old.deployment("prune_spot832", paused=True)
    old.run("delete spot832: a.h5", state)
    fault = looked(platform, old)["runs"]
    assert (fault.verdict, "'delete spot832: a.h5'" in fault.seen) == (Verdict.FAULT, True)


def test_a_worker_that_is_online_runs_what_paused_deployments_have_scheduled(
    platform: Platform, old: OldSystem
) -> None:
    old.workers.append({"name": "ProcessWorker 1", "status": "ONLINE"})
    fault = looked(platform, old)["workers"]
    assert (fault.verdict, f"ProcessWorker 1 of {POOL}" in fault.seen) == (Verdict.FAULT, True)


def test_a_server_that_knows_none_of_the_old_pools_is_the_wrong_one(platform: Platform, old: OldSystem) -> None:
    old.work_pools = [{"name": "dispatcher_733_pool"}]
    assert looked(platform, old)["system"].verdict is Verdict.FAULT


def test_what_has_lost_its_pool_counts_until_somebody_has_looked(platform: Platform, old: OldSystem) -> None:
    old.deployment("prune_spot832", pool=None)
    old.run("delete spot832: a.h5", pool=None)
    found = looked(platform, old)
    assert (found["deployments"].verdict, found["runs"].verdict) == (Verdict.FAULT, Verdict.FAULT)


@pytest.mark.parametrize("url", ["http://admin:s3cret@127.0.0.1:9/api", "http://[::1", "no address"])
def test_neither_a_password_nor_the_key_is_in_what_is_said(platform: Platform, url: str) -> None:
    prefect = Prefect(url, "pnu_s3cret\n")
    (fault,) = look_at_old_system(platform.settings.beamline, prefect)
    assert fault.verdict is Verdict.FAULT
    assert "s3cret" not in f"{fault} {prefect!r}".replace(url, "")


def test_an_answer_that_is_no_list_is_no_answer(platform: Platform, old: OldSystem) -> None:
    old.status = 403
    assert "PREFECT_API_KEY" in looked(platform, old)["system"].remedy
    old.status, old.answer = 200, lambda *_: {"detail": "no"}  # type: ignore[method-assign]
    assert "answered with a dict" in looked(platform, old)["system"].seen


def test_more_runs_than_the_server_gives_at_once_are_all_counted(platform: Platform, old: OldSystem) -> None:
    for number in range(450):
        old.run(f"delete data832: {number}.h5", pool="another_pool" if number < 400 else POOL)
    assert looked(platform, old)["runs"].seen.startswith("50 have not ended")


def test_a_server_that_needs_a_key_gets_it_and_says_so_without(platform: Platform, old: OldSystem) -> None:
    assert looked(platform, old, key="pnu_1")["runs"].verdict is Verdict.FINE
    assert old.keys[-1] == "Bearer pnu_1"
    old.status = 401
    fault = looked(platform, old)["system"]
    assert "PREFECT_API_KEY" in fault.remedy


def test_a_server_that_is_silent_is_no_proof_that_it_is_off(platform: Platform, old: OldSystem) -> None:
    old.status = 502
    assert looked(platform, old)["system"].verdict is Verdict.FAULT
    (not_looked,) = look_at_old_system(platform.settings.beamline, None)
    assert (not_looked.verdict, "--prefect" in not_looked.remedy) == (Verdict.FAULT, True)


# -- here --------------------------------------------------------------------------------------------------------


def test_scans_that_have_not_gone_the_whole_way_are_named(platform: Platform, done: str) -> None:
    lost = platform.measured("AAA-00564_cutover/lost.h5")
    graph = build_graph(platform.settings.beamline)
    found = {
        one.what: one for one in look_at_scans(platform.instance, platform.settings.beamline, graph, platform.standings)
    }
    assert found["ingested"].verdict is Verdict.WARNING
    assert lost in found["ingested"].seen
    assert done not in found["nersc"].seen


def test_a_scan_that_must_stay_is_not_missed_off_site(platform: Platform) -> None:
    key = platform.ingested("AAA-00564_cutover/stays.h5")
    graph = build_graph(platform.settings.beamline)

    def missing() -> str:
        looks = look_at_scans(platform.instance, platform.settings.beamline, graph, platform.standings)
        return {one.what: one for one in looks}["nersc"].seen

    assert key in missing()
    now = datetime(2026, 7, 1, tzinfo=UTC)
    platform.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="contract 7", at=now)
    assert key not in missing()


def test_a_branch_of_which_nothing_is_kept_misses_nothing(platform: Platform) -> None:
    facility = platform.settings.beamline.facilities["nersc"].model_copy(update={"results": ()})
    beamline = platform.settings.beamline.model_copy(update={"facilities": {"nersc": facility}})
    platform.ingested("AAA-00564_cutover/kept_nowhere.h5")
    looks = look_at_scans(platform.instance, beamline, build_graph(beamline), platform.standings)
    assert [one.what for one in looks] == ["ingested"]


def test_without_any_scan_there_is_nothing_to_take_over_with(platform: Platform) -> None:
    graph = build_graph(platform.settings.beamline)
    with dg.DagsterInstance.ephemeral() as instance:
        (fault,) = look_at_scans(instance, platform.settings.beamline, graph, platform.standings)
    assert fault.verdict is Verdict.FAULT


def test_a_platform_on_which_nothing_works_is_not_ready(platform: Platform) -> None:
    graph = build_graph(platform.settings.beamline)
    with dg.DagsterInstance.ephemeral() as instance:
        for name in "abc":
            instance.report_runless_asset_event(dg.AssetMaterialization(graph.arrival, partition=name))
        found = {
            one.what: one for one in look_at_scans(instance, platform.settings.beamline, graph, platform.standings)
        }
    assert {what: one.verdict for what, one in found.items()} == {"ingested": Verdict.FAULT, "nersc": Verdict.FAULT}


def test_a_flight_check_must_have_succeeded_within_a_day(platform: Platform) -> None:
    graph = build_graph(platform.settings.beamline)
    assert graph.flight_check is not None
    with dg.DagsterInstance.ephemeral() as instance:
        (never,) = look_at_flight(instance, graph, SleptClock())
        job = platform.definitions.resolve_job_def(graph.flight_check.name)
        assert job.execute_in_process(instance=instance).success
        ended = instance.get_run_records(limit=1)[0].end_time
        assert ended is not None
        (just_now,) = look_at_flight(instance, graph, at(ended + 60))
        (long_ago,) = look_at_flight(instance, graph, at(ended + timedelta(days=2).total_seconds()))
        platform.twin.control.board.change({"down": [platform.settings.beamline.places["spot832"].collection]})
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
        (failed_since,) = look_at_flight(instance, graph, at(ended + 60))
    verdicts = [one.verdict for one in (never, just_now, long_ago, failed_since)]
    assert verdicts == [Verdict.FAULT, Verdict.FINE, Verdict.FAULT, Verdict.FAULT]


def at(seconds: float) -> SleptClock:
    return SleptClock(time=datetime.fromtimestamp(seconds, UTC))


# -- in the shadow -----------------------------------------------------------------------------------------------


def test_the_mode_is_told() -> None:
    assert "als-shadow" in look_at_mode(SHADOW).seen
    assert "in charge" in look_at_mode(None).seen


def test_in_the_shadow_scans_are_read_where_they_are_and_everything_else_is_in_folders_of_our_own(
    platform: Platform,
) -> None:
    stated, shadow = platform.settings.beamline, shadowed(platform).settings.beamline
    for name, place in shadow.places.items():
        expected = stated.places[name].stores
        if name != "spot832":
            expected = {store: SHADOW.folder / path for store, path in expected.items()}
        assert place.stores == expected


def test_in_the_shadow_a_scan_goes_its_way_beside_the_old_systems_copy(platform: Platform) -> None:
    beside = shadowed(platform)
    key = beside.measured("BLS-00564_shadow/scan.h5")
    theirs = platform.file("data832", Artifact.RAW, key)
    theirs.parent.mkdir(parents=True, exist_ok=True)
    theirs.write_bytes(b"the old system's copy")
    assert beside.run(key, INGEST[0]).success
    ours = beside.file("data832", Artifact.RAW, key)
    assert "als-shadow" in ours.parts
    assert ours.read_bytes() == platform.phantom.read_bytes()
    assert theirs.read_bytes() == b"the old system's copy"


def test_in_the_shadow_nothing_of_a_scan_is_deleted_and_test_files_are(platform: Platform) -> None:
    beside = shadowed(platform)
    scan = ScanId("BLS-00564_shadow/kept.h5")
    copy = Copy(beside.settings.beamline.places["data832"], Artifact.RAW).location(PartitionKey(scan))
    file = TestFile.unique("transfer_tests", "flight", datetime.now(UTC), "0123456789abcdef")
    for location in (copy, file.at(copy.place)):
        Path(location.posix).parent.mkdir(parents=True, exist_ok=True)
        Path(location.posix).write_text("x")
    with dg.build_resources(beside.resources, instance=beside.instance) as parts:
        with pytest.raises(NotAllowedError, match="shadow"):
            parts.transfer.delete(scan, copy, WorkKey("a", scan.key, "", ""), lambda *_: None, recursive=False)
        there = file.at(copy.place)
        parts.transfer.delete(file, there, WorkKey("a", file.key, "", ""), lambda *_: None, recursive=False)
    assert Path(copy.posix).exists()
    assert not Path(there.posix).exists()


def test_a_beamline_that_replaces_nothing_has_nothing_to_switch_off(platform: Platform) -> None:
    beamline: Beamline = platform.settings.beamline.model_copy(update={"replaces": None})
    (fine,) = look_at_old_system(beamline, None)
    assert fine.verdict is Verdict.FINE


@pytest.mark.parametrize("beside", ["theirs", "ours"])
def test_in_the_shadow_a_sidecar_counts_where_people_always_put_it(platform: Platform, beside: str) -> None:
    shadow = shadowed(platform)
    key = shadow.measured(f"BLS-00564_shadow/sidecar_{beside}.h5")
    assert shadow.run(key, INGEST[0]).success
    raw = (platform if beside == "theirs" else shadow).file("data832", Artifact.RAW, key)
    raw.parent.mkdir(parents=True, exist_ok=True)
    raw.with_name(f"{raw.name}.export-control").touch()
    assert "restricted" in shadow.failure(key, "bl832/nersc/raw")
    assert not shadow.file("nersc", Artifact.RAW, key).exists()


@pytest.mark.parametrize("folder", [".", "", "./"])
def test_a_shadow_without_a_folder_is_none(folder: str) -> None:
    with pytest.raises(ValueError, match="no shadow"):
        Shadow.model_validate({"folder": folder})


@pytest.mark.parametrize("folder", ["raw", "raw/shadow", "scratch"])
def test_a_shadow_must_be_apart_from_the_old_systems_folders(platform: Platform, folder: str) -> None:
    stated = parse_beamline((PROJECT / "config" / "bl832.yaml").read_text(), source="bl832.yaml")
    shadow = Shadow(folder=PurePosixPath(folder))
    deployment = platform.settings.deployment.model_copy(update={"shadow": shadow, "catalogue": None})
    with pytest.raises(ConfigurationError, match="is not apart from"):
        deployment.apply_to(stated)


def test_a_database_of_the_shadow_is_refused_by_whoever_is_in_charge_and_the_other_way_round(tmp_path: Path) -> None:
    for first, then in (("als-shadow", ""), ("", "als-shadow"), ("a", "b")):
        url = f"sqlite:///{tmp_path}/{first}-{then}.sqlite"
        made = Database(url, shadow=first).installation
        assert Database(url, shadow=first).installation == made
        with pytest.raises(OtherInstallationError, match="empty database"):
            _ = Database(url, shadow=then).engine


def test_a_new_database_does_not_take_what_another_has_started_for_its_own(platform: Platform, tmp_path: Path) -> None:
    key = platform.measured("BLS-00564_shadow/twice.h5")
    beside = shadowed(platform)
    ledger = f"sqlite:///{tmp_path}/shadow.sqlite"
    own = beside.settings.deployment.model_copy(update={"ledger": ledger})
    beside = Platform(platform.twin, Settings(own, beside.settings.beamline), platform.instance, platform.phantom)
    beside.announce("BLS-00564_shadow/twice.h5")
    assert beside.run(key, INGEST[0]).success
    assert platform.run(key, INGEST[0]).success
    for here in (beside, platform):
        assert here.file("data832", Artifact.RAW, key).read_bytes() == platform.phantom.read_bytes()


def test_what_was_decided_in_the_shadow_is_carried_over_once(tmp_path: Path) -> None:
    there, here = (Database(f"sqlite:///{tmp_path}/{name}", shadow=shadow) for name, shadow in (("a", "s"), ("b", "")))
    now = datetime(2026, 7, 1, tzinfo=UTC)
    old, new = Standings(there), Standings(here)
    old.restrict("u/secret", Reason.RESTRICTED_BY_OPERATOR, author="dula", note="contract 7", at=now)
    old.arrived([("u/plain", SeenFile(5, now))])
    new.lift("u/mine", author="dula", note="decided here", at=now)
    old.restrict("u/mine", Reason.RESTRICTED_BY_SIDECAR, author="x", note="", at=now)
    assert new.carry_over(Standings(Database(there.url, shadow=None))) == 1
    assert new.of("u/secret").restricted is Reason.RESTRICTED_BY_OPERATOR
    assert [(entry.author, entry.note) for entry in new.history("u/secret")] == [("dula", "contract 7")]
    assert new.of("u/plain") == Standing()
    assert new.of("u/mine").lifted
    assert new.carry_over(old) == 0
    assert len(new.history("u/secret")) == 1
