"""What is left out of Hydra's sight: nothing of what it would make of the whole."""

import json
import re
import shutil

import pytest

from configuration import Configuration
from experiment import ConfigurationError

OWN = ["~experiment", "dataset=mnist", "model=lenet5"]
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


def check_composition(repository, monkeypatch, overrides, own=None):
    """Compare the values and their order, or the sentence, with those of all methods."""
    monkeypatch.chdir(repository / "tests")
    configuration = Configuration(repository / "config")

    def composed() -> str:
        try:
            return json.dumps(configuration.compose(overrides, own))
        except ConfigurationError as error:
            return str(error)

    found = composed()
    monkeypatch.setattr(configuration, "_touched", lambda *_: configuration.methods)
    assert found == composed()


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_it_is_what_hydra_composes_of_all_methods(repository, monkeypatch, overrides):
    check_composition(repository, monkeypatch, overrides)


@pytest.mark.parametrize(
    "attack", [{"fgsm": {"epsilon": 0.7}, "mine": {"x": 1}}, 3, None, ["fgsm"]]
)
def test_so_is_what_an_experiment_sets(repository, monkeypatch, attack):
    check_composition(repository, monkeypatch, OWN, {"attack": attack, "name": "x"})


@pytest.mark.parametrize("content", [b"a: \xff\n", b"- a\n", b"{\n"])
def test_a_root_that_cannot_be_read_is_named(repository, monkeypatch, tmp_path, content):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repository / "config", tmp_path / "project" / "config")
    root = tmp_path / "project" / "config" / "config.yaml"
    root.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(str(root))):
        Configuration(root.parent)


def test_what_the_chosen_data_set_leaves_of_an_experiment_counts(repository, monkeypatch):
    monkeypatch.chdir(repository / "tests")
    configuration = Configuration(repository / "config")
    own = {"attack": {"fgsm": {"epsilon": 0.7}}, "name": "x"}
    tree, names = configuration.compose(OWN, own)
    assert names["dataset"] == "mnist"
    assert tree["attack"]["fgsm"]["epsilon"] == 0.7
    assert list(tree["attack"]) == list(configuration.methods["attack"])
