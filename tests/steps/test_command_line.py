"""The command line: help, exit status and errors of one line."""

import json
import os
import re
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest
from step_runs import judged, model_of

from advdetect.__main__ import STAGES, main
from advdetect.io import read_provenance
from advdetect.models.store import build_model, write_model


def fails(capsys, *arguments: object) -> str:
    """Run a stage that must fail; return its error, which must be one line."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    *before, line = printed.err.splitlines()
    prefix = f"advdetect {arguments[0]}: error: "
    assert line.startswith(prefix)
    assert all(text.startswith(f"{arguments[0]}: ") for text in before)  # what was done by then
    return line.removeprefix(prefix)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_help(stage, capsys):
    with pytest.raises(SystemExit) as ended:
        main([stage, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m advdetect {stage} ")
    assert "--timing" in text


def test_the_module_runs_as_a_program(repository):
    command = [sys.executable, "-m", "advdetect"]
    environment = {"PYTHONPATH": str(repository / "src")}
    listed = subprocess.run(
        [*command, "--help"], env=environment, capture_output=True, text=True, check=True
    )
    assert all(re.search(rf"^ +{stage}\b", listed.stdout, re.MULTILINE) for stage in STAGES)
    failed = subprocess.run(
        [*command, "tables", "--metrics", "none.csv", "--attacks", "none", "--output", "none"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr == "advdetect tables: error: The file none does not exist.\n"


def test_an_unknown_stage_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["atack"])
    assert ended.value.code == 2
    assert "'atack'" in capsys.readouterr().err


@pytest.fixture
def arguments(chain, config, tmp_path):
    """The arguments of an attack, of a feature and of a fit that would succeed."""
    output = ["--output", tmp_path / "output"]
    common = ["--device", "cpu", *judged(chain), *output]
    fit = ["--device", "cpu", *model_of(chain), *output]
    fit += ["--train", chain / "train.safetensors"]
    return {
        "attack": ["attack", "--spec", config / "attack/fgsm.yaml", "--name", "fgsm", *common],
        "feature": ["feature", "--spec", config / "feature/bu.yaml", "--name", "bu", *common],
        "fit-feature": ["fit-feature", "--spec", config / "feature/kd.yaml", *fit],
    }


@pytest.fixture
def classify(chain, tmp_path):
    """The arguments of a classification that would succeed."""
    output = ["--output", tmp_path / "output"]
    return ["classify", "--spec", "{}", "--device", "cpu", *judged(chain)[:6], *output]


def test_an_unknown_parameter_is_refused(arguments, capsys, tmp_path):
    error = fails(capsys, *arguments["attack"], "--set", "epsilo=0.3")
    assert error == "--set: unknown epsilo; the specification has epsilon."
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("epsilon=abc", "epsilon: 'abc' is not of type 'number'."),
        ("epsilon=-1", "epsilon: -1 is less than or equal to the minimum of 0."),
    ],
)
def test_an_impossible_value_is_refused(arguments, capsys, change, said):
    assert fails(capsys, *arguments["attack"], "--set", change) == said


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("", "missing a required argument: 'epsilon'"),
        (', "epsilon": 0.1, "width": 3', "got an unexpected keyword argument 'width'"),
    ],
)
def test_parameters_that_the_method_does_not_take_are_refused(arguments, capsys, parameters, said):
    spec = f'{{"_target_": "advdetect.attacks.fgsm.fgsm"{parameters}}}'
    error = fails(capsys, *arguments["attack"], "--spec", spec)
    assert error == f"advdetect.attacks.fgsm.fgsm: {said}; correct the YAML file or --set."


@pytest.mark.parametrize("option", ["--batch-size", "--threads"])
def test_a_count_below_one_is_refused(arguments, capsys, option):
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments["attack"]), option, "0"])
    assert stopped.value.code == 2
    assert "0 is not at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{not json", "--spec is no valid JSON"),
        ("{}", "The specification has no _target_."),
        ('{"_target_": "advdetect.attacks.nothing.here"}', "_target_: advdetect.attacks.nothing"),
        ('{"_target_": "advdetect.attacks.fgsm.fgsn"}', "advdetect.attacks.fgsm has no 'fgsn'"),
        ('{"_target_": "fgsm"}', "fgsm is not an import path"),
        (json.dumps({"_target_": "advdetect.attacks.fgsm.fgsm", "epsilon": -1}), "greater than 0"),
    ],
)
def test_a_specification_that_cannot_be_used_is_refused(arguments, capsys, spec, said):
    assert said in fails(capsys, *arguments["attack"], "--spec", spec)


@pytest.mark.parametrize("option", ["--test", "--model", "--clean"])
def test_a_missing_file_is_named(arguments, capsys, option):
    error = fails(capsys, *arguments["attack"], option, "no/such.safetensors")
    assert error == "The file no/such.safetensors does not exist."


@pytest.mark.parametrize("option", ["--test", "--model", "--clean"])
def test_a_truncated_file_is_named(arguments, capsys, chain, tmp_path, option):
    whole = chain / f"{option.removeprefix('--')}.safetensors"
    half = tmp_path / "half.safetensors"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    error = fails(capsys, *arguments["attack"], option, half)
    assert error.startswith(f"The file {half} cannot be read (")
    assert "Delete it and run again" in error


def test_a_layer_that_was_not_collected_is_refused(arguments, capsys):
    error = fails(capsys, *arguments["fit-feature"], "--set", "layer=features.0")
    assert error.startswith("The feature kd asks for the layer 'features.0', and the activations ")


def test_a_module_that_the_model_does_not_have_is_refused(arguments, capsys, tmp_path):
    layers = ["--activations", '{"layers": ["features.9"]}']
    error = fails(capsys, *arguments["fit-feature"], *layers)
    assert error.startswith("activations.layers: SmallCNN has no module 'features.9'; it has ")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"layer": None}, "--activations: layer is unknown or missing; the names are layers, max"),
        ({"max_width": 0}, "activations.max_width must be at least 1, not 0."),
        ({"max_width": "wide"}, "activations.max_width must be at least 1, not wide."),
    ],
)
@pytest.mark.parametrize("stage", ["feature", "fit-feature"])
def test_impossible_activations_are_refused(
    arguments, capsys, config, tmp_path, stage, settings, said
):
    energy = ["--spec", config / "feature/energy.yaml"] if stage == "feature" else []
    given = ["--activations", json.dumps(settings)]
    assert fails(capsys, *arguments[stage], *energy, *given).startswith(said)
    assert not (tmp_path / "output").exists()


def test_activations_that_are_no_mapping_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*map(str, arguments["fit-feature"]), "--activations", "[1]"])
    assert stopped.value.code == 2
    assert "[1] is no JSON object" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("feature", "--bits"),
        ("feature", "--activations"),
        ("attack", "--sweep"),
        ("tables", "--reproductions"),
    ],
)
def test_what_is_no_json_is_said(capsys, words):
    with pytest.raises(SystemExit):
        main([*words, "[1"])
    assert f"argument {words[1]}: [1 is no JSON (Expecting " in capsys.readouterr().err


def test_activations_for_a_feature_that_gets_none_are_refused(arguments, capsys):
    error = fails(capsys, *arguments["feature"], "--activations", "{}")
    assert error.startswith("--activations: leave it out, as the feature does not say")


def test_a_model_for_other_classes_is_refused(classify, capsys, tmp_path):
    target, path = "step_methods.ThreeLogits", tmp_path / "three.safetensors"
    write_model(path, build_model(target, {}), target, {}, {"key": "", "seed": 0, "step": "train"})
    spec = ["--model-spec", json.dumps({"_target_": target, "arguments": {}})]
    error = fails(capsys, *classify, "--model", path, *spec)
    assert error.startswith("The model returns 3 logits, but the data has 10 classes")


def test_a_model_for_other_classes_is_not_trained(capsys, chain, config, tmp_path):
    error = fails(
        capsys,
        *(
            "train",
            "--spec",
            config / "model/small_cnn.yaml",
            "--set",
            "arguments={num_classes: 3}",
        ),
        *("--train", chain / "train.safetensors", "--device", "cpu"),
        *("--output", tmp_path / "model", "--history", tmp_path / "history"),
    )
    assert "3 logits" in error
    assert "10 classes" in error


def test_data_with_other_classes_is_refused(classify, capsys, three_classes):
    error = fails(capsys, *classify, "--test", three_classes)
    assert error.startswith("The model returns 10 logits, but the data has 3 classes")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ('{"_target_": "os.getcwd", "arguments": {}}', "holds another model than"),
        ('{"_target_": 3}', "--model-spec has no _target_"),
        ("[1", "[1 cannot be read (No such file"),
    ],
)
def test_a_model_is_what_its_specification_says(arguments, capsys, spec, said):
    for stage in ("attack", "feature", "fit-feature"):
        assert said in fails(capsys, *arguments[stage], "--model-spec", spec)


def test_bu_needs_a_model_with_dropout(arguments, capsys, chain, tmp_path):
    target, path = "advdetect.models.small_cnn.SmallCNN", tmp_path / "model.safetensors"
    facts = read_provenance(chain / "model.safetensors")
    write_model(path, build_model(target, {"dropout": 0.0}), target, {"dropout": 0.0}, facts)
    spec = ["--model-spec", json.dumps({"_target_": target, "arguments": {"dropout": 0.0}})]
    error = fails(capsys, *arguments["feature"], "--model", path, *spec)
    assert error.startswith("SmallCNN has no dropout layer")


def test_more_images_than_there_are_cannot_be_had(capsys, config, tmp_path):
    error = fails(
        capsys,
        *("prepare-data", "--spec", config / "dataset/digits.yaml", "--set", "test_count=1000"),
        *("--split", "test", "--output", tmp_path / "test"),
    )
    assert error.startswith("dataset.test_count=1000, but the test split has only 719 images")


@pytest.mark.parametrize(
    ("stage", "key", "who"),
    [
        ("attack", "_target_", "The attack mine"),
        ("feature", "_target_", "The feature mine"),
        ("fit-feature", "_fit_", "The fit step_methods.fail"),
    ],
)
def test_a_method_that_raises_is_named(arguments, capsys, tmp_path, stage, key, who):
    spec = json.dumps({"_target_": "step_methods.fail", key: "step_methods.fail"})
    name = [] if stage == "fit-feature" else ["--name", "mine"]
    error = fails(capsys, *arguments[stage], "--spec", spec, *name)
    said = rf"{who} failed with KeyError: 'missing' \(.*step_methods\.py, line \d+\)"
    assert re.match(said, error)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("fit", "said"),
    [
        ("fit_a_list", "returned list: it must return a dict of tensors"),
        ("fit_nan", "returned values of 'mean' that are infinite or not a number"),
        ("no_such_fit", "has no 'no_such_fit'"),
    ],
)
def test_a_fit_that_cannot_be_kept_is_refused(arguments, capsys, tmp_path, fit, said):
    spec = json.dumps({"_target_": "step_methods.distance", "_fit_": f"step_methods.{fit}"})
    assert said in fails(capsys, *arguments["fit-feature"], "--spec", spec)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("fail", "The data set step_methods.fail failed with KeyError: 'missing' ("),
        ("one_class", "All training images are of one class"),
        ("no_such_set", "has no 'no_such_set'"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_explained(capsys, tmp_path, target, said):
    spec = {"_target_": f"step_methods.{target}", "train_count": None, "test_count": None}
    output = ["--split", "train", "--output", tmp_path / "output"]
    spec["subset_seed"] = 0
    assert said in fails(capsys, "prepare-data", "--spec", json.dumps(spec), *output)
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["training=null"], "there is neither model.weights, a file, nor model.training"),
        (
            ["training={epochs: 1}"],
            "model.training: batch_size, learning_rate, weight_decay is",
        ),
        (["weights=nowhere.pt"], "The file nowhere.pt does not exist"),
        (["arguments={image_size: 3}"], "The model SmallCNN, called with images of shape "),
    ],
)
def test_a_model_that_cannot_be_trained_is_explained(
    capsys, chain, config, tmp_path, changes, said
):
    changed = [word for change in changes for word in ("--set", change)]
    error = fails(
        capsys,
        *("train", "--spec", config / "model/small_cnn.yaml", *changed, "--device", "cpu"),
        *("--train", chain / "train.safetensors", "--output", tmp_path / "output"),
        *("--history", tmp_path / "history"),
    )
    assert said in error
    assert not (tmp_path / "output").exists()


@contextmanager
def files_no_larger_than(size):
    """As on a full disk, a write fails that goes beyond."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("stage", ["attack", "feature", "fit-feature"])
def test_a_disk_that_is_full_is_said(arguments, capsys, config, tmp_path, stage):
    output = tmp_path / "mine" / f"output.{'parquet' if stage == 'feature' else 'safetensors'}"
    spec = ["--spec", config / "feature/max_probability.yaml"] if stage == "feature" else []
    with files_no_larger_than(3000):
        error = fails(capsys, *arguments[stage], *spec, "--output", output)
    assert "File too large" in error
    assert "What is finished stays; the same command goes on from there." in error
    assert not output.exists()


def test_a_folder_that_cannot_be_made_is_said(arguments, capsys, config, tmp_path):
    (tmp_path / "file").write_text("no folder")
    spec = ["--spec", config / "feature/max_probability.yaml"]
    error = fails(capsys, *arguments["feature"], *spec, "--output", tmp_path / "file" / "output")
    assert error.startswith(f"{tmp_path / 'file'} cannot be read or written (")


def test_signs_that_the_terminal_has_not_are_replaced():
    said = "from advdetect.progress import replace_unprintable as r; r(); print('κ ≥')"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", said], env=environment, capture_output=True)
    assert done.stdout == rb"\u03ba \u2265" + b"\n"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("leave_the_box", "returned pixels outside [0, 1] or not a number"),
        ("break_one_pixel", "returned pixels outside [0, 1] or not a number"),
    ],
)
def test_an_attack_that_leaves_the_box_is_refused(arguments, capsys, tmp_path, target, said):
    shift = {"shift": 1e-3} if target == "leave_the_box" else {}
    spec = json.dumps({"_target_": f"step_methods.{target}", **shift})
    error = fails(capsys, *arguments["attack"], "--spec", spec, "--name", "mine")
    assert error.startswith(f"The attack mine {said}")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "write_into_the_model",
            "The attack mine changed weights of the model (features.1.weight)",
        ),
        ("leave_training", "The attack mine left the model in training mode"),
    ],
)
def test_an_attack_that_changes_the_model_is_refused(arguments, capsys, tmp_path, target, said):
    spec = json.dumps({"_target_": f"step_methods.{target}"})
    assert said in fails(capsys, *arguments["attack"], "--spec", spec, "--name", "mine")
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (
            "adversarial",
            "double",
            "as torch.float64 (N, 1, 8, 8): it must be torch.float32 (N, 1, 8, 8).",
        ),
        (
            "adversarial",
            "one less",
            "as torch.float32 (N-1, 1, 8, 8): it must be torch.float32 (N, 1, 8, 8).",
        ),
        ("success", "double", "as torch.float64 (N,): it must be torch.bool (N,)."),
        ("success", "none", "as NoneType: it must be torch.bool (N,)."),
        ("iterations", "one less", "as torch.int64 (N-1,): it must be torch.int64 (N,)."),
        ("iterations", "double", "as torch.float64 (N,): it must be torch.int64 (N,)."),
    ],
)
def test_an_attack_that_returns_something_else_is_refused(
    arguments, capsys, tmp_path, field, value, said
):
    spec = json.dumps({"_target_": "step_methods.misshapen", "field": field, "value": value})
    error = fails(capsys, *arguments["attack"], "--spec", spec, "--name", "mine")
    assert error.startswith(f"The attack mine returned '{field}' ")
    count = int(re.findall(r"\((\d+),", error)[-1])
    assert said.replace("N-1", str(count - 1)).replace("(N,", f"({count},") in error
    assert not (tmp_path / "output").exists()


def test_an_attack_that_returns_no_result_is_refused(arguments, capsys):
    spec = json.dumps({"_target_": "step_methods.nothing"})
    error = fails(capsys, *arguments["attack"], "--spec", spec, "--name", "mine")
    assert error == "The attack mine returned NoneType: it must return an AttackResult."


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("not_a_number", "values of 'broken' that are infinite or not a number"),
        ("infinite", "values of 'endless' that are infinite or not a number"),
        ("two_per_image", "'pair' of shape"),
        ("one_for_all", "'single' of shape"),
        ("no_dict", "Tensor: it must return a dict of tensors"),
        ("no_column", "nothing: it must return a dict of tensors"),
        ("no_tensor", "'list' list for "),
    ],
)
def test_a_feature_that_returns_no_numbers_is_refused(arguments, capsys, tmp_path, target, said):
    spec = json.dumps({"_target_": f"step_methods.{target}"})
    error = fails(capsys, *arguments["feature"], "--spec", spec, "--name", "mine")
    assert error.startswith("The feature mine returned ")
    assert said in error
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("fitted", [[], ["--fitted"]])  # a rule passes what it has, perhaps nothing
@pytest.mark.parametrize("key", ["_fit_", "_fitted_by_"])
def test_a_feature_with_a_fit_asks_for_it(arguments, capsys, key, fitted):
    spec = json.dumps({"_target_": "step_methods.distance", key: "step_methods.fit_mean"})
    error = fails(capsys, *arguments["feature"], "--spec", spec, "--name", "mine", *fitted)
    assert error == "The feature mine needs --fitted (see fit-feature)."


def test_a_missing_or_truncated_fitted_model_is_named(arguments, capsys, chain, config, tmp_path):
    fitted = tmp_path / "fitted.safetensors"
    kd = [*arguments["feature"], "--spec", config / "feature/kd.yaml"]
    assert fails(capsys, *kd, "--fitted", fitted) == f"The file {fitted} does not exist."
    whole = (chain / "model.safetensors").read_bytes()
    fitted.write_bytes(whole[: len(whole) // 2])
    error = fails(capsys, *kd, "--fitted", fitted)
    assert error.startswith(f"The file {fitted} cannot be read (")
    assert not (tmp_path / "output").exists()


def test_a_feature_that_does_not_say_what_it_gets_is_refused(arguments, capsys):
    """A feature of images that would get activations, and the other way round."""
    bu = {"_target_": "advdetect.features.bu.bu", "_activations_": True}
    error = fails(capsys, *arguments["feature"], "--spec", json.dumps(bu))
    assert error.startswith("advdetect.features.bu.bu: ")
    energy = {"_target_": "advdetect.features.energy.energy"}
    error = fails(capsys, *arguments["feature"], "--spec", json.dumps(energy))
    assert error.startswith("advdetect.features.energy.energy: ")
