"""The configuration files: what the real ones say, and what each wrong one is told."""

import re
from pathlib import Path, PurePosixPath

import pytest

from beamlines.config import Beamline, ConfigurationError, parse_beamline
from beamlines.deployment import Deployment, FacilityHere, parse_deployment
from beamlines.facilities import SlurmResources
from beamlines.places import Role, Store

CONFIG = Path(__file__).parents[2] / "config"
INVALID = Path(__file__).parent / "invalid"
ENVIRONMENT = {
    "ALS_STATE": "/state",
    "ALS_LEDGER_URL": "postgresql+psycopg2://als:geheim@db/als",
    "ALS_UI_URL": "https://dagster.example.org",
    "GLOBUS_CLIENT_ID": "00000000-0000-0000-0000-000000000000",
    "ALS_EMPTY": "",
    "SCICAT_API_URL": "https://scicat.example.org/api/v3",
    "SCICAT_PAGE_URL": "https://scicat.example.org/datasets",
    "SCICAT_INGEST_USER": "als832",
    "SCICAT_PID_PREFIX": "20.500.00000",
}
CFS, PSCRATCH = "/global/cfs/cdirs/als/data_mover/8.3.2", "/pscratch/sd/a/alsdev/8.3.2"
NERSC_DTN = "d40248e6-d874-4f7b-badd-2c06c16f1a58"
OLCF_ROOT = "/lustre/orion/abc123/proj-shared/als"
OLCF = "6a6d2f1e-0000-4000-8000-000000000001"


def beamline() -> Beamline:
    return parse_beamline((CONFIG / "bl832.yaml").read_text(), source="bl832.yaml")


def read(file: Path, text: str) -> Beamline:
    """The beamline that a configuration of either kind leads to."""
    if file.name.startswith("beamline"):
        return parse_beamline(text, source=str(file))
    return parse_deployment(text, source=str(file), environment=ENVIRONMENT).apply_to(beamline())


def deployment(name: str) -> Deployment:
    text = (CONFIG / f"{name}.yaml").read_text()
    return parse_deployment(text, source=f"{name}.yaml", environment=ENVIRONMENT)


@pytest.mark.parametrize(
    ("name", "collection", "collection_root", "posix_root", "raw", "results", "role"),
    [
        ("spot832", "44ae904c-ab64-4145-a8f0-7287de38324d", "/", "/global", "raw", None, Role.ACQUISITION),
        (
            "data832",
            "75b478b2-37af-46df-bfbd-71ed692c6506",
            "/data",
            "/data",
            "raw",
            "scratch/globus_share",
            Role.DURABLE,
        ),
        ("nersc", NERSC_DTN, CFS, CFS, "raw", "scratch", Role.DURABLE),
        ("pscratch", NERSC_DTN, PSCRATCH, PSCRATCH, "raw", "scratch", Role.SCRATCH),
        (
            "alcf",
            "55c3adf6-31f1-4647-9a38-52591642f7e7",
            "/data",
            "/eagle/IRIBeta/als/data",
            "raw",
            "scratch",
            Role.SCRATCH,
        ),
    ],
)
def test_the_places_of_8_3_2_are_those_of_the_beamline(
    name: str, collection: str, collection_root: str, posix_root: str, raw: str, results: str | None, role: Role
) -> None:
    place = beamline().places[name]
    assert place.collection == collection
    assert (str(place.collection_root), str(place.posix_root)) == (collection_root, posix_root)
    assert place.role is role
    expected = {Store.RAW: raw} | ({Store.RESULTS: results} if results else {})
    assert {store: str(path) for store, path in place.stores.items()} == expected


def test_only_the_beamlines_own_machines_are_on_site() -> None:
    assert {name for name, place in beamline().places.items() if not place.off_site} == {"spot832", "data832"}


def test_jobs_at_nersc_ask_slurm_for_what_the_beamline_always_asked() -> None:
    slurm = beamline().facilities["nersc"].resources
    assert (slurm.queue, slurm.account, slurm.constraint, slurm.nodes) == ("realtime", "als", "cpu", 1)
    assert (slurm.cpus_per_task, slurm.time_limit.total_seconds(), slurm.exclusive) == (64, 900, True)
    assert str(slurm.logs) == f"{PSCRATCH}/tomo_recon_logs"


def test_in_production_paths_are_those_of_the_beamlines_file() -> None:
    stated, applied = beamline(), deployment("production").apply_to(beamline())
    roots = {name: place.posix_root for name, place in applied.places.items()}
    assert roots == {name: place.posix_root for name, place in stated.places.items() if name != "olcf"}
    assert {name for name, place in applied.places.items() if place.mount} == {"data832"}


def test_a_facility_that_is_not_enabled_is_absent_with_its_places() -> None:
    applied = deployment("production").apply_to(beamline())
    assert (set(applied.facilities), applied.preference) == ({"nersc", "alcf"}, ("nersc", "alcf"))
    assert "olcf" not in applied.places


def but(name: str, **facilities: FacilityHere) -> Deployment:
    """A deployment with other facilities."""
    return deployment(name).model_copy(update={"facilities": facilities})


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "collection and root and allocation are given"),
        ({"collection": OLCF, "root": "/lustre/orion/abc123"}, "allocation is given"),
        ({"root": "/lustre/orion/abc123", "allocation": "abc123"}, "collection is given"),
    ],
)
def test_olcf_cannot_be_enabled_before_all_that_is_unknown_of_it_is_given(given: dict[str, str], missing: str) -> None:
    olcf = FacilityHere.model_validate({"enabled": True, **given})
    with pytest.raises(ConfigurationError, match=f"facilities.olcf: cannot be enabled before {missing}"):
        but("production", olcf=olcf).apply_to(beamline())


def test_what_is_given_of_a_facility_stands_everywhere_in_its_place_and_its_jobs() -> None:
    olcf = FacilityHere.model_validate({"collection": OLCF, "root": "/lustre/orion/abc123", "allocation": "abc123"})
    applied = but("production", olcf=olcf).apply_to(beamline())
    place, rules = applied.places["olcf"], applied.facilities["olcf"]
    assert isinstance(rules.resources, SlurmResources)
    assert (place.collection, str(place.collection_root)) == (OLCF, "/lustre/orion/abc123")
    assert (str(place.posix_root), rules.resources.account) == ("/lustre/orion/abc123", "abc123")
    assert str(rules.resources.logs) == "/lustre/orion/abc123/logs"
    assert str(rules.program.environment) == "/lustre/orion/abc123/environments/tomography.sh"


def test_results_are_not_copied_to_a_facility_that_is_absent() -> None:
    stated = beamline()
    alcf = stated.facilities["alcf"].model_copy(update={"results": ("data832", "nersc")})
    both = stated.model_copy(update={"facilities": {**stated.facilities, "alcf": alcf}})
    off = FacilityHere(enabled=False)
    assert deployment("production").apply_to(both).facilities["alcf"].results == ("data832", "nersc")
    without = but("production", nersc=off, olcf=off).apply_to(both)
    assert without.facilities["alcf"].results == ("data832",)


def test_in_the_twin_every_path_lies_in_its_state_folder_and_collections_keep_their_paths() -> None:
    stated, applied = beamline(), deployment("twin").apply_to(beamline())
    for name, place in applied.places.items():
        assert place.posix_root.is_relative_to("/state/world"), name
        given = stated.places[name].collection == "given"
        assert place.posix_root.as_posix().endswith(OLCF_ROOT if given else str(stated.places[name].posix_root))
        assert place.posix_root != place.collection_root
        assert str(place.collection_root) == (OLCF_ROOT if given else str(stated.places[name].collection_root))
    assert applied.facilities["nersc"].resources.logs.is_relative_to("/state/world/nersc")


def test_a_mount_is_another_name_of_the_same_folder() -> None:
    data832 = deployment("twin").apply_to(beamline()).places["data832"]
    assert data832.mount == data832.posix_root == PurePosixPath("/state/world/data832/data")


def test_production_names_its_secrets_and_holds_none() -> None:
    globus = deployment("production").globus
    assert (globus.client_secret.env, globus.client_secret.file) == ("GLOBUS_CLIENT_SECRET", None)
    assert (globus.auth_url, globus.transfer_url) == (None, None)


def test_production_may_delete_by_rule_once_the_client_for_that_is_named() -> None:
    enforced = (CONFIG / "production.yaml").read_text().replace("alcf: {enforce: false}", "alcf: {enforce: true}")
    with pytest.raises(ConfigurationError, match=r"give 'globus\.deletes'"):
        parse_deployment(enforced, source="production.yaml", environment=ENVIRONMENT)
    named = re.sub(r"^  # (deletes:|  client_)", r"  \1", enforced, flags=re.MULTILINE)
    environment = {**ENVIRONMENT, "GLOBUS_DELETES_CLIENT_ID": "00000000-0000-0000-0000-000000000001"}
    parsed = parse_deployment(named, source="production.yaml", environment=environment)
    assert parsed.globus.deletes is not None
    assert parsed.globus.deletes.client_secret.env == "GLOBUS_DELETES_CLIENT_SECRET"
    assert parsed.apply_to(beamline()).retention.places["alcf"].enforce


def test_a_variable_cannot_change_what_a_file_says() -> None:
    text = (CONFIG / "twin.yaml").read_text()
    environment = {**ENVIRONMENT, "ALS_UI_URL": "http://x\nmounts: {}\n# ${NOT_FILLED_AGAIN}"}
    parsed = parse_deployment(text, source="twin.yaml", environment=environment)
    assert parsed.ui == environment["ALS_UI_URL"]
    assert parsed.mounts


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("BLS-00564_x/20260701_120000_rock.h5", None),
        ("a scan of nobody's convention.h5", None),
        ("transfer_tests/test.txt", "transfer_tests is in scans.ignore_folders"),
        ("transfer_tests/deep/scan.h5", "transfer_tests is in scans.ignore_folders"),
        ("transfer_tests_of_mine/scan.h5", None),
        ("BLS-00564_x/notes.txt", "'BLS-00564_x/notes.txt' is no scan"),
    ],
)
def test_what_is_a_scan_is_told_with_the_reason(path: str, reason: str | None) -> None:
    why = beamline().why_not_a_scan(path)
    assert why is None if reason is None else str(why).startswith(reason)


@pytest.mark.parametrize("file", sorted(INVALID.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_wrong_file_is_refused_with_its_name_and_what_is_wrong(file: Path) -> None:
    text = file.read_text()
    must_say = text.splitlines()[0].removeprefix("# must say: ")
    with pytest.raises(ConfigurationError, match=re.escape(must_say)) as refused:
        read(file, text)
    assert str(refused.value).startswith((f"{file}: ", "twin: "))


@pytest.mark.parametrize(
    "name",
    ["deployment_missing_section", "deployment_secret_written_down", "deployment_message_to_an_address_written_down"],
)
def test_no_message_shows_a_secret(name: str) -> None:
    text = (INVALID / f"{name}.yaml").read_text().replace("sqlite:///${ALS_STATE}/ledger.sqlite", "${ALS_LEDGER_URL}")
    with pytest.raises(ConfigurationError) as refused:
        parse_deployment(text, source=name, environment=ENVIRONMENT)
    assert "geheim" not in str(refused.value)
    assert "hunter2" not in f"{refused.value} {refused.value.__cause__}"
