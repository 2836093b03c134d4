"""A sweep: its values share their work, and each is a cached file of its own."""

import json
from pathlib import Path

import pytest
from snakemake_project import Project, halted_run, plain_name, unlock

pytestmark = pytest.mark.integration

NAMES = [f"fade,strength={value}" for value in (0.3, 0.5, 0.7)]
IMAGES = 16  # of a batch

MODULE = '''\
"""An attack with a sweep; every call leaves a line in calls.txt."""

import json
from pathlib import Path
import os

from advdetect.attacks.result import AttackResult

SPEED = 1.0


def fade(model, images, labels, *, generator, strength, offset):
    (result,) = fade_sweep(
        model, images, labels, generator=generator, variants=[{"strength": strength}], offset=offset
    )
    return result


def fade_sweep(model, images, labels, *, generator, variants, offset):
    noise = generator.uniform(*images.shape[1:])
    call = {
        "images": [round(value, 6) for value in noise[:, 0, 0, 0].tolist()],
        "strengths": [variant["strength"] for variant in variants],
    }
    with open("calls.txt", "a") as file:
        print(json.dumps(call), file=file)
    results = []
    for variant in variants:
        faded = images + variant["strength"] * (1 - 2 * images) + offset * SPEED * noise
        adversarial = faded.clamp(0, 1)
        success = model(adversarial).argmax(1) != labels
        once = labels * 0 + 1
        results.append(AttackResult(adversarial, success, None, once))
    return results
'''

YAML = """\
_target_: my_sweep.fade
_sweep_: {_target_: my_sweep.fade_sweep, over: [strength]}
strength: [0.3, 0.5]
offset: 0.1
_schema_:
  strength: {type: number}
  offset: {type: number}
"""


def made_of(*names: str) -> list[str]:
    """Return what is made of each value: its images and a feature of them."""
    return [f"attacks/{name}" for name in names] + [
        f"features/{name}/max_probability" for name in names
    ]


def swept(*values: float) -> list[str]:
    """The configuration of the sweep with these values."""
    listed = ",".join(map(str, values))
    return ["attacks=[fade]", f"overrides=attack.fade.strength=[{listed}]"]


def calls(project: Project) -> list[dict]:
    """Return what the attack was called with, and forget it."""
    path = project.folder / "calls.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def targets(project: Project, values: tuple[float, ...]) -> list[str]:
    """Return the paths of the files of the sweep with these values."""
    names = [f"fade,strength={value}" for value in values]
    paths = project.outputs("--forceall", config=swept(*values))
    return [paths[name] for name in made_of(*names)]


def run(project: Project, values: tuple[float, ...], paths: list[str], *arguments: str) -> str:
    """Make these files of the sweep with these values."""
    config = [f"batch_size={IMAGES}", *swept(*values)]
    return project.run(*paths, *arguments, config=config)


def contents(project: Project, paths: list[str]) -> list[bytes]:
    return [(project.folder / path).read_bytes() for path in paths]


def hidden(project: Project) -> list[Path]:
    """Return what is unfinished in the store."""
    return list(project.store.rglob(".*"))


def no_image_twice(made: list[dict]) -> bool:
    images = [image for call in made for image in call["images"]]
    return len(images) == len(set(images))


def add_sweep(project: Project) -> Project:
    project.write("my_sweep.py", MODULE)
    project.write("config/attack/fade.yaml", YAML)
    return project


@pytest.fixture(scope="module")
def paths(first_run, tmp_path_factory) -> list[str]:
    """What is made of the sweep of two values, the first's before the second's of each kind."""
    project = add_sweep(first_run[0].copy(tmp_path_factory.mktemp("planned") / "project"))
    return targets(project, (0.3, 0.5))


@pytest.fixture(scope="module")
def grown(first_run, paths, tmp_path_factory) -> tuple[Project, list[dict]]:
    """The sweep of two values on top of the tiny experiment, and the calls that made it."""
    project = add_sweep(first_run[0].copy(tmp_path_factory.mktemp("sweep") / "project"))
    run(project, (0.3, 0.5), paths)
    return project, calls(project)


@pytest.fixture
def sweep(grown, tmp_path) -> Project:
    """A copy, to be changed."""
    return grown[0].copy(tmp_path / "project")


def test_the_values_share_every_batch_and_no_image_is_attacked_twice(grown):
    project, made = grown
    assert len(made) > 5
    assert all(call["strengths"] == [0.3, 0.5] for call in made)
    assert max(len(call["images"]) for call in made) == IMAGES // 2
    assert no_image_twice(made)
    assert not hidden(project)  # nothing unfinished is left


def test_each_value_is_the_file_that_it_would_be_alone(grown, paths, finished):
    add_sweep(finished)
    alone = paths[1::2]
    run(finished, (0.5,), alone)
    assert all(call["strengths"] == [0.5] for call in calls(finished))
    assert contents(finished, alone) == contents(grown[0], alone)


def test_an_added_value_is_computed_alone_and_changes_no_file(sweep, paths):
    assert "Nothing to be done" in run(sweep, (0.3, 0.5), paths)
    before = sweep.state()
    values = (0.3, 0.5, 0.7)
    added = set(made_of(NAMES[2]))
    every = targets(sweep, values)
    assert set(paths) < set(every)
    run(sweep, values, every)
    made = calls(sweep)
    assert all(call["strengths"] == [0.7] for call in made)
    assert max(len(call["images"]) for call in made) == IMAGES
    after = sweep.state()
    assert {name: after[name] for name in before} == before
    new = {plain_name(name.removeprefix("store/")) for name in after.keys() - before.keys()}
    assert new == added


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param("a common value", marks=pytest.mark.long),
        "the code",
        pytest.param("nothing, but forced", marks=pytest.mark.long),
    ],
)
def test_what_the_values_have_in_common_makes_all_of_them_anew(sweep, paths, changed):
    values = (0.3, 0.5)
    before = contents(sweep, paths)
    if changed == "a common value":
        sweep.replace("config/attack/fade.yaml", "offset: 0.1", "offset: 0.2")
    elif changed == "the code":
        sweep.replace("my_sweep.py", "SPEED = 1.0", "SPEED = 2.0")
    forced = ["--forcerun=attack"] if changed.endswith("forced") else []
    remade = paths if forced else targets(sweep, values)
    run(sweep, values, remade, *forced)
    made = calls(sweep)
    after = contents(sweep, remade)
    if forced:
        assert after == before
    else:
        assert all(call["strengths"] == [0.3, 0.5] for call in made)
        assert no_image_twice(made)
        assert all(new != old for new, old in zip(after, before, strict=True))
    assert not hidden(sweep)


@pytest.mark.long
def test_a_killed_sweep_goes_on_where_it_was(finished, grown, paths):
    project, values = add_sweep(finished), (0.3, 0.5)
    config = [f"batch_size={IMAGES}", *swept(*values)]
    # The last value of a batch: those before it have these rows already.
    with halted_run(project, f"attacks/{NAMES[1]}#3", paths, config):
        pass  # its end kills everything
    before = calls(project)
    assert len(before) >= 3
    assert hidden(project)
    unlock(project)
    printed = run(project, values, paths)
    assert "images were finished before" in printed
    after = calls(project)
    # What was being computed or written when the jobs were killed is made anew, on each core.
    assert len(before) + len(after) <= len(grown[1]) + 2
    assert contents(project, paths) == contents(grown[0], paths)
    assert not hidden(project)


def test_without_shared_files_each_job_computes_its_own(sweep, paths):
    attacks = paths[:2]
    for path in attacks:
        (sweep.folder / path).unlink()
    plan = [*attacks, "--dry-run", "--quiet", "host", "--printshellcmds"]
    config = swept(0.3, 0.5)
    assert '--sweep \'{"fade,strength=0.3"' in sweep.run(*plan, config=config)
    pods = ["--shared-fs-usage", "persistence"]
    assert "--sweep '{}'" in sweep.run(*plan, *pods, config=config)
