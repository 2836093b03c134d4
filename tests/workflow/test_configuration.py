"""The composition: what Hydra makes of the same files, by itself and in one go."""

import json
import re
import shlex
import shutil

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from advdetect.requirements.training import OPTIONS
from configuration import Configuration
from experiment import ConfigurationError
from overrides import key_of
from yaml_files import OVERRIDES as OVERRIDDEN

OWN = ["~experiment", "dataset=mnist", "model=lenet5"]
OVERRIDES = [
    "",
    "experiment=zhao2019_cifar10_small",
    "experiment=hsu2018_small seeds=[4]",
    "experiment=papernot2016_small model=svm",
    "~experiment dataset=mnist training=adversarial",
    "attack.fgsm.epsilon=0.2 figure.roc.detector=threshold",
    "attack.fgsm.epsilon=${attack.fgm.epsilon}",
    "~attack.fgsm +attack.mine={_target_:x}",
    "+feature.kd.bandwidths=[1,2] ++title=mine threads=0x10",
]


def composed(repository, overrides, own=None):
    configuration = Configuration(repository / "config")
    choices = [text for text in overrides if key_of(text) in ("experiment", *OVERRIDDEN)]
    names = configuration.names(choices)
    rest = [text for text in overrides if text not in choices]
    own = configuration.experiment(names) if own is None else own
    return configuration.compose(names, own, rest), names


@pytest.mark.parametrize("text", OVERRIDES)
def test_it_is_what_hydra_composes(repository, monkeypatch, text):
    monkeypatch.chdir(repository / "tests")
    overrides = shlex.split(text)
    methods = Configuration(repository / "config").methods
    store = ConfigStore.instance()
    store.store(name="methods", node=methods)
    store.store(name="all", node={"defaults": ["methods", "config"]})
    with initialize_config_dir(version_base="1.3", config_dir=str(repository / "config")):
        config = compose("all", overrides=overrides, return_hydra_config=True)
    chosen = dict(config.hydra.runtime.choices)
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    tree, names = composed(repository, overrides)
    expected = OmegaConf.to_container(config, resolve=True)
    if isinstance(expected["model"].get("training"), dict):  # with what a YAML need not say
        expected["model"]["training"] = OPTIONS | expected["model"]["training"]
    assert tree == expected
    assert {key: names[key] for key in OVERRIDDEN} == {key: chosen[key] for key in OVERRIDDEN}
    assert [[*tree[group]] for group in methods] == [[*config[group]] for group in methods]


@pytest.mark.parametrize(
    ("overrides", "own"),
    [
        (["attack={fgsm: {epsilon: 1}}"], {}),
        (["attack=null", "~feature"], {}),
        (["attack.fgsmm.epsilon=0.2"], {}),
        (["attack.fgsm.epsilonn=0.2"], {}),
        (OWN, {"attack": {"fgsm": {"epsilon": 0.7}, "mine": {"x": 1}}, "name": "x"}),
        (OWN, {"attack": 3}),
        (OWN, {"attack": None}),
        (OWN, {"attack": ["fgsm"]}),
    ],
)
def test_what_is_left_out_of_its_sight_changes_nothing(repository, monkeypatch, overrides, own):
    monkeypatch.chdir(repository / "tests")

    def found() -> str:
        try:
            return json.dumps(composed(repository, overrides, own))
        except ConfigurationError as error:
            return str(error)

    ours = found()
    monkeypatch.setattr(Configuration, "_touched", lambda self, *_: self.methods)
    assert found() == ours


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
    own = {"attack": {"fgsm": {"epsilon": 0.7}}, "name": "x"}
    tree, names = composed(repository, OWN, own)
    assert names["dataset"] == "mnist"
    assert tree["attack"]["fgsm"]["epsilon"] == 0.7
    assert list(tree["attack"]) == list(Configuration(repository / "config").methods["attack"])
