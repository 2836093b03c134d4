"""What this workflow changes of Snakemake itself: what is asked for, and how a local run goes.

A run on this machine is quick by jobs without start-up and a scheduler that does not spin.
"""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

from advdetect.warm.client import VARIABLE

# What Snakemake sets for each job to its number of threads.
THREAD_VARIABLES = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")

# The memory of a tensor goes back to the C library's heap, not to the system, which would clear
# every page before it gives it again: a third of the time of some features.
HEAP = {"MALLOC_MMAP_THRESHOLD_": f"{2**25}", "MALLOC_TRIM_THRESHOLD_": f"{2**30}"}


def ask_for_stamps(workflow: Any, with_stamps: Callable[[Iterable[str]], set[str]]) -> None:
    """Make who asks for a published file ask for its stamp as well.

    Snakemake looks only at those outputs of a job that somebody asks for, and a published file
    that is there does not say whether it is out of date. What is asked for is known to Snakemake
    after it has read the Snakefile, before it builds the graph of jobs.

    Args:
        workflow: Snakemake's workflow.
        with_stamps: Adds the stamps to files and rules that are asked for.
    """
    prepare = workflow._prepare_dag

    def prepare_with_stamps(*arguments: Any, **options: Any) -> Any:
        settings = workflow.dag_settings
        settings.targets = with_stamps(settings.targets)
        return prepare(*arguments, **options)

    workflow._prepare_dag = prepare_with_stamps


class LocalRun:
    """A run on this machine; one on a cluster or in containers is left as it is.

    Args:
        threads: CPU threads of the jobs.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, workflow: Any) -> None:
        """Prepare a run, when its scheduler is there and has not begun.

        Args:
            workflow: Snakemake's workflow.
        """
        if not workflow.is_main_process or not workflow.local_exec or workflow.touch:
            return
        # The limit of 100 jobs a second is for clusters. It makes every pass of the scheduler cause
        # another one a second later, so that each job that ends adds passes until the run does:
        # half of Snakemake's own CPU time in a run of 200 jobs.
        workflow.scheduler.job_rate_limiter = None
        # A job in an environment of its own has another Python.
        if sys.platform == "linux" and not workflow.deployment_settings.deployment_method:
            cores = workflow.resource_settings.cores or self._threads
            self.start_server(min(self._threads, cores))

    def start_server(self, threads: int) -> None:
        """Start the process that the jobs are forks of; they find it by an environment variable.

        Where the environment names one already, who has started it shares it with several runs.
        """
        if VARIABLE in os.environ:
            return
        variables = {f"{name}_NUM_THREADS": str(threads) for name in THREAD_VARIABLES}
        with socket.socket(socket.AF_UNIX) as listener:
            name = f"advdetect-{secrets.token_hex(16)}"
            listener.bind(f"\0{name}")  # abstract: it is no file that could be left behind
            listener.listen()
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", "advdetect.warm", str(listener.fileno())],
                stdin=subprocess.PIPE,  # it ends when this closes, also when this process is killed
                pass_fds=[listener.fileno()],
                env={**HEAP, **os.environ, **variables},
            )
        os.environ[VARIABLE] = name

    def stop(self) -> None:
        """End what `start` has started."""
        if self._server is not None:
            os.environ.pop(VARIABLE, None)
            self._server.terminate()
            self._server.communicate()
