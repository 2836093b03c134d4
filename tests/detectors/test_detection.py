import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from advdetect.detectors.controls import random_scores, true_labels
from advdetect.detectors.detection import (
    AttackedImages,
    Detector,
    cross_attack_scores,
    split_sources,
)
from advdetect.detectors.threshold import threshold
from advdetect.errors import AdvdetectError
from advdetect.imports import locate

KEYS = ["detector", "trained_on", "tested_on", "bits", "positives"]


def images(generator, count, shift):
    """Images of an attack that moves both features by ``shift``; it succeeds on every third."""
    index = np.arange(count)
    table = lambda move: pd.DataFrame(  # noqa: E731
        generator.normal(move, 1, (count, 2)), columns=["x", "y"], index=index
    )
    success = pd.DataFrame({"float32": index % 3 == 0, "8bit": index % 6 == 0}, index=index)
    kinds = {"noisy": 0, "adversarial": shift, "noisy_8bit": 0, "adversarial_8bit": shift}
    return AttackedImages({kind: table(move) for kind, move in kinds.items()}, success)


@pytest.fixture
def world():
    generator = np.random.default_rng(0)
    clean = pd.DataFrame(generator.normal(0, 1, (200, 2)), columns=["x", "y"], index=np.arange(200))
    attacks = {"weak": images(generator, 200, 0.5), "strong": images(generator, 200, 3.0)}
    return clean, attacks, *split_sources(np.arange(200), 0.5, 0)


def every_detector(repository):
    detectors = {}
    for path in sorted((repository / "config" / "detector").glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())
        extra = {"score": {"column": "x", "adversarial": "high"}} if "_needs_score_" in spec else {}
        parameters = {key: value for key, value in spec.items() if not key.startswith("_")}
        make = locate(spec["_target_"])
        detectors[path.stem] = Detector(
            lambda make=make, values=parameters | extra: make(seed=1, **values),
            spec.get("_sees_labels_", False),
        )
    return detectors


def test_split_keeps_all_images_once():
    fitting, testing = split_sources(np.arange(10, 31), 0.4, 3)
    assert not fitting & testing
    assert fitting | testing == set(range(10, 31))
    assert len(fitting) == 8
    assert split_sources(np.arange(10, 31), 0.4, 3) == (fitting, testing)
    assert split_sources(np.arange(10, 31), 0.4, 4) != (fitting, testing)


def test_too_few_images_to_split():
    with pytest.raises(AdvdetectError, match=r"1 clean-correct images cannot be split"):
        split_sources(np.arange(1), 0.5, 0)


def test_rows_are_those_of_the_protocol(world, repository):
    clean, attacks, fitting, testing = world
    scores = cross_attack_scores(clean, attacks, every_detector(repository), fitting, testing)
    assert set(scores["index"]) == testing
    assert scores.groupby(KEYS, observed=True).ngroups == 6 * 2 * 2 * 2 * 2
    counts = scores.groupby([*KEYS, "kind"], observed=True).size()
    assert (counts.xs("clean", level="kind") == 100).all()
    assert (counts.xs("noisy", level="kind") == 100).all()
    adversarial = counts.xs("adversarial", level="kind").groupby(["bits", "positives"]).unique()
    assert adversarial["float32", "all"] == [100]
    assert adversarial["float32", "successful"] == [sum(i % 3 == 0 for i in testing)]
    assert adversarial["8bit", "successful"] == [sum(i % 6 == 0 for i in testing)]
    assert not scores["score"].isna().any()


def test_controls_bound_every_cell(world, repository):
    clean, attacks, fitting, testing = world
    scores = cross_attack_scores(clean, attacks, every_detector(repository), fitting, testing)
    areas = scores.groupby(KEYS, observed=True)[["kind", "score"]].apply(
        lambda cell: roc_auc_score(cell["kind"] == "adversarial", cell["score"])
    )
    assert (areas.xs("true_labels") == 1).all()
    assert abs(areas.xs("random_scores").mean() - 0.5) < 0.1
    for name in ("threshold", "logistic_regression", "naive_bayes", "random_forest"):
        strong, weak = (areas.xs((name, attack, attack)) for attack in ("strong", "weak"))
        assert (strong > 0.9).all(), name
        assert (weak < 0.85).all(), name


def test_nothing_of_the_testing_part_is_fitted_on(world, repository):
    """Other values in the testing part change no score of an image that stays as it was."""
    clean, attacks, fitting, testing = world
    detectors = every_detector(repository)
    before = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    kept = sorted(testing)[0]
    changed = [index for index in sorted(testing) if index != kept]
    for attack in attacks.values():
        for table in attack.features.values():
            table.loc[changed] += 100
    clean.loc[changed] -= 100
    after = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    same = before["index"] == kept
    pd.testing.assert_frame_equal(before[same], after[same])
    assert not before["score"].equals(after["score"])


def test_an_added_attack_leaves_every_other_cell_as_it_was(world, repository):
    clean, attacks, fitting, testing = world
    detectors = every_detector(repository)
    del detectors["random_scores"]  # one stream over all rows; its cells may change
    both = cross_attack_scores(clean, attacks, detectors, fitting, testing)
    one = cross_attack_scores(clean, {"weak": attacks["weak"]}, detectors, fitting, testing)
    kept = both[(both["trained_on"] == "weak") & (both["tested_on"] == "weak")]
    pd.testing.assert_frame_equal(
        kept.reset_index(drop=True), one, check_categorical=False, check_dtype=False
    )


def test_an_attack_without_success_says_what_to_do(world, repository):
    clean, attacks, fitting, testing = world
    attacks["weak"].success["float32"] = False
    with pytest.raises(AdvdetectError, match="The attack weak has no successful adversarial"):
        cross_attack_scores(clean, attacks, every_detector(repository), fitting, testing)


def test_threshold_follows_the_direction_of_the_paper():
    table = pd.DataFrame({"x": [1.0, 3.0, 2.0], "y": [0.0, 0.0, 0.0]})
    for direction, expected in (("high", [1, 3, 2]), ("low", [-1, -3, -2])):
        detector = threshold(seed=0, score={"column": "x", "adversarial": direction})
        scores = detector.fit(table, np.array([0, 1, 0])).decision_function(table)
        np.testing.assert_array_equal(scores, expected)


def test_controls_without_a_fit_do_not_depend_on_the_features():
    table = pd.DataFrame({"x": [1.0, 2.0], "is_adversarial": [True, False]})
    labels = np.array([True, False])
    oracle = true_labels(seed=0).fit(table, labels)
    np.testing.assert_array_equal(oracle.decision_function(table), [1, 0])
    chance = random_scores(seed=0).fit(table, labels)
    np.testing.assert_array_equal(
        chance.decision_function(table), chance.decision_function(table * 2)
    )
