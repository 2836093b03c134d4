"""The steps of features: which images, layers and labels reach a method, and what is written."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from step_runs import judged, model_of, read_noisy, run, run_feature, stored_model

from advdetect.__main__ import main
from advdetect.errors import AdvdetectError
from advdetect.io import read_provenance, read_table
from advdetect.training.unfinished import Unfinished

ATTACKED = ["noisy", "adversarial", "noisy_8bit", "adversarial_8bit"]
KINDS = {"clean": ["clean"], "otcm": ATTACKED}
WIDTHS = {"features.3": 256, "classifier.1": 256, "penultimate": 64, "logits": 10}
SUMS = json.dumps({"_target_": "step_methods.sums", "_activations_": True})


@pytest.fixture(scope="module")
def images(chain):
    """The images of each kind and their positions, made without the package."""
    attacked, test = load_file(chain / "otcm.safetensors"), load_file(chain / "test.safetensors")
    assert attacked["changed"].all()
    assert attacked["changed_8bit"].all()
    shown = {
        "adversarial": attacked["adversarial"],
        "noisy": read_noisy(chain / "otcm.safetensors", chain / "test.safetensors"),
    }
    shown |= {f"{kind}_8bit": torch.round(x * 255) / 255 for kind, x in shown.items()}
    shown["clean"] = test["images"][attacked["index"]] / 255
    return attacked["index"], shown


@pytest.fixture(scope="module")
def layers(chain):
    """The penultimate layer and the logits of the chain's model, as functions of images."""
    model = stored_model(chain)

    def penultimate(shown):
        return model.classifier[:-1](model.features(shown))

    return {"penultimate": penultimate, "logits": lambda x: model.classifier[-1](penultimate(x))}


@pytest.fixture
def feature(chain, tmp_path):
    """Compute a feature of the images of a source; return its file."""

    def feature(spec, source, *arguments: object, name: str = "mine"):
        output = tmp_path / "feature.parquet"
        source = chain / "otcm.safetensors" if source == "otcm" else source
        run_feature(chain, spec, source, output, "--code", "c0de", *arguments, name=name)
        return output

    return feature


@pytest.fixture
def fit(chain, tmp_path):
    """Return all activations and labels that a fit on the training images gets."""

    def fit(*arguments: object):
        output, method = tmp_path / "fitted.safetensors", "step_methods.keep_activations"
        spec = {"_target_": "step_methods.sums", "_fit_": method, "_activations_": True}
        run(
            *("fit-feature", "--spec", json.dumps(spec), "--device", "cpu", "--code", "c0de"),
            *("--train", chain / "train.safetensors", *model_of(chain)),
            *("--output", output, *arguments),
        )
        return output

    return fit


@pytest.mark.parametrize("source", KINDS)
def test_the_activations_are_those_of_the_images_of_each_kind(feature, images, layers, source):
    file = feature(SUMS, source)
    facts, table = read_provenance(file), read_table(file)
    assert (facts["step"], facts["name"], facts["attack"]) == ("feature", "mine", source)
    assert list(table) == [
        *("index", "kind"),
        *(f"{what}_{layer}" for layer in WIDTHS for what in ("sum", "width")),
    ]
    assert table["kind"].unique().tolist() == KINDS[source]
    for kind in KINDS[source]:
        rows = table[table["kind"] == kind]
        np.testing.assert_array_equal(rows["index"], images[0])
        for layer, width in WIDTHS.items():
            assert (rows[f"width_{layer}"] == width).all()
        for layer, values in layers.items():
            expected = values(images[1][kind]).double().sum(dim=1)
            np.testing.assert_allclose(rows[f"sum_{layer}"], expected, rtol=1e-4, atol=1e-4)


def test_energy_is_made_from_the_rows_of_each_kind(feature, images, layers, config):
    """Energy at T = 1 is −logsumexp of the logits, row by row."""
    for source, kinds in KINDS.items():
        table = read_table(feature(config / "feature/energy.yaml", source, name="energy"))
        for kind in kinds:
            expected = -layers["logits"](images[1][kind]).double().logsumexp(1)
            values = table[table["kind"] == kind]["energy"]
            np.testing.assert_allclose(values, expected, rtol=1e-5)


@pytest.mark.parametrize("source", KINDS)
def test_the_batch_size_changes_no_feature(feature, source):
    tables = [read_table(feature(SUMS, source, "--batch-size", size)) for size in (7, 256)]
    for column in tables[0].columns.drop("kind"):
        np.testing.assert_allclose(*(table[column] for table in tables), rtol=1e-4, atol=1e-4)


def test_equal_runs_give_equal_files(feature, fit):
    for make in (lambda: feature(SUMS, "otcm"), fit):
        first = make().read_bytes()
        assert make().read_bytes() == first


@pytest.mark.parametrize("size", [7, 256])
def test_a_fit_gets_all_training_images_with_their_labels(chain, fit, layers, size):
    found, data = load_file(fit("--batch-size", size)), load_file(chain / "train.safetensors")
    assert found.keys() == {"labels", *WIDTHS}
    assert torch.equal(found["labels"], data["labels"])
    for layer, width in WIDTHS.items():
        assert found[layer].shape == (300, width)
        assert found[layer].dtype == torch.float32
    for layer, values in layers.items():
        expected = values(data["images"] / 255)
        torch.testing.assert_close(found[layer], expected, rtol=1e-5, atol=1e-5)


def test_images_that_the_attack_did_not_change_are_left_out(attack, feature):
    file = attack("step_methods.invert_some")
    index = load_file(file)["index"]
    table = read_table(feature(SUMS, file))
    for kind in ATTACKED:
        assert table[table["kind"] == kind]["index"].tolist() == index[::2].tolist()


def test_an_attack_that_changes_nothing_has_no_values(attack, feature, capsys):
    table = read_table(feature(SUMS, attack("step_methods.brighten", levels=0.2)))  # of 255
    assert set(table["kind"]) == {"noisy", "adversarial"}
    assert "changed no image after rounding: no adversarial_8bit values" in capsys.readouterr().err
    table = read_table(feature(SUMS, attack("step_methods.stay")))
    assert table.empty
    assert list(table) == ["index", "kind"]


def test_progress_says_of_which_images(feature, fit, capsys, monkeypatch):
    """A run has several jobs at a time, of each feature and attack, and shows all their lines."""
    monkeypatch.setattr("advdetect.progress.SECONDS_BETWEEN_LINES", 0)
    for source, kinds in KINDS.items():
        feature(SUMS, source, "--batch-size", 7, name="sums")
        of = [f"{source}, {kind}" for kind in kinds] if source != "clean" else ["clean"]
        lines = capsys.readouterr().err.splitlines()
        assert {line.partition(":")[0] for line in lines if " batches" in line} == {
            f"feature sums of {images}" for images in of
        }
    fit("--batch-size", 7)
    said = "fit-feature step_methods.keep_activations, activations: 1 of 43 batches"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("width", [20, 64, 100_000])
def test_no_hidden_layer_is_wider_than_is_allowed(feature, fit, width):
    """But for the penultimate one, which is kept whole like the logits."""
    settings = ["--activations", json.dumps({"layers": None, "max_width": width})]
    file = feature(SUMS, "clean", *settings)
    assert read_provenance(file)["activations"] == {"layers": None, "max_width": width}
    kept = read_table(file).filter(like="width_").iloc[0]
    full = {"features.3": 16 * 8 * 8, "classifier.1": 32 * 4 * 4}
    for layer, numbers in full.items():
        assert kept[f"width_{layer}"] <= width
        assert (kept[f"width_{layer}"] == numbers) == (numbers <= width)
    for layer in ("penultimate", "logits"):
        assert kept[f"width_{layer}"] == WIDTHS[layer]
    fitted = load_file(fit(*settings))
    assert {f"width_{name}": fitted[name].shape[1] for name in WIDTHS} == kept.to_dict()


def test_the_layers_can_be_named(feature, fit):
    settings = ["--activations", '{"layers": ["classifier.2"]}']
    table = read_table(feature(SUMS, "clean", *settings))
    named = ["classifier.2", "penultimate", "logits"]
    assert [name for name in table if name.startswith("sum_")] == [f"sum_{name}" for name in named]
    # The output of the last nonlinearity: dropout, which is between the two, is off.
    assert (table["sum_classifier.2"] == table["sum_penultimate"]).all()
    fitted = load_file(fit(*settings))
    assert fitted.keys() == {"labels", *named}
    assert torch.equal(fitted["classifier.2"], fitted["penultimate"])


def test_a_feature_may_write_into_what_it_is_given(chain, tmp_path, images):
    fitted, output = tmp_path / "fitted.safetensors", tmp_path / "spoilt.parquet"
    spec = {"_target_": "step_methods.sum_and_spoil", "_fit_": "step_methods.fit_mean"}
    run(
        *("fit-feature", "--spec", json.dumps(spec), "--device", "cpu", *model_of(chain)),
        *("--train", chain / "train.safetensors", "--output", fitted),
    )
    batches = ("--fitted", fitted, "--batch-size", "7")
    run_feature(chain, json.dumps(spec), "clean", output, *batches)
    table, mean = read_table(output), load_file(fitted)["mean"]
    index, shown = images
    assert table["index"].tolist() == index.tolist()
    expected = (shown["clean"].double() - mean).flatten(1).norm(dim=1)
    np.testing.assert_allclose(table["distance"], expected)


def test_a_killed_fit_is_completed_and_leaves_nothing(chain, tmp_path, config, monkeypatch):
    kept, keep = [], Unfinished.keep

    def fit(folder, fails_after=None):
        def failing(self, history, *state):
            keep(self, history, *state)
            kept.append(len(history))
            if len(kept) == fails_after:
                raise AdvdetectError("Killed.")

        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(Unfinished, "keep", failing)
        arguments = [
            *("fit-feature", "--spec", config / "feature/magnet.yaml", "--set", "epochs=2"),
            *("--device", "cpu", "--code", "c0de", *model_of(chain)),
            *("--train", chain / "train.safetensors", "--output", folder / "magnet.safetensors"),
        ]
        return main(list(map(str, arguments)))

    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert fit(whole) == 0
    assert fit(halves, fails_after=len(kept) + 3) == 1
    assert len(list(halves.iterdir())) == 1
    assert fit(halves) == 0
    assert kept == [1, 2, 1, 2, 1, 2, 1, 2]  # of each auto-encoder; the last goes on
    assert [path.name for path in halves.iterdir()] == ["magnet.safetensors"]
    first, second = (load_file(folder / "magnet.safetensors") for folder in (whole, halves))
    assert all(torch.equal(first[name], second[name]) for name in first | second)


def test_files_of_other_stages_are_refused(chain, tmp_path, capsys):
    data = chain / "test.safetensors"
    arguments = ["feature", "--spec", SUMS, "--name", "mine", "--device", "cpu", "--attack", data]
    arguments += [*judged(chain), "--output", tmp_path / "never"]
    assert main(list(map(str, arguments))) == 1
    stages = "attack or transfer or best-of"
    assert (
        f"{data} is no file of {stages}, which --attack must be, but of prepare"
        in capsys.readouterr().err
    )
