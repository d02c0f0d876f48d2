"""What a reconciliation writes down and shows in the UI, and what it does not touch."""

from pathlib import Path

from als_assets.reconciliation.records import register_commands
from beamlines.layout import Artifact
from beamlines.places import Store
from beamlines.reconciliation import Kind
from resources.recorded import SeenBy
from tests.als_assets.conftest import Platform
from tests.als_assets.reconciliation.holding import DELETES, Reconciliation, raw


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


def test_a_place_that_cannot_be_reached_is_green_for_two_looks_and_red_at_the_third(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    down(platform, "alcf")
    assert [reconciliation.run("alcf").success for _ in range(2)] == [True, True]
    assert "502" in str(reconciliation.shown("alcf")["unreachable"].value)
    assert not reconciliation.run("alcf").success
    assert "unreachable: raw could not be listed in the last 3 looks" in reconciliation.said
    assert "als doctor" in reconciliation.said
    assert "ask ALCF, support@alcf.anl.gov" in reconciliation.said


def test_a_place_that_was_reached_in_between_is_green(platform: Platform, reconciliation: Reconciliation) -> None:
    down(platform, "olcf")
    assert [reconciliation.run("olcf").success for _ in range(2)] == [True, True]
    platform.twin.control.board.change({"down": []})
    assert reconciliation.run("olcf").success
    down(platform, "olcf")
    assert [reconciliation.run("olcf").success for _ in range(3)] == [True, True, False]


def test_a_closed_folder_is_red_at_the_third_look_only_where_something_is_recorded_below_it(
    platform: Platform, reconciliation: Reconciliation
) -> None:
    reconciliation.scan("ours/a", "bl832/nersc/raw")
    reconciliation.lies("nersc", "theirs/notes.txt")
    place = platform.settings.beamline.places["nersc"]
    closed = [place.at(Store.RAW, f"{reconciliation.folder}/{name}").on_collection for name in ("ours", "theirs")]
    board = platform.twin.control.board
    board.change({"denied": [{"collection": place.collection, "prefix": prefix} for prefix in closed]})
    assert [unreachable(reconciliation, "nersc") for _ in range(2)] == [[], []]
    [said] = unreachable(reconciliation, "nersc")
    assert f"raw/{reconciliation.folder}/ours could not be listed" in said
    assert f"raw/{reconciliation.folder}/theirs" in str(reconciliation.shown("nersc")["unreachable"].value)


def unreachable(reconciliation: Reconciliation, place: str) -> list[str]:
    """What the nightly job says of folders that it could not list; a run may be red for what other tests have left."""
    reconciliation.run(place)
    return [line for line in reconciliation.said.splitlines() if line.startswith("unreachable: ")]


def down(platform: Platform, place: str) -> None:
    """Its collection does not answer."""
    platform.twin.control.board.change({"down": [platform.settings.beamline.places[place].collection]})


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
