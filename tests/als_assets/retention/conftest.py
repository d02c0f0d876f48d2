"""Trials for tests of a pass's guards."""

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.als_assets.retention.guarding import OLD, SCAN
from tests.als_assets.retention.trials import Trials


@pytest.fixture
def trials() -> Iterator[Trials]:
    """A scan and its products, forty days old."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Trials(instance)
        made.arrive(SCAN, "first")
        made.reconstruct(SCAN)
        made.world.time += OLD
        yield made
        made.database.close()
