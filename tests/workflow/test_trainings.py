"""The kind of training that a model names, with what it sets and what it is made of."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from experiment import ConfigurationError
from store import Store

SMALL = {"experiment": "quickstart"}


def training(experiment, run=0):
    return experiment.runs[run].model["training"]


def test_a_model_is_trained_as_standard_where_nothing_else_is_chosen(composed):
    found = training(composed(**SMALL))
    assert found["_target_"] == "advdetect.training.standard.Standard"
    assert found["epochs"] == 40
    assert (found["shift"], found["mirror"], found["layer_decay"]) == (0, False, None)


def test_the_attack_of_a_training_is_one_of_the_tool_with_values_of_its_own(composed):
    found = training(composed(**SMALL, training="adversarial"))
    assert found["attack"] == {"_target_": "advdetect.attacks.fgsm.fgsm", "epsilon": 0.25}
    overrides = "training.attack='bim_linf, steps=3'"
    found = training(composed(**SMALL, training="adversarial", overrides=[overrides]))["attack"]
    assert found["_target_"] == "advdetect.attacks.bim.bim"
    assert found["steps"] == 3
    assert found["norm"] == "linf"
    # The attack that is evaluated is another one.
    both = composed(**SMALL, training="adversarial", overrides="attack.fgsm.epsilon=0.1")
    assert training(both)["attack"]["epsilon"] == 0.25
    assert both.runs[0].attacks["fgsm"]["epsilon"] == 0.1


def test_runs_may_differ_in_their_training_alone(pipeline_of):
    runs = [{}, {"training": "noise", "overrides": ["training.sigma=0.5"]}]
    pipeline = pipeline_of(**SMALL, runs=runs)
    first, second = pipeline.experiment.runs
    assert [first.name, second.name] == ["standard", "noise"]
    assert training(pipeline.experiment, 1)["sigma"] == 0.5
    assert pipeline.store.model(first, 0).key != pipeline.store.model(second, 0).key


def test_a_models_training_has_an_optimizer_and_a_precision_of_its_own(composed):
    chosen = "model.training.optimizer=sgd model.training.precision=bfloat16 training=distillation"
    experiment = composed(**SMALL, overrides=chosen)
    teacher = experiment.runs[0].others["teacher"].model["training"]
    for found in (training(experiment), teacher):
        assert (found["optimizer"], found["precision"]) == ("sgd", "bfloat16")
        assert (found["schedule"], found["momentum"]) == ("one_cycle", 0.9)
    with pytest.raises(ConfigurationError, match=r"model\.training\.optimizer: 'adam' is not"):
        composed(**SMALL, overrides="model.training.optimizer=adam")


TUNED = {"training": "fine_tuning"}


def test_fine_tuning_minimises_the_loss_of_another_kind(composed):
    given = "model.weights=some.safetensors"
    plain = composed(**SMALL, **TUNED, overrides=[given])
    assert plain.runs[0].model["weights"] == "some.safetensors"
    assert not plain.runs[0].others
    found = training(plain)
    assert found["epochs"] == 40
    assert found["loss"]["_target_"] == "advdetect.training.standard.Standard"
    loss = "training.loss='adversarial,alpha=0,attack=\"bim_linf,steps=3\"'"
    found = training(composed(**SMALL, **TUNED, overrides=[given, loss]))["loss"]
    assert found["_target_"] == "advdetect.training.adversarial.Adversarial"
    assert found["alpha"] == 0
    assert (found["attack"]["_target_"], found["attack"]["steps"]) == (
        "advdetect.attacks.bim.bim",
        3,
    )


def test_the_weights_that_are_tuned_count_by_their_content(composed, tmp_path):
    def key(path, number):
        save_file({"weight": np.array([number])}, tmp_path / path)
        tuned = composed(**SMALL, **TUNED, overrides=[f"model.weights={tmp_path / path}"])
        file = Store(tuned, lambda *_: "code", lambda _: "").model(tuned.runs[0], 0)
        assert file.inputs["weights"] == [str(tmp_path / path)]
        return file.key

    first = key("mine.safetensors", 1)
    assert key("moved.safetensors", 1) == first
    assert key("mine.safetensors", 2) != first


def test_fine_tuning_may_go_on_from_another_run(pipeline_of):
    overrides = ["training.start=first", "training.frozen=[features]"]
    runs = [{"name": "first"}, TUNED | {"name": "second", "overrides": overrides}]
    pipeline = pipeline_of(**SMALL, runs=runs)
    first, second = (pipeline.store.model(run, 0) for run in pipeline.experiment.runs)
    assert second.inputs["others"] == [first]
    assert not second.inputs["weights"]
    found = training(pipeline.experiment, 1)
    assert found["frozen"] == ["features"]
    assert "start" not in found


OWN = """# @package _global_
defaults:
  - override /dataset: digits
  - override /model: small_cnn
  - override /training: noise
name: own
training: {sigma: 0.5}
attacks: [fgsm]
features: [kd]
detectors: [threshold]
"""


def test_what_an_experiment_sets_of_a_training_does_not_follow_to_another(own_yaml, load):
    own_yaml("experiment/own", OWN)
    assert training(load(experiment="own"))["sigma"] == 0.5
    other = training(load(experiment="own", training="adversarial"))
    assert "sigma" not in other
    assert other["alpha"] == 0.5


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (
            {"training": "nosie"},
            r"Unknown training: nosie. .* has: adversarial, autoencoder, distillation",
        ),
        ({"training": "noise", "overrides": "training.sigma=0"}, "training.sigma: 0 is"),
        ({"training": "noise", "overrides": "training.simga=1"}, "training.simga; training has: s"),
        (
            {"training": "adversarial", "overrides": "training.attack=fgsmm"},
            "training.attack: Unknown attack: fgsmm",
        ),
        (
            {"training": "adversarial", "overrides": "training.attack=best_of"},
            "training.attack: best_of is made from files and crafts nothing: name another.",
        ),
        (
            {"training": "adversarial", "overrides": ["training.attack='fgsm,epsilon=-1'"]},
            "training.attack.epsilon: -1 is",
        ),
        (
            {"training": "adversarial", "overrides": ["training.attack='fgsm,steps=3'"]},
            "training.attack: 'steps' is no parameter of fgsm, which has: epsilon",
        ),
        (
            {"training": "adversarial", "overrides": ["training.attack='fgsm,epsilon'"]},
            "write it as 'fgsm,parameter=value'",
        ),
        (
            {"training": "substitute"},
            "training.oracle must be set: the name of a run or of a model",
        ),
        ({"overrides": "training.mirror=3"}, "training.mirror: 3 is"),
        ({"overrides": "training.part=3/2"}, "training=standard: part: 3/2 is none of 2 parts"),
        (
            {"training": "distillation", "overrides": "training.teacher=svm"},
            "training.teacher: the model svm answers labels only, and training=distillation needs",
        ),
        (
            {"training": "noise", "overrides": "model.weights=some.safetensors"},
            "training: noise is chosen, but the model takes its weights from a file or fits itself"
            ": leave out one of both, or take training=fine_tuning, which goes on from the file",
        ),
        (TUNED, "training=fine_tuning: say what it goes on from, either model.weights, a file, or"),
        (
            TUNED | {"overrides": "model.weights=some.safetensors training.start=lenet5"},
            "either model.weights, a file, or training.start, the name of a run or of a model",
        ),
        (
            TUNED | {"overrides": "model.weights=some.safetensors model.training=null"},
            "training: fine_tuning is chosen, but model.training is null: give epochs",
        ),
        (
            TUNED | {"overrides": "training.start=svm"},
            "training.start: the model svm answers labels only",
        ),
        (
            TUNED | {"overrides": "model.weights=some.safetensors training.frozen=features"},
            "training.frozen: 'features' is",
        ),
        (
            TUNED | {"overrides": "training.start=lenet5 training.loss=nosie"},
            "training.loss: Unknown training: nosie. .* has: adversarial",
        ),
        (
            TUNED | {"overrides": "training.start=lenet5 training.loss=distillation"},
            "training.loss: distillation needs other models, or images of its own: choose a loss",
        ),
        (
            TUNED | {"overrides": ["training.start=lenet5", "training.loss='noise,sigma=-1'"]},
            "training.loss.sigma: -1 is",
        ),
        (
            TUNED | {"overrides": ["training.start=lenet5", "training.loss='standard,part=3/2'"]},
            "training.loss: part: 3/2 is none of 2 parts",
        ),
        (
            {"overrides": "model.weights=some.safetensors training.shift=1"},
            "training.shift is set, but the model takes its weights from a file",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(composed, chosen, said):
    with pytest.raises(ConfigurationError, match=said):
        composed(**SMALL, **chosen)


def test_the_code_of_a_training_makes_the_model_stale_and_no_other(pipeline_of):
    """The kind's module is part of the fingerprint; that of a kind that is not chosen is not."""
    chosen = pipeline_of(**SMALL, training="noise")
    code = chosen.store.model(chosen.experiment.runs[0], 0).option("--code")
    standard = pipeline_of(**SMALL)
    assert standard.store.model(standard.experiment.runs[0], 0).option("--code") != code
