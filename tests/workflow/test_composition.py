import json
from dataclasses import asdict

import pytest

from advdetect.identity import canonical_json
from experiment import ConfigurationError


def only_run(experiment):
    (run,) = experiment.runs
    return run


def test_quickstart_is_the_default(composed):
    experiment = composed()
    run = only_run(experiment)
    assert experiment.settings["name"] == "quickstart"
    assert (run.dataset_name, run.model_name, run.name) == ("digits", "small_cnn", "")


@pytest.mark.parametrize("name", ["quickstart", "mnist_small", "mnist_minimal_norm"])
def test_every_experiment_composes(composed, name):
    assert composed(experiment=name).settings["name"] == name


def test_every_method_yaml_is_valid_by_its_own_schema(composed, repository):
    groups = {"attack": "attacks", "feature": "features", "detector": "detectors"}
    there = {
        key: sorted(path.stem for path in (repository / "config" / group).glob("*.yaml"))
        for group, key in groups.items()
    }
    experiment = composed(**there)
    for key, expected in there.items():
        assert sorted(experiment.names(key)) == expected


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"experiment": "hsu2018_small"},
        {"experiment": "zhao2019_small"},
        {"experiment": "zhao2019_imagenet", "dataset": {"root": "photos"}},
    ],
)
def test_words_are_in_no_specification(composed, config):
    experiment = composed(**config)
    text = canonical_json([asdict(run) for run in experiment.runs] + [experiment.figures])
    assert "_title_" not in text
    assert "_schema_" not in text
    assert "_sizes_" not in text
    assert "_columns_" not in text
    assert "_reported_as_" not in text


def test_one_word_changes_the_experiment(composed):
    run = only_run(composed(experiment="mnist_small"))
    assert (run.dataset_name, run.model_name) == ("mnist", "lenet5")


def test_overrides_of_every_form(composed):
    experiment = composed(
        seeds=["4", "5"],  # as Snakemake hands over seeds=[4,5]
        attack={"fgsm": {"epsilon": 0.25}},  # as from a --configfile
        dataset={"test_count": None},
        overrides="attack.bim_l2.steps=3 evaluation.replicates=200",
    )
    run = only_run(experiment)
    assert experiment.settings["seeds"] == [4, 5]
    assert run.attacks["fgsm"]["epsilon"] == 0.25
    assert run.attacks["bim_l2"]["steps"] == 3
    assert run.dataset["test_count"] is None
    assert experiment.settings["evaluation"]["replicates"] == 200


def test_a_path_with_spaces_survives(composed):
    experiment = composed(dataset={"root": "my data/it's [here]"}, overrides="dataset=mnist")
    assert only_run(experiment).dataset["root"] == "my data/it's [here]"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"experiment": "quickstrat"}, "config/experiment/ has: cohen2019, cohen2019_small, hsu"),
        (
            {"dataset": "minst"},
            "config/dataset/ has: cifar10, cifar10_folder, digits, fruits360, image_folder, ",
        ),
        ({"attacks": ["fgsm", "fsgm"]}, "Unknown attack: fsgm. config/attack/ has: advlib_alma"),
        ({"overrides": "attack.fgsm.epsilo=1"}, "attack.fgsm has: epsilon"),
        (
            {"overrides": "sedes=[1]"},
            "Unknown setting sedes; the configuration has: activations, attack, attacks, ",
        ),
        ({"overrides": "attack.fgsm.epsilon=-1"}, "attack.fgsm.epsilon: -1 is less than"),
        ({"overrides": "attack.fgsm.epsilon=big"}, "'big' is not of type 'number'"),
        ({"overrides": "attack.fgsm.epsilon=nan"}, "attack.fgsm.epsilon: nan is not a finite"),
        ({"overrides": "attack.fgsm.epsilon=[.1,inf]"}, "attack.fgsm.epsilon: inf is not a finite"),
        ({"overrides": "attack.fgsm.epsilon=[]"}, "attack.fgsm.epsilon is a list without a value"),
        ({"overrides": "attack.fgsm.epsilon=[1,1.0]"}, "attack.fgsm.epsilon has a value twice"),
        ({"overrides": "model.training.learning_rate=inf"}, "learning_rate: inf is not a finite"),
        ({"name": "../other"}, "name: '../other' does not match"),
        ({"name": "store"}, "An experiment cannot be named store: the folder of what lies between"),
        ({"name": "Logs"}, "An experiment cannot be named logs: "),
        ({"name": "tiny\n"}, "does not match"),
        (
            {"experiment": "zhao2019"}
            | {"reproductions": {"table2": {"reported": "../../../etc/passwd"}}},
            "reproductions.table2.reported: '../../../etc/passwd' does not match",
        ),
        ({"overrides": "attack.fgsm=3"}, "attack.fgsm must be a mapping"),
        ({"overrides": "dataset=mnist dataset.test_count=10001"}, "maximum of 10000"),
        ({"overrides": "model.training.epochs=0"}, "model.training.epochs: 0 is less than"),
        ({"overrides": "evaluation.train_fraction=1"}, "evaluation.train_fraction: 1 is greater"),
        (
            {"overrides": "evaluation.bits=[8bit]"},
            "evaluation.bits: ['8bit'] is not one of [['float32', '8bit'], ['float32']]",
        ),
        (
            {"overrides": "evaluation.primary_detector=forest"},
            "Unknown detector: forest. config/detector/ has: gaussian, ",
        ),
        ({"overrides": "device=tpu"}, "device: 'tpu' is not one of ['auto', 'cpu', 'cuda']"),
        (
            {"overrides": "evaluation.primary_detector=gaussian"} | {"detectors": ["threshold"]},
            "primary_detector: gaussian is not among those of this experiment (threshold).",
        ),
        ({"attacks": ["fgsm@lenet6"]}, "Unknown model: lenet6. config/model/ has: carlini_wagner,"),
        ({"overrides": "attacks=null"}, "attacks: None is not of type 'array'"),
        ({"attacks": "fgsm"}, "attacks: 'fgsm' is not of type 'array'"),
        ({"overrides": "feature.kd.bandwidth=[1,2]"}, "feature.kd is a sweep, and a union or a"),
        ({"seeds": []}, "seeds: [] should be non-empty"),
        ({"seeds": ["1", "1"]}, "seeds: [1, 1] has non-unique elements"),
        ({"overrides": "activations.max_width=0"}, "activations.max_width: 0 is less than"),
        ({"overrides": "activations.max_width=2.5"}, "2.5 is not of type 'integer'"),
        ({"overrides": "activations.layers=[]"}, "activations.layers: [] should be non-empty"),
        ({"overrides": "activations.layers=[a,a]"}, "['a', 'a'] has non-unique elements"),
        ({"overrides": "activations.layers=a"}, "activations.layers: 'a' is not of type 'array'"),
        ({"overrides": "activations.layers=[1]"}, "activations.layers.0: 1 is not of type"),
        ({"overrides": "activations.width=3"}, "activations has: layers, max_width."),
        ({"overrides": "attacks=["}, "cannot be composed"),
        ({"dataset": "image_folder"}, "dataset.root must be set"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_line(composed, config, said):
    with pytest.raises(ConfigurationError) as caught:
        composed(**config)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_schema_fetches_nothing(load, own_yaml):
    own_yaml("attack/mine", "x: 1\n_schema_: {x: {$ref: 'https://example.org/x.json'}}\n")
    with pytest.raises(
        ConfigurationError, match=r"attack\.mine: .*example\.org.*nothing is fetched"
    ):
        load(attacks=["mine"])


def test_a_list_is_a_sweep_with_one_instance_per_value(composed):
    config = {"attacks": ["fgsm", "fgm"], "overrides": "attack.fgsm.epsilon=[0.1,0.2]"}
    attacks = only_run(composed(**config)).attacks
    assert list(attacks) == ["fgsm,epsilon=0.1", "fgsm,epsilon=0.2", "fgm"]
    assert [attacks[f"fgsm,epsilon={value}"]["epsilon"] for value in (0.1, 0.2)] == [0.1, 0.2]


def test_an_impossible_value_in_a_sweep_is_refused(composed):
    with pytest.raises(ConfigurationError, match=r"attack\.fgsm\.epsilon: -0\.1 is less than"):
        composed(overrides="attack.fgsm.epsilon=[0.1,-0.1]")


def test_a_new_file_is_a_new_method(load, own_yaml):
    own_yaml("attack/mine", "_target_: my_module.mine\nstrength: 2\n")
    assert only_run(load(attacks=["mine"])).attacks == {
        "mine": {"_target_": "my_module.mine", "strength": 2}
    }


def test_the_parts_of_a_union_are_computed_even_when_they_are_not_chosen(composed):
    run = only_run(composed(features=["kd_bu"]))
    assert list(run.computed_features) == ["kd", "bu"]
    assert run.parts("kd_bu") == ["kd", "bu"]


def test_a_union_of_an_unknown_feature_is_refused(load, own_yaml):
    own_yaml("feature/both", "_union_: [kd, kb]\n_schema_: {}\n")
    with pytest.raises(ConfigurationError, match="Unknown feature: kb"):
        load(features=["both", "fisher_input"])


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    first, second = {"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"d": 3, "c": 2}], "a": 1}
    assert canonical_json(first) == canonical_json(second)
    assert json.loads(canonical_json(first)) == first


@pytest.mark.parametrize("name", ["clean", "train", "others", "held_out", "unchanged"])
def test_an_attack_cannot_take_the_name_of_something_else(load, own_yaml, name):
    """Of what stands in its place in the names of files and in the tables."""
    own_yaml(f"attack/{name}", "_target_: my_module.mine\n")
    with pytest.raises(ConfigurationError, match=rf"^An attack cannot be named {name}: \w"):
        load(attacks=[name, "fgsm"])


@pytest.mark.parametrize("value", ["../../x", "a/b", "a\\nb", "a" * 200])
def test_values_that_cannot_be_in_a_files_name_are_set_one_at_a_time(load, own_yaml, value):
    """A single one is no part of a name."""
    own_yaml("attack/mine", '_target_: my.mine\nrule: "x"\n_schema_: {rule: {type: string}}\n')
    with pytest.raises(ConfigurationError, match=r"^attack\.mine\.rule: the values of a sweep are"):
        load(attacks=["mine"], attack={"mine": {"rule": ["y", value.replace("\\n", "\n")]}})
    (run,) = load(attacks=["mine"], attack={"mine": {"rule": value}}).runs
    assert list(run.attacks) == ["mine"]


def test_a_feature_cannot_take_the_name_of_the_paired_tests(load, own_yaml):
    own_yaml("feature/paired", "_target_: my_module.mine\n")
    with pytest.raises(ConfigurationError, match=r"^A feature cannot be named paired: \w"):
        load(features=["paired", "kd"])


@pytest.fixture
def borrow(load, own_yaml):
    """Compose a feature that borrows the auxiliary model of another."""

    def run(owner, **config):
        text = f"_target_: my_module.mine\n_fitted_by_: {owner}\n_schema_: {{}}\n"
        own_yaml("feature/mine", text)
        return only_run(load(**{"features": ["mine"], **config}))

    return run


def test_a_model_is_fitted_for_a_feature_that_borrows_it(borrow):
    """Its owner is fitted and not computed."""
    run = borrow("kd")
    assert list(run.computed_features) == ["mine"]
    assert list(run.fitted_features) == ["kd"]
    assert run.fitted_features["kd"]["_fit_"] == "advdetect.features.kd.fit"
    assert "_schema_" not in run.fitted_features["kd"]


def test_a_model_is_fitted_once_for_its_owner_and_for_who_borrows_it(borrow):
    run = borrow("kd", features=["bu", "kd", "mine"])
    assert list(run.computed_features) == ["bu", "kd", "mine"]
    assert run.fitted_features == {"kd": run.computed_features["kd"]}


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("bu", "feature.mine._fitted_by_: bu has no auxiliary model (no _fit_)."),
        ("kd_bu", "feature.mine._fitted_by_: kd_bu has no auxiliary model (no _fit_)."),
        ("mine", "feature.mine._fitted_by_: mine has no auxiliary model (no _fit_)."),
        ("kb", "Unknown feature: kb. config/feature/ has: bu,"),
    ],
)
def test_a_model_that_nothing_fits_cannot_be_borrowed(borrow, owner, said):
    with pytest.raises(ConfigurationError) as caught:
        borrow(owner)
    assert str(caught.value).startswith(said)


def test_a_model_of_a_sweep_cannot_be_borrowed(borrow):
    with pytest.raises(ConfigurationError, match=r"_fitted_by_: kd is a sweep \(kd,max_per_class="):
        borrow("kd", overrides="feature.kd.max_per_class=[20,30]")
