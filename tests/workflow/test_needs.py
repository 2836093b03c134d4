"""What the known numbers of images make impossible is refused before any job."""

import pytest

from experiment import ConfigurationError

RATE = "defense.magnet.detectors.0.false_positive_rate=0.001"


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            {"overrides": RATE},
            "defense.magnet: The detector magnet.reconstruction_error_1 cannot have a "
            "false-positive rate of 0.001 with 216 held-out images: hold out at least 999, or "
            "allow a larger rate.",
        ),
        (
            {"experiment": "hsu2018_small", "dataset": {"train_count": 9000}},
            "0.001 with 900 held-out images",
        ),
        (
            {"overrides": f"{RATE} feature.magnet.held_out=0.0001"},
            "feature.magnet: held_out=0.0001 of 1078 training images cannot be held out",
        ),
        (
            {"feature": {"lid": {"neighbours": 101, "reference": 100}}},
            "feature.lid: The neighbours of the feature lid must be from 2 to the number of "
            "reference images, 100, not 101",
        ),
        (
            {
                "features": ["nearest_neighbour"],
                "dataset": {"train_count": 100},
                "overrides": "feature.nearest_neighbour.neighbours=[50,101]",
            },
            "feature.nearest_neighbour,neighbours=101: ",
        ),
        ({"dataset": {"train_count": 15}}, "feature.kd: The feature kd needs at least 2"),
        ({"feature": {"magnet": {"norms": [1]}}}, "feature.magnet: norms=[1] for 2 auto-encoders"),
        ({"feature": {"mid": {"autoencoder": 3}}}, "feature.mid: There is no auto-encoder 3"),
        (
            {"overrides": "defense.magnet.detectors.1.column=jensen_shannon_20"},
            "defense.magnet.detectors: the feature magnet has no column jensen_shannon_20; it has: "
            "reconstruction_error_1, reconstruction_error_2, jensen_shannon_10, jensen_shannon_40.",
        ),
        (
            {
                "feature": {"magnet": {"temperatures": [20]}},
                "overrides": "defense.magnet.detectors.1.column=jensen_shannon_10",
            },
            "no column jensen_shannon_10; it has: reconstruction_error_1, reconstruction_error_2, "
            "jensen_shannon_20.",
        ),
        ({"defense": {"magnet": {"reformer": 3}}}, "defense.magnet: There is no auto-encoder 3"),
        ({"dataset": {"train_count": 1200}}, "dataset.train_count=1200, but the train split has"),
        (
            {"dataset": {"train_count": 1000}, "evaluate_on": "validation"},
            "the train split has only 899 images",
        ),
        (
            {"training": "substitute", "overrides": "training.oracle=svm"},
            "training=substitute: It starts from training images that no other model was trained "
            "on, and there are none: set dataset.train_count to fewer than the 1078 that there are",
        ),
        (
            {
                **{"training": "substitute", "overrides": "training.oracle=svm"},
                **{"dataset": {"train_count": 899}, "evaluate_on": "validation"},
            },
            "set dataset.train_count to fewer than the 899 that there are",
        ),
        (
            {"model": "torchvision", "overrides": "model.weights=IMAGENET1K_V1"},
            "model: weights: IMAGENET1K_V1 is of 1000 classes, but the data has 10: choose",
        ),
        (
            {"dataset": {"test_count": 20}, "evaluation": {"train_fraction": 0.01}},
            "20 clean-correct images cannot be split with evaluation.train_fraction=0.01",
        ),
    ],
)
def test_what_cannot_be_is_said_before_any_job(composed, choice, said):
    with pytest.raises(ConfigurationError) as error:
        composed(**choice)
    assert said in str(error.value)


def test_of_a_data_set_of_unknown_size_nothing_is_said(composed):
    experiment = composed(
        **{"dataset": "image_folder", "features": ["magnet", "lid"], "defenses": ["magnet"]},
        overrides="dataset.root=nowhere feature.lid.neighbours=1000 feature.lid.reference=2000",
    )
    assert experiment.runs[0].images.train is None


def test_a_method_of_ones_own_says_what_it_needs(load, own_yaml, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_needs.py").write_text(
        "from advdetect.errors import AdvdetectError\n"
        "def needs(images, owner, *, most):\n"
        "    if images.test > most:\n"
        "        raise AdvdetectError(f'{images.test} are too many.')\n"
    )
    own_yaml("feature/mine", "_target_: my_module.mine\n_requires_: my_needs.needs\nmost: 30\n")
    assert load(features=["mine"], dataset={"test_count": 30}).runs[0].features["mine"]
    with pytest.raises(ConfigurationError, match=r"^feature.mine: 31 are too many"):
        load(features=["mine"], dataset={"test_count": 31})


def test_columns_that_a_feature_does_not_say_are_left_to_its_jobs(composed, load, own_yaml):
    assert "lid" not in composed(features=["lid"]).runs[0].columns
    own_yaml("feature/mine", "_target_: my_module.mine\n_score_: {column: a, adversarial: low}\n")
    assert "mine" not in load(features=["mine"]).runs[0].columns


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("[b]", r"^feature\.mine\._score_: the feature mine has no column a; it has: b\.$"),
        ("{a: b}", r"^feature\.mine\._columns_ must be a list of names, or the import path"),
        ("no_module.f", r"^feature\.mine: .*no_module"),
    ],
)
def test_a_feature_of_ones_own_says_its_columns(load, own_yaml, columns, said):
    own_yaml(
        "feature/mine",
        "_target_: my_module.mine\n_score_: {column: a, adversarial: low}\n"
        f"_columns_: {columns}\n",
    )
    with pytest.raises(ConfigurationError, match=said):
        load(features=["mine"])


ORACLE = {"model": "svm", "attacks": ["fgsm@small_cnn"], "features": ["feature_squeezing"]}


def test_an_oracle_is_attacked_from_another_model(composed, pipeline_of):
    """It needs no training; each of its words is in its key."""
    experiment = composed(**ORACLE, defenses=[])
    (run,) = experiment.runs
    assert run.model["training"] is None
    assert experiment.source(run, "small_cnn").model["training"]["epochs"] == 40
    model = pipeline_of(**ORACLE, defenses=[]).store.model(run, 0)
    assert '"_fitted_":true' in model.option("--spec").replace(" ", "")


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (
            ORACLE | {"attacks": ["fgsm"]},
            "attack.fgsm: the model svm answers labels only and has no gradient: craft on another "
            "(fgsm@model)",
        ),
        (
            {"attacks": ["fgsm@decision_tree"], "features": ["kd"]},
            "attack.fgsm@decision_tree: the model decision_tree answers labels only",
        ),
        (
            ORACLE | {"features": ["kd"]},
            "feature.kd: the model svm answers labels only and has no activations",
        ),
        (ORACLE | {"training": "noise"}, "training: noise is chosen, but the model takes its"),
        (ORACLE | {"model.training": {"epochs": 1}}, "model.training"),
    ],
)
def test_what_an_oracle_has_not_is_said_before_any_job(composed, choice, said):
    with pytest.raises(ConfigurationError) as error:
        composed(**choice)
    assert said in str(error.value)


def test_an_attack_that_asks_for_labels_alone_may_be_on_an_oracle(load, own_yaml):
    own_yaml("attack/walk", "_target_: my_module.walk\n_labels_only_: true\n")
    attacks = ["walk", "hopskipjump_l2", "best_of"]
    assert list(load(**ORACLE | {"attacks": attacks}).runs[0].attacks) == attacks


def test_published_weights_are_named_and_where_they_lie_is_in_no_key(pipeline_of):
    tuned = {"model": "torchvision", "training": "fine_tuning", "attacks": ["fgsm"]}
    overrides = "model.weights=pretrained training.new_layers=[net.fc]"
    jobs = []
    for more in ("", " model.weights_root=elsewhere"):
        pipeline = pipeline_of(**tuned, overrides=overrides + more)
        (run,) = pipeline.experiment.runs
        model = pipeline.store.model(run, 0)
        assert '"weights":"pretrained"' in model.option("--spec").replace(" ", "")
        assert not model.inputs["weights"]
        jobs.append((model.path, pipeline.store.root(model.job)))
    (path, root), (other_path, other_root) = jobs
    assert path == other_path
    assert (root, other_root) == ("data/weights", "elsewhere")
