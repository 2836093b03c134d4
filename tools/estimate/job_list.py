"""Asking Snakemake which jobs an experiment has, without running any."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.logging import logger
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)
from snakemake_interface_logger_plugins.common import LogEvent

from advdetect.protocol import HELD_OUT
from pipeline import Pipeline
from published import Published
from store_file import StoreFile

Made = StoreFile | Published


@dataclass(frozen=True)
class Job:
    """A job of the DAG.

    Attributes:
        made: What it makes, of the store or published.
        inputs: Paths of the files that it reads.
        outputs: Paths of the files that it writes.
        timing: Path of the file in which it says what it took.
        threads: CPU cores that it takes.
    """

    made: Made
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    timing: str
    threads: int

    @property
    def step(self) -> str:
        """The step that it runs."""
        return self.made.step

    @property
    def kind(self) -> str:
        """The step and, where its jobs are too unlike to tell anything of each other, which."""
        made, of = self.made, ""
        if isinstance(made, StoreFile):
            if made.step == "prepare-data":
                of = made.option("--split")
            elif made.step == "fit-feature" and '"epochs":' in made.option("--spec"):
                of = "in epochs"
            elif made.names.get("attack") == HELD_OUT:
                of = HELD_OUT
        return f"{self.step} {of}".strip()


def list_jobs(
    snakefile: Path, config: Mapping[str, Any], pipeline: Pipeline, *, finished: bool
) -> list[Job]:
    """Return the jobs that a run of an experiment would have, as a dry run finds them.

    The rule ``all`` does nothing and is left out.

    Args:
        snakefile: The Snakefile; paths are relative to the current folder, as in a run.
        config: Snakemake's own configuration, what ``--config`` gives.
        pipeline: The same experiment; it knows what is behind rules and wildcards.
        finished: Whether to return those as well that are finished and up to date.

    Raises:
        WorkflowError: There is no such DAG.
    """
    recorder = _JobRecorder(pipeline)
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        logger.addHandler(recorder)
        try:
            workflow = api.workflow(
                resource_settings=ResourceSettings(cores=1),
                config_settings=ConfigSettings(config=dict(config)),
                snakefile=snakefile,
            )
            settings = DAGSettings(forceall=finished, force_incomplete=True)
            workflow.dag(settings).execute_workflow(executor="dryrun")
        finally:
            logger.removeHandler(recorder)
    return recorder.jobs


class _JobRecorder(logging.Handler):
    """Keeps the jobs among Snakemake's log events, its interface for programs that follow a run."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._published = {made.rule: made for made in pipeline.published}
        self._files = pipeline.store.files
        self.jobs: list[Job] = []

    def emit(self, record: logging.LogRecord) -> None:
        event = vars(record)
        if event.get("event") == LogEvent.JOB_INFO and event["log"]:
            job = dict(event["wildcards"] or {}).get("job")
            self.jobs.append(
                Job(
                    made=self._files[job] if job else self._published[event["rule_name"]],
                    inputs=tuple(map(str, event["input"])),
                    outputs=tuple(map(str, event["output"])),
                    timing=next(str(log) for log in event["log"] if str(log).endswith(".json")),
                    threads=int(event["threads"]),
                )
            )
