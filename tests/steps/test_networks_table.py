"""Errors and distortions of networks, from the files of the stages."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from step_runs import run, stored_model, write_attack
from torch import nn

from advdetect.attacks.lbfgs import lbfgs
from advdetect.evaluation.inputs import read_norms
from advdetect.evaluation.perturbation import mean_success_distortion
from advdetect.files.attack import STAGE
from advdetect.io import read_provenance
from advdetect.randomness import SampleGenerator


def test_the_table_is_what_the_model_does_with_all_images(chain, tmp_path):
    reported = tmp_path / "reported.csv"
    reported.write_text("model,train_error_percent,test_error_percent,distortion\nours,1,2,0.3\n")
    spec = {
        "kind": "networks",
        "title": "Table 1",
        "rows": ["model"],
        "values": [
            ["train_error_percent", "train_error"],
            ["test_error_percent", "test_error"],
            ["distortion", "distortion"],
        ],
        "runs": [["ours", "small"]],
        "readings": [{"name": "one", "attacks": [["ours", "otcm"]]}],
    }
    files = [chain / name for name in ("history.json", "clean.safetensors", "otcm.safetensors")]
    label = json.dumps({read_provenance(files[-1])["run"]: "small"})
    run(
        *("reproduce", "--spec", json.dumps(spec), "--name", "t", "--reported", reported),
        *("--dataset", "digits", "--inputs", *files, "--runs", label, "--replicates", 50),
        *("--output", tmp_path),
    )
    found = pd.read_csv(tmp_path / "t.csv").set_index("quantity")
    expected = {}
    for name, split in (("train_error", "train"), ("test_error", "test")):
        data = load_file(chain / f"{split}.safetensors")
        with torch.no_grad():
            wrong = stored_model(chain)(data["images"].float() / 255).argmax(1) != data["labels"]
        expected[name] = 100 * wrong.double().mean().item()
    attack = load_file(chain / "otcm.safetensors")
    clean = load_file(chain / "test.safetensors")["images"][attack["index"]].float() / 255
    squares = (attack["adversarial"] - clean).double().square().flatten(1)
    expected["distortion"] = 100 * squares.mean(1).sqrt()[attack["success"]].mean().item()
    for name, value in expected.items():
        assert found.loc[name, "value"] == pytest.approx(value, rel=1e-5), name  # six digits
        assert found.loc[name, "low"] <= value <= found.loc[name, "high"]
    assert found["reported"].to_dict() == {"train_error": 1, "test_error": 2, "distortion": 30}


def test_the_distortion_of_a_linear_model_is_the_distance_to_its_boundary(tmp_path):
    """|w·x + b| / ‖w‖ of two classes over √n, where the box is far; within what c is known to."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, generator=generator)
    images = 0.4 + 0.2 * torch.rand(20, 1, 2, 2, generator=generator)
    bias = -0.5 * weight.sum()
    linear = nn.Linear(4, 2)
    with torch.no_grad():
        linear.weight.copy_(100 * torch.stack([weight, torch.zeros(4)]))
        linear.bias.copy_(100 * torch.stack([bias, torch.zeros(())]))
    model = nn.Sequential(nn.Flatten(), linear).eval().requires_grad_(False)
    labels = model(images).argmax(1)
    result = lbfgs(model, images, labels, generator=SampleGenerator(0, range(20)))
    assert result.success.all()
    l2 = (result.adversarial - images).double().flatten(1).norm(dim=1)
    path = tmp_path / "lbfgs.safetensors"
    columns = {"index": np.arange(20), "l2": l2.numpy(), "success": np.ones(20)}
    columns["adversarial"] = result.adversarial.numpy()
    facts = {"step": STAGE, "name": "lbfgs", "seed": 0, "key": "k", "spec": {}}
    write_attack(path, facts, **columns)
    table = read_norms([str(path)])[0].seeds[0]
    closed = (images.double().flatten(1) @ weight.double() + bias).abs() / weight.norm() / 2
    np.testing.assert_allclose(table["distortion"], closed, rtol=0.02, atol=1e-5)
    mean = mean_success_distortion(table, np.ones((1, 20))).item()
    assert mean == pytest.approx(closed.mean().item(), rel=0.01)
