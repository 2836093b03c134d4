"""Experiments on two models and on two data sets, up to the report, called in a folder of its own.

The first has an attack that is crafted on the other model, and the user's own images, some of which
never succeed; its second model is a YAML in the calling folder.
"""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from image_files import write_stripes
from safetensors.torch import load_file
from snakemake_project import Project

from advdetect.files.attack import AttackFile
from advdetect.files.counts import read_counts
from advdetect.files.texts import read_json
from advdetect.io import read_provenance

pytestmark = pytest.mark.integration

FIGURES = ["roc", "cross_attack", "gallery", "training"]
SHARED = {
    "defaults": [{"override /dataset": "digits"}, {"override /model": "small_cnn"}],
    "device": "cpu",
    "seeds": [0],
    "features": ["max_probability", "kd"],
    "detectors": ["threshold", "random_forest", "true_labels"],
    "detector": {"random_forest": {"trees": 5}},
    "evaluation": {"replicates": 100, "main_feature": "kd"},
}
EPOCHS = "model.training.epochs=3"
MODELS = SHARED | {
    "name": "models",
    "runs": [{"model": "small_cnn", "overrides": [EPOCHS]}, {"model": "wide"}],
    "attacks": ["fgsm", "otcm@wide", "mine", "harmless", "untouched"],
    "figures": [*FIGURES, "certified_accuracy"],
    "dataset": {"train_count": 300, "test_count": 120},
    "attack": {"fgsm": {"epsilon": 0.4}},
    "certification": {
        **{"sigmas": [0.1, 0.3], "images": 30, "estimation": 300, "prediction": 100},
        "radii": [0.1],
    },
}
DIGITS = f"dataset.train_count=300 dataset.test_count=120 attack.fgsm.epsilon=0.4 {EPOCHS}"
FOLDER = (
    "dataset.root=images dataset.image_size=8 attack.fgsm.epsilon=0.5"
    " model.training.epochs=5 model.training.batch_size=16"
)
DATASETS = SHARED | {
    "name": "datasets",
    "runs": [
        {"dataset": "digits", "overrides": DIGITS.split()},
        {"dataset": "image_folder", "overrides": FOLDER.split()},
    ],
    "attacks": ["fgsm"],
    "figures": FIGURES,
}


def write_experiment(project: Project, settings: dict) -> None:
    text = f"# @package _global_\n{yaml.safe_dump(settings, sort_keys=False)}"
    project.write(f"config/experiment/{settings['name']}.yaml", text)


@pytest.fixture(scope="module")
def called_in(first_run, tmp_path_factory) -> Project:
    """A folder without the workflow, with the results of the tiny experiment."""
    workflow, _ = first_run
    folder = tmp_path_factory.mktemp("runs")
    project = replace(workflow, folder=folder, snakefile=workflow.folder / "Snakefile")
    for name in ("results", ".snakemake"):
        shutil.copytree(workflow.folder / name, folder / name, symlinks=True)
    return project


@pytest.fixture(scope="module")
def models(called_in) -> Project:
    small = (called_in.snakefile.parent / "config/model/small_cnn.yaml").read_text()
    wide = small.replace("Small CNN", "Wide CNN").replace("[16, 32]", "[24, 40]")
    called_in.write("config/model/wide.yaml", wide.replace("epochs: 40", "epochs: 4"))
    called_in.write("config/attack/mine.yaml", "_file_: mine.npz\n_title_: Negatives\n")
    images = load_file(called_in.file("test"))["images"].numpy()
    index = np.arange(5, len(images))
    np.savez(called_in.folder / "mine.npz", index=index, adversarial=255 - images[5:])
    called_in.write("config/attack/harmless.yaml", "_file_: harmless.npz\n")
    called_in.write("config/attack/untouched.yaml", "_file_: untouched.npz\n")
    np.savez(called_in.folder / "untouched.npz", index=np.arange(len(images)), adversarial=images)
    assert (images[:, 0, 0, 0] == 0).all()
    images[:, 0, 0, 0] = 1  # of 255
    np.savez(called_in.folder / "harmless.npz", index=np.arange(len(images)), adversarial=images)
    write_experiment(called_in, MODELS)
    project = replace(called_in, experiment="models")
    assert not project.plan() & {"train", "test", "model", "clean", "attacks/fgsm", "fitted/kd"}
    project.run()
    return project


@pytest.fixture(scope="module")
def datasets(called_in) -> Project:
    write_stripes(called_in.folder / "images")
    write_experiment(called_in, DATASETS)
    project = replace(called_in, experiment="datasets")
    project.run()
    return project


def check_runs(project: Project, runs: tuple[str, str]) -> None:
    """Check that tables, figures and the report have both runs."""
    assert project.plan() == set()
    page = (project.results / "report.html").read_text()
    for table in ("detection", "attacks"):
        text = (project.results / "tables" / f"{table}.txt").read_text()
        assert all(run in text for run in runs), text
    assert all(run in page for run in runs)
    for figure in FIGURES:
        assert (project.results / "figures" / f"{figure}.svg").stat().st_size > 1000


def test_two_models_are_shown(models):
    check_runs(models, ("small_cnn", "wide"))


@pytest.mark.long
def test_two_data_sets_are_shown(datasets):
    """That each has the cells that it has alone, the steps' tests show; two models are shown so."""
    check_runs(datasets, ("digits", "image_folder"))


@pytest.mark.long
def test_each_data_set_has_the_cells_that_it_has_alone(datasets):
    run, config = "image_folder", ["dataset=image_folder", f"overrides={FOLDER}", "name=alone"]
    planned = datasets.plan(config=config)
    of_the_store = {"train", "test", "model", "clean"}
    assert not {each for each in planned if "/" in each or each in of_the_store}
    datasets.run("tables", config=config)
    compared = 0
    for path in sorted((datasets.folder / "results" / "alone").glob("*/*.csv")):
        expected = pd.read_csv(path)
        table = pd.read_csv(datasets.results / path.parent.name / path.name)
        if "run" not in table:
            continue
        own = table[table["run"] == run].drop(columns="run").reset_index(drop=True)
        assert len(own), path
        pd.testing.assert_frame_equal(own, expected.drop(columns="run"), check_dtype=False)
        compared += 1
    assert compared > 5


def test_images_of_another_model_are_judged_on_the_tested_one(models):
    transferred = AttackFile(models.file("attacks/otcm@wide"))
    crafted = AttackFile(models.file("wide-seed0/attacks/otcm"))
    assert transferred.facts["crafted_on"]["key"] == crafted.facts["judged_on"]["key"]
    tested = read_provenance(models.file("model"))["key"]
    assert transferred.facts["judged_on"]["key"] == tested
    columns = transferred.columns("index", "label", "prediction", "success", "crafted_success")
    right = load_file(models.file("clean"))["index"].numpy()
    assert set(columns["index"]) == set(right) & set(crafted.column("index"))
    np.testing.assert_array_equal(columns["success"], columns["prediction"] != columns["label"])
    assert 0 < columns["success"].sum() < len(right)
    assert (columns["success"] != columns["crafted_success"]).any()
    np.testing.assert_array_equal(
        transferred.adversarial([0]),
        crafted.adversarial(np.flatnonzero(crafted.column("index") == columns["index"][0])),
    )
    values = pd.read_parquet(models.file("features/otcm@wide/kd"))
    assert set(columns["index"]) <= set(values["index"])
    rest_on = read_json(models.results / "manifest.json")["cells"]
    assert {cell["run"] for cell in rest_on} == {"small_cnn", "wide"}  # as in the tables
    cells = pd.read_csv(models.results / "tables" / "detection.csv")
    cells = cells[(cells["attack"] == "otcm@wide") & (cells["run"] == "small_cnn")]
    assert set(cells["feature"]) == {"max_probability", "kd"}
    assert cells["value"].notna().all()


def test_the_users_images_are_an_attack(models):
    mine = AttackFile(models.file("attacks/mine"))
    images = load_file(models.file("test"))["images"].numpy()
    index = mine.column("index")
    right = load_file(models.file("clean"))["index"].numpy()
    assert set(index) == {each for each in right if each >= 5}
    expected = np.float32((255 - images[index]) / 255)
    np.testing.assert_allclose(mine.adversarial(range(len(index))), expected, atol=1e-7)
    assert mine.column("success").any()
    cells = pd.read_csv(models.results / "tables" / "detection.csv")
    assert cells[cells["attack"] == "mine"]["value"].notna().all()
    assert "Negatives" in (models.results / "tables" / "detection.txt").read_text()


def test_other_images_of_the_user_are_another_attack(models):
    file = models.folder / "mine.npz"
    before = file.read_bytes()
    arrays = dict(np.load(file))
    np.savez(file, index=arrays["index"][1:], adversarial=arrays["adversarial"][1:])
    planned = models.plan()
    file.write_bytes(before)
    assert {"attacks/mine", "wide-seed0/attacks/mine", "features/mine/kd"} < planned
    assert not planned & {"attacks/fgsm", "attacks/otcm@wide", "features/fgsm/kd", "model"}
    assert models.plan() == set()


def test_an_attack_without_a_success_leaves_its_own_cells_empty(models):
    assert not AttackFile(models.file("attacks/harmless")).column("success").any()
    cells = pd.read_csv(models.results / "tables" / "detection.csv")
    empty = cells["attack"].isin(["harmless", "untouched"])
    assert empty.sum() == 8  # of two features and two models
    assert cells[empty]["value"].isna().all()
    assert cells[empty]["reason"].str.len().gt(10).all()
    assert cells[~empty]["value"].notna().all()
    page = (models.results / "report.html").read_text()
    assert all(reason in page for reason in cells[empty]["reason"])


def test_each_model_is_certified_with_each_noise(models):
    cells = pd.read_csv(models.results / "tables" / "certified.csv")
    values = cells.pivot_table("value", ["run", "noise"], "quantity")
    noises = ("σ = 0.1", "σ = 0.3")
    assert set(values.index) == {(run, n) for run in ("small_cnn", "wide") for n in noises}
    assert (values["certified,r=0.1"] > 0).any()
    assert (values["certified,r=0.1"] <= values["attacked,r=0.1"]).all()
    assert (values["broken"] == 0).all()
    counts = read_counts(models.file("wide-seed0/attacked/sigma=0.3"))
    assert counts.facts["attacks"] == MODELS["attacks"]
    assert set(counts.images["index"]) <= set(range(0, 120, 4))  # 30 of 120, at equal distances
    page = (models.results / "report.html").read_text()
    assert "Certificates" in page
    assert "Certified accuracy over the L2 radius" in page
    assert (models.results / "figures" / "certified_accuracy.png").is_file()
