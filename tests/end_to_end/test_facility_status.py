"""How a facility is, as a real daemon has it recorded."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import httpx

from als.stack import Stack
from tests.end_to_end.patience import eventually

STATUS = dg.AssetKey(["bl832", "nersc", "status"])


def test_an_outage_that_is_announced_is_soon_in_the_assets_history_and_the_key_is_checked(
    stack: Stack, instance: dg.DagsterInstance
) -> None:
    def records() -> list[dg.AssetMaterialization]:
        found = instance.fetch_materializations(STATUS, limit=10).records
        return [record.asset_materialization for record in found if record.asset_materialization]

    assert eventually(lambda: len(records()) >= 1)
    assert records()[-1].description == "active"
    start = datetime.now(UTC) + timedelta(days=3)
    outage = {"name": "perlmutter", "start_at": start.isoformat(), "description": "Maintenance"}
    control = f"{stack.twin_url}/control/superfacility/outages"
    httpx.post(control, json=outage).raise_for_status()
    try:
        assert eventually(lambda: "Maintenance" in str(records()[0].metadata["outages"]))
    finally:
        httpx.delete(control).raise_for_status()
    [check] = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(STATUS, "credentials"), limit=1
    )
    assert check.status.value == "SUCCEEDED"
