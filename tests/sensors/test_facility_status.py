"""How facilities are: what is recorded of their answers, and whole ticks of the sensor over a twin."""

import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from als_assets.bindings import bindings
from als_assets.facility_status import credentials_checks, status_spec
from resources.errors import CredentialsRefusedError, ServiceUnavailableError
from resources.facilities import Facility
from resources.facilities.credentials import ALERT_BEFORE
from resources.facilities.service import FacilityState, Health, Outage
from resources.settings import Settings
from resources.testing import SleptClock
from sensors.facility_status import ask
from sensors.state_log import outages_now, read_state, state_record
from sensors.states import RECORDED_EVERY, SILENT_FOR, SILENT_TIMES, Recorded, Silence, hear, to_record
from sensors.testing import Daemon, Stage
from twin.faults import Fault
from twin.server import Twin
from twin.superfacility.status import Outage as Announced
from twin.superfacility.status import StatusBoard

SENSOR = "bl832_facility_status"
STATUS = dg.AssetKey(["bl832", "nersc", "status"])
CREDENTIALS = dg.AssetCheckKey(STATUS, "credentials")
NOW = datetime(2026, 11, 25, 16, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ACTIVE = FacilityState(Health.ACTIVE)
SILENT = ServiceUnavailableError(seen="503", meaning="it is down", remedy="wait")
REFUSED = CredentialsRefusedError(seen="no login", meaning="the token has ended", remedy="renew it")
UPGRADE = Outage(NOW + HOUR, NOW + 2 * HOUR, "Upgrade")


def recorded(state: FacilityState = ACTIVE, since: datetime = NOW - 9 * HOUR, at: datetime = NOW - HOUR) -> Recorded:
    return Recorded(state, since, at)


# -- what is news ----------------------------------------------------------------------------------------------------


def test_the_first_answer_is_recorded_and_the_same_again_is_not() -> None:
    first = to_record(ACTIVE, None, None, NOW)
    assert first == Recorded(ACTIVE, NOW, NOW)
    assert to_record(ACTIVE, None, first, NOW + HOUR) is None


def test_the_same_is_recorded_once_a_day_with_the_time_since_when_it_is_so() -> None:
    last = recorded(at=NOW - RECORDED_EVERY)
    assert to_record(ACTIVE, None, last, NOW) == Recorded(ACTIVE, last.since, NOW)


@pytest.mark.parametrize(
    ("state", "since"),
    [
        (FacilityState(Health.DEGRADED), NOW),
        (FacilityState(Health.ACTIVE, outages=(UPGRADE,)), NOW - 9 * HOUR),
        (FacilityState(Health.ACTIVE, "after all"), NOW - 9 * HOUR),
    ],
)
def test_what_changes_is_recorded_and_only_another_health_begins_anew(state: FacilityState, since: datetime) -> None:
    assert to_record(state, None, recorded(), NOW) == Recorded(state, since, NOW)


def test_that_an_outage_is_over_or_withdrawn_is_told_apart() -> None:
    last = recorded(FacilityState(Health.ACTIVE, outages=(UPGRADE,)))
    assert to_record(ACTIVE, None, last, NOW) == Recorded(ACTIVE, last.since, NOW)
    assert to_record(ACTIVE, None, last, NOW + 2 * HOUR) is None


def test_an_answer_that_refuses_is_no_silence_and_no_outage() -> None:
    assert hear(REFUSED, Silence(since=0, times=9), NOW) is None
    record = to_record(REFUSED, None, recorded(), NOW)
    assert record is not None
    assert (record.state.said, record.state.outage(NOW)) == ("other: no login", None)


def silent_at(*minutes: float) -> list[Recorded | None]:
    silence, said = None, []
    for minute in minutes:
        now = NOW + minute * MINUTE
        silence = hear(SILENT, silence, now)
        said.append(to_record(SILENT, silence, recorded(FacilityState(Health.ACTIVE, outages=(UPGRADE,))), now))
    return said


def test_silence_is_an_outage_only_after_five_minutes_and_three_times() -> None:
    assert timedelta(minutes=5) == SILENT_FOR
    assert SILENT_TIMES == 3
    assert silent_at(0, 1, 2, 3, 4, 4.9) == [None] * 6
    assert silent_at(0, 60 * 12) == [None, None]
    *_, last = silent_at(0, 1, 5)
    assert last == Recorded(FacilityState(Health.UNAVAILABLE, "no answer", (UPGRADE,)), NOW, NOW + 5 * MINUTE)


def test_an_answer_ends_a_silence() -> None:
    silence = hear(SILENT, Silence(since=NOW.timestamp(), times=9), NOW)
    assert silence is not None
    assert silence.times == 10
    assert hear(ACTIVE, silence, NOW) is None


# -- asking ----------------------------------------------------------------------------------------------------------


def test_a_facility_that_hangs_holds_up_no_other() -> None:
    never = threading.Event()
    hangs, speaks = SimpleNamespace(state=lambda: never.wait(30)), SimpleNamespace(state=lambda: ACTIVE)
    heard = ask(cast("dict[str, Facility]", {"hangs": hangs, "speaks": speaks}), {}, within_s=0.3)
    never.set()
    assert heard["speaks"].answer == ACTIVE
    assert isinstance(heard["hangs"].answer, ServiceUnavailableError)


def test_a_mistake_of_our_own_is_no_silence() -> None:
    broken: Any = SimpleNamespace(state=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ask({"broken": broken}, {}, within_s=5)


# -- whole ticks -----------------------------------------------------------------------------------------------------


class Watch:
    """The sensor, the twin's board, and what was recorded."""

    def __init__(self, daemon: Daemon, clock: SleptClock, board: StatusBoard) -> None:
        self.daemon, self.clock, self.board = daemon, clock, board

    def ticks(self, count: int = 1, apart_s: float = 60) -> list[str]:
        """Tick so many times; the descriptions of what was recorded of NERSC meanwhile."""
        said = []
        for _ in range(count):
            events = self.daemon.tick(SENSOR).asset_events
            recorded = [one for one in events if isinstance(one, dg.AssetMaterialization) and one.asset_key == STATUS]
            said += [str(one.description) for one in recorded]
            self.clock.sleep(apart_s)
        return said

    @property
    def last(self) -> Recorded:
        found = read_state(self.daemon.instance, STATUS)
        assert found is not None
        return found

    def credentials(self) -> list[tuple[bool, str]]:
        """Every evaluation, oldest first."""
        history = self.daemon.instance.event_log_storage.get_asset_check_execution_history(CREDENTIALS, limit=100)
        found = [record.event.dagster_event.asset_check_evaluation_data for record in reversed(history)]  # type: ignore[union-attr]
        return [(one.passed, str(one.description)) for one in found]


@pytest.fixture
def watch(daemon: Daemon, clock: SleptClock, twin: Twin) -> Iterator[Watch]:
    assert twin.nersc is not None
    twin.nersc.api.status.reset()
    yield Watch(daemon, clock, twin.nersc.api.status)
    twin.nersc.api.status.reset()


def test_a_change_is_recorded_once_with_all_that_is_known(watch: Watch) -> None:
    assert watch.ticks(2) == ["active"]
    begun = watch.clock.now()
    start = begun.replace(microsecond=0) + HOUR
    watch.board.set("perlmutter", "degraded", "Slow file system")
    watch.board.add(Announced(name="perlmutter", start_at=start, end_at=start + HOUR, description="Upgrade"))
    assert watch.ticks(3) == ["degraded: Slow file system"]
    assert watch.last.state == FacilityState(
        Health.DEGRADED, "Slow file system", (Outage(start, start + HOUR, "Upgrade"),)
    )
    assert watch.last.since == begun
    watch.board.clear_outages()
    assert watch.ticks(2) == ["degraded: Slow file system"]
    assert (watch.last.state.outages, watch.last.since) == ((), begun)


def test_where_nothing_changes_it_is_recorded_daily(watch: Watch) -> None:
    assert watch.ticks(3, apart_s=12 * 3600) == ["active", "active"]


def test_a_silent_facility_is_an_outage_after_a_while_and_none_as_soon_as_it_speaks(watch: Watch, twin: Twin) -> None:
    watch.ticks()
    twin.control.injector.add(Fault(match="GET /superfacility/status/*", status=503, times=100))
    silent_since = watch.clock.now()
    assert watch.ticks(5) == []
    assert watch.ticks() == ["unavailable: no answer"]
    assert watch.last.since == silent_since
    assert outages_now(watch.daemon.instance, {"nersc": STATUS}, watch.clock.now()) == {
        "nersc": "unavailable: no answer"
    }
    assert watch.ticks(2) == []
    twin.control.injector.clear()
    assert watch.ticks() == ["active"]
    assert outages_now(watch.daemon.instance, {"nersc": STATUS}, watch.clock.now()) == {}


@pytest.mark.parametrize("cursor", [None, "typed by hand"])
def test_after_a_lost_cursor_nothing_is_recorded_anew(watch: Watch, cursor: str | None) -> None:
    watch.ticks(2)
    watch.daemon.switches[SENSOR].cursor = cursor
    assert watch.ticks(2) == []


def test_a_tick_that_died_before_its_cursor_records_nothing_twice(watch: Watch) -> None:
    watch.daemon.tick(SENSOR, dies_before=Stage.CURSOR)
    watch.clock.sleep(60)
    assert watch.ticks(2) == []


def test_what_a_person_has_reported_in_the_ui_is_no_state_and_mended_by_the_next_tick(watch: Watch) -> None:
    watch.ticks()
    watch.daemon.report(dg.AssetMaterialization(STATUS))
    assert read_state(watch.daemon.instance, STATUS) is None
    assert watch.ticks() == ["active"]


def test_a_record_that_nobody_renews_is_believed_for_a_day_only(watch: Watch) -> None:
    now = watch.clock.now()
    down = FacilityState(Health.UNAVAILABLE, "Fire")
    watch.daemon.report(state_record(STATUS, Recorded(down, now, now)))
    known = [outages_now(watch.daemon.instance, {"nersc": STATUS}, now + hours * HOUR) for hours in (1, 24, 26)]
    assert known == [{"nersc": "unavailable: Fire"}, {"nersc": "unavailable: Fire"}, {}]


# -- credentials -----------------------------------------------------------------------------------------------------


@pytest.fixture
def key_file(twin: Twin) -> Iterator[Path]:
    service = twin.world.deployment.superfacility
    assert service is not None
    path = Path(service.key_file)
    content, before = path.read_bytes(), path.stat()
    yield path
    path.write_bytes(content)
    path.chmod(0o600)
    os.utime(path, (before.st_mtime, before.st_mtime))


def made_at(path: Path, time: datetime) -> None:
    os.utime(path, (time.timestamp(), time.timestamp()))


def test_a_key_that_ends_within_a_day_fails_its_check_and_passes_when_it_is_renewed(
    watch: Watch, key_file: Path
) -> None:
    now = watch.clock.now()
    made_at(key_file, now)
    watch.ticks(2)
    made_at(key_file, now - timedelta(days=2) + ALERT_BEFORE - HOUR)
    watch.ticks(2)
    made_at(key_file, now)
    watch.ticks(2)
    (fine, said_fine), (bad, said), (again, said_again) = watch.credentials()
    assert (fine, bad, again) == (True, False, True)
    assert said_fine == said_again == f"{key_file} is good until {now + timedelta(days=2):%Y-%m-%d %H:%M} UTC."
    assert f"{key_file} ends at {now + timedelta(hours=23):%Y-%m-%d %H:%M} UTC, within a day" in said
    assert "make a new client" in said


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.chmod(0o644), "0644"),
        (lambda path: made_at(path, datetime(2026, 1, 1, tzinfo=UTC)), "ended at 2026-01-03 00:00 UTC"),
    ],
)
def test_a_key_that_cannot_be_used_fails_its_check_and_the_state_is_asked_all_the_same(
    watch: Watch, key_file: Path, spoil: Any, says: str
) -> None:
    spoil(key_file)
    assert watch.ticks(2) == ["active"]
    [(good, said)] = watch.credentials()
    assert not good
    assert says in said
    assert str(key_file) in said


def test_that_it_is_good_is_said_daily(watch: Watch, key_file: Path) -> None:
    made_at(key_file, watch.clock.now() + timedelta(days=9))
    watch.ticks(5, apart_s=12 * 3600)
    assert [good for good, _ in watch.credentials()] == [True, True, True]


def test_a_person_can_have_the_key_looked_at_in_the_ui(
    watch: Watch, key_file: Path, settings: Settings, resources: dict[str, dg.ResourceDefinition]
) -> None:
    checks = credentials_checks(settings.beamline, {"nersc": str(key_file)})
    key_file.chmod(0o640)
    result = dg.materialize(
        [status_spec(settings.beamline, "nersc"), *checks],
        selection=dg.AssetSelection.checks(*checks),
        resources={**bindings(settings), **resources},
        instance=watch.daemon.instance,
    )
    [evaluation] = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert "0640" in str(evaluation.description)
