"""Copies that were found to be other than recorded: what ends that, and what does not."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from resources.database import Database
from resources.recorded import SeenBy, Suspect, Suspects

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def suspect(seen_by: SeenBy, why: str = "", *, record: int = 7) -> Suspect:
    return Suspect("nersc/raw", "x/a", record, NOW, why or str(seen_by), seen_by)


@pytest.fixture
def suspects(tmp_path: Path) -> Suspects:
    return Suspects(Database(f"sqlite:///{tmp_path}/ledger.db"))


def test_of_one_record_the_first_reason_stands(suspects: Suspects) -> None:
    for why in ("first", "second"):
        suspects.add(suspect(SeenBy.LISTING, why))
    assert suspects.all() == [suspect(SeenBy.LISTING, "first")]


def test_a_proof_replaces_what_a_listing_has_shown_and_not_the_other_way_round(suspects: Suspects) -> None:
    for seen_by in (SeenBy.LISTING, SeenBy.PROOF, SeenBy.LISTING):
        suspects.add(suspect(seen_by))
    assert suspects.all() == [suspect(SeenBy.PROOF)]


def test_a_finding_about_a_newer_record_replaces_an_older_one(suspects: Suspects) -> None:
    suspects.add(suspect(SeenBy.PROOF))
    suspects.add(suspect(SeenBy.LISTING, record=8))
    assert suspects.all() == [suspect(SeenBy.LISTING, record=8)]


def test_what_a_listing_has_shown_can_be_lifted_and_what_a_proof_has_found_cannot(suspects: Suspects) -> None:
    suspects.add(suspect(SeenBy.LISTING))
    suspects.lift(suspect(SeenBy.LISTING, record=6))
    assert len(suspects.all()) == 1
    suspects.lift(suspect(SeenBy.LISTING))
    assert suspects.all() == []
    suspects.add(suspect(SeenBy.PROOF))
    suspects.lift(suspect(SeenBy.LISTING))
    assert suspects.all() == [suspect(SeenBy.PROOF)]


def test_of_some_partitions_only_theirs_are_told(suspects: Suspects) -> None:
    suspects.add(suspect(SeenBy.PROOF))
    assert (suspects.of(["x/a", "x/b"]), suspects.of(["x/b"])) == ([suspect(SeenBy.PROOF)], [])
