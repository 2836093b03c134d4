"""A few images of MNIST through the chain, up to a table."""

from dataclasses import replace

import pandas as pd
import pytest
from safetensors import safe_open
from snakemake_project import new_project

from advdetect.io import read_provenance

pytestmark = [pytest.mark.integration, pytest.mark.long]

EXPERIMENT = """
# @package _global_
defaults:
  - override /dataset: mnist
  - override /model: lenet5
name: few
dataset: {train_count: 2000, test_count: 100}
model: {training: {epochs: 1}}
attacks: [fgsm]
features: [max_probability]
detectors: [threshold, true_labels]
evaluation: {replicates: 100, primary_detector: threshold, main_feature: max_probability}
attack:
  fgsm: {epsilon: 0.3}
"""


def test_mnist_is_found_where_it_lies(repository, mnist_root, tmp_path):
    project = replace(new_project(repository, tmp_path / "project"), experiment="few")
    project.write("config/experiment/few.yaml", EXPERIMENT)
    project.run("results/few/tables/detection.md", config=[f"overrides=dataset.root={mnist_root}"])

    run = "mnist/lenet5-seed0"
    assert read_provenance(project.file(f"{run}/clean"))["accuracy"] > 0.7
    with safe_open(project.file(f"{run}/attacks/fgsm"), framework="np") as file:
        assert file.get_tensor("success").mean() > 0.5
        assert file.get_tensor("linf").max() == pytest.approx(0.3, abs=1e-6)
        facts = file.metadata()["advdetect"]
    assert str(mnist_root) not in facts
    metrics = pd.read_csv(project.results / "metrics" / "max_probability.csv")
    assert (metrics.query("detector == 'true_labels' and metric == 'auroc'")["value"] == 1).all()
