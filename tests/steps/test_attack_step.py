"""The attack step: what its file holds, and that a claimed success is checked."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from step_runs import SEED, judged, read_noisy, run
from torch import nn

from advdetect.files.texts import csv_of
from advdetect.io import read_table
from advdetect.models.small_cnn import SmallCNN
from advdetect.steps.tables import summarize_attacks


@pytest.fixture(scope="module")
def data(chain):
    return load_file(chain / "test.safetensors")


@pytest.fixture(scope="module")
def images(data):
    return data["images"].float() / 255


@pytest.fixture(scope="module")
def model(chain) -> nn.Module:
    """The chain's model, made again from its weights and their record."""
    with safe_open(chain / "model.safetensors", framework="pt") as file:
        recipe = json.loads(file.metadata()["advdetect"])["provenance"]["model"]
    model = SmallCNN(**recipe["arguments"])
    model.load_state_dict(load_file(chain / "model.safetensors"))
    return model.eval()


@pytest.fixture(scope="module")
def otcm(chain):
    return load_file(chain / "otcm.safetensors")


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images).argmax(1)


def test_only_images_that_the_model_gets_right_are_attacked(model, data, images, otcm):
    correct = (predict(model, images) == data["labels"]).nonzero().flatten()
    assert 0 < len(correct) < len(images)  # so that the test can tell
    assert torch.equal(otcm["index"], correct)
    assert torch.equal(otcm["label"], data["labels"][correct])


def test_every_success_holds_for_the_stored_image(model, otcm):
    prediction = predict(model, otcm["adversarial"])
    assert torch.equal(otcm["prediction"], prediction)
    assert torch.equal(otcm["success"], prediction != otcm["label"])
    assert 0 < otcm["success"].sum() < len(prediction)
    rounded = torch.round(otcm["adversarial"] * 255) / 255
    assert torch.equal(otcm["prediction_8bit"], predict(model, rounded))
    assert torch.equal(otcm["success_8bit"], otcm["prediction_8bit"] != otcm["label"])


def test_the_distances_are_those_of_the_stored_images(images, otcm):
    difference = (otcm["adversarial"] - images[otcm["index"]]).double().flatten(1)
    torch.testing.assert_close(otcm["l2"], difference.square().sum(1).sqrt())
    torch.testing.assert_close(otcm["linf"].double(), difference.abs().max(1).values)
    assert otcm["l2"].max() <= 2.5 + 1e-6
    assert otcm["adversarial"].dtype == torch.float32
    assert otcm["adversarial"].min() >= 0
    assert otcm["adversarial"].max() <= 1


def test_the_noisy_twins_are_as_far_away(chain, images, otcm):
    noisy = read_noisy(chain / "otcm.safetensors", chain / "test.safetensors")
    difference = (noisy - images[otcm["index"]]).double().flatten(1)
    torch.testing.assert_close(difference.norm(dim=1), otcm["l2"], rtol=1e-5, atol=0)
    assert not torch.allclose(noisy, otcm["adversarial"])
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_the_targets_are_wrong_classes(otcm):
    assert (otcm["target"] != otcm["label"]).all()
    assert otcm["target"].unique().numel() > 5


def test_the_file_says_where_it_comes_from(chain):
    with safe_open(chain / "otcm.safetensors", framework="pt") as file:
        facts = json.loads(file.metadata()["advdetect"])["provenance"]
    assert facts["step"] == "attack"
    assert facts["name"] == "otcm"
    assert facts["seed"] == 4
    assert facts["code"] == "c0de"
    assert facts["device"] == "cpu"
    assert facts["class_names"] == [str(digit) for digit in range(10)]
    assert facts["spec"] == {
        "_target_": "advdetect.attacks.otcm.otcm",
        "epsilon": 2.5,
        "target": "random",
    }
    assert facts["packages"]["torch"] == torch.__version__.partition("+")[0] or (
        facts["packages"]["torch"] == torch.__version__
    )
    assert str(chain) not in json.dumps(facts)


def test_the_batch_size_changes_nothing(attack, config):
    target = "advdetect.attacks.otcm.otcm"
    results = [
        load_file(attack(target, "--batch-size", size, epsilon=2.5, target="random"))
        for size in ("7", "256")
    ]
    small, large = results
    for name in ("adversarial", "noise_scale", "l2", "linf"):
        torch.testing.assert_close(small[name], large[name], rtol=0, atol=1e-5)
    for name in small.keys() - {"adversarial", "noise_scale", "l2", "linf"}:
        assert torch.equal(small[name], large[name]), name


def test_tables_are_the_same_for_every_batch_size(attack):
    """The images need not be, in their last digit."""
    settings = {"kappa": 0, "target": None, "search_steps": 2, "iterations": 20}
    settings |= {"learning_rate": 0.05, "_minimal_norm_": True}
    tables, images = [], []
    for size in ("64", "7"):
        path = attack("advdetect.attacks.cw_l2.cw_l2", "--batch-size", size, **settings)
        images.append(load_file(path)["adversarial"])
        tables.append(csv_of(summarize_attacks([str(path)])))
    torch.testing.assert_close(*images, rtol=0, atol=1e-5)
    assert tables[0] == tables[1]
    assert not tables[0].splitlines()[1].endswith(",,")


def test_equal_runs_give_equal_files(attack):
    target = "advdetect.attacks.otcm.otcm"
    first = attack(target, epsilon=2.5, target="random").read_bytes()
    assert attack(target, epsilon=2.5, target="random").read_bytes() == first
    assert attack(target, "--seed", "5", epsilon=2.5, target="random").read_bytes() != first


def test_an_attack_has_random_numbers_of_its_own(attack, chain, otcm):
    """The file of the same attack under another name has other targets and other noise."""
    file = attack("advdetect.attacks.otcm.otcm", epsilon=2.5, target="random")
    other, test = load_file(file), chain / "test.safetensors"
    assert torch.equal(other["index"], otcm["index"])
    assert not torch.equal(other["target"], otcm["target"])
    noisy = read_noisy(file, test), read_noisy(chain / "otcm.safetensors", test)
    assert not torch.equal(*noisy)


def test_a_claimed_success_that_does_not_hold_is_withdrawn(attack, chain, capsys):
    path = attack("step_methods.stay")
    file = load_file(path)
    assert not file["success"].any()
    count = len(file["index"])
    assert f"{count} claimed successes do not fool the model" in capsys.readouterr().err
    assert (file["l2"] == 0).all()
    assert file["crafted_success"].all()
    # Noise of norm 0.
    assert torch.equal(read_noisy(path, chain / "test.safetensors"), file["adversarial"])


def test_a_failure_of_a_minimal_norm_attack_is_the_image_itself(attack, images):
    """A claim that does not hold leaves a perturbed image only where a budget was spent."""
    budget = load_file(attack("step_methods.brighten", levels=100))
    failed = ~budget["success"]
    assert 0 < failed.sum() < len(failed)
    minimal = load_file(attack("step_methods.brighten", levels=100, _minimal_norm_=True))
    assert torch.equal(minimal["success"], budget["success"])
    assert torch.equal(minimal["adversarial"][failed], images[budget["index"]][failed])
    assert torch.equal(minimal["prediction"][failed], budget["label"][failed])
    for name in ("adversarial", "noise_scale", "l2", "prediction_8bit"):
        assert torch.equal(minimal[name][~failed], budget[name][~failed]), name
    assert (minimal["l2"][failed] == 0).all()
    assert torch.equal(minimal["changed"], ~failed)


def test_the_file_says_which_images_were_changed(attack, images):
    file = load_file(attack("step_methods.invert_some"))
    even = torch.arange(len(file["index"])) % 2 == 0
    assert torch.equal(file["changed"], even)
    assert torch.equal(file["changed_8bit"], even)
    assert torch.equal(file["adversarial"][~even], images[file["index"]][~even])


@pytest.mark.parametrize(("shift", "changed"), [(0.49, False), (0.51, True)])
def test_less_than_half_a_level_is_no_change_of_the_rounded_image(attack, shift, changed):
    file = load_file(attack("step_methods.brighten", levels=shift))
    assert file["changed"].all()
    assert (file["changed_8bit"] == changed).all()


def test_an_attack_may_write_into_what_it_is_given(attack, data, images):
    found = load_file(attack("step_methods.write_into_images"))
    clean = images[found["index"]]
    assert torch.equal(found["adversarial"], (clean + 0.25).clamp(0, 1))
    assert torch.equal(found["label"], data["labels"][found["index"]])
    expected = (found["adversarial"] - clean).flatten(1).double().norm(dim=1)
    torch.testing.assert_close(found["l2"], expected)
    assert (found["l2"] > 1).all()


def test_a_success_that_is_not_claimed_does_not_count(attack):
    claimed = load_file(attack("step_methods.invert", claim=True))
    assert claimed["success"].any()
    unclaimed = load_file(attack("step_methods.invert", claim=False))
    assert torch.equal(unclaimed["prediction"], claimed["prediction"])
    assert not unclaimed["success"].any()
    assert (unclaimed["target"] == -1).all()


def test_features_leave_out_what_the_attack_did_not_change(attack, chain, config, tmp_path):
    file = attack("step_methods.invert_some")
    output = tmp_path / "feature.parquet"
    run(
        *("feature", "--spec", config / "feature/bu.yaml", "--set", "passes=2", "--name", "bu"),
        *("--seed", SEED, "--device", "cpu", "--attack", file),
        *(*judged(chain), "--output", output),
    )
    changed = load_file(file)["index"][::2].tolist()
    rows = read_table(output).groupby("kind")["index"].apply(list)
    assert set(rows.index) == {"noisy", "adversarial", "noisy_8bit", "adversarial_8bit"}
    assert all(indices == changed for indices in rows)


def test_an_attack_shows_that_it_is_at_work(attack, monkeypatch, capsys):
    """Also one of the user's own: what passes through the model is counted."""
    monkeypatch.setattr("advdetect.progress.SECONDS_OF_SILENCE", 0.0)
    target = "advdetect.attacks.fgsm.fgsm"
    file = attack(target, epsilon=0.1)
    count = len(load_file(file)["index"])
    lines = capsys.readouterr().err.splitlines()
    assert f"attack attack: 0 of {count} images, 1 forward passes since" in lines
