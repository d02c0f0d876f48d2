"""Old scans and results that lie somewhere already: adopted with evidence, held, and nothing follows by itself."""

import hashlib
import os
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from als_assets.bl832 import graph
from als_assets.operations.adopt import Adoption, NotAdoptableError, Outcome
from als_assets.operations.backlog import backlog_of
from beamlines.decisions import Reason
from beamlines.layout import Artifact
from beamlines.policy import ExportControl
from beamlines.scans import ScanId
from beamlines.testing import HOSTILE_NAMES
from resources.clock import SystemClock
from resources.holds import Holds

RAW, NERSC, SPOT = (f"bl832/{place}/raw" for place in ("data832", "nersc", "spot832"))
LEGACY = ("bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")
TRANSFERS = "POST /transfer/v0.10/transfer"
JOB_SUBMITS = "POST /superfacility/compute/jobs/*"
SCANS = "bl832_scans"


@pytest.fixture
def parts(platform):
    with dg.build_resources(platform.resources, instance=platform.instance) as made:
        yield made


@pytest.fixture
def adopt(platform, parts):
    """Register a folder of a place; what was found."""

    def run(place, folder, *, manifests=False, by=platform, progress=lambda _: None):
        beamline = by.settings.beamline
        adoption = Adoption(
            beamline=beamline,
            copies=graph.build(beamline).copies,
            place=beamline.places[place],
            make_manifests=manifests,
            transfer=parts.transfer,
            instance=platform.instance,
            standings=platform.standings,
            holds=parts.holds,
            clock=SystemClock(),
            author="dula",
        )
        return adoption.run(folder, progress)

    return run


def lies(platform, place, path, content=b"an old scan"):
    """An old raw file at a place; its partition."""
    key = ScanId(path).key
    file = platform.file(place, Artifact.RAW, key)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return key


def old_results(platform, place, folder, name):
    """What the system before this one has left of a scan."""
    store = "scratch/globus_share" if place == "data832" else "scratch"
    root = Path(platform.settings.beamline.places[place].posix_root) / store / folder
    for product in (f"rec{name}", f"rec{name}.zarr"):
        (root / product).mkdir(parents=True)
        (root / product / "file").write_bytes(b"old")


def sent(platform):
    return platform.asked(TRANSFERS) + platform.asked(JOB_SUBMITS)


def test_old_scans_become_partitions_with_evidence_and_holds_and_nothing_moves(platform, adopt, parts):
    keys = [lies(platform, "data832", f"old-1/{name}.h5") for name in ("a", "deep/er/b", "it's; $(x)\n\U0001f9ea")]
    tally = adopt("data832", "old-1")
    assert (tally.outcomes, tally.bytes) == ({Outcome.ADOPTED: 3}, 33)
    assert set(keys) <= set(platform.instance.get_dynamic_partitions(SCANS))
    for key in keys:
        said = platform.metadata(RAW, key)
        assert (said["arrival"], said["bytes"], said["files"]) == ("adopted", 11, 1)
        assert said["checksum_evidence"] == "none: it was not read"
        [hold] = Holds(platform.database).of(key)
        assert (hold.asset, hold.author) == (RAW, "dula")
    assert platform.materialized(keys[0], [SPOT, NERSC]) == set()
    assert sent(platform) == 0


def test_the_worst_names_are_adopted_as_scans_and_as_folders_and_each_is_itself(platform, adopt):
    folders = [name for name in HOSTILE_NAMES if name not in (".", "..") and ".h5" not in name]
    paths = [f"old-names/{name}.h5" for name in HOSTILE_NAMES] + [f"old-names/{name}/a.h5" for name in folders]
    keys = {lies(platform, "data832", path): path for path in paths}
    tally = adopt("data832", "old-names")
    assert tally.outcomes == {Outcome.ADOPTED: len(keys)}
    found = {key for key in platform.instance.get_dynamic_partitions(SCANS) if key.startswith("old-names/")}
    assert found == set(keys)
    said = {path: platform.metadata(RAW, key)["scan"] for key, path in keys.items()}
    shown = {path: path.encode("utf-8", "backslashreplace").decode() for path in said}
    assert said == shown


def test_registered_again_nothing_is_recorded_twice(platform, adopt):
    keys = [lies(platform, "data832", f"old-2/{name}.h5") for name in "ab"]
    adopt("data832", "old-2")
    lies(platform, "data832", "old-2/c.h5")
    assert adopt("data832", "old-2").outcomes == {Outcome.KNOWN: 2, Outcome.ADOPTED: 1}
    assert all(len(platform._materializations(RAW, key)) == 1 for key in keys)


def test_an_adoption_that_was_stopped_goes_on(platform, adopt):
    for folder in "abcd":
        lies(platform, "data832", f"old-3/{folder}/x.h5")

    def stop(tally):
        if tally.found == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adopt("data832", "old-3", progress=stop)
    assert adopt("data832", "old-3").outcomes == {Outcome.KNOWN: 2, Outcome.ADOPTED: 2}


def test_a_death_between_holds_and_events_leaves_nothing_unheld(platform, adopt, monkeypatch):
    key = lies(platform, "data832", "old-4/a.h5")
    monkeypatch.setattr("als_assets.operations.adopt.report_all", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        adopt("data832", "old-4")
    assert [hold.asset for hold in Holds(platform.database).of(key)] == [RAW]
    assert platform.materialized(key, [RAW]) == set()
    monkeypatch.undo()
    assert adopt("data832", "old-4").outcomes == {Outcome.ADOPTED: 1}


def test_with_manifests_every_raw_file_is_read(platform, adopt):
    key = lies(platform, "data832", "old-5/a.h5", b"read me")
    adopt("data832", "old-5", manifests=True)
    assert platform.metadata(RAW, key)["sha256"] == hashlib.sha256(b"read me").hexdigest()
    assert platform.manifest("data832", Artifact.RAW, key).is_file()


def test_manifests_are_refused_where_nothing_can_be_read_from_here(adopt):
    with pytest.raises(NotAdoptableError, match="not mounted on this machine"):
        adopt("nersc", "old-5", manifests=True)


def test_a_place_of_no_branch_and_a_folder_that_is_nowhere_are_refused(platform, adopt):
    known = platform.settings.beamline.places
    more = platform.but(places={**known, "tape": known["nersc"].model_copy(update={"name": "tape"})})
    with pytest.raises(NotAdoptableError, match="no asset of the graph lies at tape"):
        adopt("tape", "", by=more)
    with pytest.raises(NotAdoptableError, match="there is no folder 'nowhere'"):
        adopt("data832", "nowhere")


def test_folders_that_never_hold_scans_and_files_that_are_none_are_passed_over(platform, adopt):
    lies(platform, "data832", "transfer_tests/a.h5")
    file = platform.file("data832", Artifact.RAW, ScanId("old-6/a.h5").key)
    file.parent.mkdir(parents=True)
    file.with_name("notes.txt").write_bytes(b"x")
    assert adopt("data832", "old-6").found == 0


def test_results_of_the_system_before_are_adopted_under_their_label(platform, adopt):
    old_results(platform, "data832", "old-7", "20200101_120000_a.b")
    tally = adopt("data832", "old-7")
    assert tally.outcomes == {Outcome.ADOPTED: 2}
    legacy = f"{ScanId('old-7/20200101_120000_a.b.h5').key}@legacy"
    assert platform.materialized(legacy, LEGACY) == {*LEGACY}
    said = platform.metadata(LEGACY[0], legacy)
    assert said["path"].endswith("/scratch/globus_share/old-7/rec20200101_120000_a.b")
    assert "its path does not tell" in said["made_by"]
    assert "that is not made again" in platform.failure(legacy, LEGACY[0])


def test_results_of_this_platform_are_not_taken_for_old_ones(platform, adopt, done):
    folder = ScanId.from_key(done).folder
    for place in ("data832", "nersc"):
        adopt(place, folder)
    assert platform.materialized(f"{done}@legacy", [*LEGACY, "bl832/nersc/tiff", "bl832/nersc/zarr"]) == set()


def test_a_restricted_scan_off_site_is_a_violation_and_no_adoption(platform, adopt):
    rules = ExportControl(default="unrestricted", restricted_folders=("old-8",))
    restricted = platform.but(export_control=rules)
    keys = {place: lies(platform, place, "old-8/a.h5") for place in ("data832", "nersc")}
    assert adopt("data832", "old-8", by=restricted).outcomes == {Outcome.ADOPTED: 1}
    tally = adopt("nersc", "old-8", by=restricted)
    assert tally.outcomes == {Outcome.VIOLATION: 1}
    assert [str(found.key) for found in tally.violations] == [keys["nersc"]]
    assert platform.materialized(keys["nersc"], [NERSC]) == set()
    assert [entry.what for entry in platform.standings.history(keys["nersc"])] == ["violation"]
    observed = platform.instance.fetch_observations(dg.AssetKey(["bl832", "nersc", "raw"]), limit=1).records[0]
    assert "restricted scan lies off site" in observed.asset_observation.description


def test_what_lies_where_the_platform_would_not_look_is_not_adopted(platform, adopt):
    place = platform.settings.beamline.places["data832"]
    odd = Path(place.posix_root) / "raw" / "old-9" / "a.h5" / "b.h5"
    odd.parent.mkdir(parents=True)
    odd.write_bytes(b"x")
    tally = adopt("data832", "old-9")
    assert tally.outcomes == {Outcome.MISPLACED: 1}
    assert platform.instance.has_dynamic_partition(SCANS, ScanId("old-9/a.h5/b.h5").key) is False


def test_a_scan_adopted_on_the_acquisition_machine_is_known_there_with_its_file(platform, adopt):
    key = lies(platform, "spot832", "old-10/a.h5")
    adopt("spot832", "old-10")
    assert platform.metadata(SPOT, key)["arrival"] == "adopted"
    assert platform.standings.of(key).file.size_bytes == 11


def test_the_job_does_the_same_and_fails_for_a_violation(platform):
    lies(platform, "data832", "old-11/a.h5")
    platform.standings.restrict(
        lies(platform, "nersc", "old-11/a.h5"), Reason.RESTRICTED_BY_SIDECAR, author="", note="", at=datetime.now(UTC)
    )

    def run(place):
        job = platform.definitions.resolve_job_def("bl832_register")
        config = {"ops": {"register": {"config": {"place": place, "folder": "old-11"}}}}
        return job.execute_in_process(instance=platform.instance, run_config=config, raise_on_error=False)

    assert run("data832").success
    failed = run("nersc")
    [failure] = [event.step_failure_data for event in failed.all_events if event.is_step_failure]
    assert "old-11/a" in failure.user_failure_data.description
    assert not run("nosuch").success


# -- working from there ------------------------------------------------------------------------------------------


def test_an_adopted_scan_goes_through_a_branch_and_its_manifest_is_made_when_it_is_first_read(platform, adopt):
    key = lies(platform, "data832", "old-12/a.h5", platform.phantom.read_bytes())
    adopt("data832", "old-12")
    assert not platform.manifest("data832", Artifact.RAW, key).exists()
    assert platform.run(key, NERSC).success
    assert platform.manifest("data832", Artifact.RAW, key).is_file()
    assert platform.file("nersc", Artifact.RAW, key).read_bytes() == platform.phantom.read_bytes()


def test_an_adopted_file_that_was_changed_since_is_not_passed_on(platform, adopt):
    key = lies(platform, "data832", "old-13/a.h5")
    adopt("data832", "old-13")
    file = platform.file("data832", Artifact.RAW, key)
    file.write_bytes(b"something else!")
    assert "when it was adopted" in platform.failure(key, NERSC)
    file.write_bytes(b"an old scan")
    os.utime(file, (1, 1))
    assert "when it was adopted" in platform.failure(key, NERSC)
    assert sent(platform) == 0


def test_a_scan_that_was_not_adopted_gets_no_manifest_by_that_way(platform):
    key = lies(platform, "data832", "old-14/a.h5")
    platform.add_partition(key)
    assert "Materialize the assets before this one first" in platform.failure(key, NERSC)


def backlog(platform, folder, *, include_aborted=False, branch="nersc"):
    beamline = platform.settings.beamline
    built = graph.build(beamline)
    return backlog_of(
        platform.instance, beamline, built, branch, folder, platform.standings, include_aborted=include_aborted
    )


def test_the_backlog_is_what_is_on_site_and_not_made_yet_with_count_and_bytes(platform, adopt):
    names = ["on-site", "at-nersc", "aborted", "changed", "restricted", "withheld"]
    keys = {name: lies(platform, "data832", f"backlog/{name}.h5") for name in names}
    lies(platform, "data832", "backlog-not/a.h5")
    lies(platform, "nersc", "backlog/at-nersc.h5")
    for place, folder in (("data832", "backlog"), ("data832", "backlog-not"), ("nersc", "backlog")):
        adopt(place, folder)
    now, standings = datetime.now(UTC), platform.standings
    standings.inspected(keys["aborted"], proposal=None, aborted="3 of 5")
    standings.changed(keys["changed"], "12 bytes", at=now)
    standings.restrict(keys["restricted"], Reason.RESTRICTED_BY_OPERATOR, author="dula", note="x", at=now)
    standings.announced(keys["withheld"], export_control=False, withheld_from=frozenset({"nersc"}), author="", at=now)
    found = backlog(platform, "backlog")
    assert set(found.scans) == {keys["on-site"], keys["at-nersc"], keys["withheld"]}
    assert found.bytes == 33
    assert found.left_out == {
        "aborted": [keys["aborted"]],
        "changed-after-it-was-complete": [keys["changed"]],
        "restricted-by-operator": [keys["restricted"]],
    }
    whole, rest = found.parts
    first = dg.AssetKey(["bl832", "nersc", "raw"])
    assert (first in whole[0], whole[1]) == (True, [keys["on-site"], keys["withheld"]])
    assert (first in rest[0], rest[1]) == (False, [keys["at-nersc"]])
    assert set(backlog(platform, "backlog", include_aborted=True).scans) == {*found.scans, keys["aborted"]}


def test_what_a_branch_has_made_is_in_no_backlog(platform, done):
    assert done not in backlog(platform, ScanId.from_key(done).folder).scans


def test_a_branch_that_is_not_there_is_refused_with_those_that_are(platform):
    beamline = platform.settings.beamline
    with pytest.raises(ValueError, match="no branch 'tape'; there are alcf, local, nersc, olcf"):
        backlog_of(
            platform.instance, beamline, graph.build(beamline), "tape", "", platform.standings, include_aborted=False
        )
