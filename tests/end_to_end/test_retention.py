"""A scan ages out: seen ahead, deleted by a pass with certificates, shown, and made again from what keeps it."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
from typer.testing import Result

from als.graphql import Webserver
from als.stack import Stack
from beamlines.layout import Artifact, Copy
from beamlines.scans import PartitionKey, ScanId
from resources.settings import Settings
from tests.end_to_end.conftest import SMALL
from tests.end_to_end.patience import eventually
from tests.end_to_end.test_decisions import made

Command = Callable[..., Result]


def test_a_scan_ages_out_is_shown_and_made_again_from_its_keeper(
    stack: Stack, settings: Settings, measure: Callable[..., ScanId], als: Command, instance: dg.DagsterInstance,
    tmp_path: Path,
) -> None:  # fmt: skip
    scan = measure(*SMALL, "--text", "ages-out")
    assert als("new-scan", f"/global/raw/{scan.path}").exit_code == 0
    assert eventually(lambda: made(instance, "data832/nersc_zarr", scan.key))
    raw = Path(Copy(settings.beamline.places["pscratch"], Artifact.RAW).location(PartitionKey(scan)).posix)
    assert raw.exists()

    def is_planned() -> bool:
        planned = als("retention", "plan", "pscratch", "--days", "8")
        assert planned.exit_code == 0, planned.output
        return scan.key in planned.stdout.replace("\n", "")

    assert eventually(is_planned)  # not as long as a run of the scan is under way
    held = als("retention", "hold", scan.key, "--note", "a talk")
    assert held.exit_code == 0, held.output
    number = held.stdout.split()[1].rstrip(":")
    kept = als("retention", "run", "pscratch", "--scan", scan.key, "--one-minute", "--wait")
    assert (kept.exit_code, raw.exists()) == (0, True), kept.output
    assert als("retention", "release", number, "--note", "given").exit_code == 0

    def is_deleted() -> bool:
        done = als("retention", "run", "pscratch", "--scan", scan.key, "--one-minute", "--wait")
        assert done.exit_code == 0, done.output
        return not raw.exists()

    assert eventually(is_deleted)  # the youngest of its copies is a minute old by then
    listed = als("retention", "list-deleted", "--copies", "pscratch/raw", "--keys")
    assert scan.key in listed.stdout.splitlines()
    file = tmp_path / "certificates.jsonl"
    assert als("retention", "export", str(file)).exit_code == 0
    assert "Head: " in als("retention", "verify").stdout
    assert als("retention", "verify", str(file)).stdout == als("retention", "verify").stdout
    wanted = dg.AssetRecordsFilter(dg.AssetKey(["bl832", "pscratch", "raw"]), asset_partitions=[scan.key])
    [shown] = instance.fetch_observations(wanted, limit=1).records
    assert shown.asset_observation is not None
    assert shown.asset_observation.metadata["state"].value == "deleted"
    assert "data832/raw" in str(shown.asset_observation.metadata["remains"].value)

    Webserver(stack.ui_url).backfill([["bl832", "pscratch", "raw"]], [scan.key], {})
    assert eventually(raw.exists)
