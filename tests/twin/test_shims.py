"""srun and podman-hpc inside a job: what they run, what they refuse, and what a container can reach."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.scheduler import JobQuery
from twin.scheduler.local import LocalScheduler
from twin.shims.podman_hpc import Mount, PodmanError, translate

IMAGE = "ghcr.io/als-computing/tomography:0.1.0"
DEADLINE_S = 10
HOSTILE = '20260101_120000_it\'s $(touch pwned); `x` "q" & | é*\n-rf.h5'


@dataclass
class Node:
    scheduler: LocalScheduler
    work: Path

    def run(self, *lines: str, tasks: int = 1) -> tuple[str, str]:
        """The exit code of a job with these lines, and what it wrote."""
        head = (
            f"#!/bin/bash\n#SBATCH -C cpu --ntasks-per-node={tasks} -o {self.work}/log\nset -euo pipefail\numask 002\n"
        )
        job_id = self.scheduler.sbatch(head + "\n".join(lines) + "\n")
        query = JobQuery(frozenset({job_id}))
        deadline = time.monotonic() + DEADLINE_S
        while self.scheduler.squeue(query):
            assert time.monotonic() < deadline, "the job does not end"
            time.sleep(0.01)
        (row,) = self.scheduler.sacct(query)
        return row["exitcode"], (self.work / "log").read_text()

    def podman(self, *command: str, options: str = "", image: str = IMAGE) -> tuple[str, str]:
        words = shlex.join(["--volume", f"{self.work}:/work", *shlex.split(options), image, *command])
        return self.run(f"srun --ntasks=1 podman-hpc run --rm {words}")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    work = tmp_path / "work"
    work.mkdir()
    images = {IMAGE: Path(sys.executable)}
    scheduler = LocalScheduler(
        tmp_path / "slurm", home=tmp_path / "home", images=images, clock=lambda: datetime.now(UTC), kill_wait_s=0.3
    )
    yield Node(scheduler, work)
    scheduler.close()


def test_srun_runs_every_task_and_ends_as_the_worst_one(node: Node) -> None:
    code, log = node.run("srun -n 3 --cpu-bind=cores bash -c 'echo task $SLURM_PROCID; exit $SLURM_PROCID'", tasks=3)
    assert code == "2:0"
    assert {"task 0", "task 1", "task 2"} <= set(log.splitlines())
    assert "task 2: Exited with exit code 2" in log


def test_srun_refuses_more_tasks_than_the_job_has(node: Node) -> None:
    code, log = node.run("srun -n 2 true")
    assert code == "1:0"
    assert "More processors requested than permitted" in log


def test_srun_says_which_command_does_not_exist(node: Node) -> None:
    code, log = node.run("srun no-such-command")
    assert code == "2:0"
    assert "execve(): no-such-command: No such file or directory" in log


def test_srun_refuses_to_run_outside_a_job(node: Node, tmp_path: Path) -> None:
    node.run("true")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    ended = subprocess.run(
        [tmp_path / "slurm/bin/srun", "true"], env=clean, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert "not inside a job" in ended.stderr


def test_a_container_reads_and_writes_what_is_mounted(node: Node) -> None:
    (node.work / "in").write_text("content")
    code, _ = node.podman("python", "-c", "import shutil, sys; shutil.copy(*sys.argv[1:])", "/work/in", "/work/out")
    assert code == "0:0"
    assert (node.work / "out").read_text() == "content"


def test_hostile_names_arrive_as_they_are(node: Node) -> None:
    (node.work / HOSTILE).write_text("content")
    program = "import shutil, sys; shutil.copy(*sys.argv[1:])"
    code, log = node.podman("python", "-c", program, f"/work/{HOSTILE}", f"/work/rec{HOSTILE}")
    assert (code, log) == ("0:0", "")
    assert sorted(path.name for path in node.work.iterdir()) == sorted(["log", HOSTILE, f"rec{HOSTILE}"])


def test_the_image_s_tomography_is_there(node: Node) -> None:
    assert node.podman("python", "-c", "import tomography")[0] == "0:0"


def test_the_program_s_exit_code_is_the_job_s(node: Node) -> None:
    assert node.podman("python", "-c", "raise SystemExit(7)")[0] == "7:0"


@pytest.mark.parametrize(
    ("command", "options", "code", "message"),
    [
        (("python", "-V"), "--colour red", "125:0", "unknown flag: --colour"),
        (("python", "-V"), "-X", "125:0", "unknown shorthand flag"),
        (("python", "-V"), "--volume /nowhere:/x", "125:0", "statfs /nowhere: no such file or directory"),
        (("python", "-V"), "--volume /tmp:relative", "125:0", "must be an absolute path"),
        (("reconstruct",), "", "127:0", "executable file `reconstruct` not found"),
        (("python", "-V", "/data/raw/x.h5"), "", "2:0", "No such file or directory: '/data/raw/x.h5'"),
        (("python", "-V", "--out=/data/x"), "", "2:0", "No such file or directory: '/data/x'"),
        (("python", "-V", "/work/../etc/passwd"), "", "2:0", "No such file or directory"),
    ],
)
def test_podman_refuses(node: Node, command: tuple[str, ...], options: str, code: str, message: str) -> None:
    seen, log = node.podman(*command, options=options)
    assert seen == code
    assert message in log


def test_podman_knows_only_the_images_of_the_scheduler(node: Node) -> None:
    code, log = node.podman("python", "-V", image="ghcr.io/als-computing/tomography:9.9.9")
    assert code == "125:0"
    assert "ghcr.io/als-computing/tomography:9.9.9: image not known" in log


@pytest.mark.parametrize(
    ("action", "mounted"),
    [
        ("open('{path}/x', 'w')", True),
        ("open('{path}/x', 'w')", False),
        ("open('{path}/held', 'a')", True),
        ("os.mkdir('{path}/new')", True),
        ("os.remove('{path}/held')", False),
        ("os.rename('{path}/held', '{path}/other')", True),
        ("os.symlink('a', '{path}/link')", True),
        ("shutil.rmtree('{path}')", True),
    ],
)
def test_python_in_a_container_changes_nothing_it_may_not(
    node: Node, tmp_path: Path, action: str, mounted: bool
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "held").write_text("content")
    options = f"--volume {other}:/other:ro" if mounted else ""
    code, log = node.podman("python", "-c", f"import os, shutil; {action.format(path=other)}", options=options)
    assert code == "1:0"
    assert "Read-only file system" in log
    assert [(path.name, path.read_text()) for path in other.iterdir()] == [("held", "content")]


def test_a_container_has_its_own_environment_and_umask(node: Node) -> None:
    program = "import os; print(sorted(os.environ)); open('/dev/null'); print(oct(os.umask(0)), os.environ['GIVEN'])"
    code, log = node.podman("python", "-c", program, options="--env GIVEN=1")
    assert code == "0:0"
    assert "SLURM_JOB_ID" not in log
    assert log.splitlines()[-1] == "0o22 1"


def test_podman_takes_a_umask(node: Node) -> None:
    _, log = node.podman("python", "-c", "import os; print(oct(os.umask(0)))", options="--umask 0002")
    assert log == "0o2\n"


@given(st.text().filter(lambda text: "\0" not in text))
def test_a_translated_path_never_leaves_its_mount(text: str) -> None:
    mounts = [Mount("/host/work", "/work", writable=True), Mount("/host/raw", "/work/raw", writable=False)]
    with suppress(PodmanError):
        assert translate(f"/work/{text}", mounts).split("/")[:3] in (["", "host", "work"], ["", "host", "raw"])


def test_the_longest_mount_holds_a_path() -> None:
    mounts = [Mount("/a", "/work", writable=True), Mount("/b", "/work/raw", writable=False)]
    assert translate("/work/raw/x.h5", mounts) == "/b/x.h5"
    assert translate("//work/rawer//x.h5", mounts) == "/a/rawer/x.h5"
