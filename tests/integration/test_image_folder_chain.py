"""A folder of images, of some of many classes, through the whole chain, two seeds."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from image_files import CLASSES, draw, write_stripes
from PIL import Image
from safetensors.torch import load_file
from snakemake_project import Project, new_project

# An image folder is also the second data set of test_several_runs.
pytestmark = [pytest.mark.integration, pytest.mark.long]

OTHERS = 27  # classes without an image to test

EXPERIMENT = """
# @package _global_
defaults:
  - override /dataset: image_folder
  - override /model: small_cnn
name: stripes
seeds: [0, 1]
dataset: {root: my images, image_size: 8, class_file: classes.txt}
model: {training: {epochs: 8, batch_size: 16}}
attacks: [fgsm]
features: [max_probability, fisher_weights]
detectors: [threshold, random_scores, true_labels]
evaluation: {replicates: 100, primary_detector: threshold, main_feature: max_probability}
attack:
  fgsm: {epsilon: 0.5}
"""


@pytest.fixture(scope="module")
def stripes(tmp_path_factory, repository) -> Project:
    folder = tmp_path_factory.mktemp("stripes") / "project"
    project = replace(new_project(repository, folder), experiment="stripes")
    project.write("config/experiment/stripes.yaml", EXPERIMENT)
    write_stripes(folder / "my images")
    others = [f"other {number:02}" for number in range(1, OTHERS + 1)]
    (folder / "my images" / "classes.txt").write_text("\n".join([*CLASSES, *others]))
    for name in others:
        shutil.copytree(folder / "my images" / "test" / "plain", folder / "my images/train" / name)
    project.run()
    return project


def test_the_images_are_those_of_the_folder(stripes):
    data = load_file(stripes.file("image_folder/test"))
    assert data["images"].shape == (60, 3, 8, 8)
    assert data["labels"].tolist() == [0] * 20 + [1] * 20 + [2] * 20
    with Image.open(stripes.folder / "my images" / "test" / "down" / "0.png") as file:
        square = np.asarray(file)[:, 1:9]  # the middle of 10×8 pixels
    np.testing.assert_array_equal(data["images"][20].permute(1, 2, 0).numpy(), square)


def test_the_chain_ends_with_the_mean_over_seeds(stripes):
    metrics = pd.read_csv(stripes.results / "metrics" / "max_probability.csv")
    cell = metrics.query(
        "detector == 'threshold' and metric == 'auroc' and bits == 'float32' "
        "and positives == 'successful'"
    ).set_index("seed")["value"]
    assert set(cell.index) == {"0", "1", "mean"}
    assert cell["mean"] == pytest.approx((cell["0"] + cell["1"]) / 2)
    assert cell["0"] != cell["1"]
    page = (stripes.results / "report.html").read_text()
    assert "2 seeds" in page
    # What is too dear for thirty classes is said of the feature and of the maps.
    for said in ("approximation top_k, of 30 classes", "classes two, of 30 classes"):
        assert said in page


def test_a_second_run_does_nothing(stripes):
    assert stripes.plan() == set()


@pytest.mark.parametrize("change", ["added", "removed"])
def test_a_changed_folder_makes_everything_stale(stripes, tmp_path, change):
    project = stripes.copy(tmp_path / "project")
    image = project.folder / "my images" / "train" / "plain" / "0.png"
    if change == "added":
        draw("plain", np.random.default_rng(1)).save(image.with_name("new.png"))
    else:
        image.unlink()
    planned = project.plan()
    assert "image_folder/train" in planned
    assert {f"image_folder/small_cnn-seed{seed}/model" for seed in (0, 1)} < planned


def test_the_place_of_the_folder_makes_nothing_stale(stripes, tmp_path):
    project = stripes.copy(tmp_path / "project")
    (project.folder / "my images").rename(tmp_path / "elsewhere")
    project.replace("config/experiment/stripes.yaml", "root: my images", "root: ../elsewhere")
    assert project.plan() == set()
