"""What Dagster loads: the graph, its run configuration, and the files that name them."""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.config import dagster_instance_config
from dagster_cloud_cli.config.models import load_dagster_cloud_yaml

import als_assets
import resources
import sensors
from als_assets.definitions import compose
from als_assets.settings import ReconstructionConfig, settings_of
from resources.settings import load_settings
from tomography.settings import Filter, Rings, Settings, described

PROJECT = Path(__file__).parents[2]
HEAVY = (
    "sqlalchemy",
    "alembic",
    "globus_sdk",
    "sfapi_client",
    "zarr",
    "numpy",
    "h5py",
    "scipy",
    "httpx",
    "twin",
    "pyscicat",
    "requests",
)
JOB = "nersc_raw_tiff_zarr_job"


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return compose(load_settings(PROJECT / "config" / "twin.yaml", {}))


def run_python(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_graph_can_be_loaded(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_production_can_be_loaded_without_any_secret() -> None:
    catalogue = ("SCICAT_API_URL", "SCICAT_PAGE_URL", "SCICAT_INGEST_USER", "SCICAT_PID_PREFIX")
    environment = dict.fromkeys(("ALS_LEDGER_URL", "ALS_UI_URL", "GLOBUS_CLIENT_ID", *catalogue), "named")
    dg.Definitions.validate_loadable(compose(load_settings(PROJECT / "config" / "production.yaml", environment)))


def test_the_jobs_are_those_of_scans_and_those_of_the_platform(definitions: dg.Definitions) -> None:
    jobs = {job.name: job for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")}
    of_scans = {name for name, job in jobs.items() if job.partitions_def and job.partitions_def.name == "bl832_scans"}
    branches = {f"bl832_{name}{again}" for name in ("nersc", "alcf", "olcf", "local") for again in ("", "_again")}
    assert of_scans == {"bl832_ingest", "bl832_compare", "bl832_catalogue", *branches}
    retention = {f"bl832_retention_{place}" for place in ("spot832", "data832", "nersc", "pscratch", "alcf", "olcf")}
    reconciled = {name.replace("retention", "reconcile") for name in retention}
    people = {"bl832_hold", "bl832_release", "bl832_retention_set"}
    operations = {"bl832_announce", "bl832_flight_check", "bl832_prune", "bl832_register", "bl832_tell"}
    assert set(jobs) - of_scans == operations | retention | reconciled | people


def test_every_job_records_its_worker_first(definitions: dg.Definitions) -> None:
    jobs = definitions.resolve_all_job_defs()
    makers = {job.executor_def.executor_creation_fn.__module__ for job in jobs if job.executor_def.executor_creation_fn}
    assert makers == {"als_assets.worker"}


def test_what_is_transferred_and_what_is_a_job_is_limited_by_its_pool(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    of_pool: dict[str, set[str]] = {}
    for key in graph.materializable_asset_keys:
        for pool in graph.get(key).pools or ():
            of_pool.setdefault(pool, set()).add("/".join(key.path[1:]))
    assert of_pool["nersc_jobs"] == {"pscratch/raw", "pscratch/tiff", "pscratch/zarr"}
    assert of_pool["globus_transfer"] >= {
        "data832/raw",
        "nersc/raw",
        "nersc/tiff",
        "nersc/zarr",
        "data832/nersc_tiff",
        "data832/nersc_zarr",
    }


def test_every_asset_is_described_and_grouped_by_its_place(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.description
        assert node.group_name == key.path[1]
        assert (node.partitions_def is None) == (key.path[-1] in ("status", "retention", "reconciliation"))
        assert node.kinds


def test_the_raw_file_on_the_acquisition_machine_is_made_by_nobody_here(definitions: dg.Definitions) -> None:
    assert not definitions.resolve_asset_graph().get(dg.AssetKey(["bl832", "spot832", "raw"])).is_materializable


def test_how_a_facility_is_is_made_by_nobody_here_and_says_whether_the_key_is_good(definitions: dg.Definitions) -> None:
    graph, status = definitions.resolve_asset_graph(), dg.AssetKey(["bl832", "nersc", "status"])
    assert not graph.get(status).is_materializable
    assert graph.get(status).check_keys == {dg.AssetCheckKey(status, "credentials")}


@pytest.mark.parametrize("module", [als_assets, resources, sensors], ids=lambda module: module.__name__)
def test_the_rooms_are_those_of_this_repository(module: object) -> None:
    assert Path(str(module.__file__)).is_relative_to(PROJECT)


def test_every_module_of_resources_and_sensors_comes_from_this_repository() -> None:
    names = [name for name in sys.modules if name.split(".")[0] in ("resources", "sensors")]
    assert names
    assert all(Path(str(sys.modules[name].__file__)).is_relative_to(PROJECT) for name in names)


def test_loading_the_graph_imports_no_client_of_a_service_and_nothing_that_computes() -> None:
    program = f"import sys, als_assets.definitions; print(*sorted(set({HEAVY}) & sys.modules.keys()))"
    done = run_python("-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


# -- run configuration -------------------------------------------------------------------------------------------


def config_of(**settings: object) -> dict[str, object]:
    return {"ops": {JOB: {"config": settings}}}


def test_the_run_configuration_has_the_programs_settings_defaults_and_words() -> None:
    assert settings_of(ReconstructionConfig()) == Settings()
    fields = ReconstructionConfig.to_config_schema().as_field().config_type.fields
    assert set(fields) == set(Settings.model_fields)
    for name, field in fields.items():
        assert field.description == described(name)
        assert not field.is_required


@pytest.mark.parametrize(
    "config",
    [
        {},
        config_of(center_px=512.5),
        config_of(filter="butterworth", butterworth_cutoff_cycles_per_px=0.2, butterworth_order=4),
        config_of(rings="none", strict_center=True),
    ],
)
def test_a_branch_run_takes_the_settings_of_a_reconstruction(
    definitions: dg.Definitions, config: dict[str, object]
) -> None:
    assert dg.validate_run_config(definitions.resolve_job_def("bl832_nersc"), config)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (config_of(filter="gridrec"), "gridrec"),
        (config_of(rings="boxcar"), "boxcar"),
        (config_of(center_px="middle"), "center_px"),
        (config_of(centre=5.0), "centre"),
        ({"ops": {"no_such_step": {}}}, "no_such_step"),
    ],
)
def test_what_no_reconstruction_has_is_refused_in_the_launchpad(
    definitions: dg.Definitions, config: dict[str, object], says: str
) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match=says):
        dg.validate_run_config(definitions.resolve_job_def("bl832_nersc"), config)


def test_settings_pass_through_the_launchpad_unchanged() -> None:
    chosen = Settings(center_px=31.5, filter=Filter.BUTTERWORTH, butterworth_order=3, rings=Rings.NONE)
    assert settings_of(ReconstructionConfig(**chosen.model_dump())) == chosen


# -- files -------------------------------------------------------------------------------------------------------


def test_the_workspace_is_loaded_by_dagsters_own_command(tmp_path: Path) -> None:
    done = run_python(
        "-m",
        "dagster",
        "definitions",
        "validate",
        "-w",
        "workspace.yaml",
        DAGSTER_HOME=str(tmp_path),
        ALS_STATE=str(tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Validation successful for code location als" in done.stdout + done.stderr


def test_dagster_cloud_names_the_same_module_as_the_workspace() -> None:
    loaded = load_dagster_cloud_yaml((PROJECT / "dagster_cloud.yaml").read_text())
    sources = [location.code_source for location in loaded.locations]
    assert [source.module_name for source in sources if source] == ["als_assets.definitions"]


def test_the_instance_of_one_persons_machine_can_be_started(tmp_path: Path) -> None:
    text = (PROJECT / "deploy" / "dagster" / "local.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_retries_enabled
        assert instance.run_monitoring_enabled
        assert instance.get_concurrency_config().pool_config.default_pool_limit == 3
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"


def test_the_instance_of_production_is_valid_and_lies_in_the_ledgers_database(tmp_path: Path) -> None:
    text = (PROJECT / "deploy" / "dagster" / "production.yaml").read_text()
    (tmp_path / "dagster.yaml").write_text(text)
    config, _ = dagster_instance_config(str(tmp_path))
    assert config["storage"] == {"postgres": {"postgres_url": {"env": "ALS_LEDGER_URL"}}}
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False
