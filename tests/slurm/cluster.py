"""A SLURM cluster of one node on loopback: munged, slurmctld and slurmd in one folder, ended on the way out."""

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

# Never reached where things work: seconds on a free machine, minutes on a busy one.
LIMIT_S = 600
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue")
CONFIGURATION = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=30
ReturnToService=2
MinJobAge=3600
# The node is what is written here, whatever the machine has.
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=65536 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES State=UP MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime=120
PartitionName=high Nodes=ALL State=UP MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF
"""


def why_not() -> str:
    """Why no cluster can be started here; empty if it can."""
    if missing := [program for program in PROGRAMS if find(program) is None]:
        return f"{', '.join(missing)} not found; make test-slurm installs slurm-wlm and munge on Debian"
    if os.geteuid() != 0:
        return "the daemons of SLURM start jobs for other users: root is needed"
    if importlib.util.find_spec("submitit") is None:
        return "submitit is not installed (extra slurm); make test-slurm installs it"
    return ""


def find(program: str) -> str | None:
    """A program's path; daemons may be outside the path of a user."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def wait_for(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Wait until a condition holds; AssertionError, with what was waited for, after the limit."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited {limit_s:g} s for {what}"
        time.sleep(0.05)


class Cluster:
    """Commands against a running cluster.

    Attributes:
        environment: for processes that talk to it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *command: str) -> str:
        """A command's output; CalledProcessError if it fails."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    def jobs(self) -> dict[str, str]:
        """Job id (of an array: `id_index`) -> state, of every job that the controller remembers."""
        lines = self.call("squeue", "--array", "--noheader", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def detail(self, job: str, field: str) -> str:
        """One field of `scontrol show job`."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return next(word.split("=", 1)[1] for word in words if word.startswith(f"{field}="))

    def start_now(self, job: str) -> None:
        """Lift the delay that SLURM puts before a job that was queued again."""
        self.call("scontrol", "update", f"JobId={job}", "StartTime=now")


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """Start the daemons, wait until the node takes jobs, end the daemons and their jobs on the way out."""
    (folder / "state").mkdir(parents=True)
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    controller_port, node_port = free_ports(2)
    host = socket.gethostname().split(".")[0]
    text = CONFIGURATION.format(folder=folder, host=host, controller_port=controller_port, node_port=node_port)
    (folder / "slurm.conf").write_text(text)
    cluster = Cluster(folder)
    munge = [
        f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
    ]
    try:
        cluster.call(str(find("munged")), "--force", f"--key-file={key}", *munge)
        cluster.call(str(find("slurmctld")))
        cluster.call(str(find("slurmd")))
        wait_for(lambda: "idle" in cluster.call("sinfo", "--noheader", "--format=%t"), "an idle node")
        yield cluster
    finally:
        stop(folder, cluster)


def stop(folder: Path, cluster: Cluster) -> None:
    """End jobs, then daemons, each by the process id that it wrote down."""
    for job in [job for job, state in _or_nothing(cluster.jobs).items() if state in ("RUNNING", "PENDING")]:
        subprocess.run(["scancel", "--signal=KILL", "--full", job], env=cluster.environment, check=False)
        subprocess.run(["scancel", job], env=cluster.environment, check=False)
    for name in ("slurmd", "slurmctld", "munge"):
        path = folder / f"{name}.pid"
        if path.exists():
            pid = int(path.read_text())
            os.kill(pid, signal.SIGTERM)
            wait_for(lambda pid=pid: not is_alive(pid), f"{name} to end", 30)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a container without init keeps the ended ones as zombies."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _or_nothing(call: Callable[[], dict[str, str]]) -> dict[str, str]:
    try:
        return call()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return {}


def free_ports(count: int) -> list[int]:
    """TCP ports on loopback that nobody listens to."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports
