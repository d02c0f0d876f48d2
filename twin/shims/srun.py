"""``srun``: run a command as the tasks of a job step.

Belongs here: srun's options as far as a step on one machine has a meaning for them, and its exit status.
Does not: containers (podman_hpc). Every task runs on this machine, whatever the number of nodes.
"""

import getopt
import os
import signal
import subprocess
import sys

SHORT_OPTIONS = "n:N:c:G:J:D:t:Kul"
LONG_OPTIONS = [
    *(
        "ntasks=",
        "nodes=",
        "cpus-per-task=",
        "ntasks-per-node=",
        "cpu-bind=",
        "mem-bind=",
        "gpu-bind=",
        "distribution=",
    ),
    *("gpus=", "gpus-per-task=", "job-name=", "chdir=", "time=", "export=", "mpi=", "kill-on-bad-exit="),
    *("exclusive", "exact", "overlap", "unbuffered", "label"),
]


def main(arguments: list[str]) -> int:
    """The highest exit status of the tasks; 128 and the signal's number for one that a signal ended."""
    try:
        options, command = getopt.getopt(arguments, SHORT_OPTIONS, LONG_OPTIONS)
    except getopt.GetoptError as error:
        return _fail(f"srun: {error.msg}", 'Try "srun --help" for more information', status=255)
    if not command:
        return _fail("srun: fatal: No command given to execute.", status=1)
    job_id = os.environ.get("SLURM_JOB_ID")
    if job_id is None:
        return _fail("srun: error: Unable to allocate resources: not inside a job (SLURM_JOB_ID is not set)", status=1)
    chosen = dict(options)
    allocated = int(os.environ.get("SLURM_NTASKS", "1"))
    wanted = chosen.get("-n") or chosen.get("--ntasks") or str(allocated)
    if not wanted.isdigit() or int(wanted) < 1:
        return _fail(f'srun: error: Invalid numeric value "{wanted}" for --ntasks.', status=255)
    if int(wanted) > allocated:
        return _fail(
            f"srun: error: Unable to create step for job {job_id}: More processors requested than permitted", status=1
        )
    return _run(command, int(wanted), chosen.get("-D") or chosen.get("--chdir"))


def _run(command: list[str], tasks: int, folder: str | None) -> int:
    node = os.environ.get("SLURMD_NODENAME", "localhost")
    running = []
    for rank in range(tasks):
        task = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NTASKS": str(tasks), "SLURM_STEP_ID": "0"}
        try:
            running.append(subprocess.Popen(command, env=os.environ | task, cwd=folder))
        except OSError as error:
            return _fail(
                f"slurmstepd: error: execve(): {command[0]}: {error.strerror}",
                f"srun: error: {node}: task {rank}: Exited with exit code 2",
                status=2,
            )
    return max(_status(process.wait(), node, rank) for rank, process in enumerate(running))


def _status(returncode: int, node: str, rank: int) -> int:
    if returncode > 0:
        return _fail(f"srun: error: {node}: task {rank}: Exited with exit code {returncode}", status=returncode)
    if returncode < 0:
        name = signal.strsignal(-returncode) or "unknown signal"
        return _fail(f"srun: error: {node}: task {rank}: {name}", status=128 - returncode)
    return 0


def _fail(*lines: str, status: int) -> int:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
