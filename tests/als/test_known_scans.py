"""Which scan a person means by a name: never another one."""

from collections.abc import Collection
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from als.names import UnknownScanError, known_scan
from als_assets.naming import scan_partitions
from beamlines.config import parse_beamline
from beamlines.decisions import Reason
from beamlines.scans import ScanId
from resources.database import IN_MEMORY, Database
from resources.settings import PROJECT
from resources.standings import Standings

BEAMLINE = parse_beamline((PROJECT / "config" / "bl832.yaml").read_text(), source="bl832.yaml")
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def meant(name: str, partitions: Collection[str] = (), decided: Collection[str] = ()) -> ScanId:
    """The scan that is meant, where some are partitions, and of some it was only decided that they stay on site."""
    standings, graph = Standings(Database(IN_MEMORY)), SimpleNamespace(partitions=scan_partitions(BEAMLINE))
    for key in decided:
        standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="dula", note="contract 7", at=NOW)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(graph.partitions.name), list(partitions))
        at: Any = SimpleNamespace(beamline=BEAMLINE, graph=graph, instance=instance, standings=standings)
        return known_scan(at, name)


@pytest.mark.parametrize("name", ["u/a", "u/a.h5", "/global/raw/u/a.h5", "u/a@wide"])
def test_a_scan_is_meant_by_its_key_its_path_and_its_whole_path(name: str) -> None:
    assert meant(name, partitions=("u/a", "v/a")).path == "u/a.h5"


def test_a_scan_of_which_only_a_decision_is_known_is_known() -> None:
    assert meant("u/a", decided=("u/a",)).path == "u/a.h5"


@pytest.mark.parametrize("name", ["/global/raw/a.h5", "/global/raw/sub/a.h5", "sub/a", "a", "a.h5"])
def test_another_scan_of_the_same_name_is_never_taken_for_the_one_that_was_named(name: str) -> None:
    with pytest.raises(UnknownScanError, match="nothing is known of"):
        meant(name, partitions=("u/a", "other/sub/a"))


def test_a_bare_name_is_answered_with_every_scan_that_is_called_so() -> None:
    with pytest.raises(UnknownScanError, match="did you mean userA/a or userB/a"):
        meant("a", partitions=("userA/a", "userA/a@wide"), decided=("userB/a",))


def test_a_key_that_ends_like_a_file_is_a_key_first() -> None:
    assert meant("u/a.h5", partitions=("u/a.h5", "u/a")).path == "u/a.h5.h5"
