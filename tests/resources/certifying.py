"""Deletions of copies of one scan, begun and ended, for tests of the log of certificates."""

from datetime import UTC, datetime, timedelta

from resources.certificates import (
    Certificate,
    Certificates,
    Deletion,
    Keeper,
)
from resources.chain import Head

NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SCAN = "BLS-00564_x/20260101_120000_a"
RECEIPTS = [{"task": "t-1", "deleted": ["a.h5", "a.h5.manifest.json"], "state": "SUCCEEDED"}]


def deletion(
    asset: str, *keepers: str, partition: str = SCAN, storage_id: int = 10, path: str = "raw/a.h5"
) -> Deletion:
    """Of a copy that other copies of the same partition keep."""
    return Deletion(
        asset=asset,
        partition=partition,
        storage_id=storage_id,
        path=path,
        bytes=10**13,
        files=1,
        rule={"copies": ["data832/raw"], "age": "P35D", "proven": 1},
        reason="old-enough-and-kept-elsewhere",
        keepers=tuple(Keeper(keeper, partition, "ab" * 32, NOW.isoformat(), "job 7") for keeper in keepers),
        author="run 5",
    )


RAW = deletion("data832/raw", "nersc/raw")
SPOT = deletion("spot832/raw", "data832/raw", "nersc/raw")


def begun(log: Certificates, of: Deletion = RAW, at: datetime = NOW) -> Certificate:
    return log.begin(of, seen=log.head(), at=at)


def filled(log: Certificates) -> Head:
    """Three scans: the deletion of one copy is done, of one given up, of one open; 5 entries each."""
    for number in range(3):
        done, given_up, _ = (
            begun(log, deletion(asset, "nersc/tiff", partition=f"f/{number}"))
            for asset in ("alcf/tiff", "olcf/tiff", "data832/tiff")
        )
        log.finish(done, RECEIPTS, LATER)
        log.give_up(given_up, "the disk is away", LATER)
    return log.head()
