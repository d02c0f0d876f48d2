"""What a Prometheus server reads: scans taken through a branch in the twin, scraped over HTTP and parsed."""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
from dagster._daemon.types import DaemonHeartbeat
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from als.metrics import waiting_of
from als_assets.metrics.catalogue import METRICS
from als_assets.metrics.exporter import LastLook, look_again, serve
from als_assets.metrics.looking import Looker
from als_assets.registry import build_graph
from als_assets.retention.tables import make_tables
from beamlines.decisions import Decision, Reason
from beamlines.layout import Artifact
from resources.dagster_log import open_log
from resources.database import stage_history, tallies, tally_position
from resources.holds import Holds
from resources.ledger import Ledger
from resources.settings import PROJECT
from resources.testing import SleptClock
from sensors.event_log import decision_record
from sensors.routing import RouterMemory, Waiting
from tests.als_assets.conftest import BRANCH, INGEST, Platform, platform_over, to_key

LATER = timedelta(minutes=1)
PARTS = ("ours", "transfer", "queue", "job")
Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]
HOSTILE = 'counted/say "no"\\n{le="1"}.h5'


class Scraped:
    """An exporter over a platform, scraped over real HTTP."""

    def __init__(self, platform: Platform) -> None:
        self.platform, database = platform, platform.database
        tables = make_tables(database, Ledger(database), platform.standings, Holds(database))
        graph, home = build_graph(platform.settings.beamline), Path(platform.instance.root_directory)
        self.clock = SleptClock(datetime.now(UTC) + LATER)
        known = {"jobs": frozenset(job.name for job in graph.jobs), "sensors": frozenset({"bl832_new_scans"})}
        log = open_log(home, {})
        self.looker = Looker(graph, platform.instance, log, database, tables, self.clock, waiting_of, **known)

    def families(self) -> dict[str, Metric]:
        """One look, and one scrape."""
        self.clock.time = max(self.clock.time, datetime.now(UTC) + LATER)
        last = LastLook()
        look_again(last, self.looker.look, self.clock, every_s=61)
        assert last.failed == 0
        return scrape(last)

    def samples(self) -> Samples:
        found = (sample for family in self.families().values() for sample in family.samples)
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}

    def value(self, name: str, **labels: str) -> float:
        return self.samples().get((name, frozenset(labels.items())), 0.0)


def scrape(last: LastLook) -> dict[str, Metric]:
    port, end = serve(last, address="127.0.0.1", port=0)
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    finally:
        end()
    assert answer.status_code == httpx.codes.OK
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, phantom: Path, loaded_programs: Path) -> Iterator[Platform]:
    state = tmp_path_factory.mktemp("counted")
    home = state / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "deploy" / "dagster" / "local.yaml", home / "dagster.yaml")
    with platform_over(state, phantom, loaded_programs) as made, dg.DagsterInstance.from_config(str(home)) as instance:
        yield dataclasses.replace(made, instance=instance)


@pytest.fixture(scope="module")
def whole(shared: Platform) -> str:
    return shared.reconstructed("counted/whole.h5")


@pytest.fixture
def exporter(shared: Platform) -> Scraped:
    return Scraped(shared)


def test_bytes_and_seconds_of_transfers_are_those_that_were_recorded(shared, whole, exporter):
    recorded = [shared.metadata(asset, whole) for asset in ("bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")]
    pair = {"from": "pscratch", "to": "data832"}
    before = exporter.samples()
    assert before["als_transfers_total", frozenset(pair.items())] == 2
    assert before["als_transfer_bytes_total", frozenset(pair.items())] == sum(said["bytes"] for said in recorded)
    seconds = before["als_transfer_seconds_total", frozenset(pair.items())]
    assert seconds == pytest.approx(sum(said["transfer_seconds"] for said in recorded))


def test_the_seconds_of_a_stage_are_split_as_everywhere_else(shared, whole, exporter):
    said = shared.metadata("bl832/pscratch/tiff", whole)
    job = exporter.value("als_stage_seconds_sum", stage="pscratch/tiff", part="job")
    assert job == pytest.approx(said["job_seconds"])
    parts = {part: exporter.value("als_stage_seconds_sum", stage="pscratch/tiff", part=part) for part in PARTS}
    assert sum(parts.values()) == pytest.approx(max(said["seconds"], said["job_seconds"] + said["queue_seconds"]))


def test_every_stage_counts_a_scan_once_in_each_part(whole, exporter):
    samples = exporter.samples()
    made = [asset.removeprefix("bl832/") for asset in (*INGEST, *BRANCH)]
    counts = {
        samples["als_stage_seconds_count", frozenset({"stage": stage, "part": part}.items())]
        for stage in made[1:]
        for part in PARTS
    }
    assert counts == {1.0}


def test_a_restart_neither_loses_nor_doubles(shared, whole, exporter):
    first = _growing(exporter.samples())
    again = _growing(Scraped(shared).samples())
    assert first == again
    key = shared.ingested("counted/after.h5")
    assert key
    more = _growing(Scraped(shared).samples())
    pair = frozenset({"from": "spot832", "to": "data832"}.items())
    assert more["als_transfers_total", pair] == first["als_transfers_total", pair] + 1


def test_two_exporters_at_once_count_everything_once(shared, whole):
    shared.ingested("counted/twice.h5")
    one, other = Scraped(shared), Scraped(shared)
    counted = _growing(one.samples())
    assert _growing(other.samples()) == counted


def test_without_its_tables_everything_is_counted_again(shared, whole, exporter):
    before = _growing(exporter.samples())
    with shared.database.engine.begin() as connection:
        for table in (tallies, tally_position, stage_history):
            connection.execute(sa.delete(table))
    assert _growing(Scraped(shared).samples()) == before


def test_what_is_found_as_it_was_made_before_counts_no_second_time(shared, whole, exporter):
    before = _growing(exporter.samples())
    assert shared.run(whole, "bl832/nersc/raw").success
    after = _growing(exporter.samples())
    assert {series: value for series, value in after.items() if before.get(series) != value} == {}


def test_an_event_that_was_just_written_waits_until_all_before_it_are_visible(shared, whole, exporter):
    before = exporter.value("als_arrivals_total", arrival="new")
    shared.measured("counted/young.h5")
    exporter.clock.time = datetime.now(UTC)
    exporter.looker.look()
    with_time = Scraped(shared)
    assert with_time.value("als_arrivals_total", arrival="new") == before + 1


def test_a_failure_is_counted_by_its_name_and_its_scan_has_failed(shared, exporter):
    before = exporter.value("als_scans_failed")
    key = shared.ingested("counted/broken.h5")
    shared.manifest("data832", Artifact.RAW, key).unlink()
    assert not shared.run(key, "bl832/nersc/raw").success
    samples = exporter.samples()
    assert samples["als_failures_total", frozenset({"job": "other", "error": "FileNotFoundError"}.items())] >= 1
    assert samples["als_scans_failed", frozenset()] == before + 1


def test_scans_are_counted_by_how_far_they_have_come(shared, whole, exporter):
    before = {state: exporter.value("als_scans", state=state) for state in ("done", "ingested", "arrived", "changed")}
    shared.measured("counted/there.h5")
    key = shared.ingested("counted/edited.h5")
    shared.standings.changed(key, "7 bytes more", at=datetime.now(UTC))
    after = {state: exporter.value("als_scans", state=state) for state in before}
    assert {state: after[state] - before[state] for state in before} == {
        "done": 0,
        "ingested": 0,
        "arrived": 1,
        "changed": 1,
    }
    assert before["done"] == 1


def test_bytes_by_place_are_those_of_the_copies_there(shared, whole, exporter):
    recorded = [shared.metadata(asset, whole) for asset in ("bl832/nersc/tiff", "bl832/nersc/zarr", "bl832/nersc/raw")]
    assert exporter.value("als_place_bytes", place="nersc") == sum(said["bytes"] for said in recorded)
    assert exporter.value("als_place_files", place="nersc") == sum(said["files"] for said in recorded)
    assert exporter.value("als_place_copies", place="olcf") == 0


def test_a_decision_of_a_router_is_counted_by_its_reason(shared, whole, exporter):
    decision = Decision.no(Reason.OUTAGE, "maintenance")
    shared.instance.report_runless_asset_event(decision_record(to_key("bl832/nersc/raw"), whole, "nersc", decision))
    labels = {"branch": "nersc", "reason": "waiting-for-the-end-of-an-outage"}
    assert exporter.value("als_decisions_total", **labels) == 1


def test_what_people_type_makes_no_series(shared, exporter):
    key = shared.measured(HOSTILE)
    typed = {"reason": dg.MetadataValue.text('x"} 1\n')}
    event = dg.AssetObservation(to_key("bl832/nersc/raw"), partition=key, metadata=typed, description="typed")
    shared.instance.report_runless_asset_event(event)
    samples = exporter.samples()
    assert samples["als_decisions_total", frozenset({"branch": "nersc", "reason": "other"}.items())] == 1
    assert not [labels for _, labels in samples if any("counted" in value for _, value in labels)]


def test_scans_that_a_router_has_in_hand_are_counted_by_why(exporter):
    waiting = {"a": Waiting(reason=Reason.OUTAGE, since=5.0), "b": Waiting(reason=Reason.PREFERRED, since=9.0)}
    cursor = RouterMemory(waiting=waiting).model_dump_json()
    assert sorted(waiting_of(cursor)) == [("preferred-facility", 9.0), ("waiting-for-the-end-of-an-outage", 5.0)]
    assert waiting_of("{") == ()


def test_a_sensor_that_has_never_ticked_is_no_silent_one(exporter):
    samples = exporter.samples()
    which = frozenset({"sensor": "bl832_new_scans"}.items())
    assert samples["als_sensor_tick_timestamp_seconds", which] == 0
    assert samples["als_sensor_on", which] == 1


def test_a_daemon_is_heard_of(shared, exporter):
    shared.instance.add_daemon_heartbeat(DaemonHeartbeat(1_700_000_000.0, "SENSOR", "d"))
    assert exporter.value("als_daemon_heartbeat_timestamp_seconds", daemon="sensor") == 1_700_000_000.0


def test_every_metric_is_there_before_anything_has_happened():
    assert {*scrape(LastLook())} == {metric.name for metric in METRICS}


def test_a_look_that_fails_is_counted_and_leaves_what_was_known(exporter):
    last, clock = LastLook(values={("als_scans_failed", ()): 7.0}), SleptClock()

    def look() -> Mapping[tuple[str, tuple[tuple[str, str], ...]], float]:
        raise OSError("the database is away")

    look_again(last, look, clock, every_s=15)
    found = scrape(last)
    assert [sample.value for sample in found["als_metrics_failed_looks"].samples] == [1.0]
    assert [sample.value for sample in found["als_scans_failed"].samples] == [7.0]


def _growing(samples: Samples) -> Samples:
    ends = ("_total", "_bucket", "_sum", "_count")
    return {series: value for series, value in samples.items() if series[0].endswith(ends)}
