"""A user's own attack, feature, detector, model and weights: one module and one YAML each."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from snakemake_project import Project, new_project, score_files
from torch.nn import functional

from advdetect.io import read_provenance

pytestmark = pytest.mark.integration

RUN = "my_net-seed3"

FILES = {
    "my_attack.py": '''
from advdetect.attacks.result import AttackResult
import my_helper


def invert(model, images, labels, *, generator, strength):
    """Fade to the negative image."""
    adversarial = my_helper.fade(images, strength)
    success = model(adversarial).argmax(1) != labels
    once = labels * 0 + 1
    return AttackResult(adversarial.detach(), success, None, once)
''',
    "my_helper.py": """
def fade(images, strength):
    return images + strength * (1 - 2 * images)
""",
    "my_feature.py": '''
def brightness(model, images, *, generator, offset):
    """The mean pixel, and a logit to show that the model is there."""
    return {
        "mean": images.double().flatten(1).mean(1).cpu() + offset,
        "logit": model(images).detach().double().amax(1).cpu(),
    }
''',
    "my_detector.py": """
from sklearn.linear_model import SGDClassifier


def linear(*, seed, alpha):
    return SGDClassifier(loss="log_loss", alpha=alpha, random_state=seed)
""",
    "my_model.py": """
from torch import nn


class MyNet(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10)
        )

    def forward(self, images):
        return self.layers(images)
""",
    "config/attack/invert.yaml": "_target_: my_attack.invert\nstrength: 0.7\n",
    "config/feature/brightness.yaml": """
_target_: my_feature.brightness
offset: 1.0
_score_: {column: mean, adversarial: high}
_schema_:
  offset: {type: number}
""",
    "config/detector/linear.yaml": "_target_: my_detector.linear\nalpha: 0.001\n",
    "config/model/my_net.yaml": """
_target_: my_model.MyNet
arguments: {hidden: 32}
weights: my weights.safetensors
""",
    "config/experiment/own.yaml": """
# @package _global_
defaults:
  - override /dataset: digits
  - override /model: my_net
name: own
seeds: [3]
dataset: {train_count: 300, test_count: 120}
attacks: [invert]
features: [brightness]
detectors: [linear, threshold, true_labels]
evaluation: {replicates: 100, primary_detector: linear, main_feature: brightness}
figures: [roc, gallery]
""",
}


def train_my_net(project: Project) -> dict[str, torch.Tensor]:
    """Train the user's model without the package; return its weights."""
    location = importlib.util.spec_from_file_location("my_model", project.folder / "my_model.py")
    assert location is not None
    assert location.loader is not None
    module = importlib.util.module_from_spec(location)
    location.loader.exec_module(module)
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32)
    labels = torch.tensor(digits.target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = module.MyNet(hidden=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


@pytest.fixture(scope="module")
def own(tmp_path_factory, repository) -> tuple[Project, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("own") / "project"
    new_project(repository, folder)
    project = Project(folder, "own")
    for name, text in FILES.items():
        project.write(name, text)
    weights = train_my_net(project)
    save_file(weights, folder / "my weights.safetensors")
    project.run()
    return project, weights


def test_the_users_weights_are_used_as_they_are(own):
    project, weights = own
    used = load_file(project.file(f"{RUN}/model"))
    assert used.keys() == weights.keys()
    assert all(torch.equal(used[name], weights[name]) for name in weights)
    assert read_provenance(project.file(f"{RUN}/clean"))["accuracy"] > 0.9
    assert not (project.results / "figures" / "training.svg").exists()  # nothing was trained


def test_the_users_attack_and_feature_are_used(own):
    project, _ = own
    clean = load_file(project.file("test"))["images"] / 255
    attacked = load_file(project.file(f"{RUN}/attacks/invert"))
    expected = 0.3 * clean[attacked["index"]] + 0.7 * (1 - clean[attacked["index"]])
    torch.testing.assert_close(attacked["adversarial"], expected)
    table = pd.read_parquet(project.file(f"{RUN}/features/invert/brightness"))
    values = table[table["kind"] == "adversarial"]["mean"].to_numpy()
    np.testing.assert_allclose(values, expected.flatten(1).mean(1) + 1, atol=1e-6)


def test_the_users_detector_is_in_the_tables(own):
    project, _ = own
    table = (project.results / "tables" / "detection.txt").read_text()
    assert "invert" in table
    assert "brightness" in table
    detectors = (project.results / "tables" / "detectors.txt").read_text()
    assert "linear" in detectors


AFTER_ATTACK = {
    "attacks/invert",
    "features/invert/brightness",
    *score_files("brightness"),
    "metrics_brightness",
    "paired",
    "tables",
    *("figure_roc", "figure_gallery"),
    "manifest",
    "report",
}


CONTROL = {"attacks/unchanged", "features/unchanged/brightness"}


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("nothing", set()),
        ("my_helper.py", AFTER_ATTACK),  # imported by the attack's module
        (
            "my weights.safetensors",
            {"model", "clean", "features/clean/brightness", *CONTROL} | AFTER_ATTACK,
        ),
    ],
)
def test_the_users_files_make_stale_what_follows_from_them(own, tmp_path, changed, expected):
    project = own[0].copy(tmp_path / "project")
    if changed.endswith(".py"):
        project.append(changed, "\nEDITED = 1\n")
    elif changed.endswith(".safetensors"):
        other = {name: -tensor for name, tensor in own[1].items()}
        save_file(other, project.folder / changed)
    planned = {name.removeprefix(f"{RUN}/") for name in project.plan()}
    assert planned == expected
