"""What is said before a run agrees with what the methods themselves do with so many images."""

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split

from advdetect.data import digits
from advdetect.defenses.threshold import thresholds
from advdetect.detectors.fitting import split_sources
from advdetect.errors import AdvdetectError
from advdetect.features import kd, lid, nearest_neighbour
from advdetect.requirements import classes, data_sets, held_out, neighbours
from advdetect.requirements.detection import fitting_count
from advdetect.requirements.subsets import Images, chosen


def refuses(call, *arguments, **parameters):
    try:
        call(*arguments, **parameters)
    except AdvdetectError:
        return True
    return False


def test_the_workflow_imports_no_library_for_them():
    modules = (
        "classes, columns, data_sets, detection, held_out, neighbours, subsets, training, weights"
    )
    code = (
        f"from advdetect.requirements import {modules}; import sys; "
        "assert not {'torch', 'numpy', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("test_fraction", [0.4, 0.25, 1 / 3, 0.101])
def test_the_sizes_of_the_digits_are_those_that_are_loaded(test_fraction):
    images = data_sets.digits(test_fraction=test_fraction)
    splits = digits.load(test_fraction=test_fraction, split_seed=0)
    assert (images.train, images.test) == (len(splits["train"]), len(splits["test"]))
    assert images.classes == len(splits["train"].class_names)


@pytest.mark.parametrize(("count", "share"), [(2, 0.5), (100, 0.29), (7, 0.15), (10, 0.999)])
def test_as_many_sources_are_fitted_on_as_scikit_learn_takes(count, share):
    fitting, testing = train_test_split(np.arange(count), train_size=share, random_state=3)
    assert fitting_count(count, share) == len(fitting)
    assert split_sources(np.arange(count), share, 3) == (set(fitting), set(testing))


@pytest.mark.parametrize(("count", "share"), [(1, 0.5), (6, 0.15)])
def test_too_few_sources_are_refused(count, share):
    with pytest.raises(AdvdetectError, match=r"use more test images"):
        split_sources(np.arange(count), share, 0)


@pytest.mark.parametrize("rate", [0.4, 0.1, 0.01, 0.07])
def test_a_rate_is_refused_where_a_threshold_is(rate):
    detectors = [{"feature": "f", "column": "c", "false_positive_rate": rate}]
    owner = {"held_out": 0.5, "autoencoders": [{}]}
    answers = []
    for count in range(2, 400):
        left = round(count * 0.5)
        scores = {"f.c": torch.arange(left, dtype=torch.float64)}
        expected = refuses(thresholds, scores, {"f.c": rate})
        # A new image is the largest of all with this probability, and no threshold flags fewer.
        assert expected == (Fraction(1, left + 1) > Fraction(str(rate)))
        found = refuses(
            held_out.defense, Images(train=count), owner, detectors=detectors, reformer=1
        )
        assert found == expected
        answers.append(found)
    assert answers[0] > answers[-1]


def test_nothing_is_said_where_nothing_is_known():
    detectors = [{"feature": "f", "column": "c", "false_positive_rate": 1e-9}]
    held_out.defense(Images(), {}, detectors=detectors, reformer=9)
    held_out.magnet(Images(), {}, autoencoders=[1], norms=[1], held_out=1e-9)
    held_out.mid(Images(), {}, autoencoder=9)
    neighbours.nearest_neighbour(Images(), {}, neighbours=10**9, max_reference=None)
    classes.kd(Images(train=1), {}, bandwidth="auto")
    assert chosen(Images(), evaluate_on="validation", train_count=None, test_count=5) == Images(
        test=5
    )


@pytest.mark.parametrize("k", [1, 2, 5, 6])
@pytest.mark.parametrize("limit", [4, 5, 8])
def test_neighbours_are_refused_where_the_features_refuse_them(k, limit):
    activations = {"a": torch.randn(5, 3), "penultimate": torch.randn(5, 3)}
    labels = torch.zeros(5, dtype=torch.int64)
    known = Images(train=5)
    for requirement, fit, name in (
        (neighbours.lid, lid.fit, "reference"),
        (neighbours.nearest_neighbour, nearest_neighbour.fit, "max_reference"),
    ):
        parameters = {"neighbours": k, name: limit}
        expected = refuses(fit, activations, labels, **parameters)
        assert refuses(requirement, known, {}, **parameters) == expected


@pytest.mark.parametrize(("bandwidth", "needed"), [("auto", 2), (1.0, 1)])
def test_a_class_too_small_for_a_density_is_refused_where_the_feature_refuses_it(bandwidth, needed):
    for count in (1, 2):
        labels = torch.arange(3).repeat(count)
        activations = {
            "penultimate": torch.randn(3 * count, 2),
            "logits": torch.randn(3 * count, 3),
        }
        expected = refuses(kd.fit, activations, labels, bandwidth=bandwidth)
        known = Images(train=3 * count, classes=3)
        assert refuses(classes.kd, known, {}, bandwidth=bandwidth) == expected == (count < needed)


@pytest.mark.parametrize(
    ("evaluate_on", "counts", "expected"),
    [
        ("test", (None, None), Images(600, 100, 10)),
        ("test", (60, 20), Images(60, 20, 10)),
        ("validation", (None, None), Images(500, 100, 10)),
        ("validation", (500, 50), Images(500, 50, 10)),
        ("test", (None, 6), Images(600, 6, 10)),
    ],
)
def test_what_an_experiment_takes_is_what_is_left(evaluate_on, counts, expected):
    whole = Images(600, 100, 10)
    train, test = counts
    assert chosen(whole, evaluate_on=evaluate_on, train_count=train, test_count=test) == expected


@pytest.mark.parametrize(
    ("evaluate_on", "counts", "said"),
    [
        ("test", (601, None), "the train split has only 600 images"),
        ("validation", (501, None), "the train split has only 500 images"),
        ("test", (9, None), r"train_count=9 is below the number of classes \(10\)"),
    ],
)
def test_what_an_experiment_cannot_take_is_refused(evaluate_on, counts, said):
    train, test = counts
    with pytest.raises(AdvdetectError, match=said):
        chosen(Images(600, 100, 10), evaluate_on=evaluate_on, train_count=train, test_count=test)
