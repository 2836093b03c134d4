"""What changes a file's path, and that nothing else does."""

from collections.abc import Callable

import pytest

from experiment import Experiment
from store import Store

BASE = {"overrides": "attacks=[fgsm,otcm] features=[kd,bu] detectors=[threshold] defenses=[]"}


@pytest.fixture
def files(composed) -> Callable[..., set[str]]:
    """Return the paths of all files that an experiment needs."""

    def of(code: str = "", **settings) -> set[str]:
        changed = settings.get("overrides", "")
        kept = [text for text in BASE["overrides"].split() if text.partition("=")[0] not in changed]
        settings["overrides"] = " ".join([*kept, changed])
        return paths(composed(**settings), code)

    return of


def paths(experiment: Experiment, changed: str = "") -> set[str]:
    """Return the paths of scores and all that is behind them; a step's code may be changed."""
    store = Store(experiment, lambda step, spec: f"code of {step}{changed == step}", lambda d: "")
    for run in experiment.runs:
        for seed in experiment.settings["seeds"]:
            for feature in run.features:
                store.scores(run, seed, feature)
    return {file.path for file in store.files.values()}


def stages(found: set[str]) -> set[str]:
    """Return which kinds of files there are: their folder in a run, or the file's own name."""
    kinds = set()
    for path in found:
        parts = path.split("/")
        kinds.add(parts[2] if len(parts) > 3 else parts[-1].partition(".")[0])
    return kinds


AFTER_ATTACKS = {"attacks", "features", "detectors", "scores"}
AFTER_MODEL = AFTER_ATTACKS | {"model", "clean", "fitted"}


@pytest.mark.parametrize(
    ("change", "new"),
    [
        ({}, set()),
        ({"device": "cpu", "batch_size": 8, "threads": 2}, set()),
        ({"overrides": "title=other evaluation.replicates=200"}, set()),
        ({"overrides": "attack.fgsm.epsilon=0.3"}, AFTER_ATTACKS),
        ({"overrides": "dataset.test_count=100"}, AFTER_ATTACKS | {"test", "clean"}),
        ({"overrides": "dataset.train_count=500"}, AFTER_MODEL | {"train", "test"}),
        ({"overrides": "model.training.epochs=3"}, AFTER_MODEL),
        ({"overrides": "feature.bu.passes=7"}, {"features", "detectors", "scores"}),
        ({"overrides": "feature.kd.bandwidth=1.0"}, {"fitted", "features", "detectors", "scores"}),
        ({"overrides": "activations.max_width=64"}, {"fitted", "features", "detectors", "scores"}),
        ({"overrides": "evaluation.train_fraction=0.4"}, {"detectors", "scores"}),
        ({"overrides": "evaluation.bits=[float32]"}, {"features", "detectors", "scores"}),
        ({"code": "attack"}, AFTER_ATTACKS),
        ({"code": "score"}, {"scores"}),
        ({"seeds": [0, 1, 2]}, AFTER_MODEL),
    ],
)
def test_a_change_gives_new_paths_to_what_follows_from_it(files, change, new):
    assert stages(files(**change) - files()) == new


def test_training_does_not_depend_on_the_test_split(files):
    more = files(overrides="dataset.test_count=100")
    assert {path for path in more if "/model." in path} == {
        path for path in files() if "/model." in path
    }


def test_an_added_attack_keeps_what_there_is_of_the_others(files):
    one, two = files(overrides="attacks=[fgsm]"), files()
    # Detectors are fitted on what is held out of all attacks.
    assert stages(one - two) == {"detectors", "scores"}
    assert {path for path in one - two if "/attacks/" in path or "/features/" in path} == set()
    assert any("/attacks/otcm." in path for path in two - one)


def test_two_experiments_share_what_they_have_in_common(composed):
    first = paths(composed(experiment="zhao2019_small"))
    second = paths(composed(experiment="zhao2019_small", name="mine", attacks=["opt", "fgm"]))
    assert stages(second - first) == {"detectors", "scores"}


def test_equal_values_have_equal_paths(files):
    assert files(overrides="attack.fgsm.epsilon=1.0") == files(overrides="attack.fgsm.epsilon=1")


def test_a_sweep_names_the_files_of_its_values(composed):
    experiment = composed(overrides="attacks=[cw_l2] attack.cw_l2.kappa=[0,5]")
    (run,) = experiment.runs
    store = Store(experiment, lambda step, spec: "", lambda dataset: "")
    file = store.attack(run, 0, "cw_l2,kappa=0")
    assert store.sweep(file.job) == {"cw_l2,kappa=0": {"kappa": 0}, "cw_l2,kappa=5": {"kappa": 5}}


def test_an_attack_on_another_model_is_judged_on_this_one(composed):
    experiment = composed(overrides="attacks=[fgsm@lenet5] dataset=mnist model=small_cnn seeds=[3]")
    (run,) = experiment.runs
    store = Store(experiment, lambda step, spec: "", lambda dataset: "")
    judged = store.attack(run, 3, "fgsm@lenet5")
    (crafted,) = judged.inputs["crafted"]
    assert "/small_cnn-seed3." in judged.path
    assert "/lenet5-seed3." in crafted.path
    assert "/attacks/fgsm." in crafted.path
    assert judged.step == "transfer"
    assert crafted.step == "attack"
    # The image's own split is the same; the models share their training images.
    assert judged.inputs["test"] == crafted.inputs["test"]
