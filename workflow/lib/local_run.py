"""What this workflow changes of Snakemake itself: what is asked for, and how a local run goes.

A run on this machine is quick by jobs without start-up and a scheduler that does not spin.
"""

import atexit
import gc
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

#: So many jobs of a group save more than the process that they are forks of takes to import all.
WORTH_IMPORTS = 2
#: Rules of a group that run no model (`advdetect.warm`), besides those of metrics.
_OF_DETECTORS = ("fit_detectors", "score")


def before_graph(workflow: Any, prepare: Callable[[Any], None]) -> None:
    """Do something before Snakemake builds its graph of jobs.

    By then it has read the Snakefile, and knows what is asked for and how that is to be done.

    Args:
        workflow: Snakemake's workflow.
        prepare: What is done, to the workflow.
    """
    prepare_dag = workflow._prepare_dag

    def prepare_and_go_on(*arguments: Any, **options: Any) -> Any:
        prepare(workflow)
        return prepare_dag(*arguments, **options)

    workflow._prepare_dag = prepare_and_go_on


def after_graph(workflow: Any, prepare: Callable[[Any], None]) -> None:
    """Do something when Snakemake has built its graph of jobs, and has run none of them.

    Args:
        workflow: Snakemake's workflow.
        prepare: What is done, to the workflow.
    """
    build_dag = workflow._build_dag

    def build_and_prepare() -> None:
        build_dag()
        prepare(workflow)

    workflow._build_dag = build_and_prepare


def leave_garbage_until_graph(workflow: Any) -> None:
    """Look for no garbage while Snakemake builds its graph, nor in that graph afterwards.

    All that is made by then stays, and to go through it again and again takes a fifth of the time.

    Args:
        workflow: Snakemake's workflow.
    """

    def look_again(_: Any) -> None:
        gc.freeze()
        gc.enable()

    gc.disable()
    after_graph(workflow, look_again)


def make_what_has_no_stamp(workflow: Any) -> None:
    """Make published files again that are there without their stamp, whoever reads them.

    That may be a rule of another workflow, of which this one is a module.

    Args:
        workflow: Snakemake's workflow, whose graph is there.
    """

    async def force() -> None:
        dag = workflow.dag
        stamps = [job.output.get("stamp") for job in dag.jobs if not dag.needrun(job)]
        missing = [stamp for stamp in stamps if stamp is not None and not await stamp.exists()]
        if missing:
            dag.forcefiles.update(missing)
            await dag.update_needrun()

    if workflow.is_main_process:
        workflow.async_run(force())


class LocalRun:
    """What runs on this machine: all jobs, those that a cluster does not get, or one of its groups.

    Jobs in containers are left as they are.

    Args:
        threads: CPU threads of the jobs.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, workflow: Any) -> None:
        """Start the process that jobs are forks of, where there are to be jobs on this machine.

        It imports its libraries while Snakemake builds its graph.

        Args:
            workflow: Snakemake's workflow.
        """
        if workflow.executor_plugin is None or workflow.dryrun:  # --unlock has no settings, either
            return
        is_group = _is_group(workflow)
        if is_group:
            os.environ.pop(VARIABLE, None)  # it would be of the process that has submitted it
        # What is not submitted to a cluster is done in the main process's folder, too.
        is_main = workflow.is_main_process and not workflow.touch
        if not is_group and (not is_main or workflow.execution_settings.no_hooks):
            return
        # A job in an environment of its own has another Python.
        if sys.platform == "linux" and not workflow.deployment_settings.deployment_method:
            cores = workflow.resource_settings.cores or self._threads
            self.start_server(min(self._threads, cores), _kinds(workflow) if is_group else ())
            atexit.register(self.stop)  # where there is nothing to do, nothing else calls it

    def start_server(self, threads: int, kinds: Iterable[str] = ()) -> None:
        """Start the process that the jobs are forks of; they find it by an environment variable.

        Where the environment names one already, who has started it shares it with several runs.

        Args:
            threads: CPU threads of a job.
            kinds: Kinds of jobs (`advdetect.warm`) whose libraries it imports; without, those of
                all.
        """
        if VARIABLE in os.environ:
            return
        variables = {f"{name}_NUM_THREADS": str(threads) for name in THREAD_VARIABLES}
        with socket.socket(socket.AF_UNIX) as listener:
            name = f"advdetect-{secrets.token_hex(16)}"
            listener.bind(f"\0{name}")  # abstract: it is no file that could be left behind
            listener.listen()
            self._server = subprocess.Popen(
                [sys.executable, "-P", "-m", "advdetect.warm", str(listener.fileno()), *kinds],
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
            self._server = None


def let_jobs_go(workflow: Any) -> None:
    """Take away a limit that is for clusters, when the scheduler is there and has not begun.

    A hundred jobs a second make every pass of the scheduler cause another one a second later, so
    that each job that ends adds passes until the run does: half of Snakemake's own CPU time in a
    run of 200 jobs.

    Args:
        workflow: Snakemake's workflow.
    """
    if _is_local(workflow):
        workflow.scheduler.job_rate_limiter = None


def _is_local(workflow: Any) -> bool:
    return workflow.is_main_process and workflow.local_exec and not workflow.touch


def _is_group(workflow: Any) -> bool:
    """Return whether this is where enough jobs run that were submitted together."""
    is_submitted = workflow.remote_exec and workflow.local_exec
    return is_submitted and len(workflow.dag_settings.target_jobs) >= WORTH_IMPORTS


def _kinds(workflow: Any) -> set[str]:
    """Return the kinds of jobs of a group."""
    rules = [target.rulename for target in workflow.dag_settings.target_jobs]
    return {
        "detectors" if rule in _OF_DETECTORS or rule.startswith("metrics_") else "models"
        for rule in rules
    }
