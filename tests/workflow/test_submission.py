from collections import defaultdict
from graphlib import TopologicalSorter
from types import SimpleNamespace

import pytest
import yaml
from job_commands import jobs, wildcards

from pipeline import WITHOUT_MODEL
from store_file import StoreFile
from submission import Submission

#: Several runs and seeds, an attack of another model, defences, and what is computed of examples.
EXPERIMENTS = [
    {
        "attacks": ["fgsm", "otcm", "fgsm@lenet5"],
        "features": ["kd", "kd_bu", "mid"],
        "defenses": ["mid"],
        "seeds": [0, 1],
        "runs": [{"model": "small_cnn"}, {"model": "lenet5"}],
    },
    {"experiment": "martin2019_small"},
    {"experiment": "zhao2019_small"},
    {"experiment": "hsu2018_small"},
]
experiments = pytest.mark.parametrize("config", EXPERIMENTS)


def submissions(pipeline) -> dict[str, str]:
    """Return the submission of each job: its group, or itself."""
    submission = Submission(pipeline, in_groups=True)
    store = {
        job: submission.group(wildcards(file)) or job for job, file in pipeline.store.files.items()
    }
    published = {job.rule: submission.published_group(job) for job in pipeline.published}
    return store | {rule: group or rule for rule, group in published.items()}


def dependencies(pipeline) -> dict[str, set[str]]:
    """Return the jobs of the store that each job needs."""
    made = {job: file.inputs for job, file in pipeline.store.files.items()}
    made |= {job.rule: job.inputs for job in pipeline.published}
    return {
        job: {
            file.job for files in inputs.values() for file in files if isinstance(file, StoreFile)
        }
        for job, inputs in made.items()
    }


@experiments
def test_no_submission_waits_for_itself(pipeline_of, config):
    pipeline = pipeline_of(**config)
    group_of, needed = submissions(pipeline), defaultdict(set)
    for job, others in dependencies(pipeline).items():
        needed[group_of[job]] |= {group_of[other] for other in others} - {group_of[job]}
    assert list(TopologicalSorter(needed).static_order())  # refuses a circle


@experiments
def test_all_jobs_of_a_submission_use_a_gpu_or_none_does(pipeline_of, config):
    pipeline = pipeline_of(**config)
    group_of, used = submissions(pipeline), defaultdict(set)
    for job, file in pipeline.store.files.items():
        used[group_of[job]].add(file.step not in WITHOUT_MODEL)
    assert all(len(uses) == 1 for uses in used.values())


def test_a_model_an_attack_and_a_features_detectors_are_submitted_together(pipeline_of):
    pipeline = pipeline_of(attacks=["fgsm", "otcm"], features=["kd", "bu", "kd_bu"], seeds=[0])
    members = defaultdict(set)
    for job, group in submissions(pipeline).items():
        if job != group:
            file = pipeline.store.files.get(job)
            members[group].add(job if file is None else (file.step, file.names.get("feature")))
    images = {("feature", "kd"), ("feature", "bu")}
    detectors = {
        f"detection-{name}": {("fit-detectors", name), ("score", name), f"metrics_{name}"}
        for name in ("kd", "bu", "kd_bu")
    }
    run = "digits-small_cnn-seed0"
    assert members == {
        f"{run}-model": {  # with the control of the features
            *((step, None) for step in ("train", "classify", "attack")),
            ("fit-feature", "kd"),
            *images,
        },
        f"{run}-fgsm": {("attack", None), *images},
        f"{run}-otcm": {("attack", None), *images},
        **detectors,
    }


def test_a_local_run_has_no_groups(pipeline_of):
    pipeline = pipeline_of()
    submission = Submission(pipeline, in_groups=False)
    assert not any(submission.group(wildcards(file)) for file in pipeline.store.files.values())
    assert not any(submission.published_group(job) for job in pipeline.published)


def test_a_generic_resource_is_asked_for_only_with_cuda(pipeline_of):
    assert Submission(pipeline_of(), in_groups=True).gres is None
    assert Submission(pipeline_of(device="cuda", batch_size=8), in_groups=True).gres == "gpu:1"


def test_the_profile_of_slurm_counts_no_gpus_for_any_rule(pipeline_of, repository):
    steps = {
        file.step for config in EXPERIMENTS for file in pipeline_of(**config).store.files.values()
    }
    rules = {step.replace("-", "_") for step in steps - {*WITHOUT_MODEL, "transfer"}}
    profile = yaml.safe_load((repository / "profiles" / "slurm" / "profile.yaml").read_text())
    assert profile["set-resources"] == {rule: {"gpu": "None"} for rule in rules}


def test_what_a_group_makes_itself_counts_as_its_largest_input(pipeline_of, tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(bytes(1_000_000))
    large.write_bytes(bytes(50_000_000))
    pipeline = pipeline_of()
    job = SimpleNamespace(job=jobs(pipeline, "classify")[0].job)

    def megabytes(*paths, attempt=1):
        return pipeline.megabytes(job, [str(path) for path in paths], attempt)

    assert megabytes(small, large) == 3051
    assert megabytes(small, large, tmp_path / "none") == 3101
    assert megabytes(tmp_path / "none") == 3000
    assert megabytes(small, large, attempt=2) == 6102
