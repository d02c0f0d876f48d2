"""Many materializations at once are what one after another would have been, for whoever reads them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from als_assets.operations import past_events
from als_assets.operations.past_events import report_all

ASSET = dg.AssetKey(["bl832", "data832", "raw"])
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "memory"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    if request.param == "memory":
        with dg.DagsterInstance.ephemeral() as instance:
            yield instance
    else:
        with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
            yield instance


def event(key: str) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(ASSET, partition=key, metadata={"arrival": "adopted", "bytes": 5})


def seen(instance: dg.DagsterInstance) -> list[tuple[str, dict[str, object]]]:
    records = instance.fetch_materializations(ASSET, limit=100, ascending=True).records
    events = [(str(record.partition_key), record.asset_materialization) for record in records]
    return [(key, {name: item.value for name, item in found.metadata.items()}) for key, found in events if found]


def test_they_are_read_as_those_that_are_reported_one_by_one(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_events, "AT_ONCE", 3)
    report_all(instance, [event(f"f/{number}") for number in range(7)], NOW)
    instance.report_runless_asset_event(event("f/7"))
    assert seen(instance) == [(f"f/{number}", {"arrival": "adopted", "bytes": 5}) for number in range(8)]
    assert instance.get_materialized_partitions(ASSET) == {f"f/{number}" for number in range(8)}
    assert instance.get_latest_storage_id_by_partition(
        ASSET, dg.DagsterEventType.ASSET_MATERIALIZATION, partitions={"f/3"}
    ).keys() == {"f/3"}
    latest = instance.get_latest_materialization_event(ASSET)
    assert latest is not None
    assert latest.asset_materialization == event("f/7")
    assert ASSET in instance.all_asset_keys()


def test_an_asset_that_has_nothing_else_exists_by_them(instance: dg.DagsterInstance) -> None:
    report_all(instance, [event("f/a")], NOW)
    assert ASSET in instance.all_asset_keys()
    latest = instance.get_latest_materialization_event(ASSET)
    assert latest is not None
    assert latest.timestamp == NOW.timestamp()


def test_nothing_to_report_reports_nothing(instance: dg.DagsterInstance) -> None:
    report_all(instance, [], NOW)
    assert ASSET not in instance.all_asset_keys()
