"""How NERSC is, and its outages: read from its documents, and asked for over real HTTP without any key."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from beamlines.deployment import SuperfacilityService
from resources.clock import SystemClock
from resources.errors import ServiceRefusedError, ServiceUnavailableError
from resources.facilities.nersc_status import OUTAGES_AT_MOST, state_of
from resources.facilities.service import FacilityState, Health, Outage
from resources.facilities.superfacility import Superfacility
from twin.faults import Fault
from twin.server import Twin
from twin.superfacility.status import Outage as Announced
from twin.superfacility.status import StatusBoard

NOW = datetime(2026, 11, 25, 16, tzinfo=UTC)
HOUR = timedelta(hours=1)
ACTIVE = {"status": "active", "description": "System Active"}


def announced(start: str, end: str | None = None, **more: str) -> dict[str, str | None]:
    return {"name": "perlmutter", "start_at": start, "end_at": end, "description": "Maintenance", **more}


# -- documents -------------------------------------------------------------------------------------------------------


def test_times_without_an_offset_are_those_of_california_in_winter_and_in_summer() -> None:
    entries = [announced("2026-12-01T06:00:00", "2026-12-01T18:00:00"), announced("2027-07-01T06:00:00")]
    winter, summer = state_of(ACTIVE, entries, NOW).outages
    assert winter == Outage(datetime(2026, 12, 1, 14, tzinfo=UTC), datetime(2026, 12, 2, 2, tzinfo=UTC), "Maintenance")
    assert summer == Outage(datetime(2027, 7, 1, 13, tzinfo=UTC), None, "Maintenance")


def test_times_with_an_offset_are_taken_at_their_word() -> None:
    [outage] = state_of(ACTIVE, [announced("2026-12-01T06:00:00-05:00")], NOW).outages
    assert outage.start == datetime(2026, 12, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    "entry",
    [
        announced("2026-11-25T04:00:00", "2026-11-25T07:59:00"),
        announced("2026-12-01T06:00:00", status="Cancelled"),
        announced("2026-11-25T04:00:00", status="Completed"),
        announced("next week"),
        {"name": "perlmutter", "start_at": None},
        "perlmutter",
    ],
    ids=["over", "cancelled", "completed", "no date", "no start", "no entry"],
)
def test_what_is_over_or_withdrawn_or_has_no_beginning_is_no_outage(entry: object) -> None:
    assert state_of(ACTIVE, [entry], NOW).outages == ()


@pytest.mark.parametrize("document", [None, {}, {"error": "no"}, "none", [[]]])
def test_a_list_of_outages_that_is_none_is_empty(document: object) -> None:
    assert state_of(ACTIVE, document, NOW) == FacilityState(Health.ACTIVE)


def test_outages_are_in_order_each_once_and_not_too_many() -> None:
    days = [announced(f"2026-12-{day:02d}T06:00:00") for day in range(28, 0, -1)]
    outages = state_of(ACTIVE, days + days, NOW).outages
    assert len(outages) == OUTAGES_AT_MOST
    assert [outage.start.day for outage in outages] == [*range(1, OUTAGES_AT_MOST + 1)]


def test_a_word_that_nobody_knows_is_no_outage() -> None:
    state = state_of({"status": "wobbly", "description": "Who knows"}, [], NOW)
    assert (state.said, state.outage(NOW)) == ("other: Who knows", None)


# -- whether it is to be had -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (FacilityState(Health.ACTIVE), None),
        (FacilityState(Health.DEGRADED, "Slow"), None),
        (FacilityState(Health.UNAVAILABLE, "no answer"), "unavailable: no answer"),
        (FacilityState(Health.ACTIVE, outages=(Outage(NOW, NOW + 2 * HOUR, "Upgrade"),)), "Upgrade until 18:00 UTC"),
        (
            FacilityState(Health.UNAVAILABLE, "Down", (Outage(NOW - HOUR, NOW + 9 * HOUR, "Upgrade"),)),
            "Upgrade until 2026-11-26 01:00 UTC",
        ),
        (FacilityState(Health.ACTIVE, outages=(Outage(NOW + HOUR, NOW + 2 * HOUR, "Upgrade"),)), None),
        (FacilityState(Health.ACTIVE, outages=(Outage(NOW - HOUR, NOW, "Upgrade"),)), None),
        (FacilityState(Health.ACTIVE, outages=(Outage(NOW - HOUR, None, "Upgrade"),)), None),
        (FacilityState(Health.OTHER, outages=(Outage(NOW - HOUR, None, "Upgrade"),)), "Upgrade"),
    ],
)
def test_an_outage_is_told_in_words_with_its_end(state: FacilityState, words: str | None) -> None:
    assert state.outage(NOW) == words


# -- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.fixture
def board(twin: Twin) -> Iterator[StatusBoard]:
    assert twin.nersc is not None
    yield twin.nersc.api.status
    twin.nersc.api.status.reset()


@pytest.fixture
def nobody(twin: Twin, tmp_path: Path) -> Superfacility:
    """A client that has no key."""
    stated = twin.world.deployment.superfacility
    assert stated is not None
    service = SuperfacilityService(
        api_url=stated.api_url, token_url=stated.token_url, key_file=tmp_path / "no-key.json"
    )
    return Superfacility(service, "perlmutter", SystemClock())


def test_how_it_is_and_what_is_planned_is_told_to_anybody(nobody: Superfacility, board: StatusBoard) -> None:
    assert nobody.state() == FacilityState(Health.ACTIVE)
    start = datetime.now(UTC).replace(microsecond=0) + HOUR
    board.set("perlmutter", "degraded", "Slow file system")
    board.add(Announced(name="perlmutter", start_at=start, end_at=start + HOUR, description="Upgrade"))
    board.add(Announced(name="dtns", start_at=start, description="Not ours"))
    planned = Outage(start, start + HOUR, "Upgrade")
    assert nobody.state() == FacilityState(Health.DEGRADED, "Slow file system", (planned,))


def test_an_outage_that_has_begun_is_found_with_its_end(nobody: Superfacility, board: StatusBoard) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    board.set("perlmutter", "unavailable", "Scheduled Maintenance")
    board.add(Announced(name="perlmutter", start_at=now - 3 * HOUR, end_at=now - HOUR, status="Completed"))
    board.add(Announced(name="perlmutter", start_at=now - HOUR, end_at=now + HOUR, status="Active"))
    board.add(Announced(name="perlmutter", start_at=now + 48 * HOUR, end_at=now + 50 * HOUR))
    running, planned = nobody.state().outages
    assert (running.end, planned.start) == (now + HOUR, now + 48 * HOUR)


@pytest.mark.parametrize("status", [500, 503, 429, 401, 403])
@pytest.mark.parametrize("document", ["status/perlmutter", "status/outages/planned/perlmutter"])
def test_where_no_answer_comes_it_is_unavailable(twin: Twin, nobody: Superfacility, status: int, document: str) -> None:
    twin.control.injector.add(Fault(match=f"GET /superfacility/{document}", status=status, times=1))
    with pytest.raises(ServiceUnavailableError, match=str(status)):
        nobody.state()
    assert nobody.state() == FacilityState(Health.ACTIVE)


def test_a_machine_that_is_not_known_there_is_refused(twin: Twin) -> None:
    service = twin.world.deployment.superfacility
    assert service is not None
    with pytest.raises(ServiceRefusedError, match="404"):
        Superfacility(service, "cori", SystemClock()).state()
