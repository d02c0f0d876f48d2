"""Some cases of the campaign from their beginning to their judgement: CI and `make faults` run many more."""

from collections.abc import Iterator

import pytest

from campaign.drive import Undisturbed, drive, undisturbed
from campaign.lane import Lane, lane
from campaign.plan import Case
from campaign.sites import BatchSite

SEED = 1


@pytest.fixture(scope="module")
def here() -> Iterator[Lane]:
    with lane("nersc") as lane_:
        yield lane_


@pytest.fixture(scope="module")
def usual(here: Lane) -> Undisturbed:
    return undisturbed(here)


def test_the_calls_of_an_undisturbed_run_hold_every_submit(usual: Undisturbed) -> None:
    names = [(call.part, call.name) for call in usual.calls]
    assert [names.count((part, "transfer-submit")) for part in ("ingest", "nersc")] == [1, 5]
    assert names.count(("nersc", "job-submit")) == 1


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("nersc:kill-during:job-submit:1", "killed, then complete"),
        ("ingest:kill-before:transfer-submit:1", "killed, then complete"),
        # The job had ended, and was done again: what has succeeded is recorded before a Terminate ends the run.
        ("nersc:terminate-during:file-listing:2", "terminated, then complete"),
    ],
)
def test_a_case_goes_its_way_and_nothing_is_found(here: Lane, usual: Undisturbed, name: str, way: str) -> None:
    outcome = drive(here, Case.parse(name), usual, SEED)
    assert (outcome.findings, outcome.way, outcome.met) == ((), way, True)


def test_a_job_that_no_record_knows_is_found(here: Lane, usual: Undisturbed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign itself must see what it is for: here somebody else submits, while a case is under way."""
    arrive = here.arrive

    def and_submit(name: str) -> str:
        assert isinstance(here.site, BatchSite)
        here.site.scheduler.sbatch(
            "#!/bin/bash\n#SBATCH -q debug\n#SBATCH -A als\n#SBATCH -C cpu\n#SBATCH -J stranger-1\ntrue\n"
        )
        return arrive(name)

    monkeypatch.setattr(here, "arrive", and_submit)
    outcome = drive(here, Case.parse("ingest:dropped:stat:1"), usual, SEED)
    assert outcome.findings == ("stranger-1 was started outside, and no record knows it",)
