"""The activations step: what its files hold, and that nothing after it needs torch."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from step_runs import ACTIVATIONS, run

from advdetect.__main__ import main
from advdetect.io import read_provenance, read_table
from advdetect.models.store import read_model

ATTACKED = ["noisy", "adversarial", "noisy_8bit", "adversarial_8bit"]
KINDS = {"train": ["train"], "clean": ["clean"], "otcm": ATTACKED}
WIDTHS = {"features.3": 256, "classifier.1": 256, "penultimate": 64, "logits": 10}


@pytest.fixture(scope="module")
def files(chain):
    return {name: chain / "activations" / f"{name}.safetensors" for name in KINDS}


@pytest.fixture(scope="module")
def collected(files):
    return {name: load_file(file) for name, file in files.items()}


@pytest.fixture
def collect(chain, tmp_path):
    """Collect activations of a source; return the file."""

    def collect(*arguments: object):
        output = tmp_path / "activations.safetensors"
        run(
            *("activations", "--spec", ACTIVATIONS, "--device", "cpu", "--code", "c0de"),
            *("--model", chain / "model.safetensors", "--output", output, *arguments),
        )
        return output

    return collect


@pytest.mark.parametrize("source", KINDS)
def test_a_file_holds_every_layer_of_every_kind(files, collected, source):
    facts = read_provenance(files[source])
    assert facts["step"] == "activations"
    assert facts["attack"] == source
    assert facts["kinds"] == KINDS[source]
    assert facts["layers"] == list(WIDTHS)
    assert facts["spec"] == json.loads(ACTIVATIONS)
    arrays = collected[source]
    keys = {f"{kind}/layer/{layer}" for kind in KINDS[source] for layer in WIDTHS}
    keys |= {f"{kind}/index" for kind in KINDS[source]}
    assert arrays.keys() == keys | ({"train/labels"} if source == "train" else set())
    for kind in KINDS[source]:
        count = len(arrays[f"{kind}/index"])
        for layer, width in WIDTHS.items():
            values = arrays[f"{kind}/layer/{layer}"]
            assert values.shape == (count, width), (kind, layer)
            assert values.dtype == torch.float32


def test_all_training_images_are_there_with_their_labels(chain, collected):
    train, data = collected["train"], load_file(chain / "train.safetensors")
    assert torch.equal(train["train/index"], torch.arange(300))
    assert torch.equal(train["train/labels"], data["labels"])


def test_the_other_files_have_the_images_of_the_attack(chain, collected):
    attacked = load_file(chain / "otcm.safetensors")
    assert torch.equal(collected["clean"]["clean/index"], attacked["index"])
    assert attacked["changed"].all()
    assert attacked["changed_8bit"].all()
    for kind in ATTACKED:
        assert torch.equal(collected["otcm"][f"{kind}/index"], attacked["index"]), kind


def test_the_values_are_those_of_the_model(chain, collected):
    model = read_model(chain / "model.safetensors", torch.device("cpu"))
    attacked = load_file(chain / "otcm.safetensors")
    train, test = (load_file(chain / f"{split}.safetensors") for split in ("train", "test"))
    images = {
        "train": train["images"] / 255,
        "clean": test["images"][attacked["index"]] / 255,
        "noisy": attacked["noisy"],
        "adversarial": attacked["adversarial"],
        "noisy_8bit": torch.round(attacked["noisy"] * 255) / 255,
        "adversarial_8bit": torch.round(attacked["adversarial"] * 255) / 255,
    }
    for source, kinds in KINDS.items():
        for kind in kinds:
            found = collected[source]
            with torch.no_grad():
                hidden = model.classifier[:-1](model.features(images[kind]))
                logits = model.classifier[-1](hidden)
            for layer, expected in (("penultimate", hidden), ("logits", logits)):
                values = found[f"{kind}/layer/{layer}"]
                torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", KINDS)
def test_the_batch_size_changes_nothing(chain, collected, collect, source):
    option = {"train": "--train", "clean": "--data", "otcm": "--attack"}[source]
    name = "test" if source == "clean" else source
    small = load_file(collect("--batch-size", "7", option, chain / f"{name}.safetensors"))
    large = collected[source]
    assert small.keys() == large.keys()
    for key, values in large.items():
        if "/layer/" in key:
            torch.testing.assert_close(small[key], values, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(small[key], values), key


def test_equal_runs_give_equal_files(chain, files, collect):
    again = collect("--attack", chain / "otcm.safetensors")
    assert again.read_bytes() == files["otcm"].read_bytes()


def test_images_that_the_attack_did_not_change_are_left_out(attack, collect):
    file = attack("step_methods.invert_some")
    index = load_file(file)["index"]
    arrays = load_file(collect("--attack", file))
    for kind in ATTACKED:
        assert torch.equal(arrays[f"{kind}/index"], index[::2]), kind
        assert len(arrays[f"{kind}/layer/logits"]) == len(index[::2])


def test_an_attack_that_changes_nothing_has_no_activations(attack, chain, tmp_path, capsys):
    file = attack("step_methods.brighten", levels=0.2)  # less than a level
    output = tmp_path / "activations.safetensors"
    arguments = [
        *("activations", "--spec", ACTIVATIONS, "--device", "cpu", "--attack", file),
        *("--model", chain / "model.safetensors", "--output", output),
    ]
    assert main([str(argument) for argument in arguments]) == 1
    assert "changed no image after rounding" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("width", [20, 64, 100_000])
def test_no_hidden_layer_is_wider_than_is_allowed(chain, collected, collect, width):
    """But for the penultimate one, which is kept whole like the logits."""
    arrays = load_file(collect("--data", chain / "test.safetensors", "--set", f"max_width={width}"))
    full = {"features.3": 16 * 8 * 8, "classifier.1": 32 * 4 * 4}
    for layer, numbers in full.items():
        kept = arrays[f"clean/layer/{layer}"].shape[1]
        assert kept <= width
        assert (kept == numbers) == (numbers <= width)
    for layer in ("penultimate", "logits"):
        name = f"clean/layer/{layer}"
        assert torch.equal(arrays[name], collected["clean"][name])


def test_the_layers_can_be_named(chain, collected, collect):
    file = collect("--data", chain / "test.safetensors", "--set", "layers=[classifier.2]")
    layers = ["classifier.2", "penultimate", "logits"]
    assert read_provenance(file)["layers"] == layers
    arrays = load_file(file)
    assert arrays.keys() == {"clean/index", *(f"clean/layer/{layer}" for layer in layers)}
    # The output of the last nonlinearity: dropout, which is between the two, is off.
    assert torch.equal(arrays["clean/layer/classifier.2"], arrays["clean/layer/penultimate"])
    assert torch.equal(
        arrays["clean/layer/penultimate"], collected["clean"]["clean/layer/penultimate"]
    )


def test_features_are_made_from_the_rows_of_each_kind(files, collected, config, tmp_path):
    """Energy at T = 1 is −logsumexp of the logits, row by row."""
    for source, kinds in KINDS.items():
        output = tmp_path / f"{source}.parquet"
        run(
            *("activation-feature", "--spec", config / "feature/energy.yaml", "--name", "energy"),
            *("--activations", files[source], "--output", output),
        )
        table = read_table(output)
        assert table["kind"].unique().tolist() == kinds
        for kind in kinds:
            rows = table[table["kind"] == kind]
            logits = collected[source][f"{kind}/layer/logits"].double()
            np.testing.assert_array_equal(rows["index"], collected[source][f"{kind}/index"])
            np.testing.assert_allclose(rows["energy"], -logits.logsumexp(1), rtol=1e-12)
        facts = read_provenance(output)
        assert (facts["name"], facts["attack"]) == ("energy", source)


def test_the_stages_after_it_do_not_import_torch(files, config, tmp_path, repository):
    """Its import takes longer than these features do; each of them is a job of its own."""
    spec = ["--spec", str(config / "feature/kd.yaml")]
    fitted = str(tmp_path / "fitted.safetensors")
    stages = [
        ["fit-activation-feature", *spec, "--activations", str(files["train"])],
        ["activation-feature", *spec, "--name", "kd", "--activations", str(files["otcm"])],
    ]
    stages[0] += ["--output", fitted]
    stages[1] += ["--fitted", fitted, "--output", str(tmp_path / "kd.parquet")]
    program = (
        "import sys\n"
        "from advdetect.__main__ import main\n"
        f"for arguments in {stages!r}:\n"
        "    assert main(arguments) == 0\n"
        "print([name for name in ('torch', 'torchvision', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(repository / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"layer": None}, "--spec: layer is unknown or missing; the names are layers, max_width."),
        ({"max_width": 0}, "activations.max_width must be at least 1, not 0."),
        ({"max_width": "wide"}, "activations.max_width must be at least 1, not wide."),
    ],
)
def test_an_impossible_specification_is_refused(chain, tmp_path, capsys, spec, said):
    arguments = [
        *("activations", "--spec", json.dumps(spec), "--device", "cpu"),
        *("--model", chain / "model.safetensors", "--data", chain / "test.safetensors"),
        *("--output", tmp_path / "never"),
    ]
    assert main(list(map(str, arguments))) == 1
    assert said in capsys.readouterr().err


def test_files_of_other_stages_are_refused(chain, config, tmp_path, capsys):
    attack, data = chain / "otcm.safetensors", chain / "test.safetensors"
    output = ["--output", tmp_path / "never"]
    energy = ["--spec", config / "feature/energy.yaml", "--name", "energy"]
    arguments = ["activation-feature", *energy, "--activations", attack, *output]
    assert main(list(map(str, arguments))) == 1
    assert f"{attack} is no file of activations" in capsys.readouterr().err
    arguments = ["activations", "--spec", ACTIVATIONS, "--device", "cpu", "--attack", data]
    arguments += ["--model", chain / "model.safetensors", *output]
    assert main(list(map(str, arguments))) == 1
    assert f"{data} is no file of an attack" in capsys.readouterr().err
