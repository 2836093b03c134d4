"""Killed runs and damaged files: nothing half-done is taken for whole, nothing whole is redone."""

import pytest
from snakemake_project import ATTACKS, RUN, Project, halted_run, new_project, unlock

pytestmark = pytest.mark.integration

WANTED = f"results/tiny/{RUN}features/otcm/kd.parquet"


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, repository) -> tuple[Project, dict[str, tuple[bytes, int]]]:
    """A run from scratch, killed in the middle, and the files that it had finished by then.

    It was asked for what follows from one attack and one feature.
    """
    project = new_project(repository, tmp_path_factory.mktemp("interrupted") / "project")
    with halted_run(project, "features/otcm/kd.parquet", [WANTED]):
        pass  # its end kills everything
    # The chunks of an attack are no results; the other core may have been at one.
    return project, {
        name: state
        for name, state in project.state().items()
        if not name.endswith(".tmp") and ".chunks" not in name
    }


def test_a_killed_run_leaves_no_file_that_is_half_written(interrupted, first_run):
    project, state = interrupted
    whole = first_run[0].contents()
    assert state.keys() <= whole.keys()
    assert not (project.seed0 / "features" / "otcm" / "kd.parquet").exists()
    before_it = {"attacks/otcm.safetensors", "fitted/kd.safetensors"}
    assert {f"{RUN}{name}" for name in before_it} <= state.keys() < whole.keys()
    assert {name: content for name, (content, _) in state.items()} == {
        name: whole[name] for name in state
    }


def test_unlocking_and_the_same_command_complete_a_killed_run(interrupted, first_run):
    project, state = interrupted
    locked = project.try_run(WANTED)
    assert locked.status != 0
    assert "--unlock" in locked.output
    unlock(project)
    project.run(WANTED)
    assert project.plan(WANTED) == set()
    project.run()
    # Both ran from scratch, in different folders and in a different order of jobs.
    assert project.contents() == first_run[0].contents()
    after = project.state()
    made_anew = {name.rpartition(".")[0] for name in state if after[name] != state[name]}
    # On two cores one other job ran; it may have written its files without having ended.
    assert len(made_anew) <= 1
    assert project.plan() == set()


def test_a_job_with_two_files_is_made_anew_when_it_was_killed_between_them(source, tmp_path):
    project = source.copy(tmp_path / "project")
    data = project.results / "data" / "digits"
    target = "results/tiny/data/digits/test.safetensors"
    with halted_run(project, "digits/test.safetensors", [target]):
        pass  # its end kills everything
    assert (data / "train.safetensors").exists()
    assert not (data / "test.safetensors").exists()
    unlock(project)
    project.run(target)
    assert (data / "test.safetensors").exists()
    assert project.plan(target) == set()


@pytest.mark.parametrize(
    ("name", "stage", "follows"),
    [
        (f"{RUN}features/otcm/kd.parquet", "detect", []),
        (
            f"{RUN}fitted/kd.safetensors",
            "feature",
            [f"{RUN}features/{source}/kd.parquet" for source in ("clean", *ATTACKS)],
        ),
    ],
)
def test_a_truncated_file_is_named_and_deleting_it_mends_the_run(finished, name, stage, follows):
    before = finished.state()
    damaged = finished.results / name
    damaged.write_bytes(before[name][0][: len(before[name][0]) // 2])
    follows = [*follows, f"{RUN}scores/kd.parquet", "metrics/kd.csv"]
    for made_from_it in follows:
        (finished.results / made_from_it).unlink()

    failed = finished.try_run("results/tiny/metrics/kd.csv")
    assert failed.status != 0
    (message,) = {line for line in failed.output.splitlines() if "error: " in line}
    assert message.startswith(f"advdetect {stage}: error: The file results/tiny/{name} ")
    assert "Delete it and run again" in message
    assert "Traceback" not in failed.output

    damaged.unlink()
    finished.run("results/tiny/metrics/kd.csv")
    after = finished.state()
    assert {key: content for key, (content, _) in after.items()} == {
        key: content for key, (content, _) in before.items()
    }
    made_anew = {name, *follows}
    assert {key for key in before if after[key] != before[key]} == made_anew
