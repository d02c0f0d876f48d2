"""``als scan show``, as a person types it, of scans in every state: over a twin, with Dagster's tables on a disk."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from als.main import app
from als_assets.split import SECONDS_BY_STAGE
from als_assets.whereabouts import State
from beamlines.decisions import Decision, Reason
from beamlines.layout import Artifact
from beamlines.seconds import split_of
from resources.certificates import Certificates, Deletion, Keeper
from resources.dagster_log import MATERIALIZATION, open_log
from resources.recorded import SeenBy, Suspect, Suspects
from resources.tallies import Counted, Tallies, Took
from sensors.event_log import decision_record
from tests.als_assets.conftest import BRANCH, INGEST, JOBS, Platform, platform_on_disk, to_key
from twin.faults import Fault

RAW_ENTRY = "bl832/scicat/raw"
HOSTILE = "BLS-00001_o'brien; $(id)/day 1/-$(touch pwned) [red]é 🦷@b.h5"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, phantom: Path, loaded_programs: Path) -> Iterator[Platform]:
    with platform_on_disk(tmp_path_factory.mktemp("shown"), phantom, loaded_programs) as made:
        yield made


@pytest.fixture
def show(shared: Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    monkeypatch.delenv("ALS_DEPLOYMENT", raising=False)
    state = str(shared.twin.world.state_dir)

    def shown(name: str) -> Result:
        return CliRunner().invoke(app, ["scan", "show", name, "--state", state])

    return shown


@pytest.fixture(scope="module")
def whole(shared: Platform) -> str:
    return shared.reconstructed("shown/whole.h5")


def state_of(said: Result, copy: str) -> str:
    """What stands behind the name of a copy in the table."""
    assert said.exit_code == 0, said.output
    [line] = [line for line in said.output.splitlines() if line.startswith(f"{copy} ")]
    rest = line.removeprefix(copy).strip()
    return next(str(state) for state in State if rest.startswith(state))


def lines_about(said: Result, copy: str) -> str:
    return "\n".join(line for line in said.output.splitlines() if line.startswith(f"{copy}: "))


def test_every_copy_of_a_scan_that_went_all_the_way_is_there(show, whole):
    said = show(whole)
    assert {state_of(said, copy.partition("/")[2]) for copy in (*INGEST, *BRANCH)} == {"there"}


def test_the_table_fits_a_terminal_of_80_columns(show, whole):
    rows = [line for line in show(whole).output.splitlines() if line.split(" ")[0].count("/") == 1 and ":" not in line]
    assert rows
    assert max(map(len, rows)) <= 80
    assert not [row for row in rows if "…" in row]


def test_the_seconds_are_those_that_were_recorded(shared, show, whole):
    recorded = shared.metadata("bl832/pscratch/tiff", whole)
    [line] = [line for line in show(whole).output.splitlines() if line.startswith("pscratch/tiff ")]
    assert f"{recorded['seconds']:.1f}" in line
    assert f"{recorded['job_seconds']:.1f}" in line


def test_links_lead_to_the_pages_of_copies(show, whole):
    address = "http://127.0.0.1:3000/assets/bl832/nersc/raw?view=partitions&partition=shown%2Fwhole"
    assert address in show(whole).output.splitlines()


def test_what_is_read_of_dagsters_tables_is_what_dagster_says(shared, whole):
    log = open_log(Path(shared.instance.root_directory), {})
    assets = ["bl832/spot832/raw", *INGEST, *BRANCH]
    records = [event for event in log.newest(assets, [whole]) if event.kind == MATERIALIZATION]
    assert {event.asset for event in records} == {*assets}
    for event in records:
        plain = {name: value for name, value in shared.metadata(event.asset, whole).items() if name != SECONDS_BY_STAGE}
        assert {name: event.said[name] for name in plain} == plain
        for check in log.checks(event.asset, [whole], since=event.storage_id):
            said = shared.evaluation(event.asset, check.name, whole)
            assert (check.passed, check.detail) == (said.passed, str(said.metadata["detail"].value))
    assert {check.name for check in log.checks(INGEST[0], [whole], since=0)} == {"files", "size", "checksum", "whole"}
    runs = shared.instance.get_runs(dg.RunsFilter(tags={"dagster/partition": whole}))
    assert [(run.run_id, run.status) for run in log.runs([whole])] == [(run.run_id, run.status.value) for run in runs]
    known = shared.instance.get_dynamic_partitions("bl832_scans")
    assert log.keys("bl832_scans") == sorted(known)
    assert log.keys("bl832_scans", beginning="shown/who") == [whole]


def test_the_page_of_the_branchs_last_asset_has_the_same_split(shared, whole):
    rows = [row.data for row in shared.metadata("bl832/data832/nersc_zarr", whole)[SECONDS_BY_STAGE].records]
    stages = {f"bl832/{row['stage']}": row for row in rows}
    assert [*stages] == [*INGEST, *BRANCH]
    for asset, row in stages.items():
        split = split_of(shared.metadata(asset, whole))
        assert split is not None
        assert row["seconds"] == round(split.total_s, 1)
        assert {part: row[part] for part in split.parts} == {p: round(s, 1) for p, s in split.parts.items()}


def test_branches_that_nobody_asked_for_are_one_line(show, whole):
    said = show(whole)
    assert "never sent to alcf, olcf, local" in said.output
    assert "alcf/raw" not in said.output


def test_a_scan_that_has_only_arrived_waits_for_its_run(shared, show):
    said = show(shared.measured("shown/arrived.h5"))
    assert state_of(said, "spot832/raw") == "there"
    assert state_of(said, "data832/raw") == "waiting"
    assert "waits for its run, which has not begun" in lines_about(said, "data832/raw")
    assert "waits for data832/raw" in lines_about(said, "nersc/raw")


def test_an_ingested_scan_waits_for_its_router(shared, show):
    said = show(shared.ingested("shown/ingested.h5"))
    assert state_of(said, "nersc/raw") == "waiting"
    assert "bl832_route_to_nersc" in lines_about(said, "nersc/raw")
    assert state_of(said, "data832/nersc_zarr") == "waiting"


def test_a_scan_that_is_not_whole_says_why_it_has_no_first_look(shared, show):
    key = shared.measured("shown/damaged.h5", b"\x89HDF\r\n\x1a\n" + bytes(500))
    assert shared.run(key, *INGEST).success
    said = show(key)
    assert state_of(said, "data832/preview") == "never"
    assert "No first look" in lines_about(said, "data832/preview")
    assert "check 'whole' has failed" in lines_about(said, "data832/raw")
    assert state_of(said, "nersc/raw") == "never"


def test_a_step_that_failed_says_why_and_what_waits_for_it_says_which(shared, show):
    key = shared.ingested("shown/gone.h5")
    shared.manifest("data832", Artifact.RAW, key).unlink()
    assert not shared.run(key, *BRANCH).success
    said = show(key)
    assert state_of(said, "nersc/raw") == "failed"
    assert "FileNotFoundError: " in lines_about(said, "nersc/raw")
    assert state_of(said, "pscratch/tiff") == "waiting"
    assert "waits for pscratch/raw" in lines_about(said, "pscratch/tiff")


def test_a_run_in_the_queue_is_waited_for(shared, show):
    key = shared.ingested("shown/queued.h5")
    _planned(shared, key, dg.DagsterRunStatus.NOT_STARTED)
    said = show(key)
    assert state_of(said, "nersc/raw") == "waiting"
    assert "which is queued" in lines_about(said, "nersc/raw")


def test_what_is_being_made_is_compared_with_what_similar_scans_took(shared, show):
    key = shared.ingested("shown/making.h5")
    _planned(shared, key, dg.DagsterRunStatus.STARTED)
    size_bytes = shared.file("spot832", Artifact.RAW, key).stat().st_size
    took = [Took(number, "nersc/raw", size_bytes, 60.0 * number) for number in range(1, 7)]
    tallies = Tallies(shared.database)
    assert tallies.count(Counted(took=took), after=tallies.position(), up_to=tallies.position() + 1)
    said = show(key)
    assert state_of(said, "nersc/raw") == "being made"
    assert "the last 6 similar scans took 3 min 30 s here, nine of ten at most 5 min 30 s" in said.output
    assert "waits for nersc/raw, which is being made" in lines_about(said, "pscratch/raw")


def test_a_canceled_run_made_nothing(shared, show):
    key = shared.ingested("shown/canceled.h5")
    _planned(shared, key, dg.DagsterRunStatus.CANCELED)
    said = show(key)
    assert state_of(said, "nersc/raw") == "never"
    assert "canceled" in lines_about(said, "nersc/raw")


@pytest.mark.parametrize(
    ("reason", "state"), [(Reason.OUTAGE, "waiting"), (Reason.SWITCHED_OFF, "never"), (Reason.HANDED_ON, "never")]
)
def test_what_a_router_has_decided_is_said_in_its_words(shared, show, reason, state):
    key = shared.ingested(f"shown/{reason}.h5")
    record = decision_record(to_key("bl832/nersc/raw"), key, "nersc", Decision.no(reason, "maintenance until noon"))
    shared.instance.report_runless_asset_event(record)
    said = show(key)
    assert state_of(said, "nersc/raw") == state
    assert "maintenance until noon" in lines_about(said, "nersc/raw")


def test_what_a_service_has_said_is_one_line_that_no_terminal_obeys(shared, show):
    key = shared.ingested("shown/escaped.h5")
    said = Decision.no(Reason.OUTAGE, "until \x1b[2J noon\n[red]or later[/]")
    shared.instance.report_runless_asset_event(decision_record(to_key("bl832/nersc/raw"), key, "nersc", said))
    assert "until \\x1b[2J noon [red]or later[/]" in lines_about(show(key), "nersc/raw")


def test_a_label_that_is_none_hides_nothing(shared, show, whole):
    shared.add_partition(f"{whole}@No Label")
    assert state_of(show(whole), "data832/raw") == "there"


def test_a_copy_that_was_deleted_by_rule_names_its_certificate_and_what_keeps_it(shared, show):
    key = shared.ingested("shown/deleted.h5")
    keeper = Keeper("nersc/raw", key, "0" * 64, NOW.isoformat(), "job 1")
    deletion = Deletion("data832/raw", key, _storage_id(shared, key), "/p", 1, 1, {}, "old", (keeper,), "run")
    certificates = Certificates(shared.database)
    begun = certificates.begin(deletion, seen=certificates.head(), at=NOW)
    certificates.finish(begun, [], NOW)
    said = show(key)
    assert state_of(said, "data832/raw") == "deleted"
    assert f"certificate {begun.sequence}; kept by nersc/raw" in lines_about(said, "data832/raw")


@pytest.mark.parametrize(
    ("why", "state"), [("lost: nothing lies there", "lost"), ("changed: it has 7 bytes", "changed")]
)
def test_a_copy_that_a_listing_does_not_show_is_no_copy(shared, show, why, state):
    key = shared.ingested(f"shown/{state}.h5")
    suspect = Suspect("data832/raw", key, _storage_id(shared, key), NOW, why, SeenBy.LISTING)
    Suspects(shared.database).add(suspect)
    assert state_of(show(key), "data832/raw") == state


def test_a_labelled_reconstruction_is_shown_below_its_scan(shared, show, whole):
    labelled = f"{whole}@smooth"
    shared.add_partition(labelled)
    assert shared.run(labelled, *JOBS[1:]).success
    said = show(labelled)
    [above, below] = said.output.split(f"\n{labelled}\n")
    assert "pscratch/tiff" in below
    assert "data832/raw " in above
    assert "data832/raw " not in below


def test_a_hostile_name_is_shown_as_it_is_and_runs_nothing(shared, show):
    key = shared.measured(HOSTILE)
    for name in (key, HOSTILE, f"/global/raw/{HOSTILE}"):
        said = show(name)
        assert state_of(said, "spot832/raw") == "there"
        assert repr(HOSTILE) in said.output
    assert not Path("pwned").exists()


def test_a_restricted_scan_is_shown_to_operators(shared, show):
    key = shared.measured("shown/secret.h5")
    shared.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="contract 7", at=NOW)
    said = show(key)
    assert "no (restricted-by-operator)" in said.output
    assert state_of(said, "nersc/raw") == "never"


def test_an_entry_in_the_catalogue_is_a_link_to_its_page(shared, show):
    key = shared.ingested("shown/described.h5")
    assert "catalogue" not in show(key).output
    assert shared.run(key, RAW_ENTRY).success
    page = shared.metadata(RAW_ENTRY, key)["page"]
    assert f"in the catalogue: {page}" in show(key).output.splitlines()


def test_an_entry_that_was_refused_says_why(shared, show):
    key = shared.ingested("shown/refused.h5")
    shared.twin.control.injector.add(Fault(match="POST */Datasets", status=400, body={"message": "no such group"}))
    assert not shared.run(key, RAW_ENTRY).success
    said = show(key).output
    assert "scicat/raw: failed: " in said
    assert "no such group" in said
    assert "in the catalogue" not in said


def test_an_unknown_name_is_answered_with_those_that_are_near(show, whole):
    said = show("shown/whloe")
    assert said.exit_code == 1
    assert "did you mean shown/whole" in str(said.exception)


def _planned(shared: Platform, key: str, status: dg.DagsterRunStatus) -> None:
    """A run of the branch, in this state; nobody works on it."""
    job = shared.definitions.resolve_job_def("bl832_nersc")
    run = shared.instance.create_run_for_job(job, tags={"dagster/partition": key}, status=status)
    assert run.status is status


def _storage_id(shared: Platform, key: str) -> int:
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    return shared.instance.get_latest_storage_id_by_partition(to_key(INGEST[0]), kind, partitions={key})[key]
