"""A part of the tiny experiment through the shipped profile, on a SLURM of one node."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from small_slurm import Job, SmallSlurm, missing, small_slurm
from snakemake_project import (
    SNAKEMAKE,
    Project,
    environment,
    new_project,
    wait_for,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.long,
    pytest.mark.skipif(bool(missing()), reason=missing() or "there is all"),
]

PROFILE = ("--workflow-profile", "profiles/slurm")
#: The profile's times between two looks are for clusters, on which jobs take minutes.
OFTEN = ("--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2")
SUBMITTED = re.compile(r"has been submitted with SLURM jobid (\d+)")
CANCELLED = "rule_detection-kd_fit_detectors"
FEATURES = ("max_probability", "kd")
#: What is published has a name of its own, since `first_run` has published the whole.
CONFIG = ("name=part", "attacks=[fgsm]", f"features=[{','.join(FEATURES)}]")


@pytest.fixture(scope="module")
def slurm() -> Iterator[SmallSlurm]:
    with small_slurm() as running:
        yield running


def start(project: Project, slurm: SmallSlurm, *arguments: str, config: tuple[str, ...] = ()):
    """Start Snakemake with the shipped profile; what it prints is in ``printed.txt``."""
    values = [f"experiment={project.experiment}", *config]
    with (project.folder / "printed.txt").open("w") as printed:
        return subprocess.Popen(
            [str(SNAKEMAKE), *PROFILE, *OFTEN, *arguments, "--config", *values],
            cwd=project.folder,
            env={**environment(), **slurm.variables},
            stdout=printed,
            stderr=printed,
        )


def is_to_be_cancelled(job: Job) -> bool:
    return job.comment.startswith(CANCELLED)


@pytest.fixture(scope="module")
def submitted(tmp_path_factory, repository, slurm) -> tuple[Project, str, list[Job]]:
    """The experiment, what was printed and its jobs, one of which was cancelled as it ran."""
    project = new_project(repository, tmp_path_factory.mktemp("submitted") / "project")
    process = start(project, slurm, config=CONFIG)

    def is_running() -> bool:
        assert process.poll() is None, (project.folder / "printed.txt").read_text()
        return any(job.state == "RUNNING" for job in slurm.jobs() if is_to_be_cancelled(job))

    wait_for(is_running)
    (running,) = filter(is_to_be_cancelled, slurm.jobs())
    slurm.call("scancel", str(running.number))
    status = process.wait(600)
    printed = (project.folder / "printed.txt").read_text()
    assert status == 0, printed
    return project, printed, slurm.jobs()


def tables(project: Project) -> dict[Path, bytes]:
    results = replace(project, experiment="part").results
    return {
        path.relative_to(results): path.read_bytes()
        for suffix in ("md", "csv")
        for path in sorted(results.rglob(f"*.{suffix}"))
    }


def test_the_tables_are_those_of_a_local_run(submitted, finished):
    finished.run(config=CONFIG)
    expected = tables(finished)
    assert len(expected) > 5
    assert tables(submitted[0]) == expected


def test_a_model_an_attack_and_a_features_detectors_are_one_submission_each(submitted):
    _, printed, jobs = submitted
    # What Snakemake calls a group begins with its own name and its first rule.
    names = [f"rule_digits-small_cnn-seed0-{name}_" for name in ("model", "fgsm")]
    names += [f"rule_detection-{feature}_fit_detectors" for feature in FEATURES]
    for name in names:
        found = [job for job in jobs if job.comment.startswith(name)]
        assert len(found) == (2 if name == CANCELLED else 1), name
    # Besides them the paired tests, which are about all features.
    assert len(jobs) == len(names) + 2
    assert {int(number) for number in SUBMITTED.findall(printed)} == {job.number for job in jobs}


def test_a_cancelled_job_comes_back_with_twice_the_memory(submitted):
    _, printed, jobs = submitted
    first, second = filter(is_to_be_cancelled, jobs)
    assert (first.state, second.state) == ("CANCELLED", "COMPLETED")
    assert second.megabytes == 2 * first.megabytes
    assert re.search(rf"JOB {first.number} ON \S+ CANCELLED", printed)


def test_a_failure_is_shown_and_gpus_are_generic_resources(finished, slurm, monkeypatch):
    before = len(slurm.jobs())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # on a machine that has one, too
    arguments = [finished.target("model"), "--forcerun", "train", "--retries", "0"]
    process = start(finished, slurm, *arguments, config=("device=cuda",))
    assert process.wait(600) != 0
    printed = (finished.folder / "printed.txt").read_text()
    (job,) = slurm.jobs()[before:]
    assert job.gres in ("gpu:1", "gres:gpu:1")
    assert "Error in group digits-small_cnn-seed0-model" in printed
    assert "advdetect train: error: " in printed
