"""A part of the tiny experiment through the shipped profile, on a SLURM of one node."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from small_slurm import Job, SmallSlurm, missing, small_slurm
from snakemake_project import (
    Project,
    environment,
    new_project,
    plain_name,
    wait_for,
    warm_process,
)

from advdetect.warm.client import VARIABLE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(missing()), reason=missing() or "there is all"),
]

PROFILE = ("--workflow-profile", "profiles/slurm")
#: Snakemake, looking at its jobs each second. The plugin waits ten seconds longer after each look
#: than before it, which no option of it changes: that is for clusters, on which jobs take minutes.
SNAKEMAKE = """\
from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda _: 1, lambda *_: None)
main()
"""
SUBMITTED = re.compile(r"has been submitted with SLURM jobid (\d+)")
GROUP = "detection-kd_fit_detectors"
CANCELLED = re.compile(rf"jobid (\d+) \(log: \S+/group_{GROUP}")
METRICS = "results/tiny/metrics/kd.csv"
CONFIG = ("attacks=[fgsm]", "features=[kd]")


@pytest.fixture(scope="module")
def slurm() -> Iterator[SmallSlurm]:
    with small_slurm() as running:
        yield running


@contextmanager
def started(
    project: Project, slurm: SmallSlurm, *arguments: str, config: tuple[str, ...] = ()
) -> Iterator[subprocess.Popen]:
    """Start Snakemake with the shipped profile; what it prints is in ``printed.txt``."""
    values = [f"experiment={project.experiment}", *config]
    with printed(project).open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", SNAKEMAKE, *PROFILE, *arguments, "--config", *values],
            cwd=project.folder,
            env={**environment(), **slurm.variables, VARIABLE: warm_process()},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def printed(project: Project) -> Path:
    return project.folder / "printed.txt"


def detection(jobs: list[Job]) -> list[Job]:
    return [job for job in jobs if job.comment.startswith(f"rule_{GROUP}")]


@pytest.fixture(scope="module")
def submitted(tmp_path_factory, repository, slurm) -> tuple[Project, str, list[Job]]:
    """The project, what was printed and its jobs, one of which was cancelled as it ran."""
    project = new_project(repository, tmp_path_factory.mktemp("submitted") / "project")
    text = printed(project)
    with started(project, slurm, METRICS, config=CONFIG) as process:

        def is_submitted() -> bool:
            assert process.poll() is None, text.read_text()
            return CANCELLED.search(text.read_text()) is not None

        wait_for(is_submitted, 600)
        wait_for(lambda: detection(slurm.jobs())[0].state == "RUNNING")
        slurm.call("scancel", str(detection(slurm.jobs())[0].number))
        assert process.wait(600) == 0, text.read_text()
    return project, text.read_text(), slurm.jobs()


def test_a_model_an_attack_and_a_features_detectors_are_one_submission_each(submitted):
    _, text, jobs = submitted
    # What Snakemake calls a group begins with its own name and its first rule.
    names = [f"rule_digits-small_cnn-seed0-{name}_" for name in ("model", "fgsm")]
    for name in names:
        assert len([job for job in jobs if job.comment.startswith(name)]) == 1, name
    assert len(detection(jobs)) == 2  # the first was cancelled
    assert len(jobs) == len(names) + 2
    assert {int(number) for number in SUBMITTED.findall(text)} == {job.number for job in jobs}


def test_a_cancelled_job_comes_back_with_twice_the_memory(submitted):
    _, text, jobs = submitted
    first, second = detection(jobs)
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert second.megabytes == 2 * first.megabytes
    assert re.search(rf"JOB {first.number} ON \S+ CANCELLED", text)


def test_the_results_are_those_of_a_local_run(submitted, first_run):
    made, whole = submitted[0].contents(), first_run[0].contents()
    stored = {name for name in made if name.startswith("store/") and name in whole}
    assert {plain_name(name.removeprefix("store/")) for name in stored} == {
        *("train", "test", "model", "model.json", "clean", "fitted/kd"),
        *("attacks/fgsm", "attacks/unchanged"),
        *(f"features/{images}/kd" for images in ("clean", "fgsm", "unchanged")),
    }
    assert {name: made[name] for name in stored} == {name: whole[name] for name in stored}


def test_the_metrics_are_those_of_a_local_run(submitted, first_run):
    """A detector's on its own attack do not depend on what else is there."""
    made, whole = (
        pd.read_csv(BytesIO(project.contents()[METRICS.removeprefix("results/")]))
        for project in (submitted[0], first_run[0])
    )
    made, whole = (
        table[(table["detector"] == "random_forest") & (table["trained_on"] == "fgsm")]
        for table in (made, whole)
    )
    expected = whole[whole["tested_on"] == "fgsm"].reset_index(drop=True)
    assert len(expected) > 10
    assert_frame_equal(made.reset_index(drop=True), expected, check_exact=True)


@pytest.mark.long
def test_a_failure_is_shown_and_gpus_are_generic_resources(finished, slurm, monkeypatch):
    before = len(slurm.jobs())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # on a machine that has one, too
    arguments = [finished.target("model"), "--forcerun", "train", "--retries", "0"]
    with started(finished, slurm, *arguments, config=("device=cuda",)) as process:
        assert process.wait(600) != 0
    text = printed(finished).read_text()
    (job,) = slurm.jobs()[before:]
    assert job.gres in ("gpu:1", "gres:gpu:1")
    assert "Error in group digits-small_cnn-seed0-model" in text
    assert "advdetect train: error: " in text
