"""What is left out of Hydra's sight: nothing of what it would make of the whole."""

import json

import pytest

from configuration import Configuration
from experiment import ConfigurationError

OVERRIDES = [
    [],
    ["experiment=zhao2019_small"],
    ["attack.fgsm.epsilon=0.2", "figure.roc.detector=threshold"],
    ["attack.fgsm.epsilon=${attack.fgm.epsilon}"],
    ["~attack.fgsm", "+attack.mine={_target_: x}"],
    ["attack={fgsm: {epsilon: 1}}"],
    ["attack=null", "~feature"],
    ["attack.fgsmm.epsilon=0.2"],
    ["attack.fgsm.epsilonn=0.2"],
]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_it_is_what_hydra_composes_of_all_methods(repository, monkeypatch, overrides):
    """The same values in the same order, or the same sentence."""
    monkeypatch.chdir(repository / "tests")
    configuration = Configuration(repository / "config")

    def composed() -> str:
        try:
            return json.dumps(configuration.compose(overrides))
        except ConfigurationError as error:
            return str(error)

    found = composed()
    monkeypatch.setattr(configuration, "_touched", lambda *_: configuration.methods)
    assert found == composed()


def test_what_the_chosen_data_set_leaves_of_an_experiment_counts(repository, monkeypatch):
    monkeypatch.chdir(repository / "tests")
    configuration = Configuration(repository / "config")
    own = {"attack": {"fgsm": {"epsilon": 0.7}}, "name": "x"}
    tree, names = configuration.compose(["~experiment", "dataset=mnist", "model=lenet5"], own)
    assert names["dataset"] == "mnist"
    assert tree["attack"]["fgsm"]["epsilon"] == 0.7
    assert list(tree["attack"]) == list(configuration.methods["attack"])
