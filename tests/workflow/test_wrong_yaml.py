"""YAML and overrides that are wrong, each in a way that Hydra would not explain or not notice."""

from pathlib import Path

import pytest

from experiment import ConfigurationError

HEAD = "# @package _global_\n"
BODY = "name: mine\nattacks: [fgsm]\nfeatures: [kd]\ndetectors: [threshold]\n"


def said(load, **config):
    with pytest.raises(ConfigurationError) as caught:
        load(**config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{HEAD}defaults:\n  - override /datset: mnist\n{BODY}",
            "{'override /datset': 'mnist'} is n",
        ),
        (
            f"{HEAD}defaults:\n  - dataset: mnist\n{BODY}",
            "{'dataset': 'mnist'} is none of what may",
        ),
        (f"{HEAD}defaults: 3\n{BODY}", "defaults: 3 is none of what may stand there"),
        (
            f"{HEAD}defaults:\n  - override /dataset: minst\n{BODY}",
            "Unknown dataset: minst. config/",
        ),
        (f"{HEAD}defaults: [quickstrat]\n{BODY}", "Unknown experiment: quickstrat. config/experim"),
        (f"{HEAD}defaults: [mine]\n{BODY}", "mine.yaml starts from itself"),
        (BODY, "mine.yaml must begin with the line '# @package _global_'"),
        (f"{BODY}{HEAD}", "mine.yaml must begin with the line '# @package _global_'"),
        (f"\ufeff{HEAD}{BODY}", "mine.yaml begins with a byte-order mark"),
        (f"{HEAD}name: mine\nattacks:\t[fgsm]\n\t- a\n", "mine.yaml is no valid YAML (line "),
        (f"{HEAD}{BODY}name: other\n", "name stands there twice"),
        (f"{HEAD}- a\n", "mine.yaml must hold a mapping of names to values"),
        (f"{HEAD}{BODY}1: a\n", "mine.yaml must hold a mapping of names to values"),
        (f"{HEAD}{BODY}seeds: [0\n", "mine.yaml is no valid YAML"),
    ],
)
def test_a_wrong_experiment_is_explained(load, own_yaml, text, expected):
    own_yaml("experiment/mine", text)
    assert expected in said(load, experiment="mine")


@pytest.mark.parametrize("head", [HEAD, "\n#@package  _global_ \n# mine\n"])
def test_the_line_may_be_written_as_hydra_reads_it(load, own_yaml, head):
    own_yaml("experiment/mine", head + BODY)
    assert list(load(experiment="mine").runs[0].attacks) == ["fgsm"]


def test_two_mistakes_are_explained_as_well(load):
    """The explanation of the first composes without it, and meets the second."""
    wrong = "attack.fgsm.epsilo=1 atack.fgsm=2 sedes=[1]"
    assert "atack" in said(load, overrides=wrong) or "epsilo" in said(load, overrides=wrong)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("datset=mnist", "Unknown setting datset; the configuration has: activations, attack"),
        ("title='a", "overrides: No closing quotation: title='a"),
        ("attacks=[fgsm", "The configuration cannot be composed: "),
        ("=3", "The configuration cannot be composed: "),
        ("seeds=[0] seeds=[1]", "overrides: seeds is set twice"),
        ("attacks=[1]", "attacks: 1 is no name, as YAML reads it"),
        ("attacks=[on]", "Unknown attack: on. config/attack/ has: "),
        ("attacks=[true]", "attacks: True is no name"),
        (
            "attack.fgm.epsilon=1",
            "attack.fgm.epsilon is set, but no attack fgm is in this exp",
        ),
        (
            "feature.mid_mixture.draws=1",
            "no feature mid_mixture is in this experiment (feat",
        ),
        ("detector.naive_bayes.x=1", "detector.naive_bayes"),
        ("features=[kd] defense.magnet.x=1", "defense.magnet"),
    ],
)
def test_a_wrong_override_is_explained(load, overrides, expected):
    assert expected in said(load, overrides=overrides)


def test_an_override_of_a_run_is_not_in_vain_either(load):
    runs = [{"model": "small_cnn", "overrides": ["attack.jsma.gamma=0.3"]}]
    assert "attack.jsma.gamma is set, but no attack jsma" in said(load, runs=runs)


@pytest.mark.parametrize("value", ["1000", "1e3", "1000.0", "10e2"])
def test_a_count_may_be_written_as_one_writes_it(load, own_yaml, value):
    assert load(overrides=f"dataset.train_count={value}").runs[0].dataset["train_count"] == 1000
    text = f"{HEAD}{BODY}dataset: {{train_count: {value}}}\n"
    own_yaml("experiment/mine", text)
    assert load(experiment="mine").runs[0].dataset["train_count"] == 1000


def test_a_small_number_of_a_method_is_one(load, own_yaml):
    own_yaml("attack/push", "_target_: mine.push\nrate: 1e-3\n_schema_: {rate: {type: number}}\n")
    assert load(attacks=["push"]).runs[0].attacks["push"]["rate"] == 1e-3


@pytest.mark.parametrize(
    "content",
    [b"\x00\x05\x16\x07 of a Mac", b"_target_:\t[a\n", b"epsilon: \xff\n", b"- no mapping\n"],
)
def test_a_broken_file_stops_only_those_who_choose_it(load, own_yaml, content):
    own_yaml("attack/push", "")
    own_yaml("feature/glow", "_target_: mine.glow\n")
    Path("config/attack/push.yaml").write_bytes(content)
    experiment = load(attacks=["fgsm"], features=["glow"])
    assert list(experiment.runs[0].attacks) == ["fgsm"]
    (sentence,) = [text for text in experiment.left_out if "push.yaml" in text]
    assert "push.yaml" in said(load, attacks=["push"])
    assert said(load, attacks=["push"]).startswith(sentence[:60])


def test_hidden_files_are_no_methods(load, own_yaml):
    own_yaml("attack/._fgsm", "\x00")
    own_yaml("attack/.#push", "_target_: mine.push\n")
    assert load(attacks=["fgsm"]).left_out == ()
    assert "has: advlib_alma" in said(load, attacks=["push"])


@pytest.mark.parametrize("name", ["1e3", "123", "on", "null", "my.push", "a,b", "a b"])
def test_a_name_that_cannot_be_written_is_refused_where_it_is_chosen(load, own_yaml, name):
    own_yaml(f"model/{name}", "_target_: mine.Net\narguments: {}\n")
    assert load().runs[0].model_name == "small_cnn"
    assert f"{name}.yaml: rename it: a name holds" in said(load, overrides=[f"model='{name}'"])


def test_a_name_with_a_digit_first_or_a_hyphen_is_one(load, own_yaml):
    own_yaml("attack/2d-push", "_target_: mine.push\n")
    assert list(load(attacks=["2d-push"]).runs[0].attacks) == ["2d-push"]
