"""The reconstruction's script: its text, and what it does when it is run by the twin's batch system."""

import grp
import json
import os
import shlex
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey, ScanId
from resources.errors import WorkFailedError
from resources.facilities.reconstruction import (
    InvalidJobError,
    ReconstructionJob,
    Step,
    launch_parts,
    render_slurm_script,
)
from resources.settings import load_settings
from tomography.settings import Settings

CONFIG = Path(__file__).parents[3] / "config"
GOLDEN = Path(__file__).with_name("reconstruct.golden.sbatch")
EVERYTHING = tuple(Step)
HOSTILE = "-rf $(touch pwned) `touch pwned` 'q' \"d\" \\ \\n \n\r\t; rm * | é 😀 %j #?&~.h5"


@pytest.fixture(scope="module")
def production():
    variables = {"ALS_LEDGER_URL": "sqlite://", "ALS_UI_URL": "http://ui", "GLOBUS_CLIENT_ID": "id"}
    variables |= dict.fromkeys(("SCICAT_API_URL", "SCICAT_PAGE_URL", "SCICAT_INGEST_USER", "SCICAT_PID_PREFIX"), "x")
    return load_settings(CONFIG / "production.yaml", variables).beamline


def job_for(beamline, path="BLS-00564_dyparkinson/20231101_124500_tooth_x01y02.h5", label=None, **changes):
    values = {
        "steps": EVERYTHING,
        "raw_bytes": 123456,
        "raw_sha256": "0123456789abcdef" * 4,
        "settings": ("--rings", "mean-sinogram", "--center", "1279.5", "--strict-center"),
    }
    return ReconstructionJob.at(beamline, "nersc", PartitionKey(ScanId(path), label), **(values | changes))


def test_the_script_of_production_is_the_golden_one(production):
    assert render_slurm_script(job_for(production), "als-0f0f-1") == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["BLS-00564_x/a.h5", HOSTILE, "rec/" + HOSTILE, "\udcff/\udcfe.h5"])
def test_the_script_is_bash_whatever_the_name(production, name):
    script = render_slurm_script(job_for(production, name), "als-0-1").encode()
    done = subprocess.run(["/bin/bash", "-n"], input=script, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_no_user_text_is_in_what_slurm_reads(production):
    directives = [
        [line for line in render_slurm_script(job_for(production, name), "als-0-1").split("\n") if "#SBATCH" in line]
        for name in ("plain.h5", f"#SBATCH -A other\n#SBATCH {HOSTILE}")
    ]
    plain, hostile = directives
    assert hostile[: len(plain)] == plain
    assert not any(line.startswith("#SBATCH") for line in hostile[len(plain) :])


def test_a_label_has_its_own_results_and_the_same_raw_file(production):
    plain, labelled = (render_slurm_script(job_for(production, label=label), "als-0-1") for label in (None, "butter"))
    differing = [line for line in labelled.splitlines() if line not in plain.splitlines()]
    assert [line.partition("=")[0] for line in differing] == ["PROGRAM_TIFF", "PROGRAM_ZARR"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": ()}, "each once, in this order"),
        ({"steps": (Step.PYRAMID, Step.STAGE)}, "each once, in this order"),
        ({"raw_sha256": "abc"}, "SHA-256 'abc'"),
        ({"raw_bytes": -1}, "-1 bytes"),
        ({"settings": ("/raw/other.h5",)}, "'/raw/other.h5' is no option"),
        ({"settings": ("--rings", "none", "none")}, "'none' is no option, and no value of 'none'"),
        ({"settings": ("--rings", "$(id)")}, "no value of '--rings'"),
    ],
)
def test_what_no_job_can_be_is_refused_by_name(production, changes, message):
    with pytest.raises(InvalidJobError, match=message.replace("$", r"\$").replace("(", r"\(")):
        job_for(production, **changes)


@pytest.mark.parametrize(
    "chosen",
    [
        *({name: words} for name in ("rows", "projections") for words in ("7", "100:200", "::10", ":5", "5:100:2")),
        {"ignored_projections": "3,17,20-25"},
        {"beam_hardening": "-1,0.5e-3"},
        {"lowest": -1e-7, "highest": 1e20, "dtype": "uint8"},
        {"tilt_deg": -0.5, "lens_distortion": True, "circle": False, "device": "cuda", "phase": "paganin"},
    ],
    ids=str,
)
def test_every_setting_of_the_program_can_be_that_of_a_job(production, chosen):
    words = tuple(Settings.model_validate(chosen).arguments())
    script = render_slurm_script(job_for(production, settings=words), "als-0-1")
    line = next(line for line in script.splitlines() if line.startswith("SETTINGS="))
    assert tuple(shlex.split(line.removeprefix("SETTINGS=(").removesuffix(")"))) == words


def test_a_job_promises_the_products_of_its_steps(production):
    assert [one.artifact for one in job_for(production).spec().outputs] == [Artifact.TIFF, Artifact.ZARR]
    assert job_for(production, steps=(Step.STAGE,)).spec().outputs == ()


def test_a_scan_with_a_hostile_name_goes_the_whole_way(bench):
    job = bench.place_raw(f"BLS-00564_{bench.name}/{HOSTILE}")
    result = bench.run(job)
    assert set(result.manifests) == {Artifact.TIFF, Artifact.ZARR}
    assert set(result.stage_seconds) == {"stage", "reconstruct"}  # which makes both
    assert bench.local(Artifact.RAW, job.key).read_bytes() == bench.phantom
    assert sorted(bench.local(Artifact.RAW, job.key).parent.iterdir()) == [bench.local(Artifact.RAW, job.key)]
    for artifact in (Artifact.TIFF, Artifact.ZARR):
        product = bench.local(artifact, job.key)
        manifest = result.manifests[artifact]
        files = [path for path in product.rglob("*") if path.is_file()]
        assert len(files) == manifest.total_files
        assert all((path.stat().st_mode & 0o060) == 0o060 for path in files)
    assert result.manifests[Artifact.TIFF].input.sha256 == job.raw_sha256
    assert not list(bench.twin.world.state_dir.rglob("pwned"))


def test_only_several_nodes_have_parts(production):
    facility = production.facilities["nersc"]
    resources = facility.resources.model_copy(update={"nodes": 4})
    assert launch_parts(facility) == ()
    several = launch_parts(facility.model_copy(update={"resources": resources}))
    assert several[:3] == ("srun", "--ntasks=4", "--ntasks-per-node=1")


def test_several_nodes_make_parts_of_the_same_products(bench):
    alone = bench.place_raw(f"{bench.name}/alone.h5")
    shared = bench.place_raw(f"{bench.name}/shared.h5")
    two = shared.facility.resources.model_copy(update={"nodes": 2})
    bench.run(alone)
    bench.run(replace(shared, facility=shared.facility.model_copy(update={"resources": two})))
    for artifact in (Artifact.TIFF, Artifact.ZARR):
        one, other = (bench.local(artifact, job.key) for job in (alone, shared))
        ours = {str(path.relative_to(one)): path.read_bytes() for path in one.rglob("*") if path.is_file()}
        theirs = {
            str(path.relative_to(other)).replace("shared", "alone"): path.read_bytes().replace(b"shared", b"alone")
            for path in other.rglob("*")
            if path.is_file()
        }
        assert theirs == ours
    assert not list(other.parent.glob("*-of-2*"))


def test_a_damaged_scan_fails_with_the_programs_own_message(bench):
    job = bench.place_raw(f"{bench.name}/damaged.h5", b"no HDF5 at all")
    with pytest.raises(WorkFailedError, match=r"FAILED, exit code 2: error: .*damaged\.h5"):
        bench.run(job)


def with_program(job, **changes):
    program = job.facility.program.model_copy(update=changes)
    return job.facility.model_copy(update={"program": program})


def test_another_version_in_the_image_is_refused_before_anything_is_staged(bench):
    job = bench.place_raw(f"{bench.name}/version.h5")
    facility = with_program(job, version="9.9.9")
    with pytest.raises(
        WorkFailedError, match=r"exit code 3: error: version '\S+' of the program is in \S+, not 9\.9\.9"
    ):
        bench.run(replace(job, facility=facility))
    assert not bench.local(Artifact.RAW, job.key).exists()


def test_an_image_that_is_not_there_is_named(bench):
    job = bench.place_raw(f"{bench.name}/image.h5")
    with pytest.raises(WorkFailedError, match="exit code 3: error: the program does not run: nosuch/image:1"):
        bench.run(replace(job, facility=with_program(job, image="nosuch/image:1")))


def staging(bench, name):
    return replace(bench.place_raw(f"{bench.name}/{name}"), steps=(Step.STAGE,))


def test_staging_onto_another_file_is_refused_and_leaves_it(bench):
    job = staging(bench, "other.h5")
    there = bench.local(Artifact.RAW, job.key)
    there.parent.mkdir(parents=True)
    there.write_bytes(bytes(len(bench.phantom)))
    with pytest.raises(WorkFailedError, match="exit code 4: error: another file lies at"):
        bench.run(job)
    assert there.read_bytes() == bytes(len(bench.phantom))


def test_staging_onto_the_same_file_leaves_it(bench):
    job = staging(bench, "same.h5")
    there = bench.local(Artifact.RAW, job.key)
    there.parent.mkdir(parents=True)
    there.write_bytes(bench.phantom)
    before = there.stat()
    bench.run(job)
    assert (there.stat().st_ino, there.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("change", ["content", "gone"])
def test_a_source_that_is_not_the_one_decided_about_is_not_staged(bench, change):
    job = staging(bench, f"{change}.h5")
    source = bench.local(Artifact.RAW, job.key, "nersc")
    if change == "content":
        source.write_bytes(bytes(len(bench.phantom)))
    else:
        source.unlink()
    with pytest.raises(WorkFailedError, match="exit code 5: error: "):
        bench.run(job)
    assert list(bench.local(Artifact.RAW, job.key).parent.iterdir()) == []


def test_a_result_can_be_written_as_json(bench):
    result = bench.run(staging(bench, "json.h5"))
    assert json.loads(result.model_dump_json())["state"] == "COMPLETED"


def mode(path):
    return f"{stat.S_IMODE(path.stat().st_mode):o}"


def test_what_a_job_makes_has_the_places_modes_and_group_and_the_experiments_folder_keeps_its_own(bench):
    experiment = bench.local(Artifact.RAW, PartitionKey(ScanId(f"{bench.name}/a/b/modes.h5"))).parents[2]
    experiment.mkdir(parents=True)
    experiment.chmod(0o700)
    job = bench.place_raw(f"{bench.name}/a/b/modes.h5")
    bench.local(Artifact.RAW, job.key, "nersc").chmod(0o600)  # a copy must not take over what its source has
    given = next(
        (gid for gid in (*os.getgroups(), *([1] if os.geteuid() == 0 else [])) if gid != os.getgid()), os.getgid()
    )
    mine = grp.getgrgid(given).gr_name
    place = job.raw.place.model_copy(update={"group": mine})
    bench.run(replace(job, raw=Copy(place, Artifact.RAW)))
    raw, tiff, zarr = (bench.local(a, job.key) for a in (Artifact.RAW, Artifact.TIFF, Artifact.ZARR))
    assert mode(experiment) == "700"
    assert {mode(folder) for folder in (raw.parents[1], raw.parent, tiff.parents[1], tiff.parent, tiff)} == {"2775"}
    assert raw.parents[1].group() == mine
    assert raw.group() == raw.parent.group() == mine
    files = [raw, *(path for product in (tiff, zarr) for path in product.rglob("*") if path.is_file())]
    assert {mode(path) for path in files} == {"664"}


def test_a_group_that_the_account_cannot_give_ends_the_job_before_a_folder_is_left(bench):
    job = bench.place_raw(f"{bench.name}/a/group.h5")
    place = job.raw.place.model_copy(update={"group": "no-such-group"})
    with pytest.raises(WorkFailedError, match=r"exit code 6: error: this account cannot give .* to the group no-such"):
        bench.run(replace(job, raw=Copy(place, Artifact.RAW)))
    assert not bench.local(Artifact.RAW, job.key).parent.exists()
