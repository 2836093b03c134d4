"""What the rules need of an experiment: the command of a job, and the files that it reads."""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from snakemake.io import ancient, local, report
from snakemake_interface_common.exceptions import WorkflowError

from advdetect.identity import canonical_json
from advdetect.progress import replace_unprintable
from certification import CertifiedStore
from command_words import STAMPS, built_from, command_line, file_options
from composition import load_experiment
from experiment import ConfigurationError, Spec
from fingerprints import fingerprint, remembered, source_files, targets_of
from methods import TRACKED
from needs import check_files
from object_store import print_results
from publication import Publication
from published import Published
from store_file import StoreFile

#: Memory of a process with PyTorch and a model, beside the setting `memory`; and for each megabyte
#: of the inputs: training images are there as activations, of attacks mostly columns are read.
MEGABYTES = 1000
MEMORY = {"fit-feature": 10, "train": 4, "feature": 4, "attack": 4}
#: What Snakemake's own report says, by category.
CAPTIONS = {
    "Tables": "tables.rst",
    "Figures": "figure.rst",
    "Reported and reproduced": "reproduction.rst",
}
READING_THREADS = 8
#: Steps that run no model, and so know nothing of devices and batches.
WITHOUT_MODEL = ("prepare-data", "best-of", "fit-detectors", "score")


class Pipeline:
    """One experiment, as the rules see it.

    Args:
        base: Folder of the Snakefile.
        workflow_config: Snakemake's own configuration.
        shares_files: Whether a job sees what others are writing.

    Raises:
        WorkflowError: The configuration cannot be run, or a source file cannot be parsed.
    """

    def __init__(
        self, base: Path, workflow_config: Mapping[str, Any], shares_files: bool = True
    ) -> None:
        self._base, self._roots = base, (base / "src", Path.cwd())
        self._workflow_config = dict(workflow_config)
        self._shares_files = shares_files
        try:
            self.experiment = load_experiment(base / "config", workflow_config)
            check_files(self.experiment)
        except ConfigurationError as error:
            raise WorkflowError(str(error)) from None
        self.settings = self.experiment.settings
        self.results = self.settings["results"]
        self._store = CertifiedStore(self.experiment, self.code, source_files)
        self._publication = Publication(
            self.experiment, self._store, self.code, base, self.command_line
        )
        self._files = self._store.files

    def use_this_source(self) -> None:
        """Make the jobs run the code that is fingerprinted here, with this Python.

        Another clone may be the installed one, and ``.venv/bin/snakemake`` works without
        activation; an environment of ``--sdm conda`` still comes first on the path.
        """
        for variable, first in (
            ("PYTHONPATH", str(self._roots[0])),
            ("PATH", str(Path(sys.executable).parent)),
        ):
            rest = [part for part in os.environ.get(variable, "").split(os.pathsep) if part]
            os.environ[variable] = os.pathsep.join(
                [first, *(part for part in rest if part != first)]
            )

    # A job of the store

    @property
    def store(self) -> CertifiedStore:
        """The files between the stages."""
        return self._store

    def inputs(self, wildcards: Any) -> dict[str, Any]:
        """Return the files that a job reads: named by what made them, they are always right."""
        return {
            role: ancient([self._path(file) for file in files])
            for role, files in self._job(wildcards).inputs.items()
            if files
        }

    def command(self, wildcards: Any) -> str:
        """Return the step of a job and its options, those for files and machines left out."""
        file = self._job(wildcards)
        words = [file.step, *file.options]
        for role, model in ((r, m) for r in ("model", "others") for m in file.inputs.get(r, ())):
            words += [f"--{role}-spec", canonical_json(built_from(model))]
        return shlex.join(words)

    def runtime(self, wildcards: Any, input: Any, output: Any, threads: int) -> str:
        """Return the options for files and machines; nothing of it makes a job stale.

        Snakemake does not compare what depends on ``input``.
        """
        words = [*file_options(input), *file_options(output)]
        if not hasattr(wildcards, "job"):  # what is published runs no model
            return shlex.join(words)
        file = self._job(wildcards)
        if file.step not in WITHOUT_MODEL:
            words += ["--threads", str(threads), "--device", self.settings["device"]]
            words += ["--batch-size", str(self.settings["batch_size"])]
            words += ["--memory", str(self.settings["memory"])]
        words += [f"--root={root}"] if (root := self._store.root(file.job)) else []
        if file.step == "prepare-data" and _reads_files(file):
            words += ["--threads", str(threads)]
        if file.step == "attack":
            values = self._store.sweep(file.job) if self._shares_files else {}
            words += ["--sweep", canonical_json(values)]
        return shlex.join(words)

    def megabytes(self, wildcards: Any, input: Any, attempt: int) -> int:
        """Return the memory that a job may take: what its libraries take, and its inputs' size."""
        step = self._job(wildcards).step if hasattr(wildcards, "job") else "published"
        there = [Path(path).stat().st_size for path in input if Path(path).is_file()]
        # When it is submitted, all are, but for what its group makes: as large as the largest.
        size = (sum(there) + (len(input) - len(there)) * max(there, default=0)) / 1e6
        own = MEGABYTES + 1000 * self.settings["memory"]
        return round((own + MEMORY.get(step, 1) * size) * attempt)

    @property
    def threads(self) -> int:
        """CPU threads of a job."""
        return self.settings["threads"]

    def reading_threads(self, wildcards: Any) -> int:
        """CPU threads of a job that prepares data: many where it decodes files.

        Snakemake gives it no more than it has cores. What is read does not depend on them.
        """
        return READING_THREADS if _reads_files(self._job(wildcards)) else 1

    @property
    def gpu(self) -> int | None:
        """GPUs of a job: one where the configuration asks for CUDA, else the resource is unset."""
        return 1 if self.settings["device"] == "cuda" else None

    def _job(self, wildcards: Any) -> StoreFile:
        try:
            return self._files[wildcards.job]
        except KeyError:
            raise WorkflowError(
                f"{wildcards.job} is no file of this experiment: its name holds a key of other "
                "settings or other code."
            ) from None

    def _path(self, file: StoreFile | str) -> str:
        if isinstance(file, StoreFile):
            return f"{self.results}/store/{file.path}"
        # What comes with the project, such as a paper's values, is in no object store.
        return local(file) if Path(file).is_relative_to(self._base / "config") else file

    # What is published

    @property
    def published(self) -> list[Published]:
        """All that is published."""
        return self._publication.jobs

    @property
    def targets(self) -> list[str]:
        """The published files and their stamps, but for those that have to be asked for."""
        jobs = [job for job in self.published if job.is_wanted]
        return [path for job in jobs for path in (*_flat(job.outputs), job.stamp)]

    def ask_for_stamps(self, workflow: Any) -> None:
        """Make who asks Snakemake's workflow for a published file ask for its stamp as well."""
        workflow.dag_settings.targets = self.with_stamps(workflow.dag_settings.targets)

    def with_stamps(self, targets: Iterable[str]) -> set[str]:
        """Return files and rules that are asked for, with the stamps of what is published.

        A file that is there does not say if it is out of date, and what nobody asks for is not
        looked at.
        """
        targets = set(targets)
        jobs = self.published if targets else []
        for target in map(Path, targets):
            if str(target.parent) == f"{self._publication.folder}/figures":
                self._publication.figures[target.stem]  # refuses what there is not
        return targets | {job.stamp for job in jobs if targets & set(_flat(job.outputs))}

    def published_inputs(self, job: Published) -> dict[str, Any]:
        """Return the files that something is made from; its stamp says if it is out of date."""
        inputs = {
            role: ancient([self._path(file) for file in files])
            for role, files in job.inputs.items()
            if files
        }
        paths = {file for files in job.inputs.values() for file in files if isinstance(file, str)}
        if stamps := sorted(self.with_stamps(paths) - paths):
            inputs[STAMPS] = ancient(stamps)
        return inputs

    def published_outputs(self, job: Published) -> dict[str, Any]:
        """Return the files that a job publishes, those that Snakemake's report shows flagged."""
        return {
            **{
                name: [self._flagged(path, job) for path in _listed(paths)]
                for name, paths in job.outputs.items()
            },
            "stamp": job.stamp,
        }

    def _flagged(self, path: str, job: Published) -> Any:
        if not job.category or not path.endswith((".md", ".svg")):
            return path
        caption = str(self._base / "workflow" / "report" / CAPTIONS[job.category])
        return report(path, caption, job.category, labels={"name": Path(path).stem})

    def published_command(self, job: Published) -> Callable[[Any], str]:
        """Return what returns the step of a job and its options, those for files left out.

        In a plain text Snakemake would take the braces of a paper's ``{kappa}`` for a wildcard.
        """
        return lambda wildcards: shlex.join(job.words)

    def published_log(self, job: Published) -> str:
        """Return where a job's messages and timing are, without suffix."""
        return f"{self.results}/logs/{self.settings['name']}/{job.rule}"

    @property
    def command_line(self) -> str:
        """The command that makes this experiment."""
        return command_line(self._workflow_config)

    @property
    def report(self) -> str:
        """Path of the report."""
        return f"{self._publication.folder}/report.html"

    def print_outcome(self, workflow: Any = None) -> None:
        """Print the main table and where the report is, also in the object store of a workflow."""
        replace_unprintable()
        print_results(f"{self._publication.folder}/tables/detection.txt", self.report, workflow)
        for sentence in self.experiment.left_out:
            print(f"Left out: {sentence}.")

    # Fingerprints

    def code(self, step: str, spec: Spec) -> str:
        """Return the fingerprint of a step and of the methods that its specification names."""
        return self._code_of_json(step, canonical_json(sorted(set(targets_of(spec)))))

    @cache  # noqa: B019 - there is one pipeline
    def _code_of_json(self, step: str, targets: str) -> str:
        modules = [target.rpartition(".")[0] for target in json.loads(targets)]
        try:
            return fingerprint([f"advdetect.steps.{step.replace('-', '_')}", *modules], self._roots)
        except SyntaxError as error:
            raise WorkflowError(f"{error.filename}, line {error.lineno}: {error.msg}.") from None


@remembered()
def make_pipeline(base: Path, workflow_config: Mapping[str, Any], shares_files: bool) -> Pipeline:
    """Return the pipeline, or end with the sentence that says why it cannot be had.

    Snakemake would print the file and line of its own where the sentence was raised.
    """
    try:
        pipeline = Pipeline(base, workflow_config, shares_files)
        pipeline.published  # noqa: B018 - what is wrong with it is said here, too
    except WorkflowError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    return pipeline


def _reads_files(split: StoreFile) -> bool:
    return bool(json.loads(split.option("--spec")).get(TRACKED))


def _flat(paths: Mapping[str, Any]) -> Iterable[str]:
    return [each for path in paths.values() for each in _listed(path)]


def _listed(paths: str | list[str]) -> list[str]:
    return [paths] if isinstance(paths, str) else paths
