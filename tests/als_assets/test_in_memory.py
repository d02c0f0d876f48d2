"""Assets as a notebook or a test materializes them: ``materialize_to_memory``, with resources of one's own."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from als_assets.bindings import bindings
from als_assets.bl832 import graph

INGEST = [dg.AssetKey(["bl832", "data832", "raw"]), dg.AssetKey(["bl832", "data832", "preview"])]


class StandingClock:
    """A clock that stands still, a little ahead of the services': its time must be what the assets record."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC) + timedelta(minutes=10)

    def now(self) -> datetime:
        return self.moment

    def sleep(self, seconds: float) -> None:
        """Nothing to wait for."""


def test_a_scan_is_ingested_in_memory_with_a_resource_replaced(platform):
    key, clock = platform.measured("in-memory/a.h5"), StandingClock()
    result = dg.materialize_to_memory(
        graph.build(platform.settings.beamline).assets,
        resources={**bindings(platform.settings), "clock": clock},
        instance=platform.instance,
        partition_key=key,
        selection=dg.AssetSelection.assets(*INGEST),
    )
    assert result.success
    made = {event.asset_key: event.materialization for event in result.get_asset_materialization_events()}
    assert set(made) == set(INGEST)
    assert made[INGEST[1]].metadata["remote_began"].value == clock.moment.timestamp()
    assert all(evaluation.passed for evaluation in result.get_asset_check_evaluations())
