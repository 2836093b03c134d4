"""Killed runs and damaged files: nothing half-done is taken for whole, nothing whole is redone."""

import re
import shutil

import pytest
from snakemake_project import ATTACKED, Project, halted_run, unlock

pytestmark = pytest.mark.integration

NAME = "features/otcm/kd"


@pytest.fixture(scope="module")
def wanted(first_run) -> str:
    return first_run[0].target(NAME)


@pytest.fixture(scope="module")
def interrupted(
    tmp_path_factory, first_run, wanted
) -> tuple[Project, dict[str, tuple[bytes, int]]]:
    """A run that had data and model, killed in the middle, and the files that there were by then.

    It was asked for what follows from one attack and one feature.
    """
    project = first_run[0].copy(tmp_path_factory.mktemp("interrupted") / "project")
    for name, path in project.files().items():
        if name not in ("train", "test", "model", "model.json", "clean"):
            path.unlink()
    shutil.rmtree(project.results)
    with halted_run(project, f"{NAME}.parquet", [wanted]):
        pass  # its end kills everything
    # What is unfinished is no result; the other core may have been at an attack.
    return project, {
        name: state
        for name, state in project.state().items()
        if not name.endswith((".tmp", ".partial"))
    }


def test_a_killed_run_leaves_no_file_that_is_half_written(interrupted, first_run):
    project, state = interrupted
    whole = first_run[0].contents()
    assert state.keys() <= whole.keys()
    assert NAME not in project.files()
    assert {"attacks/otcm", "fitted/kd"} <= project.files().keys()
    assert state.keys() < whole.keys()
    assert {name: content for name, (content, _) in state.items()} == {
        name: whole[name] for name in state
    }


def test_unlocking_and_the_same_command_complete_a_killed_run(interrupted, first_run, wanted):
    project, state = interrupted
    locked = project.try_run(wanted)
    assert locked.status != 0
    assert "--unlock" in locked.output
    unlock(project)
    project.run(wanted)
    assert project.plan(wanted) == set()
    # Both ran in different folders and in a different order of jobs.
    contents, whole = project.contents(), first_run[0].contents()
    assert wanted.removeprefix("results/") in contents
    assert contents == {name: whole[name] for name in contents}
    after = project.state()
    made_anew = {name.rpartition(".")[0] for name in state if after[name] != state[name]}
    # On two cores one other job ran; it may have written its files without having ended.
    assert len(made_anew) <= 1


@pytest.mark.long
def test_a_job_with_two_files_is_made_anew_when_it_was_killed_between_them(finished):
    names = ("detectors/kd/fitted", "detectors/kd/split", "detectors/kd/thresholds")
    paths = {name: finished.file(name) for name in names}
    whole = {name: path.read_bytes() for name, path in paths.items()}
    target = finished.target(names[0])
    for path in paths.values():
        path.unlink()
    with halted_run(finished, "detectors/kd/thresholds.parquet", [target]):
        pass  # its end kills everything
    there = {name for name, path in paths.items() if path.exists()}
    assert there
    assert names[2] not in there
    unlock(finished)
    finished.run(target)
    assert {name: path.read_bytes() for name, path in paths.items()} == whole
    assert finished.plan(target) == set()


def test_an_interrupted_attack_goes_on_at_the_last_batch(finished):
    attack = finished.file("attacks/bim_l2")
    whole, target = attack.read_bytes(), finished.target("attacks/bim_l2")
    attack.unlink()
    config = ["batch_size=20"]
    with halted_run(finished, "attacks/bim_l2#3", [target], config):
        pass  # its end kills everything
    assert not attack.exists()
    unlock(finished)
    printed = finished.run(target, config=config)
    assert re.search(r"attack bim_l2: 40 of \d+ images were finished before", printed)
    assert attack.read_bytes() == whole
    assert not list(attack.parent.glob(".*"))


@pytest.mark.parametrize(
    ("name", "stage", "follows"),
    [
        pytest.param(NAME, "fit-detectors", [], marks=pytest.mark.long),
        pytest.param(
            "fitted/kd",
            "feature",
            [f"features/{source}/kd" for source in ("clean", *ATTACKED)],
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_truncated_file_is_named_and_deleting_it_mends_the_run(finished, name, stage, follows):
    before = finished.state()
    files = finished.files()
    damaged = files[name]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    detectors = [f"detectors/kd/{part}" for part in ("fitted", "split", "thresholds")]
    made_from_it = [files[each] for each in (*follows, *detectors, "scores/kd")]
    made_from_it += [finished.results / folder / "kd.csv" for folder in ("metrics", "control")]
    for path in made_from_it:
        path.unlink()

    failed = finished.try_run("results/tiny/metrics/kd.csv")
    assert failed.status != 0
    (message,) = {line for line in failed.output.splitlines() if "error: " in line}
    path = damaged.relative_to(finished.folder)
    assert message.startswith(f"advdetect {stage}: error: The file {path} ")
    assert "Delete it and run again" in message
    assert "Traceback" not in failed.output

    damaged.unlink()
    finished.run("results/tiny/metrics/kd.csv")
    after = finished.state()
    assert {key: content for key, (content, _) in after.items()} == {
        key: content for key, (content, _) in before.items()
    }
    results = finished.folder / "results"
    made_anew = {str(path.relative_to(results)) for path in (damaged, *made_from_it)}
    (stamp,) = (key for key in before if "/.stamps/metrics_kd." in key)
    assert {key for key in before if after[key] != before[key]} == made_anew | {stamp}
