"""The branch of the machine that runs Dagster: the products lie beside the first copy, and nothing leaves the site."""

import json

import pytest

from beamlines.decisions import Reason
from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey
from resources.clock import SystemClock
from resources.proof import prove_here, read_manifest
from tests.als_assets.conftest import Platform

LOCAL = ("bl832/data832/local_tiff", "bl832/data832/local_zarr")


@pytest.fixture(scope="module")
def made(running: Platform) -> str:
    key = running.ingested("local/a b'c.h5")
    assert running.run(key, *LOCAL).success
    return key


def test_its_products_are_whole_and_equal_their_manifests(running: Platform, made: str) -> None:
    for artifact in (Artifact.TIFF, Artifact.ZARR):
        copy = Copy(running.settings.beamline.places["data832"], artifact, "local")
        product, listing = (of(PartitionKey.parse(made)) for of in (copy.location, copy.manifest))
        prove_here(product, read_manifest(listing), clock=SystemClock())


def test_it_sends_nothing_off_site_and_copies_nothing(running: Platform, made: str) -> None:
    tasks = [json.dumps(request.request) for request in running.twin.control.injector.requests("POST /transfer/*")]
    before = len(tasks)
    assert running.run(made, *LOCAL).success
    assert len(running.twin.control.injector.requests("POST /transfer/*")) == before


def test_the_same_again_starts_no_process(running: Platform, made: str) -> None:
    logs = running.settings.beamline.facilities["local"].resources.logs
    first = running.metadata(LOCAL[0], made)
    assert running.run(made, *LOCAL).success
    again = running.metadata(LOCAL[0], made)
    assert again["job_id"] == first["job_id"]
    assert "nothing was sent" in again["this_run"]
    assert first["logs"] == [f"{logs}/{first['job_id']}.out", f"{logs}/{first['job_id']}.err"]


def test_a_restricted_scan_may_be_reconstructed_here(running: Platform) -> None:
    key = running.ingested("local/secret.h5")
    running.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="n", at=SystemClock().now())
    assert running.run(key, *LOCAL).success
