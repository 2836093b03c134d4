import numpy as np
import pytest
from array_calls import fit_of_arrays, of_arrays
from scipy import stats
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from advdetect.errors import AdvdetectError
from advdetect.features import mahalanobis as module

fit, mahalanobis = fit_of_arrays(module.fit), of_arrays(module.mahalanobis)

CLASSES = 3
WIDTHS = {"classifier.1": 8, "penultimate": 5, "logits": CLASSES}
COLUMNS = ["mahalanobis_classifier_1", "mahalanobis_penultimate"]


def activations(count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Gaussian classes with a common covariance, not round, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    layers = {}
    for layer, width in WIDTHS.items():
        world = np.random.default_rng(width)
        means, mixing = world.normal(size=(CLASSES, width)) * 4, world.normal(size=(width, width))
        values = means[labels] + rng.normal(size=(count, width)) @ mixing
        layers[layer] = values.astype(np.float32)
    return layers, labels


def one_layer(values: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    logits = np.zeros((len(values), labels.max() + 1), dtype=np.float32)
    fitted = fit({"penultimate": values, "logits": logits}, labels)
    return mahalanobis({"penultimate": queries}, fitted=fitted)["mahalanobis_penultimate"]


def test_matches_scikit_learn_and_scipy() -> None:
    train, labels = activations(200, 0)
    queries, _ = activations(20, 1)
    result = mahalanobis(queries, fitted=fit(train, labels))
    assert list(result) == COLUMNS
    for column, layer in zip(COLUMNS, WIDTHS, strict=False):
        values, points = train[layer].astype(float), queries[layer].astype(float)
        means = np.stack([values[labels == c].mean(axis=0) for c in range(CLASSES)])
        covariance = EmpiricalCovariance(assume_centered=True).fit(values - means[labels])
        by_class = np.stack([covariance.mahalanobis(points - mean) for mean in means])
        assert result[column].dtype == np.float64
        np.testing.assert_allclose(result[column], -by_class.min(axis=0), rtol=1e-9)
        for row, point in enumerate(points):
            distances = [scipy_mahalanobis(point, mean, covariance.precision_) for mean in means]
            assert result[column][row] == pytest.approx(-(min(distances) ** 2), rel=1e-9)


def test_fit_is_equation_1() -> None:
    train, labels = activations(200, 0)
    fitted = fit(train, labels)
    discriminant = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True)
    discriminant.fit(train["penultimate"].astype(float), labels)
    np.testing.assert_allclose(fitted["penultimate/means"], discriminant.means_, rtol=1e-12)
    whitening = fitted["penultimate/whitening"]
    precision = np.linalg.inv(discriminant.covariance_)
    np.testing.assert_allclose(whitening @ whitening.T, precision, rtol=1e-8, atol=1e-10)


def test_gaussian_data_have_a_chi_square_distribution() -> None:
    """With one class, −M is a squared Mahalanobis distance: χ² with d degrees of freedom."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    train = (rng.normal(size=(20000, 6)) @ mixing + 3).astype(np.float32)
    queries = (rng.normal(size=(2000, 6)) @ mixing + 3).astype(np.float32)
    values = one_layer(train, np.zeros(len(train), dtype=np.int64), queries)
    assert stats.kstest(-values, stats.chi2(6).cdf).pvalue > 0.01


def test_is_the_same_in_any_coordinates() -> None:
    train, labels = activations(200, 0)
    queries, _ = activations(20, 1)
    turned = np.random.default_rng(3).normal(size=(5, 5)) * 7
    before = one_layer(train["penultimate"], labels, queries["penultimate"])
    after = one_layer(
        train["penultimate"] @ turned + 2, labels, queries["penultimate"] @ turned + 2
    )
    np.testing.assert_allclose(after, before, rtol=1e-9)


def test_directions_without_variance_count_for_nothing() -> None:
    """A unit that is off, one that is constant, and a copy of another: the value is unchanged."""
    train, labels = activations(200, 0)
    queries, _ = activations(20, 1)
    values, points = train["penultimate"], queries["penultimate"]

    def wider(base: np.ndarray, off: float, constant: float) -> np.ndarray:
        columns = [base, np.full((len(base), 1), off), np.full((len(base), 1), constant)]
        return np.concatenate([*columns, base[:, :1]], axis=1).astype(np.float32)

    expected = one_layer(values, labels, points)
    result = one_layer(wider(values, 0, 0.1), labels, wider(points, 5, 100))
    np.testing.assert_allclose(result, expected, rtol=1e-9)


def test_the_rounding_of_float32_is_no_direction() -> None:
    """A unit of 1000 that varies in its last bit would outweigh all others."""
    train, labels = activations(200, 0)
    queries, _ = activations(20, 1)
    rng = np.random.default_rng(0)

    def with_noise(base: np.ndarray) -> np.ndarray:
        noise = 1000 + rng.integers(-1, 2, size=(len(base), 1)) * 2.0**-14
        return np.concatenate([base, noise], axis=1).astype(np.float32)

    values, points = train["penultimate"], queries["penultimate"]
    result = one_layer(with_noise(values), labels, with_noise(points))
    np.testing.assert_allclose(result, one_layer(values, labels, points), rtol=1e-6)


def test_fewer_images_than_units_and_a_constant_layer_are_finite() -> None:
    rng = np.random.default_rng(0)
    few = rng.normal(size=(10, 40)).astype(np.float32)
    labels = np.arange(10) % 2
    values = one_layer(few, labels, few)
    assert np.isfinite(values).all()
    assert values.max() <= 0
    constant = np.full((10, 4), 0.3, dtype=np.float32)
    assert (one_layer(constant, labels, constant) == 0).all()


def test_an_image_does_not_depend_on_the_others() -> None:
    fitted = fit(*activations(200, 0))
    queries, _ = activations(30, 1)
    whole = mahalanobis(queries, fitted=fitted)
    twins = {layer: np.concatenate([values, values + 1e-4]) for layer, values in queries.items()}
    with_twins = mahalanobis(twins, fitted=fitted)
    for column in COLUMNS:
        np.testing.assert_allclose(with_twins[column][:30], whole[column], rtol=1e-10)
        rows = [
            mahalanobis({k: v[row : row + 1] for k, v in queries.items()}, fitted=fitted)[column]
            for row in range(30)
        ]
        np.testing.assert_allclose(np.concatenate(rows), whole[column], rtol=1e-10)


def test_named_layers_are_used_beside_the_penultimate_one() -> None:
    fitted = fit(*activations(200, 0), layers=["logits"])
    assert list(fitted) == [
        *("penultimate/means", "penultimate/whitening", "logits/means", "logits/whitening")
    ]
    queries, _ = activations(30, 1)
    result = mahalanobis(queries, fitted=fitted, layers=["logits"])
    assert list(result) == ["mahalanobis_penultimate", "mahalanobis_logits"]
    with pytest.raises(AdvdetectError, match=r"lacks 'classifier\.1/means'.*: fit it again"):
        mahalanobis(queries, fitted=fitted)


def test_impossible_fits_are_refused() -> None:
    train, labels = activations(200, 0)
    with pytest.raises(AdvdetectError, match="asks for the layer 'fc'"):
        fit(train, labels, layers=["fc"])
    with pytest.raises(AdvdetectError, match=r"mahalanobis needs at least 1 .* class 2 has 0"):
        fit(train, labels % 2)
