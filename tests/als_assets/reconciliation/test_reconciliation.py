"""A place held against the graph, as its run does it: over a twin, with real listings and real files.

The platform is this file's: the scans of its other tests lie there too, so each test looks only at its own folder.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from als import reconciliation as command
from als_assets.definitions import compose
from als_assets.reconciliation.looking import MOST_UNANSWERED, Look
from als_assets.reconciliation.reconciler import Reconciler
from als_assets.reconciliation.records import register_commands, rows
from als_assets.reconciliation.report import Report
from als_assets.retention.tables import Tables, make_tables
from beamlines.layout import Artifact
from beamlines.places import Store
from beamlines.reconciliation import Compared, Finding, Kind
from beamlines.retention import name_of
from beamlines.scans import PartitionKey, ScanId
from beamlines.testing import HOSTILE_NAMES
from resources.holds import Holds
from resources.ledger import Ledger
from resources.recorded import SeenBy
from resources.testing import HastyClock
from tests.als_assets.conftest import Platform, platform_over, to_key
from twin.faults import Fault

LATER = timedelta(hours=2)
"""When places are looked through: what was made just now has settled by then."""
LISTINGS = "GET /transfer/v0.10/operation/endpoint/*/ls"
DELETES = "POST /transfer/v0.10/delete"


class Reconciliation:
    """Places of a platform, looked through two hours from now."""

    def __init__(self, platform: Platform, folder: str) -> None:
        self.platform, self.folder = platform, folder
        self._clock = HastyClock(LATER)
        clock = dg.ResourceDefinition.hardcoded_resource(self._clock)
        self._definitions = compose(platform.settings, clock=clock)
        self.said = ""

    @property
    def tables(self) -> Tables:
        database = self.platform.database
        return make_tables(database, Ledger(database), self.platform.standings, Holds(database))

    def look(self, place: str) -> Report:
        """Everything at the place."""
        beamline = self.platform.settings.beamline
        with dg.build_resources(self.platform.resources, instance=self.platform.instance) as made:
            return Reconciler(
                beamline=beamline,
                copies={name_of(copy): copy for copy in built(self.platform)},
                place=beamline.places[place],
                instance=self.platform.instance,
                transfer=made.transfer,
                tables=made.retention,
                clock=self._clock,
            ).reconcile()

    def found(self, place: str) -> list[tuple[Kind, str]]:
        """What is found in this test's folder: its kind, and the rest of its path."""
        return sorted(_below(self.folder, self.look(place).findings))

    def run(self, place: str) -> dg.ExecuteInProcessResult:
        """The nightly job."""
        result = self._definitions.resolve_job_def(f"bl832_reconcile_{place}").execute_in_process(
            instance=self.platform.instance, raise_on_error=False
        )
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        self.said = "\n".join(
            str(f.user_failure_data.description if f.user_failure_data else f.error) for f in failures
        )
        return result

    def shown(self, place: str) -> Mapping[str, dg.MetadataValue]:  # type: ignore[type-arg]
        """The newest table, and the counts beside it."""
        wanted = dg.AssetRecordsFilter(to_key(f"bl832/{place}/reconciliation"))
        event = self.platform.instance.fetch_materializations(wanted, limit=1).records[0].asset_materialization
        assert event is not None
        return event.metadata

    def in_table(self, place: str, scan: str) -> list[Mapping[str, object]]:
        """The rows of one scan."""
        found = self.shown(place)["found"]
        assert isinstance(found, dg.TableMetadataValue)
        return [row.data for row in found.records if row.data["scan"] == scan]

    def evaluations(self, asset: str, name: str, key: str) -> list[bool]:
        """How one check of a partition has ended, the newest first."""
        check = dg.AssetCheckKey(to_key(asset), name)
        records = self.platform.instance.event_log_storage.get_asset_check_execution_history(check, limit=200)
        events = [record.event.dagster_event for record in records if record.event and record.event.dagster_event]
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        ended = [event.asset_check_evaluation_data for event in events if event.event_type is kind]
        return [one.passed for one in ended if one.partition == key]

    def scan(self, name: str, *assets: str) -> str:
        """A scan of this test on data832, and in these assets."""
        key = self.platform.ingested(f"{self.folder}/{name}.h5")
        if assets:
            assert self.platform.run(key, *assets).success
        return key

    def lies(self, place: str, path: str, content: bytes = b"dark", *, store: Store = Store.RAW) -> Path:
        """A file in this test's folder that nobody has recorded."""
        root = Path(self.platform.settings.beamline.places[place].at(store, self.folder).posix)
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file


def built(platform: Platform) -> list:  # type: ignore[type-arg]
    from als_assets.registry import build_graph

    return build_graph(platform.settings.beamline).copies


def _below(folder: str, findings: list[Finding]) -> Iterator[tuple[Kind, str]]:
    for finding in findings:
        _, found, rest = finding.path.partition(f"/{folder}/")
        if found:
            yield finding.kind, rest


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, phantom: Path) -> Iterator[Platform]:
    """One of these tests' own: a place is looked through whole, with what other tests have left there."""
    with platform_over(tmp_path_factory.mktemp("state"), phantom) as made:
        yield made


@pytest.fixture
def reconciliation(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Reconciliation]:
    folder = f"held-{abs(hash(request.node.nodeid)) % 10**6:06d}"
    yield Reconciliation(platform, folder)
    # Records stay, in other folders than those that the next test looks at; its own files must not lie there twice.
    for place in platform.settings.beamline.places.values():
        for store in place.stores:
            for left in Path(place.at(store, "").posix).glob(f"{folder}*"):
                shutil.rmtree(left)


def raw(platform: Platform, place: str, key: str) -> Path:
    return platform.file(place, Artifact.RAW, key)


# -- what is found -----------------------------------------------------------------------------------------------


def test_what_is_as_recorded_is_not_found(platform: Platform, reconciliation: Reconciliation) -> None:
    key = platform.reconstructed(f"{reconciliation.folder}/whole.h5")
    report = reconciliation.look("data832")
    assert list(_below(reconciliation.folder, report.findings)) == []
    assert report.whole >= 4
    for place in ("spot832", "nersc", "pscratch"):
        assert reconciliation.found(place) == []
    assert raw(platform, "nersc", key).exists()


def test_lost_changed_and_dark_raw_files_are_found(platform: Platform, reconciliation: Reconciliation) -> None:
    lost, shorter, later = (reconciliation.scan(name) for name in ("lost", "shorter", "later"))
    raw(platform, "data832", lost).unlink()
    with raw(platform, "data832", shorter).open("r+b") as file:
        file.truncate(7)
    written = (datetime.now(UTC) + timedelta(minutes=30)).timestamp()
    os.utime(raw(platform, "data832", later), (written, written))
    reconciliation.lies("data832", "dark.h5")
    reconciliation.lies("data832", "notes.txt")
    assert reconciliation.found("data832") == [
        (Kind.CHANGED, "later.h5"),
        (Kind.CHANGED, "shorter.h5"),
        (Kind.DARK, "dark.h5"),
        (Kind.LOST, "lost.h5"),
    ]


def test_products_are_looked_at_by_their_folder_and_their_manifest(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    key = platform.reconstructed(f"{reconciliation.folder}/a.h5")
    platform.manifest("nersc", Artifact.TIFF, key).unlink()
    shutil.rmtree(platform.file("nersc", Artifact.ZARR, key))
    reconciliation.lies("nersc", "recold/slice.tiff", store=Store.RESULTS)
    assert reconciliation.found("nersc") == [
        (Kind.CHANGED, "reca"),
        (Kind.DARK, "recold"),
        (Kind.LOST, "reca.zarr"),
    ]
    assert platform.manifest("nersc", Artifact.ZARR, key).exists()


def test_a_file_that_was_renamed_is_paired_by_its_checksum_and_shown(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    key = reconciliation.scan("before")
    was = raw(platform, "data832", key)
    was.rename(was.with_name("after.h5"))
    other = bytearray(was.with_name("after.h5").read_bytes())
    other[-1] ^= 1
    reconciliation.lies("data832", "other.h5", bytes(other))
    report = reconciliation.look("data832")
    [pair] = [pair for pair in report.renamed if reconciliation.folder in pair.lost.path]
    assert (Path(pair.lost.path).name, Path(pair.dark.path).name) == ("before.h5", "after.h5")
    assert pair.said.startswith("the same: SHA-256")
    shown = rows(platform.settings.beamline.places["data832"], report, 10_000)
    [lost] = [row for row in shown if row[3] == pair.lost.path]
    assert pair.dark.path in lost[4]
    assert "move it back" in lost[5]


def test_where_nothing_can_be_read_from_here_files_of_one_size_are_perhaps_the_same(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    key = reconciliation.scan("before", "bl832/nersc/raw")
    was = raw(platform, "nersc", key)
    was.rename(was.with_name("after.h5"))
    jobs = len(platform.jobs)
    [pair] = [pair for pair in reconciliation.look("nersc").renamed if reconciliation.folder in pair.lost.path]
    assert pair.said == "perhaps the same: same size"
    assert len(platform.jobs) == jobs


def test_hostile_names_are_themselves_and_each_is_shown_in_one_line(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    names = [*HOSTILE_NAMES, "recuser/a", "_rec/b", "a.h5_/c", "preview/d", "nersc/e"]
    keys = [ScanId(f"{reconciliation.folder}/{name}.h5").key for name in names]
    for key in keys:
        file = raw(platform, "data832", key)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"hostile")
    report = reconciliation.look("data832")
    found = {path for kind, path in _below(reconciliation.folder, report.findings) if kind is Kind.DARK}
    copy = next(copy for copy in built(platform) if name_of(copy) == "data832/raw")
    root = f"raw/{reconciliation.folder}/"
    assert found == {str(copy.location(PartitionKey.parse(key)).path).removeprefix(root) for key in keys}
    shown = rows(platform.settings.beamline.places["data832"], report, 10_000)
    assert all(cell.isprintable() for row in shown for cell in row)


def test_recorded_copies_of_hostile_names_are_found_where_they_lie(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    keys = [reconciliation.scan(name) for name in ("recuser/new\nline", "\udcff\udc80", "a.h5/b")]
    assert reconciliation.found("data832") == []
    raw(platform, "data832", keys[1]).unlink()
    assert reconciliation.found("data832") == [(Kind.LOST, "\udcff\udc80.h5")]


def test_labelled_results_and_those_of_the_system_before_are_recorded_too(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    for name in ("rechere", "recgone", "recnew"):
        reconciliation.lies("data832", f"{name}/slice.tiff", store=Store.RESULTS)
    for name, label in (("here", "legacy"), ("gone", "legacy"), ("here", "wide")):
        key = f"{ScanId(f'{reconciliation.folder}/{name}.h5').key}@{label}"
        platform.add_partition(key)
        event = dg.AssetMaterialization(to_key("bl832/data832/nersc_tiff"), partition=key)
        platform.instance.report_runless_asset_event(event)
    reconciliation.lies("data832", "nersc/rechere.wide/slice.tiff", store=Store.RESULTS)
    reconciliation.lies("data832", "nersc/rechere.wide.tiff.manifest.json", store=Store.RESULTS)
    shutil.rmtree(reconciliation.lies("data832", "recgone/x", store=Store.RESULTS).parent)
    assert reconciliation.found("data832") == [(Kind.DARK, "recnew"), (Kind.LOST, "recgone")]


# -- what is not said --------------------------------------------------------------------------------------------


def test_below_a_folder_that_cannot_be_listed_nothing_is_lost(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    inside, beside = reconciliation.scan("closed/a"), reconciliation.scan("b")
    for key in (inside, beside):
        raw(platform, "data832", key).unlink()
    place = platform.settings.beamline.places["data832"]
    closed = place.at(Store.RAW, f"{reconciliation.folder}/closed").on_collection
    platform.twin.control.board.change({"denied": [{"collection": place.collection, "prefix": closed}]})
    report = reconciliation.look("data832")
    assert list(_below(reconciliation.folder, report.findings)) == [(Kind.LOST, "b.h5")]
    assert "PermissionDenied" in report.unreachable[f"raw/{reconciliation.folder}/closed"]


def test_a_place_that_does_not_answer_has_nothing_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    raw(platform, "data832", reconciliation.scan("a")).unlink()
    collection = platform.settings.beamline.places["data832"].collection
    platform.twin.control.board.change({"down": [collection]})
    report = reconciliation.look("data832")
    assert report.findings == []
    assert set(report.unreachable) == {"raw", "scratch/globus_share"}


def test_a_store_that_shows_nothing_at_all_has_nothing_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    reconciliation.scan("a", "bl832/nersc/raw")
    store = Path(platform.settings.beamline.places["nersc"].at(Store.RAW, "").posix)
    away = store.with_name("raw-away")
    store.rename(away)
    try:
        assert [finding for finding in reconciliation.look("nersc").findings if "raw/" in finding.path] == []
        store.mkdir()
        report = reconciliation.look("nersc")
        assert [finding for finding in report.findings if finding.path.startswith("raw/")] == []
        assert "dying" in report.unreachable["raw"]
    finally:
        store.rmdir()
        away.rename(store)


def test_a_place_that_stops_answering_is_not_asked_for_every_folder(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    for number in range(12):
        raw(platform, "spot832", platform.measured(f"{reconciliation.folder}-{number}/a.h5")).unlink()
    collection = platform.settings.beamline.places["spot832"].collection
    platform.twin.control.injector.add(
        Fault(match=f"GET /transfer/v0.10/operation/endpoint/{collection}/ls", status=502, times=1000, skip=1)
    )
    before = platform.asked(LISTINGS)
    report = reconciliation.look("spot832")
    assert [finding for finding in report.findings if f"{reconciliation.folder}-" in finding.path] == []
    assert any("stopped answering" in why for why in report.unreachable.values())
    assert platform.asked(LISTINGS) - before == 1 + 3 * MOST_UNANSWERED, "each is asked three times by the client"


def test_a_deletion_with_a_certificate_is_not_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    key = reconciliation.scan("a", "bl832/nersc/raw")
    clock = dg.ResourceDefinition.hardcoded_resource(HastyClock(timedelta(minutes=2)))
    asked = {"partition": key, "one_minute": True, "author": "dula", "note": "a test"}
    job = compose(platform.settings, clock=clock).resolve_job_def("bl832_retention_data832")
    config = {"ops": {"look_through_data832": {"config": asked}}}
    assert job.execute_in_process(instance=platform.instance, run_config=config).success
    assert not raw(platform, "data832", key).exists()
    assert reconciliation.found("data832") == []
    raw(platform, "data832", key).write_bytes(b"again")
    assert reconciliation.found("data832") == [(Kind.DARK, "a.h5")]


def test_a_copy_that_is_being_made_is_neither_dark_nor_lost(platform: Platform, reconciliation: Reconciliation) -> None:
    made, remade = reconciliation.folder + "/made.h5", reconciliation.scan("remade")
    reconciliation.lies("data832", "made.h5")
    raw(platform, "data832", remade).unlink()
    assert reconciliation.found("data832") == [(Kind.DARK, "made.h5"), (Kind.LOST, "remade.h5")]
    runs = [
        platform.instance.create_run_for_job(
            platform.definitions.resolve_job_def("bl832_ingest"),
            tags={"dagster/partition": key},
            status=dg.DagsterRunStatus.STARTED,
        )
        for key in (ScanId(made).key, remade)
    ]
    try:
        assert reconciliation.found("data832") == []
    finally:
        for run in runs:
            platform.instance.delete_run(run.run_id)


def test_what_comes_back_or_is_recorded_while_the_place_is_walked_through_is_not_found(
    platform: Platform, reconciliation: Reconciliation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, dark = reconciliation.scan("a"), ScanId(f"{reconciliation.folder}/dark.h5").key
    file, away = raw(platform, "data832", key), raw(platform, "data832", key).with_suffix(".away")
    file.rename(away)
    reconciliation.lies("data832", "dark.h5")
    walked = Look.through

    def through(look: Look) -> Iterator[Compared]:
        yield from walked(look)
        away.rename(file)
        event = dg.AssetMaterialization(to_key("bl832/data832/raw"), partition=dark)
        platform.instance.report_runless_asset_event(event)

    assert reconciliation.found("data832") == [(Kind.DARK, "dark.h5"), (Kind.LOST, "a.h5")]
    monkeypatch.setattr(Look, "through", through)
    assert reconciliation.found("data832") == []


def test_a_place_that_does_not_answer_the_second_time_has_nothing_lost(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    raw(platform, "data832", reconciliation.scan("a")).unlink()
    platform.twin.control.injector.add(Fault(match="GET */stat", status=502, times=1000))
    report = reconciliation.look("data832")
    assert list(_below(reconciliation.folder, report.findings)) == []
    assert f"raw/{reconciliation.folder}" in report.unreachable or "stopped answering" in str(report.unreachable)


def test_what_was_written_within_the_hour_is_not_dark(reconciliation: Reconciliation) -> None:
    file = reconciliation.lies("data832", "new.h5")
    later = (datetime.now(UTC) + LATER).timestamp()
    os.utime(file, (later, later))
    assert reconciliation.found("data832") == []


def test_leftovers_of_our_own_are_counted_and_are_no_scans(reconciliation: Reconciliation) -> None:
    before = reconciliation.look("data832").leftovers
    reconciliation.lies("data832", "gone.h5.manifest.json")
    reconciliation.lies("data832", "recnever/slice.tiff", store=Store.RESULTS)
    reconciliation.lies("data832", "recnever.tiff.partial.jsonl", store=Store.RESULTS)
    reconciliation.lies("data832", "logs/als-x.stop/mark", store=Store.RESULTS)
    assert reconciliation.found("data832") == []
    assert reconciliation.look("data832").leftovers == before + 3


def test_two_thousand_files_in_twenty_folders_take_twenty_listings(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    reconciliation.look("data832")
    before = platform.asked(LISTINGS)
    reconciliation.look("data832")
    elsewhere = platform.asked(LISTINGS) - before
    for folder in range(20):
        for number in range(100):
            reconciliation.lies("data832", f"{folder}/{number}.h5")
    before = platform.asked(LISTINGS)
    assert len(reconciliation.found("data832")) == 2_000
    assert platform.asked(LISTINGS) - before == elsewhere + 21


# -- what is written down ----------------------------------------------------------------------------------------


def test_a_lost_copy_is_red_once_is_a_suspect_and_is_believed_again_when_it_is_there_again(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    key = reconciliation.scan("a", "bl832/nersc/raw")
    file, away = raw(platform, "nersc", key), raw(platform, "nersc", key).with_suffix(".away")
    file.rename(away)
    assert not reconciliation.run("nersc").success
    assert f"lost: nersc/raw of {key}" in reconciliation.said
    assert reconciliation.evaluations("bl832/nersc/raw", "files", key)[0] is False
    [suspect] = [one for one in reconciliation.tables.suspects.all() if one.partition == key]
    assert (suspect.asset, suspect.seen_by) == ("nersc/raw", SeenBy.LISTING)
    evaluated = len(reconciliation.evaluations("bl832/nersc/raw", "files", key))
    reconciliation.run("nersc")
    assert len(reconciliation.evaluations("bl832/nersc/raw", "files", key)) == evaluated
    away.rename(file)
    reconciliation.run("nersc")
    assert reconciliation.evaluations("bl832/nersc/raw", "files", key)[0] is True
    assert [one for one in reconciliation.tables.suspects.all() if one.partition == key] == []
    reconciliation.run("nersc")
    assert len(reconciliation.evaluations("bl832/nersc/raw", "files", key)) == evaluated + 1


def test_one_table_says_what_there_is_and_what_to_do(platform: Platform, reconciliation: Reconciliation) -> None:
    key = reconciliation.scan("a", "bl832/nersc/raw")
    raw(platform, "data832", key).unlink()
    reconciliation.lies("data832", "dark.h5")
    assert not reconciliation.run("data832").success
    shown = reconciliation.shown("data832")
    assert [int(str(shown[name].value)) > 0 for name in ("lost", "dark")] == [True, True]
    [lost] = reconciliation.in_table("data832", key)
    assert (lost["what"], lost["copy"]) == ("lost", "data832/raw")
    assert lost["what to do"] == "materialize data832/raw again; there are nersc/raw, spot832/raw"


def test_a_run_is_green_for_dark_scans_only_and_says_how_they_are_registered(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    reconciliation.lies("olcf", "dark.h5")
    reconciliation.lies("olcf", "it's/b.h5")
    assert reconciliation.run("olcf").success, reconciliation.said
    said = str(reconciliation.shown("olcf")["register_dark"].value)
    assert f"als register --place olcf --folder {reconciliation.folder}\n" in f"{said}\n"
    assert f"als register --place olcf --folder '{reconciliation.folder}/it'\"'\"'s'" in said
    report = reconciliation.look("olcf")
    assert said.splitlines() == register_commands(platform.settings.beamline.places["olcf"], report)


def test_what_is_registered_is_not_dark_any_more(platform: Platform, reconciliation: Reconciliation) -> None:
    reconciliation.lies("data832", "a.h5_/dark.h5")
    assert reconciliation.found("data832") == [(Kind.DARK, "a.h5_/dark.h5")]
    config = {"place": "data832", "folder": reconciliation.folder}
    result = platform.definitions.resolve_job_def("bl832_register").execute_in_process(
        instance=platform.instance, run_config={"ops": {"register": {"config": config}}}
    )
    assert result.success
    assert reconciliation.found("data832") == []


def test_nothing_is_deleted_or_moved_by_it(platform: Platform, reconciliation: Reconciliation) -> None:
    key = platform.reconstructed(f"{reconciliation.folder}/a.h5")
    raw(platform, "data832", key).unlink()
    platform.manifest("data832", Artifact.TIFF, key)
    reconciliation.lies("data832", "dark.h5")
    reconciliation.lies("data832", "gone.h5.manifest.json")
    root = Path(platform.settings.beamline.places["data832"].posix_root)
    before = {path: path.lstat().st_mtime_ns for path in root.rglob("*")}
    posts, deletes = platform.asked("POST /transfer/*"), platform.asked(DELETES)
    assert not reconciliation.run("data832").success
    assert {path: path.lstat().st_mtime_ns for path in root.rglob("*")} == before
    assert platform.asked("POST /transfer/*") == posts
    assert platform.asked(DELETES) == deletes


def test_what_looks_knows_nothing_of_deleting() -> None:
    from tests.als_assets.test_definitions import run_python

    parts = ("letting_go", "passes", "proving", "runs", "planner")
    names = [f"als_assets.retention.{part}" for part in parts]
    program = f"import sys, als_assets.reconciliation.reconciler; print(*sorted(set({names}) & sys.modules.keys()))"
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# -- in the terminal ---------------------------------------------------------------------------------------------


def test_the_command_shows_the_same_with_what_to_do(
    platform: Platform, reconciliation: Reconciliation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = reconciliation.scan("a", "bl832/nersc/raw")
    raw(platform, "nersc", key).unlink()
    console = Console(width=200, record=True)
    monkeypatch.setattr("als.saying.console", console)
    command.show(platform.settings.beamline.places["nersc"], reconciliation.look("nersc"))
    said = console.export_text()
    assert f"lost  nersc/raw  {key}" in said
    assert "what to do: materialize nersc/raw again; there are data832/raw, spot832/raw" in said
    assert [one for one in reconciliation.tables.suspects.all() if one.partition == key] == []
