"""A copy of the workflow in a folder of its own, and what Snakemake does with it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

PARTS = ("Snakefile", "config", "workflow", "src", "envs", "profiles")
SNAKEMAKE = Path(sys.executable).parent / "snakemake"
RUN = "digits/small_cnn/seed0/"
HALTING = Path(__file__).parent / "halting"
DEADLINE = 300.0  # seconds

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
    """

    folder: Path
    experiment: str = "tiny"

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.experiment

    @property
    def seed0(self) -> Path:
        return self.results / RUN

    def command(self, arguments: Sequence[str], config: Sequence[str] = ()) -> list[str]:
        values = [f"experiment={self.experiment}", *config]
        return [str(SNAKEMAKE), "--cores", "2", *arguments, "--config", *values]

    def try_run(self, *arguments: str, config: Sequence[str] = ()) -> Outcome:
        """Run Snakemake in the folder."""
        return execute(self.command(arguments, config), self.folder)

    def run(self, *arguments: str, config: Sequence[str] = ()) -> str:
        """Run Snakemake in the folder, to the end; return what it printed."""
        outcome = self.try_run(*arguments, config=config)
        assert outcome.status == 0, outcome.output
        return outcome.output

    def plan(self, *arguments: str, config: Sequence[str] = ()) -> set[str]:
        """Return what a run would make: file names, without the folders that all share.

        The many files of the rule `tables` count as one, and so does a figure's SVG and PNG.
        """
        output = self.run(*arguments, "--dry-run", "--quiet", "host", config=config)
        planned = set()
        blocks = re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)*)", output, re.MULTILINE)
        for rule, block in blocks:
            if rule == "all":
                continue
            found = re.search(r"^ {4}output: (.*)$", block, re.MULTILINE)
            assert found, block
            first = found[1].split(", ")[0].removeprefix(f"results/{self.experiment}/")
            planned.add("tables" if rule == "tables" else first.removeprefix(RUN))
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
        """Return the content and the time of every result, logs left out."""
        return {
            str(path.relative_to(self.results)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(self.results.rglob("*"))
            if path.is_file() and path.relative_to(self.results).parts[0] != "logs"
        }

    def contents(self) -> dict[str, bytes]:
        """Return the content of every result but the report, which holds timings."""
        return {name: text for name, (text, _) in self.state().items() if name != "report.html"}


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


def execute(command: Sequence[str], folder: Path) -> Outcome:
    """Run a command in a folder."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    return Outcome(done.returncode, done.stdout)


@contextmanager
def halted_run(
    project: Project, name: str, arguments: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run until a file is half written; afterwards kill what is left of Snakemake and its jobs.

    The job goes on when the file ``halted`` in the folder is deleted.
    """
    halted = project.folder / "halted"
    process = subprocess.Popen(
        project.command(arguments),
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
    return {f"attacks/{attack}.safetensors" for attack in attacks} | {
        f"features/{attack}/{feature}.parquet" for attack in attacks for feature in COMPUTED
    }


def feature_files(*features: str, attacks: Sequence[str] = ATTACKS) -> set[str]:
    """Return the values of some computed features."""
    return {
        f"features/{attack}/{feature}.parquet"
        for attack in ("clean", *attacks)
        for feature in features
    }


def detection_files(*features: str) -> set[str]:
    """Return what follows from the values of some features, up to the report."""
    figures = {"roc", "roc_low", "cross_attack"}
    figures |= {"scores_fisher_input"} & {f"scores_{feature}" for feature in features}
    return {
        *(f"scores/{feature}.parquet" for feature in features),
        *(f"metrics/{feature}.csv" for feature in features),
        "metrics/paired.csv",
        *(f"figures/{figure}.svg" for figure in figures),
        "tables",
        "report.html",
    }


#: What follows from the images of any attack.
AFTER_ATTACKS = detection_files(*FEATURES) | {"figures/gallery.svg", "figures/spectra.svg"}
