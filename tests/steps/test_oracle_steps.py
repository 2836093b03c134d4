"""A classifier that answers labels only, from its fitting to what is made of its answers."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.tree import DecisionTreeClassifier
from step_runs import SEED, run

from advdetect.__main__ import main
from advdetect.files.texts import read_json
from advdetect.inference import to_float
from advdetect.io import read_provenance
from advdetect.seeding import derive_seed


@pytest.fixture(scope="module")
def spec(config):
    return config / "model/decision_tree.yaml"


@pytest.fixture(scope="module")
def folder(chain, spec, tmp_path_factory):
    """A folder with a fitted tree, and what it gets right of the chain's test images."""
    folder = tmp_path_factory.mktemp("oracle")
    run(*fit(spec, chain, folder))
    run(
        *("classify", "--spec", "{}", "--device", "cpu", "--test", chain / "test.safetensors"),
        *("--model", folder / "model.safetensors", "--model-spec", spec),
        *("--output", folder / "clean.safetensors"),
    )
    torch.set_deterministic_debug_mode("default")
    return folder


def fit(spec, chain, folder, *options):
    return [
        *("train", "--spec", spec, "--seed", SEED, "--device", "cpu", *options),
        *("--train", chain / "train.safetensors", "--output", folder / "model.safetensors"),
        *("--history", folder / "model.json"),
    ]


@pytest.fixture
def judged(chain, folder, spec):
    return [
        *("--seed", SEED, "--device", "cpu", "--test", chain / "test.safetensors"),
        *("--model", folder / "model.safetensors", "--model-spec", spec),
        *("--clean", folder / "clean.safetensors"),
    ]


@pytest.fixture(scope="module")
def reference(chain):
    """The tree by scikit-learn alone: a function of float images."""
    train = load_file(chain / "train.safetensors")
    tree = DecisionTreeClassifier(random_state=derive_seed(int(SEED), "train") % 2**32)
    tree.fit(to_float(train["images"]).flatten(1), train["labels"])
    return lambda images: torch.from_numpy(tree.predict(images.flatten(1)))


def test_it_is_fitted_without_a_loss_curve_and_judged_like_every_model(chain, folder, reference):
    test = load_file(chain / "test.safetensors")
    found = load_file(folder / "clean.safetensors")
    expected = reference(to_float(test["images"]))
    assert torch.equal(found["prediction"], expected)
    assert torch.equal(found["index"], (expected == test["labels"]).nonzero().flatten())
    summary = read_json(folder / "model.json")
    assert summary["history"] == []
    assert summary["train_accuracy"] == 1  # of a tree of any depth
    assert sorted(path.name for path in folder.iterdir()) == [
        *("clean.safetensors", "model.json", "model.safetensors")
    ]


def test_images_of_another_model_are_judged_by_its_labels(
    chain, judged, folder, reference, tmp_path
):
    output = tmp_path / "transferred.safetensors"
    crafted = load_file(chain / "otcm.safetensors")
    run(
        *("transfer", "--spec", "{}", "--name", "otcm@small_cnn", *judged),
        *("--crafted", chain / "otcm.safetensors", "--output", output),
    )
    found = load_file(output)
    right = load_file(folder / "clean.safetensors")["index"]
    rows = torch.isin(crafted["index"], right)
    assert torch.equal(found["index"], crafted["index"][rows])
    expected = reference(crafted["adversarial"][rows])
    assert torch.equal(found["prediction"], expected)
    assert torch.equal(found["success"], expected != crafted["label"][rows])
    assert 0 < found["success"].double().mean() < 1
    facts = read_provenance(output)
    assert facts["judged_on"]["target"] == "advdetect.models.oracles.decision_tree.DecisionTree"


@pytest.mark.parametrize(
    "attack", ["fgsm", "otcm", "bim_l2", "cw_l2", "deepfool", "jsma", "ossa", "lbfgs", "ead"]
)
def test_an_attack_on_it_is_refused(config, judged, tmp_path, capsys, attack):
    output = tmp_path / "attack.safetensors"
    command = ["attack", "--spec", config / f"attack/{attack}.yaml", "--name", attack, *judged]
    assert main([*map(str, command), "--output", str(output)]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "The model DecisionTree answers labels only and has no gradient: craft" in said


def test_an_attack_by_labels_alone_fools_it(config, judged, folder, reference, tmp_path):
    output = tmp_path / "attack.safetensors"
    run(
        *("attack", "--spec", config / "attack/hopskipjump_l2.yaml", "--set", "steps=2"),
        *("--set", "evaluations=10", "--name", "hopskipjump_l2", *judged, "--output", output),
    )
    found = load_file(output)
    assert torch.equal(found["index"], load_file(folder / "clean.safetensors")["index"])
    assert found["success"].double().mean() > 0.9
    assert torch.equal(found["prediction"], reference(found["adversarial"]))
    assert torch.equal(found["success"], found["prediction"] != found["label"])
    assert found["l2"][found["success"]].mean() < 1  # random images are at some 3.5
    assert (found["backward_passes"] == 0).all()


@pytest.mark.parametrize("feature", ["fisher_input", "fisher_weights", "fisher_weights_spectrum"])
def test_a_feature_of_gradients_is_refused(config, judged, tmp_path, capsys, feature):
    spec = config / f"feature/{feature}.yaml"
    command = ["feature", "--spec", spec, "--name", feature, *judged]
    assert main([*map(str, command), "--output", str(tmp_path / "f.parquet")]) == 1
    assert "answers labels only and has no gradient" in capsys.readouterr().err.splitlines()[-1]


def test_a_feature_of_answers_is_made(config, judged, tmp_path):
    spec = config / "feature/feature_squeezing.yaml"
    output = tmp_path / "f.parquet"
    run("feature", "--spec", spec, "--name", "feature_squeezing", *judged, "--output", output)
    assert output.is_file()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"training": {"epochs": 1}},
            "model.training: this model is fitted by its own method fit: set it to null.",
        ),
        ({"_fitted_": False}, "neither model.weights, a file, nor model.training"),
        (
            {"_target_": "advdetect.models.small_cnn.SmallCNN", "arguments": {}},
            "model: the method fit of SmallCNN failed with AttributeError",
        ),
    ],
)
def test_what_does_not_go_with_fitting_is_refused(chain, spec, tmp_path, capsys, changed, said):
    text = json.dumps(yaml.safe_load(spec.read_text()) | changed)
    assert main(list(map(str, fit(text, chain, tmp_path)))) == 1
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert not any(tmp_path.iterdir())
