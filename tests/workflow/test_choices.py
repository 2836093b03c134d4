"""What the command line chooses works without a second setting."""

import pytest

from experiment import ConfigurationError

PREFERENCES = ("primary_detector", "main_feature")


def preferred(experiment):
    return tuple(experiment.settings["evaluation"][key] for key in PREFERENCES)


@pytest.mark.parametrize(
    "name", ["quickstart", pytest.param("zhao2019_small", marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    "choice",
    [
        {"attacks": ["jsma"]},
        {"features": ["lid"]},
        {"detectors": ["gaussian", "random_scores"]},
        {"defenses": ["magnet"]},
        {"defenses": []},
        {"dataset": "mnist"},
        {"dataset": "digits"},
        {"model": "lenet5"},
        {"model": "small_cnn"},
        {"dataset": "mnist", "model": "carlini_wagner", "features": ["kd"], "attacks": ["jsma"]},
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_every_choice_works_by_itself(pipeline_of, name, choice):
    pipeline = pipeline_of(experiment=name, **choice)
    (run,) = pipeline.experiment.runs
    for key, value in choice.items():
        found = getattr(run, f"{key}_name" if isinstance(value, str) else key)
        assert (found if isinstance(value, str) else list(found)) == value
    detector, feature = preferred(pipeline.experiment)
    assert detector in run.detectors
    assert feature in run.features


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, ("random_forest", "fisher_input")),
        ({"features": ["lid", "kd"]}, ("random_forest", "lid")),
        ({"features": ["lid", "fisher_input"]}, ("random_forest", "fisher_input")),
        ({"detectors": ["random_scores", "gaussian"]}, ("gaussian", "fisher_input")),
        ({"detectors": ["true_labels"]}, ("true_labels", "fisher_input")),
        (
            {"features": ["kd"], "overrides": "feature.kd.bandwidth=[1,2]"},
            ("random_forest", "kd,bandwidth=1"),
        ),
        (
            {
                "features": ["kd"],
                "evaluation": {"main_feature": "kd,bandwidth=2"},
                "overrides": "feature.kd.bandwidth=[1,2]",
            },
            ("random_forest", "kd,bandwidth=2"),
        ),
    ],
)
def test_preferences_are_among_what_is_chosen(composed, choice, expected):
    experiment = composed(**choice)
    assert preferred(experiment) == expected
    # Figures show the same detector.
    assert experiment.figures["roc"]["detector"] == expected[0]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            "evaluation.main_feature=energy features=[kd,bu]",
            "evaluation.main_feature: energy is not among those of this experiment (kd, bu).",
        ),
        (
            "evaluation.primary_detector=gaussian detectors=[threshold]",
            "evaluation.primary_detector: gaussian is not among those of this experiment",
        ),
        ("evaluation.main_feature=fisher_inptu", "Unknown feature: fisher_inptu. config/feature/"),
    ],
)
def test_a_wrong_preference_that_was_given_is_refused(composed, overrides, said):
    with pytest.raises(ConfigurationError) as caught:
        composed(overrides=overrides)
    assert said in str(caught.value)


MINE = "# @package _global_\nname: mine\nattacks: [fgsm]\nfeatures: [kd]\ndetectors: [threshold]\n"


@pytest.mark.parametrize(
    ("key", "group"), [("main_feature", "feature"), ("primary_detector", "detector")]
)
def test_a_misspelt_preference_in_yaml_is_refused(load, own_yaml, key, group):
    own_yaml("experiment/mine", f"{MINE}evaluation: {{{key}: kdd}}\n")
    with pytest.raises(
        ConfigurationError, match=rf"^evaluation\.{key}: Unknown {group}: kdd\. config/{group}/ has"
    ):
        load(experiment="mine")


def test_an_experiment_need_not_name_its_preferences(load, own_yaml):
    own_yaml("experiment/mine", MINE)
    assert preferred(load(experiment="mine")) == ("threshold", "kd")


# What is tuned for a data set stays with it


def test_what_is_tuned_for_a_data_set_does_not_follow_to_another(composed, repository):
    ours = composed().runs[0]
    run = composed(dataset="mnist", model="lenet5", overrides="feature.magnet.epochs=15").runs[0]
    plain = composed(
        experiment="mnist_small", attacks=list(run.attacks), features=list(run.features)
    ).runs[0]
    assert run.attacks == plain.attacks != ours.attacks
    magnet = run.features["magnet"]
    assert magnet == plain.features["magnet"] | {"epochs": 15}
    assert magnet["autoencoders"] == [
        {"kind": "denoising", "structure": [3, "average", 3], "noise": 0.1},
        {"kind": "denoising", "structure": [3], "noise": 0.1},
    ]
    assert ours.features["magnet"]["autoencoders"][0]["structure"] == [16]
    assert (ours.features["bu"]["passes"], run.features["bu"]) == (20, plain.features["bu"])
    assert run.model == plain.model


def test_defences_and_title_are_those_of_a_data_set(composed):
    ours, other = composed(), composed(dataset="mnist")
    assert list(ours.runs[0].defenses) == ["magnet", "mid"]
    assert list(other.runs[0].defenses) == []
    assert ours.settings["title"] == "Handwritten digits, 8×8 pixels"
    assert other.settings["title"] == other.settings["name"] == "quickstart"
    assert composed(dataset="mnist", title="Mine").settings["title"] == "Mine"


def test_values_of_the_data_set_and_the_model_are_theirs(composed):
    small, whole = composed(experiment="zhao2019_small"), composed(experiment="zhao2019")
    assert small.runs[0].dataset["test_count"] == 400
    chosen = composed(experiment="zhao2019_small", dataset="digits", model="small_cnn").runs[0]
    assert chosen.dataset == composed().runs[0].dataset
    assert chosen.model == composed().runs[0].model
    # Another model on the same images keeps what is tuned for these.
    other = composed(experiment="zhao2019_small", model="small_cnn").runs[0]
    assert other.dataset == small.runs[0].dataset != whole.runs[0].dataset
    assert other.attacks == small.runs[0].attacks


def test_what_is_tuned_for_a_data_set_holds_for_its_images_in_a_folder(composed):
    ours = composed(experiment="zhao2019_cifar10_small")
    folder = "dataset=cifar10_folder dataset.root=photos"
    other = composed(experiment="zhao2019_cifar10_small", overrides=folder)
    assert other.left_out == ours.left_out == ()
    assert other.settings == ours.settings
    assert list(other.settings["reproductions"]) == ["table2", "figure2_norm", "table4", "table5"]
    assert other.runs[0].attacks == ours.runs[0].attacks
    assert other.runs[0].model == ours.runs[0].model
    assert other.runs[0].dataset["test_count"] == ours.runs[0].dataset["test_count"] == 100
    assert other.runs[0].dataset["_target_"] == "advdetect.data.image_folder.load"


def test_the_same_data_set_said_again_changes_nothing(composed):
    assert composed(dataset="digits", model="small_cnn") == composed()


def test_a_choice_may_be_said_in_two_ways(composed):
    assert composed(dataset="mnist", overrides="dataset=digits").runs == composed().runs


# What the choices leave without a base


def test_defences_go_with_their_features(composed):
    experiment = composed(features=["magnet", "kd"])
    (run,) = experiment.runs
    assert list(run.defenses) == ["magnet"]
    assert list(run.computed_features) == ["magnet", "kd"]
    assert list(run.fitted_features) == ["magnet", "kd"]
    assert experiment.left_out == ("the defences mid, whose features were not chosen",)


def test_a_defence_that_was_chosen_brings_its_features(composed):
    experiment = composed(features=["kd"], defenses=["mid"])
    assert list(experiment.runs[0].computed_features) == ["kd", "magnet", "mid"]
    assert experiment.left_out == ()


def test_what_lacks_an_attack_is_left_out_with_a_sentence(composed):
    whole = composed(experiment="zhao2019_small")
    attacks = ["fgm_least", "ossa_least", "nearest_classes_l2"]
    experiment = composed(experiment="zhao2019_small", attacks=attacks)
    assert whole.left_out == ()
    assert list(experiment.settings["reproductions"]) == ["table2"]
    assert list(experiment.settings["paper_figures"]) == ["figure1", "figure3", "figure4_right"]
    there = "(fgm_least; ossa_least; nearest_classes_l2)"
    assert (
        f"reproductions.figure2_norm, since the attack otcm_least is not among those of this "
        f"experiment {there}"
    ) in experiment.left_out
    assert len(experiment.left_out) == len(whole.settings["reproductions"]) + 2


def test_what_shows_rounded_images_is_left_out_without_them(composed):
    chosen = {"experiment": "hsu2018", "overrides": "evaluation.bits=[float32]"}
    whole, experiment = composed(experiment="hsu2018"), composed(**chosen)
    name = "coupled pair, images rounded to 8 bits"
    readings = [
        spec.settings["reproductions"]["accuracy"]["readings"] for spec in (whole, experiment)
    ]
    assert [each for each in readings[0] if each["name"] != name] == readings[1]
    reason = "its images are 8bit, which is not in evaluation.bits (float32)"
    assert experiment.left_out == (f"of reproductions.accuracy the reading {name}, since {reason}",)
    reading = {"readings": [each for each in readings[0] if each["name"] == name]}
    alone = composed(**chosen, reproductions={"accuracy": reading})
    assert alone.left_out == (f"reproductions.accuracy, since {reason}",)


def test_a_table_keeps_the_readings_whose_attacks_were_chosen(composed):
    whole = composed(experiment="zhao2019_small").settings["reproductions"]["table4"]
    least = whole["readings"][0]
    experiment = composed(experiment="zhao2019_small", attacks=[*least["attacks"].values()])
    assert experiment.settings["reproductions"]["table4"] == whole | {"readings": [least]}
    others = [reading["name"] for reading in whole["readings"][1:]]
    assert len(others) > 1
    said = [each for each in experiment.left_out if "reproductions.table4" in each]
    assert [each.partition(", since")[0] for each in said] == [
        f"of reproductions.table4 the reading {name}" for name in others
    ]
    assert "since the attack fgm,epsilon=2 is not among those of this experiment" in said[0]


def test_tables_of_another_data_set_are_left_out(composed):
    experiment = composed(experiment="zhao2019_small", dataset="digits", model="small_cnn")
    assert (
        "reproductions.table2, since zhao_2019_table2_least_perturbation.csv reports nothing for "
        "the data set digits, but for: cifar10, ilsvrc2012, mnist"
    ) in experiment.left_out


def test_what_is_left_out_is_printed_and_reported(
    pipeline_of, names, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # where there are no results
    pipeline = pipeline_of(features=["kd"])
    pipeline.print_outcome()
    sentence = "the defences magnet, mid, whose features were not chosen"
    assert capsys.readouterr().out == f"Left out: {sentence}.\n"
    assert names.job(pipeline, "report").options["spec"]["left_out"] == [sentence]


def test_yaml_that_lacks_an_attack_of_its_own_table_is_refused(load, own_yaml):
    own_yaml(
        "experiment/mine",
        "# @package _global_\ndefaults: [zhao2019_small, _self_]\nname: mine\nattacks: [fgm]\n",
    )
    with pytest.raises(
        ConfigurationError, match=r"^reproductions\.table2: the attack fgm_least is not among"
    ):
        load(experiment="mine")
    assert load(experiment="mine", features=["kd"]).left_out
