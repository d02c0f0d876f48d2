"""Messages, from the event log to what a recipient has received over HTTP."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.tags import PARTITION_NAME_TAG

from als_assets.definitions import compose
from beamlines.decisions import Reason
from beamlines.deployment import Messages, Recipient, SecretName
from beamlines.messages import Kind
from beamlines.policy import Arrival
from beamlines.scans import ScanId
from beamlines.testing import HOSTILE_NAMES
from resources.errors import ServiceRefusedError
from resources.outbox import SENT_WITHIN, Outbox
from resources.settings import Settings
from resources.standings import Standings
from resources.testing import Desk, SleptClock
from sensors.arrivals import Complete
from sensors.event_log import arrival_record
from sensors.messages import GRACE, Memory
from sensors.reconciler import WILL_RETRY_TAG
from sensors.testing import Daemon, Stage
from twin.faults import Fault
from twin.server import Twin
from twin.world import write_secret

SENSOR, TELL, SCANS = "bl832_messages", "bl832_tell", "bl832_scans"
ARRIVAL = dg.AssetKey(["bl832", "spot832", "raw"])
RAW, PREVIEW = (dg.AssetKey(["bl832", "data832", name]) for name in ("raw", "preview"))
SCAN = "BLS-00564_demo/20260101_120000_phantom.h5"
KEY = ScanId(SCAN).key
EVERY = {Kind.SAFE_AND_SEEN, Kind.DONE, Kind.FAILED}


def recipient(address: Path, *kinds: Kind, **about: tuple[str, ...]) -> Recipient:
    return Recipient(address=SecretName(file=str(address)), kinds=kinds or tuple(EVERY), **about)  # type: ignore[arg-type]


class Night:
    """A beamline at night: scans, runs, and those who are told of them."""

    def __init__(
        self,
        twin: Twin,
        settings: Settings,
        instance: dg.DagsterInstance,
        clock: SleptClock,
        resources: dict[str, dg.ResourceDefinition],
        desk: Desk,
    ) -> None:
        self.twin, self.settings, self.instance, self.clock, self.desk = twin, settings, instance, clock, desk
        self.resources = resources
        self.secrets = Path(twin.world.state_dir) / "secrets"
        self.standings = Standings(desk.ledger.database)

    def hear(self, messages: Messages) -> None:
        """Begin with these recipients."""
        deployment = self.settings.deployment.model_copy(update={"messages": messages})
        self.configured = Settings(deployment, self.settings.beamline)
        self.definitions = compose(self.configured, **self.resources)
        self.daemon = Daemon(self.instance, self.definitions.get_repository_def(), self.clock)
        if messages.recipients:
            self.daemon.tick(SENSOR)
            self.clock.sleep(1)

    def arrive(self, path: str = SCAN, arrival: Arrival = Arrival.NEW) -> str:
        key = ScanId(path).key
        self.instance.add_dynamic_partitions(SCANS, [key])
        scan = Complete(path, 4, self.clock.now())
        self.daemon.report(arrival_record(self.settings.beamline, ARRIVAL, scan, arrival))
        return key

    def be_seen(self, path: str = SCAN, arrival: Arrival = Arrival.NEW) -> str:
        key = self.arrive(path, arrival)
        self.make(RAW, key)
        self.make(PREVIEW, key)
        return key

    def make(self, asset: dg.AssetKey, key: str) -> None:
        self.daemon.report(dg.AssetMaterialization(asset, partition=key))

    def make_branch(self, key: str, facility: str = "nersc") -> None:
        graph = self.definitions.resolve_job_def(f"bl832_{facility}").asset_layer.selected_asset_keys
        for asset in sorted(graph):
            self.make(asset, key)

    def fail(self, error: Exception, job: str = "bl832_nersc", **tags: str) -> str:
        @dg.op
        def step() -> None:
            raise error

        @dg.job(name=job)
        def failing() -> None:
            step()

        tagged = {name.replace("__", "/"): value for name, value in tags.items()}
        run = failing.execute_in_process(instance=self.instance, raise_on_error=False, tags=tagged)
        return run.run_id

    def tick(self, dies_before: Stage | None = None) -> bool:
        """One tick; whether it wants something sent."""
        self.clock.sleep(5)
        return bool(self.daemon.tick(SENSOR, dies_before).run_requests)

    def tell(self, **resources: dg.ResourceDefinition) -> dg.ExecuteInProcessResult:
        """What the run does that the tick has asked for; with other resources than its own."""
        for run in self.instance.get_runs(dg.RunsFilter(job_name=TELL, statuses=[dg.DagsterRunStatus.NOT_STARTED])):
            self.instance.delete_run(run.run_id)
        changed = compose(self.configured, **self.resources, **resources) if resources else self.definitions
        job = changed.resolve_job_def(TELL)
        return job.execute_in_process(instance=self.instance, raise_on_error=False)

    def tick_and_tell(self) -> list[str]:
        """The titles that arrived."""
        before = len(self.twin.mailboxes.received)
        if self.tick():
            assert self.tell().success
        return [message["title"] for message in self.twin.mailboxes.received[before:]]

    @property
    def last(self) -> str:
        """The text of the newest message."""
        message = self.twin.mailboxes.received[-1]
        return f"{message['title']}\n{message['body']}"


@pytest.fixture
def evening(
    twin: Twin,
    settings: Settings,
    instance: dg.DagsterInstance,
    clock: SleptClock,
    resources: dict[str, dg.ResourceDefinition],
    desk: Desk,
) -> Night:
    """Nobody is configured yet."""
    twin.mailboxes.forget()
    return Night(twin, settings, instance, clock, resources, desk)


@pytest.fixture
def night(evening: Night) -> Night:
    """The operators are told of everything."""
    evening.hear(Messages(recipients={"operators": recipient(evening.secrets / "messages_operators")}))
    return evening


# -- what is told ----------------------------------------------------------------------------------------------------


def test_a_scan_that_is_safe_and_seen_is_told_once_with_a_link_to_its_first_look(night: Night) -> None:
    night.be_seen()
    assert night.tick_and_tell() == [f"{KEY} is safe"]
    assert "every byte of it is verified" in night.last
    ui = night.settings.deployment.ui
    assert f"{ui}/assets/bl832/data832/preview?view=partitions&partition=BLS-00564_demo%2F2026" in night.last
    assert night.tick_and_tell() == []
    night.clock.sleep(GRACE.total_seconds() + 10)
    assert night.tick_and_tell() == []


def test_a_scan_that_is_copied_and_not_seen_yet_is_not_told(night: Night) -> None:
    night.make(RAW, night.arrive())
    assert night.tick_and_tell() == []


def test_a_picture_of_a_scan_that_is_not_on_site_is_not_told(night: Night) -> None:
    night.make(PREVIEW, night.arrive())
    assert night.tick_and_tell() == []


@pytest.mark.parametrize("arrival", [Arrival.ADOPTED, Arrival.REPAIR])
def test_of_scans_that_were_adopted_or_repaired_nobody_is_told(night: Night, arrival: Arrival) -> None:
    night.make_branch(night.be_seen(arrival=arrival))
    assert night.tick_and_tell() == []


def test_checks_that_did_not_pass_are_flags_in_their_own_words(night: Night) -> None:
    key = night.arrive()

    @dg.multi_asset(
        specs=[dg.AssetSpec(RAW), dg.AssetSpec(PREVIEW)],
        check_specs=[dg.AssetCheckSpec(name, asset=PREVIEW) for name in ("in_focus", "fine")],
        name="ingest",
        partitions_def=dg.DynamicPartitionsDefinition(name=SCANS),
    )
    def ingest() -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        yield dg.MaterializeResult(asset_key=RAW)
        said = {"detail": "the <edges> are soft, see http://evil.example.com"}
        warn = dg.AssetCheckSeverity.WARN
        yield dg.AssetCheckResult(asset_key=PREVIEW, check_name="in_focus", passed=False, severity=warn, metadata=said)
        yield dg.AssetCheckResult(asset_key=PREVIEW, check_name="fine", passed=True, metadata={"detail": "good"})
        yield dg.MaterializeResult(asset_key=PREVIEW)

    assert dg.materialize([ingest], instance=night.instance, partition_key=key).success
    assert night.tick_and_tell() == [f"{KEY} is safe"]
    assert "Flag: in_focus: the ~3Cedges~3E are soft, see http~3A//evil~2Eexample~2Ecom" in night.last
    assert "good" not in night.last


def test_of_a_scan_that_is_not_whole_it_is_told_that_it_is_safe_and_what_is_missing(night: Night) -> None:
    key = night.arrive()
    night.make(RAW, key)
    night.standings.inspected(key, proposal=None, aborted="12 of 500 projections")
    night.daemon.report(dg.AssetObservation(PREVIEW, partition=key, description="No first look."))
    assert night.tick_and_tell() == [f"{KEY} is safe, but not whole"]
    assert "12 of 500 projections" in night.last


def test_a_scan_is_done_when_everything_of_a_branch_is_there_and_it_is_said_how_long_it_is_kept(night: Night) -> None:
    key = night.be_seen()
    assert night.tick_and_tell() == [f"{KEY} is safe"]
    night.make_branch(key)
    assert night.tick_and_tell() == [f"{KEY} is done"]
    until = (night.clock.now() + timedelta(days=14)).date()
    link = f"{night.settings.deployment.ui}/assets/bl832/data832/nersc_tiff?"
    assert f"data832/nersc_tiff, kept until {until} at least: {link}" in night.last
    assert night.tick_and_tell() == []


def test_a_scan_of_which_one_copy_is_missing_is_not_done(night: Night) -> None:
    key = night.be_seen()
    for asset in (("nersc", "raw"), ("pscratch", "tiff"), ("data832", "nersc_tiff")):
        night.make(dg.AssetKey(["bl832", *asset]), key)
    assert night.tick_and_tell() == [f"{KEY} is safe"]


def test_a_failed_run_is_told_with_the_named_error_and_a_link_to_it(night: Night) -> None:
    error = ServiceRefusedError(seen="NERSC said no", meaning="the key has ended", remedy="make a new one")
    run = night.fail(error, **{PARTITION_NAME_TAG.replace("/", "__"): KEY})
    assert night.tick_and_tell() == ["bl832_nersc has failed"]
    assert "ServiceRefusedError: NERSC said no. The key has ended. Make a new one." in night.last
    assert f"Scan: {KEY}" in night.last
    assert f"{night.settings.deployment.ui}/runs/{run}" in night.last


def test_what_an_error_says_that_is_none_of_ours_is_not_sent(night: Night) -> None:
    night.fail(RuntimeError("postgresql://als:geheim@db/als"))
    assert night.tick_and_tell() == ["bl832_nersc has failed"]
    assert "RuntimeError" in night.last
    assert "geheim" not in night.last


def test_a_run_that_is_retried_has_not_failed_yet_and_one_that_could_not_tell_is_not_told(night: Night) -> None:
    night.fail(RuntimeError("x"), **{WILL_RETRY_TAG.replace("/", "__"): "true"})
    night.fail(RuntimeError("x"), job=TELL)
    assert night.tick_and_tell() == []


# -- what is not told ------------------------------------------------------------------------------------------------


def test_of_a_restricted_scan_it_is_told_that_there_is_one_and_nothing_else(night: Night) -> None:
    key = night.be_seen()
    night.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="a person", note="secret", at=night.clock.now())
    night.make_branch(key, "local")
    night.fail(RuntimeError("x"), **{PARTITION_NAME_TAG.replace("/", "__"): key})
    assert night.tick_and_tell() == ["A restricted scan has arrived", "bl832_nersc has failed"]
    said = " ".join(f"{message['title']} {message['body']}" for message in night.twin.mailboxes.received)
    for word in ("BLS", "00564", "phantom", "2026", "preview", "RuntimeError", "restricted-by"):
        assert word not in said


def test_a_scan_that_is_restricted_while_its_message_waits_is_not_named_any_more(night: Night) -> None:
    key = night.be_seen()
    assert night.tick()
    night.standings.restrict(key, Reason.RESTRICTED_BY_OPERATOR, author="a person", note="secret", at=night.clock.now())
    assert night.tell().success
    assert [message["title"] for message in night.twin.mailboxes.received] == ["A restricted scan has arrived"]


def test_who_is_told_of_some_scans_alone_is_not_told_that_a_restricted_one_is_among_them(evening: Night) -> None:
    folder = recipient(evening.secrets / "messages_operators", folders=("BLS-00564_*",))
    evening.hear(Messages(recipients={"group": folder}))
    key = evening.be_seen()
    evening.standings.restrict(
        key, Reason.RESTRICTED_BY_OPERATOR, author="a person", note="secret", at=evening.clock.now()
    )
    assert evening.tick_and_tell() == []


def test_a_recipient_of_a_folder_or_a_proposal_is_told_of_no_other_scan(evening: Night) -> None:
    address = evening.secrets / "messages_operators"
    by_folder = recipient(address, folders=("BLS-00564_*",))
    by_proposal = recipient(evening.secrets / "messages_beamtime", proposals=("ALS-12345",))
    evening.hear(Messages(recipients={"operators": by_folder, "beamtime": by_proposal}))
    evening.be_seen("BLS-00564_demo/a.h5")
    evening.be_seen("ALS-12345_somebody/below/a.h5")
    evening.standings.inspected(evening.be_seen("elsewhere/a.h5"), proposal="ALS-12345", aborted=None)
    evening.be_seen("elsewhere/b.h5")
    evening.fail(RuntimeError("of no scan"))
    evening.tick_and_tell()
    said = sorted((message["recipient"], message["title"]) for message in evening.twin.mailboxes.received)
    assert said == [
        ("beamtime", "ALS-12345_somebody/below/a is safe"),
        ("beamtime", "elsewhere/a is safe"),
        ("operators", "BLS-00564_demo/a is safe"),
    ]


def test_a_kind_that_a_recipient_does_not_get_is_not_sent(evening: Night) -> None:
    evening.hear(Messages(recipients={"operators": recipient(evening.secrets / "messages_operators", Kind.FAILED)}))
    evening.make_branch(evening.be_seen())
    assert evening.tick_and_tell() == []


def test_where_nobody_is_configured_there_is_neither_a_sensor_nor_a_job(evening: Night) -> None:
    evening.hear(Messages())
    assert SENSOR not in {sensor.name for sensor in evening.definitions.sensors or []}
    assert TELL not in {job.name for job in evening.definitions.resolve_all_job_defs()}


def test_what_happened_while_it_was_switched_off_is_not_told_later(night: Night) -> None:
    night.clock.sleep(10)
    night.be_seen()
    night.fail(RuntimeError("x"))
    night.clock.sleep(3600)
    night.daemon.switch_on(SENSOR)
    assert night.tick_and_tell() == []
    night.be_seen("a/later.h5")
    assert night.tick_and_tell() == ["a/later is safe"]


def test_hostile_names_are_harmless(evening: Night) -> None:
    evening.hear(Messages(an_hour=0, recipients={"operators": recipient(evening.secrets / "messages_operators")}))
    for name in HOSTILE_NAMES[:20]:
        evening.be_seen(f"a/{name}.h5")
    assert evening.tick_and_tell() == ["20 messages in one"]
    assert not set(evening.last) & set('<>&*`[]|#@!\\$"{}\t\r')
    assert len(evening.last.splitlines()) == 22


# -- how it is sent --------------------------------------------------------------------------------------------------


def test_a_burst_becomes_one_digest_and_what_follows_waits_for_the_next(evening: Night) -> None:
    evening.hear(Messages(an_hour=2, recipients={"operators": recipient(evening.secrets / "messages_operators")}))
    for number in range(30):
        evening.be_seen(f"burst/{number:02d}.h5")
    assert evening.tick_and_tell() == ["30 messages in one"]
    assert "burst/00 is safe" in evening.last
    assert "... and 10 more" in evening.last
    for number in range(3):
        evening.be_seen(f"later/{number}.h5")
    assert evening.tick_and_tell() == []
    evening.clock.sleep(15 * 60)
    assert evening.tick_and_tell() == ["3 messages in one"]
    evening.be_seen("last.h5")
    assert evening.tick_and_tell() == ["last is safe"]


def test_one_whom_nothing_reaches_keeps_no_other_waiting_and_is_told_later(evening: Night) -> None:
    dead = evening.secrets / "messages_dead"
    write_secret(dead, "json://127.0.0.1:1/nobody")
    evening.hear(
        Messages(
            recipients={"a-dead-one": recipient(dead), "operators": recipient(evening.secrets / "messages_operators")}
        )
    )
    evening.be_seen()
    assert evening.tick_and_tell() == [f"{KEY} is safe"]
    assert not evening.tick()
    write_secret(dead, (evening.secrets / "messages_beamtime").read_text())
    evening.clock.sleep(60)
    assert evening.tick_and_tell() == [f"{KEY} is safe"]
    assert not evening.tick()


def test_an_address_that_is_missing_or_is_none_fails_nothing_else(evening: Night) -> None:
    wrong = evening.secrets / "messages_wrong"
    write_secret(wrong, "geheim")
    evening.hear(
        Messages(
            recipients={
                "missing": recipient(evening.secrets / "messages_missing"),
                "none": recipient(wrong),
                "operators": recipient(evening.secrets / "messages_operators"),
            }
        )
    )
    evening.be_seen()
    assert evening.tick_and_tell() == [f"{KEY} is safe"]
    assert "geheim" not in all_that_dagster_knows(evening.instance)


def test_a_message_whose_answer_is_lost_is_repeated_once_and_then_never(night: Night) -> None:
    night.be_seen()
    night.twin.control.injector.add(Fault(match="POST /messages/operators", times=5, after=True, drop=True))
    titles = night.tick_and_tell()
    assert not night.tick()
    night.clock.sleep(300)
    assert night.tick()
    assert not night.tell().success  # red, because nobody knows
    assert [message["title"] for message in night.twin.mailboxes.received] == titles * 2
    night.clock.sleep(3600)
    assert not night.tick()


def test_a_tick_that_dies_before_its_cursor_tells_nothing_twice(night: Night) -> None:
    night.be_seen()
    assert night.tick(dies_before=Stage.CURSOR)
    assert night.tell().success
    assert night.tick_and_tell() == []
    assert len(night.twin.mailboxes.received) == 1


class DyingOutbox(Outbox):
    """A process that ends after a message was sent and before that is written down."""

    def sent(self, *_: object) -> None:
        raise KeyboardInterrupt


def test_a_run_that_dies_after_sending_repeats_that_one_message_at_most_once(night: Night) -> None:
    night.be_seen()
    night.be_seen("second.h5")
    assert night.tick()
    dying = dg.ResourceDefinition.hardcoded_resource(DyingOutbox(night.desk.ledger.database))
    assert not night.tell(outbox=dying).success
    assert night.tick_and_tell() == ["second is safe"]
    night.clock.sleep(SENT_WITHIN.total_seconds())
    assert night.tick_and_tell() == []
    night.clock.sleep(SENT_WITHIN.total_seconds())
    assert night.tick_and_tell() == [f"{KEY} is safe"]
    night.clock.sleep(3600)
    assert night.tick_and_tell() == []


def test_an_unreadable_cursor_begins_with_what_happens_from_now_on(night: Night) -> None:
    night.be_seen()
    night.daemon.switches[SENSOR].cursor = "nonsense"
    assert night.tick_and_tell() == []
    night.be_seen("later.h5")
    assert night.tick_and_tell() == ["later is safe"]


def test_what_an_older_event_has_that_becomes_visible_late_is_told(night: Night) -> None:
    night.be_seen()
    night.tick()
    memory = Memory.model_validate_json(str(night.daemon.switches[SENSOR].cursor))
    assert memory.read[PREVIEW.to_user_string()] == 0  # it is read again until it is old enough


def test_no_secret_is_in_runs_their_logs_or_what_processes_print(
    night: Night, capfd: pytest.CaptureFixture[str]
) -> None:
    address = (night.secrets / "messages_operators").read_text()
    password = address.partition(":")[2].partition(":")[2].partition("@")[0]
    night.be_seen()
    night.twin.control.injector.add(Fault(match="POST /messages/operators", status=500))
    night.tick_and_tell()
    night.clock.sleep(300)
    assert night.tick_and_tell() == [f"{KEY} is safe"]
    printed = capfd.readouterr()
    known = all_that_dagster_knows(night.instance) + printed.out + printed.err
    assert "bl832_tell" in known
    assert len(password) == 32
    assert password not in known
    assert "json://" not in known


def all_that_dagster_knows(instance: dg.DagsterInstance) -> str:
    runs = instance.get_runs()
    return "".join(f"{run} {instance.all_logs(run.run_id)}" for run in runs)
