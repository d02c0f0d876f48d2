"""The catalogue in the graph: what stands there of a scan and of its reconstructions, whatever happens to them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import h5py
import pytest

from als_assets.bl832.graph import build
from als_assets.operations.restrict import entries_of
from als_assets.retention.order import Order
from als_assets.retention.planner import Planner
from als_assets.retention.tables import make_tables
from beamlines.catalogue.identity import derived_pid, raw_pid
from beamlines.catalogue.rules import Restricted
from beamlines.decisions import Reason
from beamlines.layout import Artifact
from beamlines.retention import name_of
from beamlines.scans import PartitionKey
from resources.certificates import Certificates, Deletion, Keeper
from resources.clock import SystemClock
from resources.holds import Holds
from resources.ledger import Ledger
from resources.settings import Settings
from twin.faults import Fault

RAW, NERSC = "bl832/scicat/raw", "bl832/scicat/nersc_reconstruction"
PREFIX = "20.500.00000"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHANGES = "P* /scicat/api/v3/Datasets*"


@pytest.fixture
def scicat(platform):
    platform.twin.scicat.reset()
    yield platform.twin.scicat
    platform.twin.scicat.reset()


@pytest.fixture
def quick(platform):
    """The platform with retries that come at once."""
    timing = platform.settings.deployment.timing.model_copy(update={"retry_first_s": 0.01})
    deployment = platform.settings.deployment.model_copy(update={"timing": timing})
    return replace(platform, settings=Settings(deployment, platform.settings.beamline))


def pid(key, facility=None):
    parsed = PartitionKey.parse(key)
    scan = raw_pid(PREFIX, "bl832", parsed.scan)
    return scan if facility is None else derived_pid(PREFIX, "bl832", parsed, facility)


def held(scicat, identifier):
    return next((one for one in scicat.all() if one["dataset"]["pid"] == identifier), None)


def said(scicat, identifier):
    one = held(scicat, identifier)
    assert one is not None
    return one["dataset"]


def restrict(platform, key):
    platform.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="x", at=NOW)


def observed(platform, asset, key):
    records = platform.instance.fetch_observations(
        dg.AssetRecordsFilter(dg.AssetKey(asset.split("/")), asset_partitions=[key]), limit=1
    ).records
    return records[0].asset_observation.description if records else None


def delete(platform, asset, key):
    """As retention does: the file goes, and a certificate stays."""
    place, _, name = asset.partition("/")
    artifact = Artifact(name.rpartition("_")[2])
    record = platform.instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(["bl832", place, name]), asset_partitions=[key]), limit=1
    ).records[0]
    log = Certificates(platform.database)
    keeper = Keeper("nersc/raw" if artifact is Artifact.RAW else f"nersc/{artifact}", key, "0", "now", "job")
    deletion = Deletion(asset, key, record.storage_id, "path", 1, 1, {}, "old", (keeper,), "test")
    certificate = log.begin(deletion, seen=log.head(), at=NOW)
    if artifact is Artifact.RAW:
        platform.file(place, artifact, key).unlink()
    else:
        platform.manifest(place, artifact, key).unlink()
    log.finish(certificate, [], datetime(2026, 2, 1, tzinfo=UTC))
    return certificate.sequence


# -- what stands there -------------------------------------------------------------------------------------------


def test_a_scan_has_an_entry_with_all_that_its_file_and_manifest_say(platform, scicat, done):
    assert platform.run(done, RAW).success
    found = said(scicat, pid(done))
    assert (found["type"], found["dataFormat"], found["isPublished"]) == ("raw", "DX", False)
    assert (found["ownerGroup"], found["proposalId"]) == ("BLS-00000", "BLS-00000")
    assert found["accessGroups"] == ["8.3.2", "BLS-00000"]
    assert found["contactEmail"] == "phantom@example.com"
    assert found["datasetName"] == "20260701_120000_rock"
    assert found["keywords"] == ["rock"]
    assert found["scientificMetadata"]["/measurement/instrument/monochromator/energy"]["unit"] == "eV"
    raw = platform.file("data832", Artifact.RAW, done)
    assert found["sourceFolder"] == str(raw.parent)
    assert datetime.fromisoformat(found["creationTime"]).timestamp() == int(raw.stat().st_mtime)
    file = held(scicat, pid(done))["origdatablocks"][0]["dataFileList"][0]
    sha256 = platform.metadata("bl832/data832/raw", done)["sha256"]
    assert (file["path"], file["size"], file["chk"]) == (raw.name, raw.stat().st_size, sha256)
    assert held(scicat, pid(done))["attachments"][0]["thumbnail"].startswith("data:image/png;base64,iVBOR")
    assert platform.evaluation(RAW, "entry", done).passed
    assert platform.metadata(RAW, done)["pid"] == pid(done)


def test_a_reconstruction_has_an_entry_that_says_what_it_was_made_of_and_how(platform, scicat, done):
    assert platform.run(done, NERSC).success
    found = said(scicat, pid(done, "nersc"))
    assert found["inputDatasets"] == [pid(done)]
    assert any("tomography" in software and "0.1.0" in software for software in found["usedSoftware"])
    assert "ghcr.io/als-computing/tomography:0.1.0" in found["usedSoftware"]
    assert found["jobParameters"]["filter"] == "ramp"
    copies = {(copy["what"], copy["place"]): copy for copy in found["scientificMetadata"]["copies"]}
    assert set(copies) == {(what, place) for what in ("tiff", "zarr") for place in ("data832", "nersc")}
    for artifact in (Artifact.TIFF, Artifact.ZARR):
        assert copies[str(artifact), "data832"]["path"] == str(platform.file("data832", artifact, done))
    metadata = [platform.metadata(f"bl832/data832/nersc_{name}", done) for name in ("tiff", "zarr")]
    assert found["numberOfFiles"] == sum(one["files"] for one in metadata)
    assert found["size"] == sum(one["bytes"] for one in metadata)
    files = [file for block in held(scicat, pid(done, "nersc"))["origdatablocks"] for file in block["dataFileList"]]
    for file in files:
        assert (platform.file("data832", Artifact.TIFF, done).parent / file["path"]).stat().st_size == file["size"]
    assert held(scicat, pid(done, "nersc"))["attachments"]
    assert platform.evaluation(NERSC, "entry", done).passed


def test_run_again_nothing_is_sent_and_nothing_is_there_twice(platform, scicat, done):
    assert platform.run(done, RAW, NERSC).success
    before, asked = scicat.all(), platform.asked(CHANGES)
    for _ in range(3):
        assert platform.run(done, RAW, NERSC).success
    assert scicat.all() == before
    assert platform.asked(CHANGES) == asked


def test_the_job_leaves_out_what_was_never_made(platform, scicat):
    key = platform.ingested("catalogue/alone.h5")
    job = platform.definitions.resolve_job_def("bl832_catalogue")
    assert job.execute_in_process(instance=platform.instance, partition_key=key).success
    assert said(scicat, pid(key))["type"] == "raw"
    assert held(scicat, pid(key))["attachments"] == []
    assert held(scicat, pid(key, "nersc")) is None
    assert platform.materialized(key, [RAW, NERSC]) == {RAW}


@pytest.mark.parametrize("label", ["again", "legacy"])
def test_a_label_has_no_entry_of_a_scan(platform, scicat, done, label):
    labelled = f"{done}@{label}"
    platform.add_partition(labelled)
    job = platform.definitions.resolve_job_def("bl832_catalogue")
    assert job.execute_in_process(instance=platform.instance, partition_key=labelled).success
    assert platform.materialized(labelled, [RAW, NERSC]) == set()


def test_two_labels_are_two_entries_of_one_scan(platform, scicat, done):
    labelled = f"{done}@catalogued"
    platform.add_partition(labelled)
    config = {"filter": "butterworth"}
    made = ("bl832/pscratch/tiff", "bl832/pscratch/zarr", "bl832/data832/nersc_tiff", "bl832/data832/nersc_zarr")
    assert platform.run(labelled, *made, config=config).success
    assert platform.run(labelled, NERSC).success
    assert platform.run(done, NERSC).success
    first, fine = said(scicat, pid(done, "nersc")), said(scicat, pid(labelled, "nersc"))
    assert first["inputDatasets"] == fine["inputDatasets"] == [pid(done)]
    assert (first["jobParameters"]["filter"], fine["jobParameters"]["filter"]) == ("ramp", "butterworth")
    assert "(catalogued)" in fine["datasetName"]


def test_a_scan_with_a_hostile_name_and_broken_metadata_has_an_entry(platform, scicat, tmp_path):
    source = tmp_path / "broken.h5"
    source.write_bytes(platform.phantom.read_bytes())
    with h5py.File(source, "r+") as file:
        del file["measurement"]
        file["measurement/sample/experiment/proposal"] = ""
        file["measurement/sample/experimenter/email"] = "me at; lbl\x07"
        file["measurement/sample/experiment/pi"] = "x" * 100_000
        file["measurement/instrument/monochromator/energy"] = float("nan")
    name = "20260101_120000_a'b\"; $(touch x) <b>\nü🔬"
    key = platform.measured(f"catalogue/{name}.h5", source.read_bytes())
    assert platform.run(key, "bl832/data832/raw", RAW).success
    found = said(scicat, pid(key))
    assert (found["ownerGroup"], found["contactEmail"]) == ("8.3.2", "unknown@example.com")
    assert found["datasetName"] == "20260101_120000_a'b\"; $(touch x) <b> ü🔬"
    assert len(found["owner"]) == 200
    assert found["scientificMetadata"]["/measurement/instrument/monochromator/energy"]["value"] is None


def test_a_scan_that_is_not_whole_has_an_entry_that_says_so(platform, scicat):
    key = platform.measured("catalogue/cut_off.h5", b"\x89HDF\r\n\x1a\n" + bytes(5_000))
    assert platform.run(key, "bl832/data832/raw", RAW).success
    assert said(scicat, pid(key))["scientificMetadata"]["not_whole"]


# -- what goes wrong ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "fault"),
    [
        ("POST /scicat/*/Datasets", {"drop": True, "after": True}),
        ("* /scicat/*/attachments", {"status": 401}),
        ("* /scicat/*/login", {"status": 503}),
    ],
)
def test_what_is_lost_is_sent_again_by_the_run_itself(quick, scicat, done, match, fault):
    if held(scicat, pid(done)):
        scicat.delete(pid(done))
    quick.twin.control.injector.add(Fault(match=match, **fault))
    assert quick.run(done, RAW).success
    one = held(scicat, pid(done))
    assert (len(one["origdatablocks"]), len(one["attachments"])) == (1, 1)


def test_a_catalogue_that_is_away_fails_its_own_run_and_nothing_else(quick, scicat):
    quick.twin.control.injector.add(Fault(match="* /scicat/*", times=1_000, status=503))
    key = quick.measured("catalogue/away.h5")
    assert quick.run(key, "bl832/data832/raw", "bl832/data832/preview").success
    assert not quick.run(key, RAW).success
    quick.twin.control.injector.clear()
    assert quick.run(key, RAW).success
    assert quick.materialized(key, [RAW]) == {RAW}


def test_a_refusal_is_told_as_the_service_says_it(platform, scicat, done):
    if held(scicat, pid(done)):
        scicat.delete(pid(done))
    body = {"statusCode": 400, "message": ["property x should not exist"]}
    platform.twin.control.injector.add(Fault(match="POST */Datasets", status=400, body=body))
    assert "property x should not exist" in platform.failure(done, RAW)


def test_an_entry_that_is_not_what_was_sent_fails_its_check(platform, scicat, done):
    assert platform.run(done, RAW).success
    wrong = {**said(scicat, pid(done)), "owner": "somebody"}
    platform.twin.control.injector.add(Fault(match="GET */Datasets/*[0-9a-f]", times=9, status=200, body=wrong))
    assert "owner" in platform.failure(done, RAW)
    assert not platform.evaluation(RAW, "entry", done).passed
    platform.twin.control.injector.clear()
    assert platform.run(done, RAW).success
    assert platform.evaluation(RAW, "entry", done).passed


def test_while_an_entry_is_not_what_was_sent_no_copy_of_its_scan_is_deleted(platform, scicat, done):
    assert platform.run(done, RAW).success
    assert Reason.CATALOGUE_DISAGREES not in kept_because(platform, done)
    wrong = {**said(scicat, pid(done)), "owner": "somebody"}
    platform.twin.control.injector.add(Fault(match="GET */Datasets/*[0-9a-f]", times=9, status=200, body=wrong))
    assert not platform.run(done, RAW).success
    assert Reason.CATALOGUE_DISAGREES in kept_because(platform, done)
    platform.twin.control.injector.clear()
    assert platform.run(done, RAW).success
    assert Reason.CATALOGUE_DISAGREES not in kept_because(platform, done)


def kept_because(platform, key):
    """Why copies of a scan would stay on data832 tomorrow, if all rules were of a minute."""
    tables = make_tables(platform.database, Ledger(platform.database), platform.standings, Holds(platform.database))
    copies = {name_of(copy): copy for copy in build(platform.settings.beamline).copies}
    planner = Planner(platform.settings.beamline, copies, "data832", platform.instance, tables, SystemClock())
    order = Order(author="dula", partition=key, one_minute=True)
    return set(planner.plan(order, ahead=timedelta(days=1)).kept)


# -- copies that go ----------------------------------------------------------------------------------------------


def test_a_deleted_copy_is_said_to_be_gone_and_where_the_data_still_are(platform, scicat):
    key = platform.ingested("catalogue/deleted.h5")
    assert platform.run(key, "bl832/nersc/raw").success
    assert platform.run(key, RAW).success
    number = delete(platform, "data832/raw", key)
    assert platform.run(key, RAW).success
    found = said(scicat, pid(key))
    assert found["sourceFolderHost"] == "nersc"
    assert found["sourceFolder"] == str(platform.file("nersc", Artifact.RAW, key).parent)
    life = found["datasetlifecycle"]
    assert (life["isOnCentralDisk"], life["retrievable"]) == (False, True)
    assert f"was deleted on 2026-02-01 by certificate {number}" in life["archiveStatusMessage"]
    assert found["scientificMetadata"]["/measurement/instrument/monochromator/energy"]["value"] == 25000.0
    assert platform.evaluation(RAW, "entry", key).passed


def test_made_again_it_is_on_site_again(platform, scicat):
    key = platform.ingested("catalogue/back.h5")
    assert platform.run(key, "bl832/nersc/raw").success
    assert platform.run(key, RAW).success
    delete(platform, "data832/raw", key)
    assert platform.run(key, RAW).success
    assert platform.run(key, "bl832/data832/raw").success
    assert platform.run(key, RAW).success
    assert said(scicat, pid(key))["sourceFolderHost"] == "data832"
    assert said(scicat, pid(key))["datasetlifecycle"]["isOnCentralDisk"] is True


def test_of_a_scan_that_was_never_described_and_is_gone_people_are_told_what_to_do(platform, scicat):
    key = platform.ingested("catalogue/gone.h5")
    platform.file("data832", Artifact.RAW, key).unlink()
    assert "never described" in platform.failure(key, RAW)


# -- restricted scans --------------------------------------------------------------------------------------------


def test_a_restricted_scan_has_neither_entry_nor_picture(platform, scicat):
    key = platform.ingested("catalogue/secret.h5")
    restrict(platform, key)
    assert platform.run(key, RAW).success
    assert platform.asked(CHANGES) == 0
    assert platform.materialized(key, [RAW]) == set()
    assert "must stay on site" in observed(platform, RAW, key)


def test_one_that_a_sidecar_restricts_has_none_either(platform, scicat):
    key = platform.ingested("catalogue/sidecar.h5")
    raw = platform.file("spot832", Artifact.RAW, key)
    raw.with_name(f"{raw.name}.export-control").touch()
    assert platform.run(key, RAW).success
    assert held(scicat, pid(key)) is None


def test_where_nobody_can_see_whether_it_is_restricted_nothing_is_sent(quick, scicat):
    key = quick.ingested("catalogue/unseen.h5")
    quick.twin.control.injector.add(Fault(match="GET */stat", times=1_000, status=503))
    assert not quick.run(key, RAW).success
    assert quick.asked("* /scicat/*") == 0


def test_one_that_is_restricted_afterwards_is_withdrawn_and_comes_back_when_it_is_free(platform, scicat):
    key = platform.measured("catalogue/later.h5")
    assert platform.run(key, "bl832/data832/raw", "bl832/data832/preview").success
    assert platform.run(key, RAW).success
    assert held(scicat, pid(key))["attachments"]
    restrict(platform, key)
    assert platform.run(key, RAW).success
    assert held(scicat, pid(key)) is None
    assert "was withdrawn" in observed(platform, RAW, key)
    platform.standings.lift(key, author="dula", note="free", at=NOW)
    assert platform.run(key, RAW).success
    assert held(scicat, pid(key))["attachments"]


def test_what_the_catalogue_shows_of_a_scan_is_listed_until_it_is_hidden(platform, scicat):
    key = platform.ingested("catalogue/listed.h5")
    entries, scan = build(platform.settings.beamline).catalogue.entries, PartitionKey.parse(key).scan
    assert entries_of(platform.instance, platform.settings.beamline, entries, scan) == []
    assert platform.run(key, RAW).success
    shown = [("bl832/scicat/raw", key)]
    found = entries_of(platform.instance, platform.settings.beamline, entries, scan)
    assert [(entry.to_user_string(), partition) for entry, partition in found] == shown
    restrict(platform, key)
    assert platform.run(key, RAW).success
    assert entries_of(platform.instance, platform.settings.beamline, entries, scan) == []


def test_where_configuration_says_unpublished_it_has_an_entry_without_a_picture(platform, scicat):
    rules = platform.settings.beamline.catalogue.model_copy(update={"restricted": Restricted.UNPUBLISHED})
    told = platform.but(catalogue=rules)
    key = told.measured("catalogue/unpublished.h5")
    assert told.run(key, "bl832/data832/raw", "bl832/data832/preview").success
    assert told.run(key, RAW).success
    assert held(scicat, pid(key))["attachments"]
    restrict(told, key)
    assert told.run(key, RAW).success
    assert held(scicat, pid(key))["attachments"] == []
    assert said(scicat, pid(key))["isPublished"] is False


def test_an_account_that_may_not_delete_makes_the_run_red(platform, scicat):
    key = platform.ingested("catalogue/stuck.h5")
    assert platform.run(key, RAW).success
    restrict(platform, key)
    scicat.may_delete = False
    assert "administrators" in platform.failure(key, RAW)


def test_without_a_catalogue_the_graph_has_no_entry(platform):
    beamline = platform.settings.beamline.model_copy(update={"catalogue": None})
    graph = build(beamline)
    assert graph.catalogue is None
    assert not [
        key
        for asset in graph.assets
        if isinstance(asset, dg.AssetsDefinition)
        for key in asset.keys
        if "scicat" in key.path
    ]
