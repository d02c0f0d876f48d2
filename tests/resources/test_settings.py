"""Reading configuration and secrets: where they are, and what is in them now."""

import os
from pathlib import Path, PurePosixPath

import pytest

from beamlines.config import ConfigurationError
from beamlines.deployment import SecretName
from resources.settings import PROJECT, chosen_deployment, load_settings, secret


def secret_file(folder: Path, content: str = "first\n", mode: int = 0o600) -> SecretName:
    path = folder / "secret"
    path.write_text(content)
    path.chmod(mode)
    return SecretName(file=PurePosixPath(path))


def test_a_secret_in_the_environment_is_read_at_each_use() -> None:
    environment = {"CLIENT_SECRET": "first"}
    read = secret(SecretName(env="CLIENT_SECRET"), environment)
    assert read() == "first"
    environment["CLIENT_SECRET"] = "second"
    assert read() == "second"


@pytest.mark.parametrize("environment", [{}, {"CLIENT_SECRET": ""}])
def test_a_secret_that_is_not_in_the_environment_is_named(environment: dict[str, str]) -> None:
    read = secret(SecretName(env="CLIENT_SECRET"), environment)
    with pytest.raises(ConfigurationError, match="CLIENT_SECRET"):
        read()


def test_a_secret_in_a_file_is_read_at_each_use(tmp_path: Path) -> None:
    read = secret(secret_file(tmp_path))
    assert read() == "first"
    secret_file(tmp_path, "second\n")
    assert read() == "second"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_secret_that_others_can_use_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    read = secret(secret_file(tmp_path, mode=mode))
    with pytest.raises(ConfigurationError, match=rf"has mode {mode:04o}: others can .* chmod 600") as refused:
        read()
    assert "first" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_secret_of_its_owner_alone_is_accepted(tmp_path: Path, mode: int) -> None:
    assert secret(secret_file(tmp_path, mode=mode))() == "first"


def test_a_secret_whose_file_is_missing_is_named_and_found_once_it_is_there(tmp_path: Path) -> None:
    read = secret(SecretName(file=PurePosixPath(tmp_path / "secret")))
    with pytest.raises(ConfigurationError, match="does not exist: it must hold the secret"):
        read()
    secret_file(tmp_path)
    assert read() == "first"


@pytest.mark.parametrize("content", ["", "\n", "  \n"])
def test_an_empty_file_is_no_secret(tmp_path: Path, content: str) -> None:
    read = secret(secret_file(tmp_path, content))
    with pytest.raises(ConfigurationError, match="is empty"):
        read()


def test_nothing_of_a_secret_is_read_before_it_is_used(tmp_path: Path) -> None:
    secret(SecretName(file=PurePosixPath(tmp_path / "nowhere")))
    secret(SecretName(env="NOT_SET"), {})


def test_without_a_choice_the_deployment_is_the_twin() -> None:
    assert chosen_deployment({}) == PROJECT / "config" / "twin.yaml"
    assert chosen_deployment({"ALS_DEPLOYMENT": "/etc/als/mine.yaml"}) == Path("/etc/als/mine.yaml")


def test_without_a_state_folder_everything_of_the_twin_lies_in_the_checkout() -> None:
    settings = load_settings(PROJECT / "config" / "twin.yaml", {})
    assert all(place.posix_root.is_relative_to(PROJECT / "var") for place in settings.beamline.places.values())


def test_the_state_folder_is_where_the_environment_says() -> None:
    settings = load_settings(PROJECT / "config" / "twin.yaml", {"ALS_STATE": "/elsewhere"})
    assert settings.deployment.ledger == "sqlite:////elsewhere/ledger.sqlite"
    assert all(place.posix_root.is_relative_to("/elsewhere/world") for place in settings.beamline.places.values())


def test_a_deployments_file_that_is_missing_is_named_with_the_variable_that_chooses_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml does not exist: .* ALS_DEPLOYMENT"):
        load_settings(tmp_path / "nowhere.yaml", {})


def test_a_beamlines_file_that_is_missing_is_named_with_the_deployment_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "twin.yaml").write_text((PROJECT / "config" / "twin.yaml").read_text())
    with pytest.raises(ConfigurationError, match=r"bl832\.yaml does not exist: .*twin\.yaml"):
        load_settings(tmp_path / "twin.yaml", os.environ)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "twin.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"twin\.yaml cannot be read as text"):
        load_settings(tmp_path / "twin.yaml", {})
