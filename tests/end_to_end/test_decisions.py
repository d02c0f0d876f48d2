"""What people say of scans, by command and by GraphQL, to a real Dagster: announced, restricted, accepted, adopted."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import Result

from als.follow import ScanView
from als.graphql import Webserver
from als.stack import Stack
from beamlines.scans import ScanId
from tests.end_to_end.patience import eventually

SMALL = ("--rows", "16", "--columns", "64", "--angles", "61", "--seconds", "0")
OFF_SITE = ("nersc/raw", "pscratch/raw", "pscratch/tiff", "pscratch/zarr", "nersc/tiff", "nersc/zarr")
Measure = Callable[..., ScanId]
Follow = Callable[[ScanId], ScanView]
Command = Callable[..., Result]


@pytest.fixture(scope="module")
def left(scans: dict[str, ScanId], follow: Follow) -> ScanId:
    """A scan that has gone all the way."""
    assert follow(scans["left"]).succeeded
    return scans["left"]


def made(instance: dg.DagsterInstance, asset: str, key: str) -> bool:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(["bl832", *asset.split("/")]), asset_partitions=[key])
    return bool(instance.fetch_materializations(wanted, limit=1).records)


def ended(instance: dg.DagsterInstance, **tags: str) -> list[dg.DagsterRun]:
    runs = instance.get_runs(dg.RunsFilter(tags={f"dagster/{name}": value for name, value in tags.items()}))
    return [run for run in runs if run.is_finished]


def off_site(stack: Stack, scan: ScanId) -> list[Path]:
    return [path for path in (stack.state / "world" / "nersc").rglob("*") if scan.name in path.name]


def test_announced_by_graphql_as_restricted_a_scan_stays_on_site_whatever_is_asked_for(
    stack: Stack, secret: ScanId, instance: dg.DagsterInstance
) -> None:
    scan = secret
    assert eventually(lambda: made(instance, "data832/preview", scan.key))
    backfill = Webserver(stack.ui_url).backfill([["bl832", *name.split("/")] for name in OFF_SITE], [scan.key], {})
    assert eventually(lambda: ended(instance, backfill=backfill))
    assert {run.status for run in ended(instance, backfill=backfill)} == {dg.DagsterRunStatus.FAILURE}
    assert off_site(stack, scan) == []


def test_old_scans_are_registered_and_backfilled(
    stack: Stack, left: ScanId, als: Command, instance: dg.DagsterInstance
) -> None:
    raw = stack.state / "world" / "data832" / "data" / "raw"
    for path in ("archive/one.h5", "archive/deep/two.h5"):
        (raw / path).parent.mkdir(exist_ok=True)
        (raw / path).write_bytes((raw / left.path).read_bytes())
    registered = als("register", "--place", "data832", "--folder", "archive")
    assert registered.exit_code == 0, registered.output
    assert "2 adopted" in registered.stdout
    assert "2 known already" in als("register", "--place", "data832", "--folder", "/archive/").stdout
    asked = als("backfill", "--branch", "nersc", "--folder", "archive", answer="n\n")
    assert (asked.exit_code, "2 scans" in asked.stdout) == (1, True)
    started = als("backfill", "--branch", "nersc", "--folder", "archive/deep", "--yes")
    assert started.exit_code == 0, started.output
    assert eventually(lambda: made(instance, "data832/nersc_zarr", "archive/deep/two"))
    assert "0 scans" in als("backfill", "--branch", "nersc", "--folder", "archive/deep").stdout
    assert not made(instance, "nersc/raw", "archive/one")
    unknown = als("register", "--place", "nosuch")
    assert "there is no place 'nosuch'" in str(unknown.exception)


def test_a_mistyped_name_is_refused_with_what_it_may_have_been(left: ScanId, als: Command) -> None:
    refused = als("scan", "restrict", left.key.replace("left", "letf"), "--note", "x")
    assert f"did you mean {left.key}" in str(refused.exception)


def test_a_scan_that_has_left_is_restricted_listed_and_withdrawn(stack: Stack, left: ScanId, als: Command) -> None:
    assert "Say why" in str(als("scan", "restrict", left.key, "--note", " ").exception)
    assert "is not restricted" in str(als("scan", "withdraw", left.key, "--note", "x", "--yes").exception)
    restricted = als("scan", "restrict", f"/global/raw/{left.path}", "--note", "contract 7")
    assert restricted.exit_code == 0, restricted.output
    assert restricted.stdout.count("(there)") == len(OFF_SITE)
    assert off_site(stack, left) != []
    gone = als("scan", "withdraw", left.key, "--note", "contract 7", "--yes")
    assert gone.exit_code == 0, gone.output
    assert off_site(stack, left) == []
    assert (stack.state / "world" / "data832" / "data" / "raw" / left.path).is_file()
    shown = als("scan", "show", left.key).stdout
    assert "restricted-by-operator" in shown
    assert "contract 7" in shown
    lifted = als("scan", "unrestrict", left.key, "--note", "it ended")
    assert (lifted.exit_code, "is lifted" in lifted.stdout) == (0, True)


def test_a_scan_that_changes_before_it_is_ingested_waits_for_a_person_and_then_goes_on(
    stack: Stack, measure: Measure, als: Command, instance: dg.DagsterInstance
) -> None:
    scan = measure(*SMALL, "--text", "changing")
    assert als("new-scan", f"/global/raw/{scan.path}").exit_code == 0
    assert eventually(lambda: made(instance, "spot832/raw", scan.key))
    file = stack.state / "world" / "spot832" / "global" / "raw" / scan.path
    file.write_bytes(file.read_bytes() + b"and more")  # a run takes seconds to begin
    assert eventually(lambda: ended(instance, partition=scan.key))
    assert {run.status for run in ended(instance, partition=scan.key)} == {dg.DagsterRunStatus.FAILURE}
    assert "and not" in als("scan", "show", scan.key).stdout
    accepted = als("scan", "accept", scan.key, "--note", "a last frame was added")
    assert accepted.exit_code == 0, accepted.output
    assert "its ingest begins" in accepted.stdout
    assert eventually(lambda: made(instance, "data832/raw", scan.key))
    copied = stack.state / "world" / "data832" / "data" / "raw" / scan.path
    assert copied.read_bytes() == file.read_bytes()
    assert "has not changed" in str(als("scan", "accept", scan.key, "--note", "x").exception)


def test_what_a_terminal_shows_of_a_hostile_name_controls_no_terminal(
    scans: dict[str, ScanId], follow: Follow, als: Command
) -> None:
    assert follow(scans["hostile"]).succeeded
    for words in (("show",), ("restrict", "--note", "x"), ("unrestrict", "--note", "x")):
        shown = als("scan", words[0], scans["hostile"].key, *words[1:])
        assert shown.exit_code == 0, shown.output
        assert [line for line in shown.stdout.splitlines() if not line.isprintable()] == []
