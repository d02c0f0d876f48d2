"""A pass over a place, as its run carries it out: over a twin, with real transfers, real jobs and real files."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from als_assets.definitions import compose
from als_assets.retention.order import op_name
from als_assets.retention.tables import Tables, make_tables
from beamlines.decisions import Reason
from beamlines.layout import Artifact
from resources.certificates import Certificate
from resources.chain import What
from resources.holds import Holds
from resources.ledger import Ledger
from resources.testing import HastyClock
from tests.als_assets.conftest import Platform

SOON = timedelta(minutes=2)


class Retention:
    """Passes over the places of a platform, two minutes from now, of single scans."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        clock = dg.ResourceDefinition.hardcoded_resource(HastyClock(SOON))
        self._definitions = compose(platform.settings, clock=clock)
        self.said: list[str] = []

    @property
    def tables(self) -> Tables:
        database = self.platform.database
        return make_tables(database, Ledger(database), self.platform.standings, Holds(database))

    def carry_out(self, place: str, key: str, **config: Any) -> dg.ExecuteInProcessResult:
        """Let everything of one scan at a place go that may, everything older than a minute."""
        asked = {"partition": key, "one_minute": True, "author": "dula", "note": "a test", **config}
        result = self._definitions.resolve_job_def(f"bl832_retention_{place}").execute_in_process(
            instance=self.platform.instance,
            run_config={"ops": {op_name(place): {"config": asked}}},
            raise_on_error=False,
        )
        failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
        self.said = [str(f.user_failure_data.description if f.user_failure_data else f.error) for f in failures]
        return result

    def certificates(self, key: str) -> list[Certificate]:
        return self.tables.certificates.of(key)

    def deleted(self, key: str) -> set[str]:
        return {one.deletion.asset for one in self.certificates(key) if one.state is What.DONE}

    def refusals(self, key: str) -> dict[str, Reason]:
        return {one.refusal.asset: one.refusal.reason for one in self.tables.refusals.of(key)}


@pytest.fixture
def retention(platform: Platform) -> Retention:
    return Retention(platform)


@pytest.fixture
def scan(platform: Platform, request: pytest.FixtureRequest) -> str:
    """A scan of this test alone, on data832 and at NERSC."""
    number = abs(hash(request.node.nodeid)) % 10**6
    key = platform.ingested(f"retention/20260101_{number:06d}_a.h5")
    assert platform.run(key, "bl832/nersc/raw").success
    return key


def test_a_branchs_work_goes_with_certificates_that_name_what_was_read(
    platform: Platform, retention: Retention
) -> None:
    key = platform.reconstructed("retention/20260101_120000_whole.h5")
    work = {Artifact.RAW, Artifact.TIFF, Artifact.ZARR}
    assert all(platform.file("pscratch", artifact, key).exists() for artifact in work)
    assert retention.carry_out("pscratch", key).success, retention.said
    assert retention.deleted(key) == {"pscratch/raw", "pscratch/tiff", "pscratch/zarr"}
    assert not any(platform.file("pscratch", artifact, key).exists() for artifact in work)
    assert not any(platform.manifest("pscratch", artifact, key).exists() for artifact in work)
    keepers = {
        one.deletion.asset: [keeper.asset for keeper in one.deletion.keepers] for one in retention.certificates(key)
    }
    assert keepers == {
        "pscratch/raw": ["data832/raw"],
        "pscratch/tiff": ["data832/nersc_tiff"],
        "pscratch/zarr": ["data832/nersc_zarr"],
    }
    assert retention.tables.certificates.verify().entries >= 6
    assert platform.evaluation("bl832/pscratch/tiff", "manifest", key).passed


def test_a_raw_copy_goes_when_a_job_has_read_the_one_at_nersc(
    platform: Platform, retention: Retention, scan: str
) -> None:
    before = len(platform.jobs)
    assert retention.carry_out("data832", scan).success, retention.said
    [certificate] = retention.certificates(scan)
    assert [(keeper.asset, keeper.job != "this machine") for keeper in certificate.deletion.keepers] == [
        ("nersc/raw", True)
    ]
    assert len(platform.jobs) == before + 1
    assert not platform.file("data832", Artifact.RAW, scan).exists()
    assert platform.manifest("data832", Artifact.RAW, scan).exists(), "every other copy is measured by it"


def test_what_has_gone_is_not_let_go_again(retention: Retention, scan: str) -> None:
    assert retention.carry_out("data832", scan).success
    assert retention.carry_out("data832", scan).success
    assert len(retention.certificates(scan)) == 1


def test_a_dry_run_deletes_nothing(platform: Platform, retention: Retention, scan: str) -> None:
    assert retention.carry_out("data832", scan, dry_run=True).success
    assert platform.file("data832", Artifact.RAW, scan).exists()
    assert retention.certificates(scan) == []


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [flipped, lambda file: file.write_bytes(file.read_bytes()[:-1]), Path.unlink],
    ids=["a flipped bit", "truncated", "not there"],
)
def test_a_keeper_that_is_not_what_it_was_blocks_the_deletion_and_people_are_told(
    platform: Platform, retention: Retention, scan: str, damage: Callable[[Path], Any]
) -> None:
    damage(platform.file("nersc", Artifact.RAW, scan))
    assert not retention.carry_out("data832", scan).success
    assert "nersc/raw" in retention.said[0]
    assert platform.file("data832", Artifact.RAW, scan).exists()
    assert retention.certificates(scan) == []
    assert retention.refusals(scan)["data832/raw"] is Reason.KEEPER_DIFFERS
    assert not platform.evaluation("bl832/nersc/raw", "files", scan).passed
    # And from then on, without being read again, it keeps nothing.
    jobs = len(platform.jobs)
    retention.carry_out("data832", scan)
    assert platform.file("data832", Artifact.RAW, scan).exists()
    assert len(platform.jobs) == jobs


def test_a_copy_that_was_made_again_is_a_new_copy(platform: Platform, retention: Retention, scan: str) -> None:
    assert retention.carry_out("data832", scan).success
    assert platform.run(scan, "bl832/data832/raw").success
    assert platform.file("data832", Artifact.RAW, scan).exists()
    assert retention.carry_out("data832", scan).success, retention.said
    assert len(retention.certificates(scan)) == 2
    assert not platform.file("data832", Artifact.RAW, scan).exists()


def test_a_held_scan_stays_until_it_is_released(platform: Platform, retention: Retention, scan: str) -> None:
    now = HastyClock().now()
    hold = retention.tables.holds.hold_folder("retention", author="dula", note="a paper", at=now)
    try:
        assert retention.carry_out("data832", scan).success
        assert platform.file("data832", Artifact.RAW, scan).exists()
    finally:
        retention.tables.holds.release(hold.id, author="dula", note="printed", at=now)
    assert retention.carry_out("data832", scan).success
    assert not platform.file("data832", Artifact.RAW, scan).exists()


def test_a_deleted_first_copy_is_copied_back_from_where_it_is_kept(
    platform: Platform, retention: Retention, scan: str
) -> None:
    assert retention.carry_out("spot832", scan).success, retention.said
    assert retention.carry_out("data832", scan).success, retention.said
    assert retention.deleted(scan) == {"spot832/raw", "data832/raw"}
    assert not platform.file("spot832", Artifact.RAW, scan).exists()
    assert not platform.file("data832", Artifact.RAW, scan).exists()
    assert platform.run(scan, "bl832/data832/raw").success
    assert platform.file("data832", Artifact.RAW, scan).read_bytes() == platform.phantom.read_bytes()
    assert platform.metadata("bl832/data832/raw", scan)["checksum_evidence"] == "external sha256"


def test_a_first_copy_that_is_kept_nowhere_says_where_it_was_looked_for(
    platform: Platform, retention: Retention, scan: str
) -> None:
    for place in ("spot832", "data832", "nersc"):
        platform.file(place, Artifact.RAW, scan).unlink()
    said = platform.failure(scan, "bl832/data832/raw")
    assert "neither on the acquisition machine nor at nersc" in said


def test_each_of_a_branchs_deleted_copies_can_be_made_again_alone(platform: Platform, retention: Retention) -> None:
    key = platform.reconstructed("retention/20260101_120001_again.h5")
    assert retention.carry_out("pscratch", key).success, retention.said
    for artifact in (Artifact.RAW, Artifact.TIFF, Artifact.ZARR):
        result = platform.run(key, f"bl832/pscratch/{artifact}")
        assert result.success, artifact
        assert platform.file("pscratch", artifact, key).exists()
