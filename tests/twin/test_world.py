"""Folders, secrets, and serving them."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from beamlines.config import parse_beamline
from beamlines.deployment import parse_deployment
from twin.server import PortTakenError, TwinIsRunningError, load_world, serve
from twin.world import NotInTheWorldError, OutsideCollectionError, create_world, write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_world_has_the_folders_of_its_places_with_their_modes(deployment_file: Path, tmp_path: Path) -> None:
    world = load_world(deployment_file, tmp_path, {})
    for place in world.beamline.places.values():
        for store in place.stores.values():
            folder = Path(place.posix_root / store)
            assert folder.is_relative_to(tmp_path)
            assert mode(folder) == int(place.dir_mode, 8)


def test_the_secret_is_readable_by_its_owner_only_and_stays_the_same(deployment_file: Path, tmp_path: Path) -> None:
    first = load_world(deployment_file, tmp_path, {})
    second = load_world(deployment_file, tmp_path, {})
    assert mode(tmp_path / "secrets/globus_client_secret") == 0o600
    assert first.client_secret == second.client_secret
    assert len(first.client_secret) >= 32


def test_a_secret_that_others_may_read_is_refused(deployment_file: Path, tmp_path: Path) -> None:
    load_world(deployment_file, tmp_path, {})
    (tmp_path / "secrets/globus_client_secret").chmod(0o644)
    with pytest.raises(NotInTheWorldError, match="chmod 600"):
        load_world(deployment_file, tmp_path, {})


def test_a_secret_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_secret(tmp_path / "secrets/key", "first, and longer")
    write_secret(tmp_path / "secrets/key", "second")
    assert ((tmp_path / "secrets/key").read_text(), mode(tmp_path / "secrets/key")) == ("second", 0o600)
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["key"]


def test_a_place_outside_the_state_folder_is_refused_before_anything_is_made(
    deployment_file: Path, tmp_path: Path
) -> None:
    text = deployment_file.read_text().replace("  alcf: ${ALS_STATE}/world/alcf\n", "")
    environment = {"ALS_STATE": str(tmp_path)}
    deployment = parse_deployment(text, source="test", environment=environment)
    beamline_file = deployment_file.parent / "bl832.yaml"
    beamline = parse_beamline(beamline_file.read_text(), source="test")
    with pytest.raises(NotInTheWorldError, match=r"places\.alcf: /eagle/IRIBeta/als/data"):
        create_world(deployment, beamline, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["raw", "/datafile", "/data/raw/../..", "/database/raw"])
def test_only_absolute_paths_below_a_root_are_on_a_collection(deployment_file: Path, tmp_path: Path, path: str) -> None:
    world = load_world(deployment_file, tmp_path, {})
    data = world.collection(world.beamline.places["data832"].collection)
    with pytest.raises(OutsideCollectionError):
        data.local(path)


@pytest.mark.parametrize("path", ["//data/raw", "/data//raw/", "/data/./raw", "/data/scratch/../raw"])
def test_one_folder_has_many_spellings(deployment_file: Path, tmp_path: Path, path: str) -> None:
    world = load_world(deployment_file, tmp_path, {})
    data = world.collection(world.beamline.places["data832"].collection)
    assert data.local(path) == tmp_path / "world/data832/data/raw"


def test_two_twins_do_not_share_a_state_folder(deployment_file: Path, tmp_path: Path) -> None:
    with serve(deployment_file, tmp_path), pytest.raises(TwinIsRunningError), serve(deployment_file, tmp_path):
        pass


def test_a_taken_port_is_named(deployment_file: Path, tmp_path: Path) -> None:
    with serve(deployment_file, tmp_path / "a") as twin:
        port = int(twin.url.rpartition(":")[2])
        with pytest.raises(PortTakenError, match=str(port)), serve(deployment_file, tmp_path / "b", port=port):
            pass


def test_the_command_serves_until_it_is_told_to_stop(deployment_file: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "twin",
        "--deployment",
        str(deployment_file),
        "--state",
        str(tmp_path),
        "--port",
        "0",
    ]
    root = deployment_file.parents[1]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = next(word for word in process.stdout.readline().split() if word.startswith("http")).rstrip(",")
        assert httpx.get(f"{url}/health").json() == {"status": "ok"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_a_refusal_of_the_command_is_one_line(deployment_file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: twin\n")
    command = [sys.executable, "-m", "twin", "--deployment", str(broken)]
    command += ["--state", str(tmp_path / "state"), "--port", "0"]
    done = subprocess.run(
        command, cwd=deployment_file.parents[1], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"twin: {broken}: ")
    assert "Traceback" not in done.stderr
