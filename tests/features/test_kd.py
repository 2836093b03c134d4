import decimal
import math

import numpy as np
import pytest
import torch
from array_calls import Arrays, fit_of_arrays, of_arrays
from sklearn.model_selection import GridSearchCV, LeaveOneOut
from sklearn.neighbors import KernelDensity

from advdetect.errors import AdvdetectError
from advdetect.features import kd as module
from advdetect.features import numerics
from advdetect.features.kd import Bandwidth

fit, kd = fit_of_arrays(module.fit), of_arrays(module.kd)
CLASSES, WIDTH = 3, 5


def activations(count: int, seed: int) -> dict[str, np.ndarray]:
    """Activations of a model that often gets the class wrong."""
    rng = np.random.default_rng(seed)
    widths = {"classifier.1": 4, "penultimate": WIDTH, "logits": CLASSES}
    return {
        layer: rng.normal(size=(count, width)).astype(np.float32) for layer, width in widths.items()
    }


def some(values: Arrays, rows: slice | np.ndarray) -> dict[str, np.ndarray]:
    return {layer: array[rows] for layer, array in values.items()}


@pytest.fixture
def train() -> tuple[Arrays, np.ndarray]:
    return activations(90, seed=1), np.random.default_rng(2).integers(CLASSES, size=90)


@pytest.fixture
def images() -> Arrays:
    return activations(40, seed=3)


def log_kernel_density(queries: np.ndarray, samples: np.ndarray, bandwidth: float) -> np.ndarray:
    points = torch.from_numpy(queries), torch.from_numpy(samples)
    return module.log_kernel_density(*points, bandwidth).numpy()


def leave_one_out_bandwidth(classes: list[np.ndarray]) -> float:
    return module.leave_one_out_bandwidth([torch.from_numpy(samples) for samples in classes])


def density(values: Arrays, fitted: dict[str, np.ndarray], **params: str) -> np.ndarray:
    result = kd(values, fitted=fitted, **params)
    assert list(result) == ["log_density"]
    assert result["log_density"].dtype == np.float64
    assert result["log_density"].shape == values["logits"].shape[:1]
    return result["log_density"]


@pytest.mark.parametrize("layer", [None, "classifier.1"])
@pytest.mark.parametrize("bandwidth", [0.05, 0.3, 2.0])
def test_matches_scikit_learn(
    bandwidth: float,
    layer: str | None,
    train: tuple[Arrays, np.ndarray],
    images: Arrays,
) -> None:
    name = layer or "penultimate"
    fitted = fit(*train, bandwidth=bandwidth, layer=layer)
    predicted = images["logits"].argmax(axis=1)
    assert len(np.unique(predicted)) == CLASSES
    result = density(images, fitted, layer=layer)
    for row, label in enumerate(predicted):
        members = train[0][name][train[1] == label]
        reference = KernelDensity(bandwidth=bandwidth).fit(members.astype(float))
        expected = reference.score_samples(images[name][row : row + 1].astype(float))[0]
        assert result[row] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_sums_over_many_blocks_as_over_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, samples = rng.normal(size=(7, 4)), rng.normal(size=(50, 4))
    expected = KernelDensity(bandwidth=0.4).fit(samples).score_samples(queries)
    monkeypatch.setattr(numerics, "_BLOCK", 150)
    np.testing.assert_allclose(log_kernel_density(queries, samples, 0.4), expected, rtol=1e-9)


def test_a_dead_kernel_is_finite_and_decided_by_the_nearest_sample() -> None:
    samples = np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    queries = np.array([[3000.0, 4000.0]], dtype=np.float32)
    expected = -(4995.0**2) / (2 * 0.01**2) - math.log(2) - math.log(2 * math.pi * 0.01**2)
    assert log_kernel_density(queries, samples, 0.01).item() == pytest.approx(expected, rel=1e-9)


def leave_one_out_score(
    classes: list[np.ndarray], bandwidth: float, rows: int | None = None
) -> float:
    """Score a bandwidth by scikit-learn, leaving out one image after the other."""
    return sum(
        KernelDensity(bandwidth=bandwidth)
        .fit(np.delete(samples, row, axis=0))
        .score(samples[row : row + 1])
        for samples in classes
        for row in range(rows or len(samples))
    )


def test_auto_bandwidth_agrees_with_a_grid_search_of_scikit_learn() -> None:
    samples = np.random.default_rng(0).normal(size=(40, 3)) * 7
    grid = np.logspace(0, 2, 40)
    search = GridSearchCV(KernelDensity(), {"bandwidth": grid}, cv=LeaveOneOut())
    search.fit(samples)
    best = search.best_params_["bandwidth"]
    chosen = leave_one_out_bandwidth([samples])
    assert abs(math.log(chosen / best)) < math.log(grid[1] / grid[0])


def test_auto_bandwidth_has_the_largest_likelihood_over_all_classes(
    train: tuple[Arrays, np.ndarray],
) -> None:
    fitted = fit(*train)
    hidden = train[0]["penultimate"].astype(float)
    classes = [hidden[train[1] == label] for label in range(CLASSES)]
    chosen = leave_one_out_score(classes, fitted["bandwidth"].item())
    rivals = [leave_one_out_score(classes, bandwidth) for bandwidth in np.logspace(-2, 1, 20)]
    # The chosen one comes from another grid: allow for half a step of it.
    assert chosen >= max(rivals) - 0.2
    assert chosen > np.median(rivals) + 10


@pytest.mark.parametrize("block", [2**22, 150])
def test_auto_bandwidth_leaves_out_some_images_of_large_classes_each_against_all(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.random.default_rng(0).normal(size=(60, 2))
    monkeypatch.setattr(module, "_QUERIES", 10)
    monkeypatch.setattr(numerics, "_BLOCK", block)
    chosen = leave_one_out_score([samples], leave_one_out_bandwidth([samples]), rows=10)
    rivals = [leave_one_out_score([samples], width, rows=10) for width in np.logspace(-2, 1, 60)]
    assert chosen >= max(rivals) - 0.05


def test_auto_bandwidth_scales_with_the_features() -> None:
    samples = np.random.default_rng(0).normal(size=(40, 3))
    for factor in (1e-3, 1e3):
        scaled = leave_one_out_bandwidth([samples * factor])
        assert scaled == pytest.approx(factor * leave_one_out_bandwidth([samples]), rel=1e-9)


@pytest.mark.parametrize("max_per_class", [None, 4])
def test_fit_stores_the_first_features_of_the_true_classes_and_not_of_the_predicted_ones(
    max_per_class: int | None, train: tuple[Arrays, np.ndarray]
) -> None:
    fitted = fit(*train, bandwidth=0.5, max_per_class=max_per_class)
    assert set(fitted) == {"features", "counts", "bandwidth"}
    hidden = train[0]["penultimate"]
    expected = [hidden[train[1] == label][:max_per_class] for label in range(CLASSES)]
    assert fitted["counts"].tolist() == [len(rows) for rows in expected]
    assert (fitted["features"] == np.concatenate(expected)).all()
    assert fitted["features"].dtype == np.float32
    assert fitted["bandwidth"].tolist() == [0.5]


def test_an_image_does_not_depend_on_the_others(
    train: tuple[Arrays, np.ndarray], images: Arrays
) -> None:
    fitted = fit(*train)
    whole = density(images, fitted)
    for size in (1, 7):
        parts = [
            density(some(images, slice(start, start + size)), fitted)
            for start in range(0, 40, size)
        ]
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-10)


@pytest.mark.parametrize(("bandwidth", "least"), [("auto", 2), (0.5, 1)])
def test_a_class_without_training_images_is_refused(
    bandwidth: Bandwidth, least: int, train: tuple[Arrays, np.ndarray]
) -> None:
    kept = train[1] != 2
    with pytest.raises(AdvdetectError, match=f"at least {least} .* class 2 has 0"):
        fit(some(train[0], kept), train[1][kept], bandwidth=bandwidth)


def test_an_unknown_layer_is_refused(train: tuple[Arrays, np.ndarray], images: Arrays) -> None:
    message = "layer 'fc', and the activations have classifier.1, penultimate, logits: name one"
    with pytest.raises(AdvdetectError, match=message):
        fit(*train, layer="fc")
    with pytest.raises(AdvdetectError, match=message):
        kd(images, fitted=fit(*train), layer="fc")


def test_duplicates_everywhere_are_refused() -> None:
    samples = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(AdvdetectError, match="has a duplicate"):
        leave_one_out_bandwidth([np.concatenate([samples, samples])])


@pytest.mark.parametrize("distance", [1.0, 30.0])
def test_matches_exact_arithmetic_at_the_bandwidth_of_feinman_for_cifar(distance: float) -> None:
    """At 0.26 kernels underflow in float64 from a distance of 10 on; here in 60 decimal digits."""
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(20, 4)).astype(np.float32)
    queries = samples[:5] + np.float32(distance) / 2
    bandwidth = 0.26
    width = decimal.Decimal(bandwidth)
    two_pi = 2 * decimal.Decimal("3.14159265358979323846264338327950288419716939937510582097494")
    result = log_kernel_density(queries, samples, bandwidth)

    def kernel(a: list[float], b: list[float]) -> decimal.Decimal:
        pairs = zip(map(decimal.Decimal, a), map(decimal.Decimal, b), strict=True)
        return (-sum((x - y) ** 2 for x, y in pairs) / (2 * width**2)).exp()

    for row, query in enumerate(queries.tolist()):
        with decimal.localcontext(prec=60):
            kernels = sum(kernel(query, sample) for sample in samples.tolist())
            expected = (kernels / 20 / (two_pi * width**2) ** 2).ln()
        assert result[row] == pytest.approx(float(expected), rel=1e-12)
