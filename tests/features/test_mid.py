import math

import jsonschema
import mpmath
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from torch import nn

from advdetect.autoencoders.fitting import fit, restore
from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.features.magnet import magnet
from advdetect.features.mid import entropies_of_pair, entropies_of_views, measures, mid
from advdetect.imports import locate
from advdetect.inference import to_float
from advdetect.randomness import SampleGenerator

COLUMNS = ["mutual_information", "variation_of_information", "jaccard"]
ESTIMATORS = ["pair", "mixture", "samples"]
AUTOENCODERS = [
    {"kind": "denoising", "structure": [3], "batch_size": 32, "noise": 0.2, "learning_rate": 0.02},
    {"kind": "alpha_gan", "code_size": 4, "maps": 2},
]


@pytest.fixture(scope="module")
def stored():
    return digits.load(test_fraction=0.4, split_seed=0)["train"].images


@pytest.fixture(scope="module")
def images(stored):
    return to_float(stored)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)).eval()
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def fitted(model, stored):
    return fit(
        model,
        stored[:200],
        torch.zeros(200),
        batch_size=64,
        seed=0,
        autoencoders=AUTOENCODERS,
        epochs=2,
    )


def columns(model, images, fitted, **parameters):
    generator = SampleGenerator(0, range(len(images)))
    result = mid(model, images, generator=generator, fitted=fitted, **parameters)
    assert list(result) == COLUMNS
    assert all(values.dtype == torch.float64 for values in result.values())
    return result


def of_joint(joint: np.ndarray) -> list[float]:
    """Return I, d and the Jaccard score of an explicit joint distribution, by scipy."""
    x, y, both = (scipy_entropy(part) for part in (joint.sum(1), joint.sum(0), joint.ravel()))
    independent = np.outer(joint.sum(1), joint.sum(0))
    information = scipy_entropy(joint.ravel(), independent.ravel())
    return [information, x + y - 2 * information, 1 - (x + y - 2 * information) / both]


def joint_of_pair(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    m = np.minimum(p, q)
    rest = (p - m).sum()
    joint = np.diag(m)
    return joint + np.outer(p - m, q - m) / rest if rest > 0 else joint


def values(entropies) -> np.ndarray:
    return torch.stack(list(measures(entropies).values())).numpy()


def logits_of(*probabilities: list[float]) -> torch.Tensor:
    """Return (K, 1, C) logits of K distributions, −inf for a probability of 0."""
    return torch.tensor(probabilities, dtype=torch.float64)[:, None].log()


def logits(count: int, largest: float = 40):
    """(count, 1, C) logits of predictions from even to all but certain."""
    return st.integers(2, 7).flatmap(
        lambda n: st.lists(
            st.lists(st.floats(-largest, largest), min_size=n, max_size=n).map(lambda z: [z]),
            min_size=count,
            max_size=count,
        ).map(lambda z: torch.tensor(z, dtype=torch.float64))
    )


def precise_pair(logits: torch.Tensor) -> list[float]:
    """Return d and the Jaccard score of the joint distribution, in 120 digits."""
    with mpmath.workdps(120):
        views = []
        for row in logits[:, 0].tolist():
            terms = [mpmath.exp(mpmath.mpf(z)) for z in row]
            views.append([term / sum(terms) for term in terms])
        p, q = views
        m = [min(both) for both in zip(p, q, strict=True)]
        rest = 1 - sum(m)
        joint = [
            (m[i] if i == j else 0) + ((p[i] - m[i]) * (q[j] - m[j]) / rest if rest else 0)
            for i in range(len(p))
            for j in range(len(p))
        ]
        x, y, both = (-sum(u * mpmath.log(u) for u in part if u > 0) for part in (p, q, joint))
        return [float(2 * both - x - y), float((x + y - both) / both)]


@given(logits(2))
@settings(max_examples=60)
def test_pair_is_a_joint_distribution_with_the_right_marginals(z):
    p, q = z[:, 0].softmax(dim=1).numpy()
    joint = joint_of_pair(p, q)
    np.testing.assert_allclose(joint.sum(1), p, atol=1e-12)
    np.testing.assert_allclose(joint.sum(0), q, atol=1e-12)
    result = values(entropies_of_pair(*z))[:, 0]
    expected = of_joint(joint)
    np.testing.assert_allclose(result[:2], expected[:2], atol=1e-10)
    if scipy_entropy(joint.ravel()) > 1e-3:
        assert result[2] == pytest.approx(expected[2], abs=1e-8)


@given(logits(2, largest=150))
@settings(max_examples=60)
def test_pair_is_accurate_however_confident_the_predictions(z):
    """Entropies of 1e-80 must not drown in the rounding of probabilities near 1."""
    result = values(entropies_of_pair(*z))[:, 0]
    variation, jaccard = precise_pair(z)
    assert result[2] == pytest.approx(jaccard, rel=1e-9, abs=1e-12)
    assert result[1] == pytest.approx(variation, rel=1e-9, abs=1e-12 * float(result[:2].sum()))


@given(logits(3))
@settings(max_examples=60)
def test_views_are_the_joint_distribution_of_view_and_class(z):
    result = values(entropies_of_views(z))[:, 0]
    joint = z[:, 0].softmax(dim=1).numpy() / 3
    np.testing.assert_allclose(result, of_joint(joint), atol=1e-12)


@given(logits(2, largest=400))
@settings(max_examples=100)
def test_identities_hold_to_the_bit(z):
    for entropies in (entropies_of_pair(*z), entropies_of_views(z)):
        information, variation, jaccard = values(entropies)[:, 0]
        assert 0 <= information <= min(float(entropies.x), float(entropies.y))
        assert variation >= 0
        assert 0 <= jaccard <= 1
        assert float(entropies.joint) <= float(entropies.x + entropies.y) + 1e-12


def test_pair_in_closed_form():
    even, first, second = [0.5, 0.5, 0], [1.0, 0, 0], [0, 0, 1.0]
    log2 = math.log(2)
    for p, q, expected in (
        (even, even, [log2, 0, 1]),  # the classes agree always
        (even, first, [0, log2, 0]),  # Y is certain
        (even, second, [0, log2, 0]),
        ([0.5, 0, 0.5], [0, 1.0, 0], [0, log2, 0]),
        (first, first, [0, 0, 1]),  # H(X, Y) = 0: one class
        (first, second, [0, 0, 0]),  # H(X, Y) = 0: two classes
    ):
        result = values(entropies_of_pair(*logits_of(p, q)))[:, 0]
        np.testing.assert_allclose(result, expected, atol=1e-15)


def test_views_in_closed_form():
    first, second, even = [1.0, 0], [0, 1.0], [0.5, 0.5]
    log2, log3 = math.log(2), math.log(3)
    mixed = math.log(4) - 0.75 * log3 - log2 / 2
    for views, expected in (
        ([first, second], [log2, 0, 1]),  # the class tells which view
        ([first, first], [0, log2, 0]),
        ([even, even], [0, 2 * log2, 0]),
        ([first, even], [mixed, log2 + math.log(4) - 0.75 * log3 - 2 * mixed, None]),
    ):
        result = values(entropies_of_views(logits_of(*views)))[:, 0]
        np.testing.assert_allclose(result[:2], expected[:2], atol=1e-15)
        if expected[2] is not None:
            assert result[2] == pytest.approx(expected[2], abs=1e-15)


def test_the_score_of_equal_predictions_tends_to_its_limit():
    for small in (1e-3, 1e-9, 1e-30):
        z = torch.tensor([[0, math.log(small)]], dtype=torch.float64)
        information, variation, jaccard = values(entropies_of_pair(z, z))[:, 0]
        assert information == pytest.approx(small * (1 - math.log(small)), rel=1e-2)
        assert variation == 0
        assert jaccard == 1


def test_mixture_is_the_divergence_at_temperature_1(model, images, fitted):
    result = columns(model, images[:40], fitted, estimator="mixture")["mutual_information"]
    generator = SampleGenerator(0, range(40))
    expected = magnet(
        model, images[:40], generator=generator, fitted=fitted, norms=[2, 1], temperatures=[1]
    )["jensen_shannon_1"]
    torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-12)
    assert result.max() > 1e-3


def test_pair_is_of_the_image_and_its_reconstruction(model, images, fitted):
    result = columns(model, images[:20], fitted, estimator="pair", autoencoder=2)
    with torch.no_grad():
        rebuilt = restore(fitted)[1](images[:20])
        p, q = (model(x).double().softmax(dim=1).numpy() for x in (images[:20], rebuilt))
    expected = np.array([of_joint(joint_of_pair(*both)) for both in zip(p, q, strict=True)])
    for name, column in zip(COLUMNS, expected.T, strict=True):
        np.testing.assert_allclose(result[name], column, atol=1e-9)


@pytest.mark.parametrize("autoencoder", [1, 2])
def test_samples_are_random_reconstructions(autoencoder, model, images, fitted):
    result = columns(
        model, images[:20], fitted, estimator="samples", draws=5, autoencoder=autoencoder
    )
    network, generator = restore(fitted)[autoencoder - 1], SampleGenerator(0, range(20))
    with torch.no_grad():
        views = [model(network.draw(images[:20], generator)).double() for _ in range(5)]
    p = torch.stack(views).softmax(dim=2).numpy()
    conditional = scipy_entropy(p, axis=2).mean(axis=0)
    expected = scipy_entropy(p.mean(axis=0), axis=1) - conditional
    np.testing.assert_allclose(result["mutual_information"], expected, atol=1e-12)
    assert (result["mutual_information"] <= math.log(5)).all()
    assert expected.min() > 1e-8


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_does_not_depend_on_the_batch(estimator, model, images, fitted):
    parameters = {"fitted": fitted, "estimator": estimator, "draws": 3}
    whole = columns(model, images[:20], **parameters)
    generator = SampleGenerator(0, range(20))
    parts = [
        mid(model, images[part], generator=generator[part], **parameters)
        for part in (slice(0, 1), slice(1, 8), slice(8, 20))
    ]
    for name in COLUMNS:
        joined = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(joined, whole[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"estimator": "product"}, "product is unknown"),
        ({"draws": 1}, "at least 2"),
        ({"autoencoder": 3}, "no auto-encoder 3"),
    ],
)
def test_impossible_parameters_are_refused(parameters, message, model, images, fitted):
    with pytest.raises(AdvdetectError, match=message):
        columns(model, images[:2], fitted, **parameters)


def test_the_configuration_is_that_of_the_function(repository, model, images, fitted):
    spec = yaml.safe_load((repository / "config/feature/mid.yaml").read_text())
    parameters = {name: value for name, value in spec.items() if not name.startswith("_")}
    assert set(parameters) == set(spec["_schema_"])
    for name, schema in spec["_schema_"].items():
        jsonschema.validate(parameters[name], schema)
    assert spec["_schema_"]["estimator"]["enum"] == ESTIMATORS
    assert locate(spec["_target_"]) is mid
    assert spec["_score_"]["column"] in columns(model, images[:3], fitted, **parameters)
