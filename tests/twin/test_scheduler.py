"""The local batch system: what sbatch takes and refuses, the life of a job, and that no process outlives it."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from twin.clock import SettableClock
from twin.scheduler import Cluster, JobFault, JobQuery, JobState, Pace, Row, SlurmError
from twin.scheduler.local import LocalScheduler
from twin.scheduler.script import read_request, read_time_limit

HEAD = "#!/bin/bash\n#SBATCH -q realtime -A als -C cpu\n"
DEADLINE_S = 10


@dataclass
class Bench:
    scheduler: LocalScheduler
    clock: SettableClock
    folder: Path

    def row(self, job_id: int) -> Row:
        (row,) = self.scheduler.sacct(JobQuery(frozenset({job_id})))
        return row

    def state(self, job_id: int) -> str:
        queued = self.scheduler.squeue(JobQuery(frozenset({job_id})))
        return queued[0]["state"] if queued else self.row(job_id)["state"]

    def final(self, job_id: int) -> Row:
        wait_until(lambda: not self.scheduler.squeue(JobQuery(frozenset({job_id}))))
        return self.row(job_id)

    def started(self, body: str, head: str = HEAD) -> int:
        """A job whose script has reached its first command."""
        mark = self.folder / "mark"
        mark.unlink(missing_ok=True)
        job_id = self.scheduler.sbatch(f"{head}echo $$ > {mark}.new; mv {mark}.new {mark}\n{body}\n")
        wait_until(mark.exists)
        return job_id


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def open_scheduler(folder: Path, clock: SettableClock) -> LocalScheduler:
    return LocalScheduler(folder / "slurm", home=folder / "home", images={}, clock=clock, kill_wait_s=0.3)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    clock = SettableClock()
    scheduler = open_scheduler(tmp_path, clock)
    yield Bench(scheduler, clock, tmp_path)
    scheduler.close()


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("15", 15),
        ("1:30", 2),
        ("0:15:00", 15),
        ("1:02:03", 63),
        ("1-0", 1440),
        ("1-2:03", 1563),
        ("1-02:03:04", 1564),
    ],
)
def test_all_forms_of_a_time_limit_are_read_and_seconds_round_up(text: str, minutes: int) -> None:
    assert read_time_limit(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["0", "UNLIMITED", "-1"])
def test_no_limit_is_none(text: str) -> None:
    assert read_time_limit(text) is None


@given(st.integers(1, 10_000))
def test_what_slurm_prints_as_a_limit_it_reads_as_the_same_limit(minutes: int) -> None:
    hours, rest = divmod(minutes, 60)
    assert read_time_limit(f"{hours // 24}-{hours % 24:02}:{rest:02}:00") == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "-5", "1.5", "٣", "9" * 9])
def test_what_is_no_time_limit_is_refused(text: str) -> None:
    with pytest.raises(SlurmError, match="Invalid --time specification"):
        read_time_limit(text)


def test_options_are_read_in_every_form_and_comments_on_the_line_are_left_out() -> None:
    request = read_request(
        "#!/bin/bash\n# a comment\n\n#SBATCH -qrealtime --account als -C cpu  # why\n#SBATCH --time=0:15:00 -N 2\n"
        "#SBATCH --ntasks-per-node 1 --cpus-per-task=64 --exclusive --job-name='a b' --export=ALL,A=1\n"
        "echo\n#SBATCH -q nosuchqos\n",
        Cluster(),
    )
    assert (request.qos, request.account, request.nodes, request.cpus_per_task) == ("realtime", "als", 2, 64)
    assert (request.name, request.exclusive, request.exports) == ("a b", True, {"A": "1"})
    assert request.time_limit == timedelta(minutes=15)


def test_indented_directives_are_ignored_so_that_the_constraint_is_missing() -> None:
    with pytest.raises(SlurmError, match="No architecture specified"):
        read_request("#!/bin/bash\n    #SBATCH -C cpu\n    #SBATCH -q realtime\necho\n", Cluster())


def test_a_cluster_without_that_filter_takes_a_job_without_a_constraint() -> None:
    request = read_request("#!/bin/bash\n#SBATCH -p regular\n", Cluster(needs_constraint=False))
    assert (request.constraint, request.partition) == ("", "regular")


def test_a_partition_that_the_cluster_has_not_is_refused() -> None:
    with pytest.raises(SlurmError, match="Invalid partition name specified"):
        read_request("#!/bin/bash\n#SBATCH -C cpu --partition=nosuch\n", Cluster())


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "Batch script is empty!"),
        ("echo hello\n", "This does not look like a batch script"),
        (" #!/bin/bash\n", "This does not look like a batch script"),
        ("#!/bin/bash\r\necho\r\n", "DOS line breaks"),
        (HEAD + "#SBATCH -q nosuchqos\n", "Batch job submission failed: Invalid qos specification"),
        (HEAD + "#SBATCH -A nobody\n", "Invalid account or account/partition combination specified"),
        (HEAD + "#SBATCH -C knl\n", "Invalid feature specification"),
        (HEAD + "#SBATCH --colour=red\n", "unrecognized option '--colour'"),
        (HEAD + "#SBATCH -t soon\n", "Invalid --time specification"),
        (HEAD + "#SBATCH -N none\n", "Invalid numeric value"),
        (HEAD + "#SBATCH -c 512\n", "Requested node configuration is not available"),
    ],
)
def test_what_sbatch_refuses_is_refused_in_its_words(script: str, message: str) -> None:
    with pytest.raises(SlurmError) as error:
        read_request(script, Cluster())
    assert message in str(error.value)


def test_a_job_ends_completed_with_its_output_where_the_pattern_says(bench: Bench) -> None:
    (bench.folder / "logs").mkdir()
    head = f"{HEAD}#SBATCH -J recon --output={bench.folder}/logs/%x_%j.out --error={bench.folder}/logs/%x_%j.err\n"
    job_id = bench.scheduler.sbatch(f"{head}echo out $SLURM_JOB_NAME $SLURM_CPUS_PER_TASK; echo err >&2\n")
    row = bench.final(job_id)
    assert (row["state"], row["exitcode"], row["jobname"]) == ("COMPLETED", "0:0", "recon")
    assert (bench.folder / f"logs/recon_{job_id}.out").read_text() == "out recon 1\n"
    assert (bench.folder / f"logs/recon_{job_id}.err").read_text() == "err\n"


def test_times_are_pacific_and_carry_no_zone(bench: Bench) -> None:
    row = bench.final(bench.scheduler.sbatch(HEAD + "true\n"))
    local = datetime.now(Cluster().zone).replace(tzinfo=None)
    assert abs(datetime.fromisoformat(row["end"]) - local) < timedelta(minutes=1)
    assert datetime.fromisoformat(row["start"]).tzinfo is None


@pytest.mark.parametrize(
    ("body", "state", "exit_code"),
    [("exit 3", "FAILED", "3:0"), ("kill -9 $$", "FAILED", "0:9"), ("exit 0", "COMPLETED", "0:0")],
)
def test_a_script_s_end_is_the_job_s_end(bench: Bench, body: str, state: str, exit_code: str) -> None:
    row = bench.final(bench.scheduler.sbatch(f"{HEAD}{body}\n"))
    assert (row["state"], row["exitcode"]) == (state, exit_code)


def test_a_job_whose_log_folder_is_missing_fails_as_slurm_has_it(bench: Bench) -> None:
    row = bench.final(bench.scheduler.sbatch(f"{HEAD}#SBATCH -o {bench.folder}/nowhere/x.out\ntrue\n"))
    assert (row["state"], row["exitcode"]) == ("FAILED", "0:53")


def test_a_job_without_its_interpreter_fails(bench: Bench) -> None:
    row = bench.final(bench.scheduler.sbatch(HEAD.replace("/bin/bash", "/no/such/shell") + "true\n"))
    assert (row["state"], row["exitcode"]) == ("FAILED", "2:0")


def test_nothing_of_the_twin_s_environment_reaches_a_job(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_TWIN", "x")
    job_id = bench.scheduler.sbatch(HEAD + "env\n")
    bench.final(job_id)
    assert "A_SECRET_OF_THE_TWIN" not in (bench.folder / "home" / f"slurm-{job_id}.out").read_text()


@pytest.mark.parametrize("escape", ["", "setsid ", "nohup "])
def test_cancel_ends_every_process_of_the_job(bench: Bench, escape: str) -> None:
    job_id = bench.started(f"{escape}sleep 300 & echo $! > {bench.folder}/child; trap '' TERM; sleep 300; sleep 300")
    child = bench.folder / "child"
    wait_until(lambda: child.exists() and child.read_text().endswith("\n"))
    bench.scheduler.scancel(job_id)
    row = bench.final(job_id)
    assert (row["state"], row["exitcode"]) == (f"CANCELLED by {Cluster().uid}", "0:0")
    wait_until(lambda: not psutil.pid_exists(int(child.read_text())))  # an ended one may still wait for its parent
    wait_until(lambda: sessions_of(bench.folder) == [])


def test_a_pending_job_can_be_cancelled(bench: Bench) -> None:
    bench.scheduler.pace = Pace(nodes=0)
    job_id = bench.scheduler.sbatch(HEAD + "true\n")
    assert bench.state(job_id) == "PENDING"
    bench.scheduler.scancel(job_id)
    row = bench.final(job_id)
    assert (row["state"], row["start"]) == (f"CANCELLED by {Cluster().uid}", "Unknown")


def test_what_a_job_leaves_running_ends_with_it(bench: Bench) -> None:
    assert bench.final(bench.scheduler.sbatch(HEAD + "setsid sleep 300 &\nsleep 300 &\n"))["state"] == "COMPLETED"
    assert sessions_of(bench.folder) == []


def test_a_job_that_outlives_its_time_limit_is_a_timeout(bench: Bench) -> None:
    job_id = bench.started("sleep 300", HEAD + "#SBATCH -t 15\n")
    bench.clock.ahead = timedelta(minutes=16)
    row = bench.final(job_id)
    assert (row["state"], row["timelimit"]) == ("TIMEOUT", "00:15:00")
    assert "DUE TO TIME LIMIT" in (bench.folder / "home" / f"slurm-{job_id}.out").read_text()


@pytest.mark.parametrize(
    ("fault", "state", "exit_code"),
    [
        (JobFault(kind="exit", exit_code=7), "FAILED", "7:0"),
        (JobFault(kind="node_fail"), "NODE_FAIL", "1:0"),
        (JobFault(kind="preempt"), "PREEMPTED", "0:0"),
        (JobFault(kind="timeout"), "TIMEOUT", "0:0"),
        (JobFault(kind="out_of_memory"), "OUT_OF_MEMORY", "0:125"),
        (JobFault(kind="boot_fail"), "BOOT_FAIL", "0:0"),
        (JobFault(kind="deadline"), "DEADLINE", "0:0"),
    ],
)
def test_a_fault_ends_the_next_job_and_no_other(bench: Bench, fault: JobFault, state: str, exit_code: str) -> None:
    bench.scheduler.inject(fault)
    row = bench.final(bench.scheduler.sbatch(HEAD + "sleep 300\n"))
    assert (row["state"], row["exitcode"]) == (state, exit_code)
    assert bench.final(bench.scheduler.sbatch(HEAD + "true\n"))["state"] == "COMPLETED"


def test_a_fault_waits_for_the_job_that_it_names(bench: Bench) -> None:
    bench.scheduler.inject(JobFault(kind="exit", match="recon"))
    assert bench.final(bench.scheduler.sbatch(HEAD + "true\n"))["state"] == "COMPLETED"
    assert bench.final(bench.scheduler.sbatch(HEAD + "#SBATCH -J recon-1\nsleep 300\n"))["state"] == "FAILED"


def test_a_preempted_job_that_is_queued_again_runs_again_under_its_id(bench: Bench) -> None:
    bench.scheduler.inject(JobFault(kind="preempt", requeue=True))
    body = 'test -n "${SLURM_RESTART_COUNT:-}" && exit 0; sleep 300\n'
    assert bench.final(bench.scheduler.sbatch(HEAD + body))["state"] == "COMPLETED"
    with pytest.raises(ValidationError, match="not queued again"):
        JobFault(kind="exit", requeue=True)


def test_a_vanished_job_has_an_id_and_no_record(bench: Bench) -> None:
    bench.scheduler.inject(JobFault(kind="vanish"))
    job_id = bench.scheduler.sbatch(HEAD + "true\n")
    assert bench.scheduler.sacct(JobQuery(frozenset({job_id}))) == []
    assert bench.scheduler.sbatch(HEAD + "true\n") > job_id


def test_a_job_that_hangs_is_running_until_it_is_cancelled(bench: Bench) -> None:
    bench.scheduler.inject(JobFault(kind="hang"))
    job_id = bench.started("sleep 300")
    wait_until(lambda: any(one.status() == psutil.STATUS_STOPPED for one in sessions_of(bench.folder)))
    assert bench.state(job_id) == "RUNNING"
    bench.scheduler.scancel(job_id)
    assert bench.final(job_id)["state"].startswith("CANCELLED")


def test_jobs_wait_for_a_node_and_start_in_order(bench: Bench) -> None:
    bench.scheduler.pace = Pace(nodes=1)
    first = bench.started("sleep 300")
    second = bench.scheduler.sbatch(HEAD + "true\n")
    assert (bench.state(first), bench.state(second)) == ("RUNNING", "PENDING")
    bench.scheduler.scancel(first)
    assert bench.final(second)["state"] == "COMPLETED"


def test_queue_delay_and_configuration_are_seen(bench: Bench) -> None:
    bench.scheduler.pace = Pace(queue_delay_s=60, configuring_s=60)
    job_id = bench.scheduler.sbatch(HEAD + "true\n")
    assert bench.state(job_id) == "PENDING"
    bench.clock.ahead = timedelta(seconds=61)
    wait_until(lambda: bench.state(job_id) == "CONFIGURING")
    bench.clock.ahead = timedelta(seconds=122)
    assert bench.final(job_id)["state"] == "COMPLETED"


def test_a_job_is_in_no_table_during_the_lag(bench: Bench) -> None:
    bench.scheduler.pace = Pace(lag_s=60)
    query = JobQuery(frozenset({bench.scheduler.sbatch(HEAD + "true\n")}))
    assert (bench.scheduler.squeue(query), bench.scheduler.sacct(query)) == ([], [])
    bench.clock.ahead = timedelta(seconds=61)
    assert len(bench.scheduler.sacct(query)) == 1


def test_sacct_without_ids_begins_at_midnight(bench: Bench) -> None:
    job_id = bench.scheduler.sbatch(HEAD + "true\n")
    bench.final(job_id)
    assert len(bench.scheduler.sacct(JobQuery(user="alsdev"))) == 1
    bench.clock.ahead = timedelta(days=1)
    assert bench.scheduler.sacct(JobQuery(user="alsdev")) == []
    assert len(bench.scheduler.sacct(JobQuery(since=datetime.now(UTC) - timedelta(hours=1)))) == 1
    assert bench.row(job_id)["state"] == "COMPLETED"


def test_a_controller_that_is_down_fails_every_command(bench: Bench) -> None:
    bench.scheduler.pace = Pace(controller_down=True)
    for command in (
        lambda: bench.scheduler.sbatch(HEAD),
        lambda: bench.scheduler.squeue(JobQuery()),
        lambda: bench.scheduler.sacct(JobQuery()),
        lambda: bench.scheduler.scancel(1),
    ):
        with pytest.raises(SlurmError, match="Unable to contact slurm controller"):
            command()


def test_closing_ends_everything_and_the_next_scheduler_knows_what_was(bench: Bench) -> None:
    running = bench.started("trap '' TERM; setsid sleep 300 & sleep 300; sleep 300")
    bench.scheduler.pace = Pace(nodes=1)
    pending = bench.scheduler.sbatch(HEAD + "true\n")
    bench.scheduler.close()
    assert sessions_of(bench.folder) == []
    bench.scheduler = open_scheduler(bench.folder, bench.clock)
    assert bench.row(running)["state"] == "NODE_FAIL"
    assert bench.final(pending)["state"] == "COMPLETED"
    assert bench.scheduler.sbatch(HEAD + "true\n") > pending
    bench.scheduler.close()


def test_what_a_killed_twin_left_behind_is_ended_by_the_next(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    program = (
        "import sys, time, os; from pathlib import Path; from datetime import datetime, UTC\n"
        "from twin.scheduler.local import LocalScheduler\n"
        f"s = LocalScheduler(Path({str(tmp_path)!r}) / 'slurm', home=Path({str(tmp_path)!r}), images={{}}, "
        "clock=lambda: datetime.now(UTC))\n"
        f"s.sbatch({HEAD!r} + 'touch {mark}; sleep 300\\n')\n"
        f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\n"
        "time.sleep(0.1); os._exit(9)\n"
    )
    root = Path(__file__).parents[2]
    twin = psutil.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(root)})
    assert twin.wait(DEADLINE_S) == 9
    assert sessions_of(tmp_path) != []
    scheduler = open_scheduler(tmp_path, SettableClock())
    wait_until(lambda: sessions_of(tmp_path) == [])
    assert [job.state for job in scheduler.jobs()] == [JobState.NODE_FAIL]
    scheduler.close()


def sessions_of(folder: Path) -> list[psutil.Process]:
    """Live processes that carry a TMPDIR below the folder: every process of every job there."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.environ().get("TMPDIR", "").startswith(str(folder / "slurm"))
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
