"""Experiments of several data sets and models."""

from dataclasses import asdict

import pytest

from advdetect.identity import canonical_json
from experiment import ConfigurationError
from pipeline import WorkflowError

RUNS = [
    {"model": "lenet5"},
    {"dataset": "digits", "model": "small_cnn", "overrides": ["attack.fgsm.epsilon=0.2"]},
]
ON_MNIST = {"experiment": "mnist_small", "attacks": ["fgsm"], "features": ["kd"]}


def labels(experiment):
    return [(run.name, run.dataset_name, run.model_name) for run in experiment.runs]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([{"model": "lenet5"}], [("", "mnist", "lenet5")]),
        ([{"model": "lenet5"}, {"model": "small_cnn"}], ["lenet5", "small_cnn"]),
        pytest.param(
            [{"dataset": "mnist"}, {"dataset": "digits"}],
            ["mnist", "digits"],
            marks=pytest.mark.long,
        ),
        (RUNS, ["mnist/lenet5", "digits/small_cnn"]),
        (
            [{"name": "wide"}, {"name": "deep", "overrides": ["model.training.epochs=2"]}],
            ["wide", "deep"],
        ),
        pytest.param(
            [{"name": "wide"}, {"model": "small_cnn"}],
            ["wide", "small_cnn"],
            marks=pytest.mark.long,
        ),
    ],
)
def test_a_run_is_called_by_what_tells_it_apart(composed, runs, expected):
    found = labels(composed(**ON_MNIST, runs=runs))
    if len(runs) > 1:
        found = [name for name, _, _ in found]
    assert found == expected


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (
            [{"name": "a"}, {"name": "a", "model": "small_cnn"}],
            "two runs are called 'a': give each",
        ),
        ([{}, {"overrides": ["model.training.epochs=2"]}], "two runs are called ''"),
        ([{"model": "lenet5"}, {"model": "lenet5"}], "give each a name, as in {name: wide, model:"),
        (
            [{"model": "lenet6"}],
            "Unknown model: lenet6. config/model/ has: carlini_wagner, decision_tree, fruits",
        ),
        ([{"name": "a", "title": ""}, {"name": "b"}], "runs.0.title: '' does not match"),
        (
            [{"name": "a", "title": "Same"}, {"title": "Same", "model": "small_cnn", "name": "b"}],
            "runs: two runs would be shown as 'Same': give one another title.",
        ),
        (
            [{"name": "a", "title": "small_cnn"}, {"model": "small_cnn"}],
            "runs: two runs would be shown as 'small_cnn'",
        ),
        ([{"modle": "lenet5"}], "Additional properties are not allowed ('modle' was unexpected)"),
        (["lenet5"], "runs.0: 'lenet5' is not of type 'object'"),
        ("lenet5", "runs: 'lenet5' is not of type 'array', 'null'"),
        ([{"overrides": ["seeds=[7]"]}], "runs: overrides of a run cannot set seeds, which all"),
        ([{"overrides": ["attack.fgsm.epsilo=1"]}], "attack.fgsm.epsilo; attack.fgsm has: epsilon"),
    ],
)
def test_runs_that_cannot_be_made_are_refused(composed, runs, said):
    with pytest.raises(ConfigurationError) as caught:
        composed(**ON_MNIST, runs=runs)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_overrides_and_the_command_line_overrides_it(composed):
    def epsilons(**config):
        runs = composed(**ON_MNIST, runs=RUNS, **config).runs
        return [run.attacks["fgsm"]["epsilon"] for run in runs]

    plain = composed(**ON_MNIST).runs[0].attacks["fgsm"]["epsilon"]
    assert plain not in (0.2, 0.4)
    assert epsilons() == [plain, 0.2]
    assert epsilons(overrides="attack.fgsm.epsilon=0.4") == [0.4, 0.4]


def test_a_chosen_model_is_that_of_the_listed_runs_that_name_none(composed):
    runs = [{"name": "one"}, {"name": "two", "dataset": "digits", "model": "small_cnn"}]
    found = labels(composed(**ON_MNIST, runs=runs, model="carlini_wagner"))
    assert found == [("one", "mnist", "carlini_wagner"), ("two", "digits", "small_cnn")]


def test_a_chosen_model_takes_the_place_of_the_runs_of_yaml(load, own_yaml):
    """Even when it is the one that the experiment's runs start from."""
    own_yaml(
        "experiment/two",
        "# @package _global_\ndefaults: [override /dataset: mnist, override /model: lenet5]\n"
        "name: two\nattacks: [fgsm]\nfeatures: [kd]\ndetectors: [threshold]\n"
        "runs: [{model: lenet5}, {model: small_cnn}]\n",
    )
    assert [name for name, _, _ in labels(load(experiment="two"))] == ["lenet5", "small_cnn"]
    for model in ("lenet5", "carlini_wagner"):
        assert labels(load(experiment="two", model=model)) == [("", "mnist", model)]
    assert labels(load(experiment="two", dataset="digits", model="small_cnn")) == [
        ("", "digits", "small_cnn")
    ]


def test_what_is_tuned_for_one_data_set_is_not_taken_over_by_a_listed_run(composed):
    runs = [{"dataset": "digits"}, {"dataset": "mnist", "model": "lenet5"}]
    experiment = composed(attacks=["fgsm"], features=["bu", "magnet"], runs=runs)
    digits, mnist = experiment.runs
    plain = composed(attacks=["fgsm"], features=["bu", "magnet"], dataset="mnist").runs[0]
    assert digits.attacks["fgsm"]["epsilon"] == 0.2
    assert mnist.attacks == plain.attacks
    assert mnist.features == plain.features != digits.features
    assert experiment.settings["title"] == "quickstart"


def test_a_run_has_a_title_for_people(composed):
    runs = [
        {"name": "wide", "title": "Wide network", "overrides": ["attacks=[fgsm@lenet5,fgsm@b]"]},
        {"model": "small_cnn", "title": "Small one"},
        {"name": "b", "overrides": ["model.training.epochs=2"]},
    ]
    config = {"experiment": "mnist_small", "features": ["kd"], "model": "carlini_wagner"}
    experiment = composed(**config, runs=runs)
    assert [run.name for run in experiment.runs] == ["wide", "small_cnn", "b"]
    titles = {name: text for name, text in experiment.titles.items() if "@" in name}
    assert titles == {"@wide": "Wide network", "@small_cnn": "Small one", "@lenet5": "LeNet-5"}
    assert "Wide network" not in canonical_json([asdict(run) for run in experiment.runs])


def test_a_papers_table_calls_a_run_by_its_title(composed):
    titles = composed(experiment="szegedy2013_small").titles
    assert titles["fc10_1e-4"] == titles["@fc10_1e-4"] == "FC10(10⁻⁴)"


@pytest.mark.long
def test_a_papers_table_may_call_a_run_otherwise(composed):
    titles = composed(experiment="papernot2016_small").titles
    assert (titles["network"], titles["@robust"]) == (
        "deep network, adversarially trained",
        "robust LeNet-5",
    )


def test_each_run_has_its_own_files(pipeline_of, names):
    pipeline = pipeline_of(**ON_MNIST, runs=RUNS, seeds=["1"])
    scores = names.inputs(pipeline, "metrics_kd", "scores")
    assert scores == [
        "results/store/mnist/lenet5-seed1/scores/kd.parquet",
        "results/store/digits/small_cnn-seed1/scores/kd.parquet",
    ]
    labels = names.job(pipeline, "metrics_kd").options["runs"]
    assert list(labels.values()) == ["mnist/lenet5", "digits/small_cnn"]


def test_a_single_run_has_no_label(pipeline_of, names):
    (label,) = names.job(pipeline_of(), "metrics_kd").options["runs"].values()
    assert label == ""


def test_runs_whose_files_nothing_tells_apart_are_refused(make):
    runs = [{"name": "weak"}, {"name": "strong", "overrides": ["attack.fgsm.epsilon=0.4"]}]
    with pytest.raises(WorkflowError, match=r"^runs: weak and strong have the same model and tra"):
        make(**ON_MNIST, runs=runs)


# Models that only craft


def source(experiment, model):
    return experiment.source(experiment.runs[0], model)


def test_an_attack_may_come_from_any_model(composed):
    experiment = composed(dataset="mnist", attacks=["fgsm@lenet5", "fgsm"])
    crafting = source(experiment, "lenet5")
    assert list(experiment.runs[0].attacks) == ["fgsm@lenet5", "fgsm"]
    assert (crafting.dataset, crafting.model_name) == (experiment.runs[0].dataset, "lenet5")
    assert crafting.model == composed(dataset="mnist", model="lenet5").runs[0].model


def test_what_a_model_is_crafted_on_is_that_of_the_experiment_where_it_has_it(composed):
    runs = [
        {"name": "judge", "overrides": ["attacks=[fgsm@lenet5]"], "model": "small_cnn"},
        {"name": "source", "model": "lenet5", "overrides": ["model.training.epochs=2"]},
    ]
    experiment = composed(experiment="mnist_small", features=["kd"], runs=runs)
    assert source(experiment, "lenet5") is experiment.runs[1]
    assert source(experiment, "lenet5").model["training"]["epochs"] == 2


def test_images_are_crafted_on_those_that_are_judged(composed):
    """Also where the other model's run has fewer of them."""
    runs = [
        {"name": "judge", "overrides": ["attacks=[fgsm@lenet5]"], "model": "small_cnn"},
        {
            "name": "source",
            "model": "lenet5",
            "overrides": ["model.training.epochs=2", "dataset.test_count=20"],
        },
    ]
    experiment = composed(experiment="mnist_small", features=["kd"], runs=runs)
    crafting = source(experiment, "lenet5")
    assert crafting.dataset == experiment.runs[0].dataset
    assert crafting.model["training"]["epochs"] == 2


def test_a_sweep_may_come_from_another_model(pipeline_of, composed):
    config = {
        "dataset": "mnist",
        "attacks": ["fgm@lenet5", "fgm"],
        "overrides": "attack.fgm.epsilon=[2,4]",
    }
    attacks = composed(**config).runs[0].attacks
    expected = ["fgm@lenet5,epsilon=2", "fgm@lenet5,epsilon=4", "fgm,epsilon=2", "fgm,epsilon=4"]
    assert list(attacks) == expected
    assert attacks["fgm@lenet5,epsilon=2"]["epsilon"] == 2
    files = pipeline_of(**config)._files.values()
    crafted = {
        (file.names["model"], file.names["attack"]) for file in files if file.step == "attack"
    }
    of_both = {
        (model, f"fgm,epsilon={value}") for model in ("lenet5", "small_cnn") for value in (2, 4)
    }
    assert crafted == {*of_both, ("small_cnn", "unchanged")}  # a source of attacks is not detected
