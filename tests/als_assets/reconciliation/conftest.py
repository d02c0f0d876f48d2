"""One platform a file: the scans of its other tests lie there too, so each test looks only at its own folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.als_assets.conftest import Platform, platform_over
from tests.als_assets.reconciliation.holding import Reconciliation


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, phantom: Path, loaded_programs: Path) -> Iterator[Platform]:
    """One of these tests' own: a place is looked through whole, with what other tests have left there."""
    with platform_over(tmp_path_factory.mktemp("state"), phantom, loaded_programs) as made:
        yield made


@pytest.fixture
def reconciliation(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Reconciliation]:
    folder = f"held-{abs(hash(request.node.nodeid)) % 10**6:06d}"
    yield Reconciliation(platform, folder)
    # Records stay, in other folders than those that the next test looks at; its own files must not lie there twice.
    for place in platform.settings.beamline.places.values():
        for store in place.stores:
            for left in Path(place.at(store, "").posix).glob(f"{folder}*"):
                shutil.rmtree(left)
