"""Slurm's own programs on this machine: controller, node, accounting and REST server, for as long as a test needs them.

Belongs here: their configuration, the order in which they start, and ending every job before they end.
Does not: installing them, starting and ending as such (programs), or talking to them (scheduler.slurm, or any client).

Nothing of the system's own configuration is used or changed: keys, sockets and ports are this cluster's alone. It must
be root that calls: a node's daemon starts jobs as their users.
"""

import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from twin.programs import SANE_PATH, START_S, Programs, ServersFailedError, free_ports, listens
from twin.scheduler import Cluster

PROGRAMS = ("mariadb-install-db", "mariadbd", "munged", "slurmdbd", "slurmctld", "slurmd", "sbatch", "sacct", "setpriv")
REST_PROGRAMS = ("slurmrestd",)
NODE = "localhost"


@dataclass(frozen=True)
class SlurmServers:
    """A cluster of one node that is up."""

    folder: Path
    cluster: Cluster
    environment: Mapping[str, str]
    """What Slurm's commands need to find this cluster, and to print times in its zone."""
    rest_url: str | None = None
    """Where slurmrestd listens; None where it was not asked for."""

    def command(self, *arguments: str) -> str:
        """What a command prints. Raises subprocess.CalledProcessError."""
        done = subprocess.run(arguments, env=dict(self.environment), capture_output=True, text=True, check=True)
        return done.stdout

    def fail_node(self) -> None:
        """Take the node down, with every job that runs there."""
        self.command("scontrol", "update", f"nodename={NODE}", "state=down", "reason=test")

    def restore_node(self) -> None:
        """Let the node work again. Raises ServersFailedError."""
        give_up = time.monotonic() + START_S
        while self.command("sinfo", "--noheader", "--format=%T").strip() != "idle":
            if time.monotonic() > give_up:
                raise ServersFailedError("the node does not come back")
            # One that came back by itself cannot be resumed.
            with suppress(subprocess.CalledProcessError):
                self.command("scontrol", "update", f"nodename={NODE}", "state=resume")
            time.sleep(0.2)

    def let_time_run_out(self, job_id: str) -> None:
        """Bring the end of a running job's time forward to now; Slurm looks every half minute (seen)."""
        self.command("scontrol", "update", f"jobid={job_id}", "endtime=now+1second")

    def token(self, lifespan_s: int = 600) -> str:
        """A JWT of root, as ``scontrol token`` gives it."""
        return self.command("scontrol", "token", f"lifespan={lifespan_s}").partition("=")[2].strip()


@contextmanager
def slurm_servers(cluster: Cluster, *, rest: bool = False) -> Iterator[SlurmServers]:
    """Start everything in a new folder, and end everything with the context; then the folder is gone too.

    Raises ServersFailedError. The programs end as well where this process is killed; then a job runs to its own end,
    and the folder stays.
    """
    with tempfile.TemporaryDirectory(prefix="als-slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # munge wants a socket that everybody can reach
        programs = Programs(folder, _environment(folder, cluster), mark="SLURM_CONF")
        stack.callback(_end, programs)
        yield _start(programs, cluster, rest=rest)


def _start(programs: Programs, cluster: Cluster, *, rest: bool) -> SlurmServers:
    ports = dict(zip(("mariadb", "slurmdbd", "slurmctld", "slurmd", "slurmrestd"), free_ports(5), strict=True))
    _write_keys(programs.folder)
    _start_munge(programs)
    _start_accounting(programs, cluster, ports)
    _start_cluster(programs)
    url = None
    if rest:
        url = f"http://127.0.0.1:{ports['slurmrestd']}"
        _start_rest(programs, ports["slurmrestd"])
    return SlurmServers(programs.folder, cluster, programs.environment, url)


def _environment(folder: Path, cluster: Cluster) -> dict[str, str]:
    return {
        "PATH": SANE_PATH,
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "TZ": cluster.zone.key,
        "SLURM_CONF": str(folder / "slurm.conf"),
    }


def _end(programs: Programs) -> None:
    """End jobs first, then the programs, and what is still left of either: steps and jobs have the mark as well."""
    if programs.has_started("slurmctld"):
        programs.succeeds("scancel", "--signal=KILL", "--full", "--user=root")
        programs.succeeds("scancel", "--user=root")
    programs.end_all()


def _write_keys(folder: Path) -> None:
    for name in ("munge.key", "jwt.key"):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(secrets.token_bytes(128))


def _start_munge(programs: Programs) -> None:
    folder = programs.folder
    programs.start(
        "munged",
        "--foreground",
        f"--socket={folder}/munge.socket",
        f"--key-file={folder}/munge.key",
        f"--pid-file={folder}/munged.pid",
        f"--seed-file={folder}/munged.seed",
        f"--log-file={folder}/munged-own.log",
        ready=(folder / "munge.socket").exists,
    )


def _start_accounting(programs: Programs, cluster: Cluster, ports: Mapping[str, int]) -> None:
    folder = programs.folder
    data = folder / "mysql"
    data.mkdir()
    programs.run("chown", "mysql:mysql", str(data))
    programs.run(
        "mariadb-install-db",
        "--no-defaults",
        "--user=mysql",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    )
    client = ("mariadb", "--no-defaults", f"--socket={data}/socket", "--user=root", "--execute")
    programs.start(
        "mariadbd",
        "--no-defaults",
        f"--datadir={data}",
        f"--socket={data}/socket",
        f"--pid-file={data}/pid",
        f"--port={ports['mariadb']}",
        "--bind-address=127.0.0.1",
        "--innodb-buffer-pool-size=64M",
        "--innodb-lock-wait-timeout=900",
        "--innodb-flush-log-at-trx-commit=0",
        user="mysql",
        ready=lambda: programs.succeeds(*client, "select 1"),
    )
    who = "'slurm'@'localhost' identified by 'slurm'"
    programs.run(*client, f"create user {who}; create database slurm_acct_db; grant all on slurm_acct_db.* to {who}")
    conf = folder / "slurmdbd.conf"
    conf.touch(mode=0o600)
    conf.write_text(
        "AuthType=auth/munge\n"
        f"AuthInfo=socket={folder}/munge.socket\n"
        f"AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key={folder}/jwt.key\n"
        f"DbdHost={NODE}\nDbdPort={ports['slurmdbd']}\nSlurmUser=root\nPidFile={folder}/slurmdbd.pid\n"
        "StorageType=accounting_storage/mysql\nStorageUser=slurm\nStoragePass=slurm\nStorageLoc=slurm_acct_db\n"
        f"StorageHost=127.0.0.1\nStoragePort={ports['mariadb']}\n"
    )
    (folder / "slurm.conf").write_text(_slurm_conf(folder, cluster, ports))
    sacctmgr = ("sacctmgr", "--noheader", "--immediate")
    programs.start("slurmdbd", "-D", ready=lambda: programs.succeeds(*sacctmgr, "list", "cluster"))
    programs.run(*sacctmgr, "add", "cluster", cluster.name)
    qos = ",".join(cluster.qos)
    programs.run(*sacctmgr, "add", "qos", qos)
    limits = (f"qos={qos}", f"defaultqos={cluster.default_qos}")
    accounts = ",".join(cluster.accounts)
    programs.run(*sacctmgr, "add", "account", accounts, f"cluster={cluster.name}", *limits)
    programs.run(*sacctmgr, "add", "user", "root", f"account={accounts}", f"defaultaccount={cluster.accounts[0]}")


def _start_cluster(programs: Programs) -> None:
    for name in ("state", "spool"):
        (programs.folder / name).mkdir()
    programs.start("slurmctld", "-D", ready=lambda: programs.succeeds("scontrol", "ping", says="UP"))
    programs.start("slurmd", "-D", "-N", NODE, ready=lambda: programs.succeeds("sinfo", "-h", "-o", "%T", says="idle"))


def _start_rest(programs: Programs, port: int) -> None:
    # It refuses to run as root; whoever it runs as, it is the token that says who asks.
    programs.start(
        "slurmrestd",
        "-a",
        "rest_auth/jwt",
        f"127.0.0.1:{port}",
        user="nobody",
        ready=lambda: listens(port),
        SLURM_JWT="daemon",
    )


def _slurm_conf(folder: Path, cluster: Cluster, ports: Mapping[str, int]) -> str:
    lines = {
        "ClusterName": cluster.name,
        "SlurmctldHost": NODE,
        "SlurmctldPort": ports["slurmctld"],
        "SlurmdPort": ports["slurmd"],
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={folder}/munge.socket",
        "AuthAltTypes": "auth/jwt",
        "AuthAltParameters": f"jwt_key={folder}/jwt.key",
        "CredType": "cred/munge",
        "StateSaveLocation": folder / "state",
        "SlurmdSpoolDir": folder / "spool",
        "SlurmctldPidFile": folder / "slurmctld.pid",
        "SlurmdPidFile": folder / "slurmd.pid",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "SwitchType": "switch/none",
        "MpiDefault": "none",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_Core",
        "SchedulerParameters": "sched_interval=1,batch_sched_delay=0",
        "ReturnToService": 0,
        "KillWait": 2,
        "JobRequeue": 0,
        "JobAcctGatherType": "jobacct_gather/none",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": NODE,
        "AccountingStoragePort": ports["slurmdbd"],
        "AccountingStoragePass": f"{folder}/munge.socket",
        "AccountingStorageEnforce": "associations,limits,qos",
        "AccountingStoreFlags": "job_comment",
        "SlurmdParameters": "config_overrides",
    }
    node = f"NodeName={NODE} CPUs={cluster.cpus_per_node} RealMemory=2000 Feature={','.join(cluster.features)}\n"
    partition = f"PartitionName={cluster.partition} Nodes={NODE} Default=YES MaxTime=INFINITE State=UP\n"
    return "".join(f"{name}={value}\n" for name, value in lines.items()) + node + partition
