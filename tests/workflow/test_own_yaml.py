"""YAML of the user's own, in the folder ``config`` where Snakemake is called."""

from dataclasses import asdict

import pytest

from advdetect.identity import canonical_json
from experiment import ConfigurationError

EXPERIMENT = """# @package _global_
defaults:
  - override /dataset: tiny
  - override /model: net
name: mine
attacks: [push, fgsm]
features: [glow]
detectors: [rule]
"""


def test_own_methods_data_and_models_lie_beside_those_of_the_project(load, own_yaml):
    own_yaml("attack/push", "_target_: mine.push\n_title_: The push\nstrength: 2\n")
    own_yaml("feature/glow", "_target_: mine.glow\n_title_: Glow\n_schema_: {}\n")
    own_yaml("detector/rule", "_target_: mine.rule\n_title_: My rule\n_schema_: {}\n")
    own_yaml("dataset/tiny", "_target_: mine.tiny\n_title_: Tiny\ntrain_count: 10\ntest_count: 5\n")
    own_yaml("model/net", "_target_: mine.Net\n_title_: My net\nweights: mine.pt\n")
    own_yaml("experiment/mine", EXPERIMENT)
    experiment = load(experiment="mine", attack={"push": {"strength": 3}})
    (run,) = experiment.runs
    assert run.attacks["push"] == {"_target_": "mine.push", "strength": 3}
    assert run.attacks["fgsm"]["_target_"] == "advdetect.attacks.fgsm.fgsm"
    assert run.features == {"glow": {"_target_": "mine.glow"}}
    assert run.detectors == {"rule": {"_target_": "mine.rule"}}
    assert (run.dataset["_target_"], run.model["_target_"]) == ("mine.tiny", "mine.Net")
    own_titles = {"push": "The push", "glow": "Glow", "rule": "My rule", "tiny": "Tiny"}
    assert own_titles.items() <= experiment.titles.items()
    assert experiment.titles["net"] == "My net"
    assert "_title_" not in canonical_json(asdict(run))
    assert "_schema_" not in canonical_json(asdict(run))


def test_an_own_method_is_listed_where_a_name_is_wrong(load, own_yaml):
    own_yaml("attack/aaa", "_target_: mine.push\n")
    with pytest.raises(ConfigurationError, match=r"config/attack/ has: aaa, advlib_alma, "):
        load(attacks=["aab"])


def test_own_yaml_may_start_from_the_projects(load, own_yaml):
    own_yaml("attack/strong", "defaults: [fgsm]\nepsilon: 0.7\n")
    attacks = load(attacks=["strong", "fgsm"]).runs[0].attacks
    assert attacks["strong"] == attacks["fgsm"] | {"epsilon": 0.7}


def test_a_file_that_the_projects_would_hide_is_refused(load, own_yaml, repository):
    same = (repository / "config" / "attack" / "fgsm.yaml").read_text()
    own_yaml("attack/fgsm", same)
    load(attacks=["fgsm"])
    own_yaml("attack/fgsm", f"{same}# mine\n")
    with pytest.raises(
        ConfigurationError, match=r"fgsm\.yaml: the project has another attack named fgsm; rename"
    ):
        load(attacks=["fgsm"])


def test_a_misspelt_key_in_an_experiment_file_is_refused(load, own_yaml):
    own_yaml(
        "experiment/mine",
        "# @package _global_\nname: mine\nattacks: [fgsm]\nfeatures: [fisher_input]\n"
        "detectors: [random_forest]\nattack:\n  fgsm: {epsilo: 0.2}\n",
    )
    with pytest.raises(
        ConfigurationError, match=r"attack\.fgsm\.epsilo; attack\.fgsm has: epsilon"
    ):
        load(experiment="mine")


@pytest.mark.parametrize("text", ["a: [1\n", "- a\n"])
def test_a_file_that_is_no_mapping_is_refused_by_its_name(load, own_yaml, text):
    own_yaml("attack/mine", text)
    with pytest.raises(ConfigurationError, match=r"mine\.yaml") as caught:
        load(attacks=["mine"])
    assert "\n" not in str(caught.value)


def test_titles_are_those_of_what_is_shown(composed):
    titles = composed(attacks=["fgsm@lenet5"], features=["kd_bu"], dataset="mnist").titles
    assert {"fgsm", "kd_bu", "mnist", "small_cnn"} <= titles.keys()
    assert "jsma" not in titles
