import json
import shutil

import pytest

from composition import ConfigurationError, canonical_json, load_experiment


@pytest.fixture
def config_dir(tmp_path, repository):
    return shutil.copytree(repository / "config", tmp_path / "config")


def test_quickstart_is_the_default(config_dir):
    experiment = load_experiment(config_dir, {})
    assert experiment.settings["name"] == "quickstart"
    assert (experiment.dataset_name, experiment.model_name) == ("digits", "small_cnn")
    assert "_schema_" not in canonical_json([experiment.attacks, experiment.dataset])


@pytest.mark.parametrize("name", ["quickstart", "mnist_small"])
def test_every_experiment_composes(config_dir, name):
    assert load_experiment(config_dir, {"experiment": name}).settings["name"] == name


def test_every_method_yaml_is_valid_by_its_own_schema(config_dir):
    for group, key in (("attack", "attacks"), ("feature", "features"), ("detector", "detectors")):
        names = [path.stem for path in (config_dir / group).glob("*.yaml")]
        chosen = getattr(load_experiment(config_dir, {key: names}), key)
        assert sorted(chosen) == sorted(names)


def test_one_word_changes_the_experiment(config_dir):
    experiment = load_experiment(config_dir, {"experiment": "mnist_small"})
    assert (experiment.dataset_name, experiment.model_name) == ("mnist", "lenet5")


def test_overrides_of_every_form(config_dir):
    experiment = load_experiment(
        config_dir,
        {
            "seeds": ["4", "5"],  # as Snakemake hands over seeds=[4,5]
            "attack": {"fgsm": {"epsilon": 0.25}},  # as from a --configfile
            "dataset": {"test_count": None},
            "overrides": "attack.bim_l2.steps=3 evaluation.replicates=200",
        },
    )
    assert experiment.settings["seeds"] == [4, 5]
    assert experiment.attacks["fgsm"]["epsilon"] == 0.25
    assert experiment.attacks["bim_l2"]["steps"] == 3
    assert experiment.settings["evaluation"]["replicates"] == 200


def test_a_path_with_spaces_survives(config_dir):
    experiment = load_experiment(
        config_dir, {"dataset": {"root": "my data/it's [here]"}, "overrides": "dataset=mnist"}
    )
    assert experiment.dataset["root"] == "my data/it's [here]"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"experiment": "quickstrat"}, "config/experiment/ has: hsu2018, hsu2018_small, martin"),
        ({"dataset": "minst"}, "config/dataset/ has: digits, image_folder, mnist"),
        ({"attacks": ["fgsm", "fsgm"]}, "Unknown attack: fsgm. config/attack/ has: advlib_alma"),
        ({"overrides": "attack.fgsm.epsilo=1"}, "attack.fgsm has: epsilon"),
        (
            {"overrides": "sedes=[1]"},
            "Unknown setting sedes; the configuration has: activations, attack, attacks, ",
        ),
        ({"overrides": "attack.fgsm.epsilon=-1"}, "attack.fgsm.epsilon: -1 is less than"),
        ({"overrides": "attack.fgsm.epsilon=big"}, "'big' is not of type 'number'"),
        ({"overrides": "attack.fgsm=3"}, "attack.fgsm must be a mapping"),
        ({"overrides": "dataset=mnist dataset.test_count=10001"}, "maximum of 10000"),
        ({"overrides": "model.training.epochs=0"}, "model.training.epochs: 0 is less than"),
        ({"overrides": "evaluation.train_fraction=1"}, "evaluation.train_fraction: 1 is greater"),
        ({"overrides": "evaluation.primary_detector=forest"}, "forest is not among those"),
        ({"overrides": "device=tpu"}, "device: 'tpu' is not one of ['auto', 'cpu', 'cuda']"),
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
def test_what_cannot_be_run_is_refused_in_one_line(config_dir, config, said):
    with pytest.raises(ConfigurationError) as caught:
        load_experiment(config_dir, config)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_key_in_an_experiment_file_is_refused(config_dir):
    path = config_dir / "experiment" / "mine.yaml"
    path.write_text(
        "# @package _global_\nname: mine\nattacks: [fgsm]\nfeatures: [fisher_input]\n"
        "detectors: [random_forest]\nattack:\n  fgsm: {epsilo: 0.2}\n"
    )
    with pytest.raises(
        ConfigurationError, match=r"attack\.fgsm\.epsilo; attack\.fgsm has: epsilon"
    ):
        load_experiment(config_dir, {"experiment": "mine"})


def test_a_list_is_a_sweep_with_one_instance_per_value(config_dir):
    config = {"attacks": ["fgsm", "fgm"], "overrides": "attack.fgsm.epsilon=[0.1,0.2]"}
    attacks = load_experiment(config_dir, config).attacks
    assert list(attacks) == ["fgsm,epsilon=0.1", "fgsm,epsilon=0.2", "fgm"]
    assert [attacks[f"fgsm,epsilon={value}"]["epsilon"] for value in (0.1, 0.2)] == [0.1, 0.2]


def test_an_impossible_value_in_a_sweep_is_refused(config_dir):
    with pytest.raises(ConfigurationError, match=r"attack\.fgsm\.epsilon: -0\.1 is less than"):
        load_experiment(config_dir, {"overrides": "attack.fgsm.epsilon=[0.1,-0.1]"})


def test_a_new_file_is_a_new_method(config_dir):
    (config_dir / "attack" / "mine.yaml").write_text("_target_: my_module.mine\nstrength: 2\n")
    experiment = load_experiment(config_dir, {"attacks": ["mine"]})
    assert experiment.attacks == {"mine": {"_target_": "my_module.mine", "strength": 2}}


def test_the_parts_of_a_union_are_computed_even_when_they_are_not_chosen(config_dir):
    config = {"features": ["kd_bu"], "overrides": "defenses=[] evaluation.main_feature=kd_bu"}
    experiment = load_experiment(config_dir, config)
    assert list(experiment.computed_features) == ["kd", "bu"]
    assert experiment.parts("kd_bu") == ["kd", "bu"]


def test_a_union_of_an_unknown_feature_is_refused(config_dir):
    (config_dir / "feature" / "both.yaml").write_text("_union_: [kd, kb]\n_schema_: {}\n")
    with pytest.raises(ConfigurationError, match="Unknown feature: kb"):
        load_experiment(config_dir, {"features": ["both", "fisher_input"]})


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    first, second = {"a": 1, "b": [{"c": 2, "d": 3}]}, {"b": [{"d": 3, "c": 2}], "a": 1}
    assert canonical_json(first) == canonical_json(second)
    assert json.loads(canonical_json(first)) == first


@pytest.mark.parametrize("name", ["clean", "train", "others", "held_out"])
def test_an_attack_cannot_take_the_name_of_something_else(config_dir, name):
    """Of what stands in its place in the names of files and in the tables."""
    (config_dir / "attack" / f"{name}.yaml").write_text("_target_: my_module.mine\n")
    with pytest.raises(ConfigurationError, match=rf"^An attack cannot be named {name}: \w"):
        load_experiment(config_dir, {"attacks": [name, "fgsm"]})


def test_a_feature_cannot_take_the_name_of_the_paired_tests(config_dir):
    (config_dir / "feature" / "paired.yaml").write_text("_target_: my_module.mine\n")
    with pytest.raises(ConfigurationError, match=r"^A feature cannot be named paired: \w"):
        load_experiment(config_dir, {"features": ["paired", "kd"]})


def borrow(config_dir, owner):
    text = f"_target_: my_module.mine\n_fitted_by_: {owner}\n_schema_: {{}}\n"
    (config_dir / "feature" / "mine.yaml").write_text(text)
    return {"features": ["mine"], "overrides": "defenses=[] evaluation.main_feature=mine"}


def test_a_model_is_fitted_for_a_feature_that_borrows_it(config_dir):
    """Its owner is fitted and not computed."""
    experiment = load_experiment(config_dir, borrow(config_dir, "kd"))
    assert list(experiment.computed_features) == ["mine"]
    assert list(experiment.fitted_features) == ["kd"]
    assert experiment.fitted_features["kd"]["_fit_"] == "advdetect.features.kd.fit"
    assert "_schema_" not in experiment.fitted_features["kd"]


def test_a_model_is_fitted_once_for_its_owner_and_for_who_borrows_it(config_dir):
    config = borrow(config_dir, "kd") | {"features": ["bu", "kd", "mine"]}
    experiment = load_experiment(config_dir, config)
    assert list(experiment.computed_features) == ["bu", "kd", "mine"]
    assert experiment.fitted_features == {"kd": experiment.computed_features["kd"]}


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("bu", "feature.mine._fitted_by_: bu has no auxiliary model (no _fit_)."),
        ("kd_bu", "feature.mine._fitted_by_: kd_bu has no auxiliary model (no _fit_)."),
        ("mine", "feature.mine._fitted_by_: mine has no auxiliary model (no _fit_)."),
        ("kb", "Unknown feature: kb. config/feature/ has: bu,"),
    ],
)
def test_a_model_that_nothing_fits_cannot_be_borrowed(config_dir, owner, said):
    with pytest.raises(ConfigurationError) as caught:
        load_experiment(config_dir, borrow(config_dir, owner))
    assert str(caught.value).startswith(said)


def test_a_model_of_a_sweep_cannot_be_borrowed(config_dir):
    config = borrow(config_dir, "kd") | {"overrides": "feature.kd.max_per_class=[20,30]"}
    with pytest.raises(ConfigurationError, match=r"_fitted_by_: kd is a sweep \(kd,max_per_class="):
        load_experiment(config_dir, config)
