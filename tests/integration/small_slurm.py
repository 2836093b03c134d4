"""A SLURM of one node on this machine, without accounting and without control groups.

Its node claims more memory, cores and GPUs than there are: what jobs ask for is seen, not enforced.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from snakemake_project import wait_for

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
#: Options that name files of munge.
MUNGE = ("key-file", "socket", "pid-file", "log-file", "seed-file")
CONFIGURATION = """\
ClusterName=small
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
SchedulerParameters=defer,sched_interval=1,batch_sched_delay=0
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=128000 Gres=gpu:2
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE
"""
#: A job's own Snakemake takes the variables of SLURM away from it, and with them the configuration.
SRUN = """\
#!/bin/sh
SLURM_CONF={folder}/slurm.conf exec {srun} "$@"
"""


def missing() -> str:
    """Return what there is not of what a small SLURM needs, empty where there is all."""
    programs = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if programs:
        return f"no {', '.join(programs)}: install slurmctld, slurmd, slurm-client and munge"
    if find_spec("snakemake_executor_plugin_slurm") is None:
        return "no plugin of Snakemake: pip install -e '.[slurm]'"
    return "" if os.getuid() == 0 else "only root can start the daemons"


@dataclass(frozen=True)
class Job:
    """What SLURM says of a job.

    Attributes:
        number: Its number.
        state: Such as ``RUNNING``.
        megabytes: Memory that it asked for.
        cores: Cores that it asked for.
        gres: Generic resources that it asked for.
        comment: Snakemake's name of it.
    """

    number: int
    state: str
    megabytes: int
    cores: int
    gres: str
    comment: str


@dataclass(frozen=True)
class SmallSlurm:
    """A SLURM that is running.

    Args:
        variables: The environment in which its commands find it.
    """

    variables: Mapping[str, str]

    def call(self, *command: str) -> str:
        """Return what one of its commands prints."""
        return subprocess.run(
            command,
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout

    def jobs(self) -> list[Job]:
        """Return all jobs of the last hour, in the order of their numbers."""
        lines = self.call("squeue", "--states=all", "--noheader", "--format=%i|%T|%m|%C|%b|%k")
        jobs = []
        for line in lines.splitlines():
            number, state, memory, cores, gres, comment = line.split("|", 5)
            jobs.append(Job(int(number), state, int(memory.rstrip("M")), int(cores), gres, comment))
        return sorted(jobs, key=lambda job: job.number)


@contextmanager
def small_slurm() -> Iterator[SmallSlurm]:
    """Start a SLURM, and end it with all its jobs."""
    host = socket.gethostname().partition(".")[0]
    with tempfile.TemporaryDirectory(prefix="slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for part in ("state", "spool", "bin"):
            (folder / part).mkdir()
        for file in ("gpu0", "gpu1"):
            (folder / file).touch()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        values = {"host": host, "ports": _free_ports(2), "folder": folder}
        (folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1]\n")
        srun = folder / "bin" / "srun"
        srun.write_text(SRUN.format(folder=folder, srun=shutil.which("srun", path=PATH)))
        srun.chmod(0o755)
        slurm = SmallSlurm(
            {
                "SLURM_CONF": str(folder / "slurm.conf"),
                "PATH": os.pathsep.join([str(folder / "bin"), PATH]),
            }
        )
        munge = [f"--{option}={folder}/munge.{option.partition('-')[0]}" for option in MUNGE]
        _start(stack, ["munged", "--foreground", "--force", *munge], folder, slurm)
        wait_for((folder / "munge.socket").exists, 10)
        _start(stack, ["slurmctld", "-D"], folder, slurm)
        _start(stack, ["slurmd", "-D"], folder, slurm)
        wait_for(lambda: "idle" in _nodes(slurm), 30)
        try:
            yield slurm
        finally:
            slurm.call("scancel", "--user=root")
            wait_for(lambda: "idle" in _nodes(slurm), 30)


def _start(stack: ExitStack, command: Sequence[str], folder: Path, slurm: SmallSlurm) -> None:
    """Start a daemon that ends with the stack."""
    printed = stack.enter_context((folder / f"{command[0]}.printed").open("w"))
    process = subprocess.Popen(
        command,
        env={**os.environ, **slurm.variables},
        stdout=printed,
        stderr=printed,
        start_new_session=True,
    )

    def end() -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)


def _nodes(slurm: SmallSlurm) -> str:
    try:
        return slurm.call("sinfo", "--noheader", "--format=%T")
    except subprocess.CalledProcessError:  # it has not begun to listen
        return ""


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
