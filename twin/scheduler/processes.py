"""The processes of a job: starting its script, finding all of them, stopping and ending them.

Belongs here: sessions, environments and signals. A job's processes are those of its session and those that carry its
TMPDIR, so that one which left the session (``setsid``, a daemon) is found as well; Slurm uses cgroups for this.
Does not: when a job starts or ends, and as what (scheduler.local).
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from twin.scheduler import Cluster, JobRecord

SHIMS = Path(__file__).parents[1] / "shims"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
IMAGES_VARIABLE = "PODMANHPC_TWIN_IMAGES"
"""Environment variable with the file of images: a JSON object from image reference to Python executable."""


class CannotStartError(Exception):
    """The script could not be started; ``exit_code`` and ``signal`` are what Slurm records then."""

    def __init__(self, message: str, *, exit_code: int = 0, signal: int = 0) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.signal = signal


class JobProcess:
    """The session of a job's batch script."""

    def __init__(self, popen: "subprocess.Popen[bytes]", tmp: Path, error_file: Path) -> None:
        self._popen = popen
        self._tmp = str(tmp)
        self._error_file = error_file
        self.session = popen.pid
        self.session_started = psutil.Process(popen.pid).create_time()

    def returncode(self) -> int | None:
        """The script's exit status, minus the number of a signal, None while it runs."""
        return self._popen.poll()

    def alive(self) -> bool:
        """Whether any process of the job is left."""
        # The script is asked last: it may end while the others are looked for, and nobody would take its exit status.
        return bool(processes(self.session, self._tmp)) or self._popen.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send the signal to every process of the job."""
        for process in processes(self.session, self._tmp):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self, timeout_s: float) -> None:
        """Kill every process of the job and wait until the last one is gone. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while left := processes(self.session, self._tmp):
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes {[process.pid for process in left]} of a job outlive SIGKILL")
            self.send(signal.SIGKILL)
            psutil.wait_procs(left, timeout=0.2)
        self._popen.wait(timeout_s)

    def note(self, text: str) -> None:
        """Write what Slurm's daemon says about a job it ends to the job's standard error."""
        # A job may have removed the folder of its own log: then there is nowhere left to say it.
        with suppress(FileNotFoundError), self._error_file.open("a") as file:
            file.write(text + "\n")


def processes(session: int, tmp: str) -> list[psutil.Process]:
    """Every live process of the session, or with a TMPDIR that is ``tmp`` or below it, as a container's is."""
    return [process for process in psutil.process_iter() if _belongs(process, session, tmp)]


def _belongs(process: psutil.Process, session: int, tmp: str) -> bool:
    try:
        ours = os.getsid(process.pid) == session or f"{process.environ().get('TMPDIR')}/".startswith(f"{tmp}/")
        return ours and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
        return False


def end_survivors(session: int, session_started: float, tmp: Path) -> None:
    """Kill what a job of an earlier twin left behind; a process id that is in use again is left alone."""
    with suppress(psutil.NoSuchProcess):
        if abs(psutil.Process(session).create_time() - session_started) > 1:
            session = -1
    for process in processes(session, str(tmp)):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def start(script: Path, job: JobRecord, cluster: Cluster, environment: Mapping[str, str]) -> JobProcess:
    """Run the batch script in a session of its own. Raises CannotStartError.

    The folders of the output files must exist: Slurm creates none, and records exit code 0:53.
    """
    output = expand(job.request.output, job, cluster)
    error = output if job.request.error is None else expand(job.request.error, job, cluster)
    try:
        with output.open("wb") as out, error.open("ab" if error == output else "wb") as err:
            popen = subprocess.Popen(
                [script, *job.args],
                cwd=job.workdir,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                umask=0o022,
            )
    except OSError as failure:
        if failure.filename is not None and Path(os.fsdecode(failure.filename)) == script:
            raise CannotStartError(f"execve(): bad interpreter: {failure}", exit_code=2) from failure
        raise CannotStartError(f"Could not open a file of the job or its folder: {failure}", signal=53) from failure
    return JobProcess(popen, Path(environment["TMPDIR"]), error)


def expand(pattern: str, job: JobRecord, cluster: Cluster) -> Path:
    """The file that a pattern of ``--output`` names: %j and %A the id, %x the name, %u the user, %N the node."""
    meanings = {
        "%%": "%",
        "%j": str(job.job_id),
        "%A": str(job.job_id),
        "%x": job.request.name,
        "%u": cluster.user,
        "%N": job.nodes[0] if job.nodes else "",
    }
    text, index = "", 0
    while index < len(pattern):
        pair = pattern[index : index + 2]
        text += meanings.get(pair, pattern[index])
        index += 2 if pair in meanings else 1
    return Path(job.workdir) / text


def job_environment(job: JobRecord, cluster: Cluster, *, bin_dir: Path, home: Path, tmp: Path) -> dict[str, str]:
    """What a batch script finds in its environment; nothing of the twin's own is passed on."""
    request = job.request
    nodes = ",".join(job.nodes)
    environment = {
        "PATH": f"{bin_dir}:{Path(sys.executable).parent}:{SYSTEM_PATH}",
        "HOME": str(home),
        "USER": cluster.user,
        "LOGNAME": cluster.user,
        "SHELL": "/bin/bash",
        "LANG": "C.UTF-8",
        "TMPDIR": str(tmp),
        "SLURM_CLUSTER_NAME": cluster.name,
        "SLURM_JOB_ID": str(job.job_id),
        "SLURM_JOBID": str(job.job_id),
        "SLURM_JOB_NAME": request.name,
        "SLURM_JOB_ACCOUNT": request.account,
        "SLURM_JOB_QOS": request.qos,
        "SLURM_JOB_PARTITION": cluster.partition,
        "SLURM_JOB_USER": cluster.user,
        "SLURM_JOB_UID": str(cluster.uid),
        "SLURM_JOB_NUM_NODES": str(request.nodes),
        "SLURM_NNODES": str(request.nodes),
        "SLURM_JOB_NODELIST": nodes,
        "SLURM_NODELIST": nodes,
        "SLURM_NTASKS": str(request.tasks or request.nodes * request.tasks_per_node),
        "SLURM_NTASKS_PER_NODE": str(request.tasks_per_node),
        "SLURM_CPUS_PER_TASK": str(request.cpus_per_task),
        "SLURM_SUBMIT_DIR": str(home),
        "SLURMD_NODENAME": job.nodes[0],
    }
    if job.restarts:
        environment["SLURM_RESTART_COUNT"] = str(job.restarts)
    return environment | request.exports


def install_shims(bin_dir: Path) -> None:
    """Write ``srun`` and ``podman-hpc`` as executables; the programs themselves are in ``twin/shims``.

    A line of sh in between, because a ``#!`` line holds neither a long path nor one with spaces.
    """
    shutil.rmtree(bin_dir, ignore_errors=True)
    bin_dir.mkdir(parents=True)
    for name, program in (("srun", "srun.py"), ("podman-hpc", "podman_hpc.py")):
        executable = bin_dir / name
        command = shlex.join([sys.executable, "-I", "-S", str(SHIMS / program)])
        executable.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        executable.chmod(0o755)
