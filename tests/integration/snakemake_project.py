"""A copy of the workflow in a folder of its own, and what Snakemake does with it."""

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from snakemake_forks import run_snakemake

from advdetect.warm.client import VARIABLE
from local_run import LocalRun

PARTS = ("Snakefile", "config", "workflow", "tools", "src", "envs", "profiles")
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
HALTING = Path(__file__).parent / "halting"
DEADLINE = 300.0  # seconds
KEY = re.compile(r"\.[0-9a-f]{12}(?=[./]|$)")

TINY = """\
# @package _global_
defaults:
  - override /dataset: digits
  - override /model: small_cnn
name: tiny
title: Handwritten digits, a few of them
seeds: [0]
device: cpu
dataset: {train_count: 300, test_count: 120}
model: {training: {epochs: 3}}
attacks: [fgsm, otcm, bim_l2]
features: [max_probability, kd, fisher_input, kd_bu]
detectors: [threshold, random_forest, gaussian, random_scores, true_labels]
evaluation: {replicates: 100}
feature: {bu: {passes: 5}}
detector: {random_forest: {trees: 5}}
attack:
  fgsm: {epsilon: 0.4}
"""

ATTACKS = ("fgsm", "otcm", "bim_l2")
ATTACKED = (*ATTACKS, "unchanged")  # with the control of the features
FEATURES = ("max_probability", "kd", "fisher_input", "kd_bu")
COMPUTED = ("max_probability", "kd", "fisher_input", "bu")
FROM_ACTIVATIONS = ("max_probability", "kd")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    output: str


@dataclass(frozen=True)
class Project:
    """A folder that holds the workflow and perhaps the results of an experiment.

    Args:
        folder: The folder.
        experiment: Name of the experiment that `run` and `plan` are about.
        snakefile: Where the workflow is, if it is not in the folder.
    """

    folder: Path
    experiment: str = "tiny"
    snakefile: Path | None = None

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.experiment

    @property
    def store(self) -> Path:
        return self.folder / "results" / "store"

    @property
    def logs(self) -> Path:
        return self.folder / "results" / "logs"

    def files(self) -> dict[str, Path]:
        """Return the files of the store by their names without keys, each of which is there once.

        Those of the tiny experiment are called ``train``, ``model``, ``attacks/fgsm``,
        ``features/fgsm/kd``; others have the data set and the model with its seed before that.
        """
        named = self._named()
        assert len({name for name, _ in named}) == len(named), named
        return dict(named)

    def file(self, name: str) -> Path:
        """Return a file of the store by its name without keys, of which there is one."""
        (path,) = (path for named, path in self._named() if named == name)
        return path

    def _named(self) -> list[tuple[str, Path]]:
        return [
            (plain_name(str(path.relative_to(self.store))), path)
            for path in sorted(self.store.rglob("*.*"))
            if path.is_file() and not path.name.startswith(".")
        ]

    def target(self, name: str) -> str:
        """Return what Snakemake calls a file of the store, which must be there."""
        return str(self.file(name).relative_to(self.folder))

    def command(self, arguments: Sequence[str], config: Sequence[str] = ()) -> list[str]:
        values = [f"experiment={self.experiment}", *config]
        of = ["--snakefile", str(self.snakefile)] if self.snakefile else []
        return [str(SNAKEMAKE), *of, "--cores", "2", *arguments, "--config", *values]

    def try_run(self, *arguments: str, config: Sequence[str] = ()) -> Outcome:
        """Run Snakemake in the folder."""
        _, *words = self.command(arguments, config)
        variables = {**environment(), VARIABLE: warm_process()}
        output = self.folder / ".printed.txt"
        status = run_snakemake(words, self.folder, variables, output)
        return Outcome(status, output.read_text(encoding="utf-8"))

    def run(self, *arguments: str, config: Sequence[str] = ()) -> str:
        """Run Snakemake in the folder, to the end; return what it printed."""
        outcome = self.try_run(*arguments, config=config)
        assert outcome.status == 0, outcome.output
        return outcome.output

    def plan(self, *arguments: str, config: Sequence[str] = ()) -> set[str]:
        """Return what a run would make: names of files without keys, and of what is published.

        What is published is called as its rule: ``tables``, ``metrics_kd``, ``figure_roc``.
        """
        return set(self.outputs(*arguments, config=config))

    def outputs(self, *arguments: str, config: Sequence[str] = ()) -> dict[str, str]:
        """Return the first file of each job that would run, by its name in `plan`."""
        output = self.run(*arguments, "--dry-run", "--quiet", "host", config=config)
        planned: dict[str, str] = {}
        blocks = re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)*)", output, re.MULTILINE)
        for rule, block in blocks:
            if rule == "all":
                continue
            found = re.search(r"^ {4}output: (.*)$", block, re.MULTILINE)
            assert found, block
            first = found[1].split(", ")[0]
            is_stored = first.startswith("results/store/")
            name = plain_name(first.removeprefix("results/store/")) if is_stored else rule
            planned[name.removesuffix("/fitted")] = first
        assert blocks or "Nothing to be done" in output, output
        return planned

    def write(self, name: str, text: str) -> None:
        """Write a file below the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def append(self, name: str, text: str) -> None:
        """Append to a file below the folder, which must exist."""
        path = self.folder / name
        path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace a text that stands once in a file below the folder."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} holds {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def copy(self, folder: Path) -> "Project":
        """Copy the folder with its results and Snakemake's records of them."""
        shutil.copytree(self.folder, folder, symlinks=True)  # keeps the times of the files
        return replace(self, folder=folder)

    def state(self) -> dict[str, tuple[bytes, int]]:
        """Return the content and the time of every result, logs left out, by path."""
        results = self.folder / "results"
        return {
            str(path.relative_to(results)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(results.rglob("*"))
            if path.is_file() and path.relative_to(results).parts[0] != "logs"
        }

    def contents(self) -> dict[str, bytes]:
        """Return the content of every result but the report, which holds timings, and its stamp."""
        state = self.state().items()
        report = re.compile(r"report(\.[0-9a-f]{12})?\.(html|json)$")
        return {name: text for name, (text, _) in state if not report.search(name)}


def plain_name(path: str) -> str:
    """Return the path of a file of the store without keys, suffix and what the tiny run shares."""
    name = KEY.sub("", path).removesuffix(".safetensors").removesuffix(".parquet")
    return name.removeprefix("digits/").removeprefix("small_cnn-seed0/")


def new_project(repository: Path, folder: Path) -> Project:
    """Copy the workflow, without any results, and add the tiny experiment."""
    folder.mkdir(parents=True)
    for part in PARTS:
        source = repository / part
        if source.is_dir():
            shutil.copytree(
                source, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
            )
        else:
            shutil.copy2(source, folder / part)
    project = Project(folder)
    project.write("config/experiment/tiny.yaml", TINY)
    return project


def environment() -> dict[str, str]:
    """Return the environment of a user who has activated nothing and installed no package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@cache
def warm_process() -> str:
    """Start the process whose forks do the jobs of all runs; return the name of its socket."""
    run = LocalRun(threads=1)
    run.start_server(threads=1)
    atexit.register(run.stop)
    return os.environ.pop(VARIABLE)


def execute(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> Outcome:
    """Run a command in a folder, with some environment variables more."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment(), **(variables or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return Outcome(done.returncode, done.stdout)


@contextmanager
def halted_run(
    project: Project, name: str, arguments: Sequence[str] = (), config: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run until a file is half written; afterwards kill what is left of Snakemake and its jobs.

    The job goes on when the file ``halted`` in the folder, which holds its process, is deleted.

    Args:
        project: What is run.
        name: End of the file's path, without keys. ``attacks/fgsm#3`` is in the middle of the third
            piece of rows that a job writes.
        arguments: Of Snakemake.
        config: Values of Snakemake's configuration.
    """
    halted = project.folder / "halted"
    process = subprocess.Popen(
        project.command(arguments, config),
        cwd=project.folder,
        env={
            **environment(),
            "PYTHONPATH": str(HALTING),
            "HALT_AT": name,
            "HALTED": str(halted),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: halted.exists() or process.poll() is not None)
        assert process.poll() is None, "the run ended before the file was reached"
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        halted.unlink(missing_ok=True)


def wait_for(true: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def processes(session: int) -> dict[int, str]:
    """Return the command lines of the processes of a session that have not ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            state, _, _, its_session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
    return found


def unlock(project: Project) -> None:
    """Do what Snakemake asks for after a run that could not clean up."""
    outcome = execute([str(SNAKEMAKE), "--unlock"], project.folder)
    assert outcome.status == 0, outcome.output


def attack_files(*attacks: str) -> set[str]:
    """Return what belongs to some attacks: their images and the features of these."""
    return {f"attacks/{attack}" for attack in attacks} | {
        f"features/{attack}/{feature}" for attack in attacks for feature in COMPUTED
    }


def feature_files(*features: str, attacks: Sequence[str] = ATTACKED) -> set[str]:
    """Return the values of some computed features."""
    return {
        f"features/{attack}/{feature}" for attack in ("clean", *attacks) for feature in features
    }


def score_files(*features: str) -> set[str]:
    """Return the fitted detectors of some features, and what they say."""
    return {f"{kind}/{feature}" for kind in ("detectors", "scores") for feature in features}


def detection_files(*features: str) -> set[str]:
    """Return what follows from the values of some features, up to the report."""
    figures = {"roc", "roc_low", "cross_attack"}
    figures |= {"scores_fisher_input"} & {f"scores_{feature}" for feature in features}
    return {
        *score_files(*features),
        *(f"metrics_{feature}" for feature in features),
        *(f"figure_{figure}" for figure in figures),
        *("paired", "tables", "manifest", "report"),
    }


#: What follows from the images of any attack.
AFTER_ATTACKS = detection_files(*FEATURES) | {"figure_gallery", "figure_spectra"}
#: All that is published.
PUBLISHED = {
    *(f"metrics_{feature}" for feature in FEATURES),
    *(f"figure_{name}" for name in ("roc", "roc_low", "cross_attack", "scores_fisher_input")),
    *(f"figure_{name}" for name in ("gallery", "spectra", "training")),
    *("paired", "tables", "manifest", "report"),
}
#: The whole of the store.
STORED = {
    *("train", "test", "model", "clean", "fitted/kd"),
    *attack_files(*ATTACKED),
    *feature_files(*COMPUTED),
    *score_files(*FEATURES),
}
