"""Files that know what they are: shared, copied, changed and changed back (dry runs mostly)."""

import os
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from snakemake_project import (
    AFTER_ATTACKS,
    COMPUTED,
    FEATURES,
    PUBLISHED,
    STORED,
    Outcome,
    Project,
    attack_files,
    execute,
    feature_files,
    new_project,
    score_files,
)

pytestmark = pytest.mark.integration

TINY = "config/experiment/tiny.yaml"
EPSILON = ["overrides=attack.fgsm.epsilon=0.3"]
#: Other features and another name, the rest as in the tiny experiment.
OTHER = ["features=[kd,lid]", "name=other", "overrides=evaluation.main_feature=kd"]

# Two experiments


def test_a_second_experiment_makes_only_what_the_first_has_not(first_run):
    planned = first_run[0].plan(config=OTHER)
    stored = {"fitted/lid", *feature_files("lid"), *score_files("lid")}
    published = (PUBLISHED - {f"metrics_{name}" for name in FEATURES}) | {
        *("metrics_kd", "metrics_lid", "figure_scores_kd"),
    }
    published -= {"figure_spectra", "figure_scores_fisher_input"}
    assert planned == stored | published


def test_an_experiment_of_another_name_makes_nothing_but_what_it_publishes(first_run):
    assert first_run[0].plan(config=["name=other"]) == PUBLISHED


# Copies


def touched(project: Project, seed: int) -> None:
    """Give all results times in any order."""
    files = [path for path in (project.folder / "results").rglob("*") if path.is_file()]
    random.Random(seed).shuffle(files)
    for number, path in enumerate(files):
        os.utime(path, (1_700_000_000 + number, 1_700_000_000 + number))


def copied_without_times(project: Project, folder: Path) -> Project:
    """Copy as a plain ``cp -r`` does."""
    shutil.copytree(project.folder, folder, copy_function=shutil.copyfile)
    return replace(project, folder=folder)


def test_a_copied_folder_is_finished(first_run, tmp_path):
    touched(first_run[0].copy(tmp_path / "times"), 0)
    copies = [
        replace(first_run[0], folder=tmp_path / "times"),
        copied_without_times(first_run[0], tmp_path / "new times"),
    ]
    for project in copies:
        assert project.plan() == set()


def test_results_are_those_of_any_clone_which_knows_what_they_lack(first_run, repository, tmp_path):
    """The clone has no records of Snakemake, and their times say nothing."""
    project = new_project(repository, tmp_path / "another clone")
    shutil.copytree(first_run[0].folder / "results", project.folder / "results")
    assert project.plan() == set()
    touched(project, 1)
    assert project.plan() == set()
    assert project.plan(config=EPSILON) == attack_files("fgsm") | AFTER_ATTACKS
    seeds = project.plan(config=["overrides=seeds=[0,1]"])
    of_the_new = {f"small_cnn-seed1/{name}" for name in STORED - {"train", "test"}}
    assert seeds == of_the_new | (PUBLISHED - {"figure_gallery"})
    fewer = project.plan(config=["overrides=dataset.train_count=200"])
    assert fewer == STORED | PUBLISHED


def test_a_change_back_makes_nothing_of_the_store_anew(finished, first_run):
    metrics = "results/tiny/metrics/kd.csv"
    finished.run(metrics, config=EPSILON)
    assert (
        finished.contents()[metrics.removeprefix("results/")]
        != (first_run[0].contents()[metrics.removeprefix("results/")])
    )
    follows = finished.plan()
    assert follows == {"metrics_kd", "figure_cross_attack", "tables", "report"}
    shutil.rmtree(finished.folder / ".snakemake")  # nor is it remembered anywhere else
    touched(finished, 2)
    assert finished.plan() == follows
    finished.run()
    contents, before = finished.contents(), first_run[0].contents()
    assert {name: contents[name] for name in before} == before
    assert finished.plan() == set()


# Words


def title_of_a_feature(project: Project) -> None:
    project.replace("config/feature/kd.yaml", "_title_: KD", "_title_: Kernel density")


def title_of_an_attack(project: Project) -> None:
    project.replace("config/attack/fgsm.yaml", "_title_: FGSM", "_title_: Fast gradient sign")


def title_and_caption(project: Project) -> None:
    project.replace(TINY, "a few of them", "some of them")
    project.append("config/figure/roc.yaml", "_caption_: Another.\n")


NAMED = {"tables", "report"}
FIGURES = {name for name in PUBLISHED if name.startswith("figure_")}
WORDS: dict[str, tuple[Callable[[Project], None], set[str]]] = {
    "a feature's title": (
        title_of_a_feature,
        NAMED | {"figure_roc", "figure_roc_low", "figure_cross_attack"},
    ),
    "an attack's title": (title_of_an_attack, NAMED | FIGURES - {"figure_training"}),
    "the experiment's title and a caption": (title_and_caption, {"report"}),
}


@pytest.mark.parametrize("change", WORDS)
def test_a_word_makes_nothing_but_what_shows_it(finished, change):
    edit, expected = WORDS[change]
    edit(finished)
    assert finished.plan() == expected


UNSAID = {
    "a help text": (
        "steps/attack.py",
        'help="file to write: the adversarial images"',
        'help="the file"',
    ),
    "a docstring": ("attacks/fgsm.py", '"""Fast gradient sign method (', '"""FGSM, a method ('),
    "a message": ("steps/judging.py", " fooled", " of them fooled"),
    "the version": ("__init__.py", '"0.1.0"', '"0.2.0"'),
}


def test_what_only_programmers_and_users_read_makes_nothing(finished):
    for file, old, new in UNSAID.values():
        finished.replace(f"src/advdetect/{file}", old, new)
    assert finished.plan() == set()


# Published files that are gone

#: What reads a file that is gone follows; other files of the same job are made again as they were.
GONE = [
    (["tables/detection.md", "tables/detectors.tex", "tables/attacks.txt"], {"tables"}),
    (["figures/gallery.png", "figures/roc.svg"], {"figure_gallery", "figure_roc", "report"}),
    (
        ["manifest.json", "metrics/kd.csv"],
        {"manifest", "metrics_kd", "figure_cross_attack", "tables", "report"},
    ),
    (["report.html"], {"report"}),
]


@pytest.mark.parametrize(("names", "expected"), GONE, ids=lambda value: "")
def test_what_is_deleted_of_the_published_comes_back(finished, names, expected):
    for name in names:
        (finished.results / name).unlink()
    assert finished.plan() == expected


def test_another_number_of_test_images_trains_nothing(first_run):
    planned = first_run[0].plan(config=["overrides=dataset.test_count=100"])
    assert {"test", "clean", "attacks/fgsm"} < planned
    assert not planned & {"train", "model", "fitted/kd", "figure_training"}
    assert planned == (STORED | PUBLISHED) - {"train", "model", "fitted/kd", "figure_training"}


# Prune


def prune(project: Project, *arguments: str) -> Outcome:
    command = [sys.executable, "-m", "advdetect", "prune", "results", *arguments]
    return execute(command, project.folder, {"PYTHONPATH": str(project.folder / "src")})


@pytest.mark.long
def test_pruning_keeps_what_the_named_experiment_needs(finished):
    kept = set(finished.store.rglob("*.*"))
    finished.run(config=["name=other", *EPSILON])
    said = prune(finished, "--keep", "tiny")
    assert said.status == 0, said.output
    surplus = {path for path in finished.store.rglob("*.*") if path not in kept and path.is_file()}
    listed = set(said.output.splitlines()) - set(said.output.splitlines()[-2:])
    assert listed == {str(path.relative_to(finished.store)) for path in surplus}
    assert len(surplus) == 1 + len(COMPUTED) + 4 * len(FEATURES)
    assert all(path.exists() for path in surplus)
    assert finished.plan(config=["name=other", *EPSILON]) == set()

    assert prune(finished, "--keep", "tiny", "--yes").status == 0
    assert not any(path.exists() for path in surplus)
    assert finished.plan() == set()
    assert "attacks/fgsm" in finished.files()
    # The other one was published and is not out of date; what it needs is made when it must be.
    (finished.folder / "results/other/tables/detection.csv").unlink()
    assert "attacks/fgsm" in finished.plan(config=["name=other", *EPSILON])
    refused = prune(finished, "--keep", "tyni")
    assert refused.status != 0
    assert "tyni is no finished experiment" in refused.output
