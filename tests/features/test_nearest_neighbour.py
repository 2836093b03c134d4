import math

import numpy as np
import pytest
from array_calls import fit_of_arrays, of_arrays
from sklearn.neighbors import NearestNeighbors

from advdetect.errors import AdvdetectError
from advdetect.features import nearest_neighbour as module

fit, nearest_neighbour = fit_of_arrays(module.fit), of_arrays(module.nearest_neighbour)


def activations(count: int, seed: int) -> dict[str, np.ndarray]:
    features = np.random.default_rng(seed).normal(size=(count, 6)) + 0.5
    return {"penultimate": features.astype(np.float32)}


def labels(count: int) -> np.ndarray:
    return np.zeros(count, dtype=np.int64)


def feature_of(
    train: dict[str, np.ndarray], queries: dict[str, np.ndarray], **params: int | bool
) -> np.ndarray:
    fitted = fit(train, labels(len(train["penultimate"])), **params)
    result = nearest_neighbour(queries, fitted=fitted, **params)
    assert list(result) == ["kth_distance"]
    assert result["kth_distance"].dtype == np.float64
    assert result["kth_distance"].shape == (len(queries["penultimate"]),)
    return result["kth_distance"]


@pytest.mark.parametrize("neighbours", [1, 5, 40])
@pytest.mark.parametrize("normalize", [True, False])
def test_matches_brute_force(neighbours: int, normalize: bool) -> None:
    train, queries = activations(40, 0), activations(9, 1)
    result = feature_of(train, queries, neighbours=neighbours, normalize=normalize)

    def point(values: list[float]) -> list[float]:
        return [value / (math.hypot(*values) if normalize else 1) for value in values]

    samples = [point(values) for values in train["penultimate"].tolist()]
    for row, values in enumerate(queries["penultimate"].tolist()):
        distances = sorted(math.dist(point(values), sample) for sample in samples)
        assert result[row] == pytest.approx(distances[neighbours - 1], rel=1e-12)


def test_matches_scikit_learn() -> None:
    train, queries = activations(2000, 0), activations(100, 1)
    search = NearestNeighbors(n_neighbors=50, algorithm="kd_tree")
    search.fit(train["penultimate"].astype(float))
    expected = search.kneighbors(queries["penultimate"].astype(float))[0][:, -1]
    result = feature_of(train, queries, neighbours=50, normalize=False)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_normalised_values_do_not_depend_on_the_length() -> None:
    train, queries = activations(60, 0), activations(20, 1)
    longer = {"penultimate": queries["penultimate"] * 8}
    np.testing.assert_allclose(feature_of(train, longer), feature_of(train, queries), rtol=1e-13)


def test_a_training_image_is_at_distance_zero_of_itself() -> None:
    train = activations(60, 0)
    assert (feature_of(train, train, neighbours=1) == 0).all()
    assert (feature_of(train, train, neighbours=2) > 0).all()


def test_a_row_of_zeros_is_at_distance_one_of_all_directions() -> None:
    zeros = {"penultimate": np.zeros((1, 6), dtype=np.float32)}
    assert feature_of(activations(60, 0), zeros).item() == pytest.approx(1, rel=1e-12)


def test_an_image_does_not_depend_on_the_others() -> None:
    train, queries = activations(200, 0), activations(30, 1)
    whole = feature_of(train, queries)
    values = queries["penultimate"]
    twins = {"penultimate": np.concatenate([values, values + np.float32(1e-4)])}
    assert (feature_of(train, twins)[:30] == whole).all()
    for row in range(30):
        alone = feature_of(train, {"penultimate": values[row : row + 1]})
        assert alone.item() == whole[row]


def test_the_reference_is_spread_over_the_training_images() -> None:
    train = activations(100, 0)
    fitted = fit(train, labels(100), neighbours=5, max_reference=25)
    assert (fitted["features"] == train["penultimate"][::4]).all()
    assert fitted["features"].dtype == np.float32
    assert (fit(train, labels(100))["features"] == train["penultimate"]).all()


@pytest.mark.parametrize(("neighbours", "max_reference"), [(0, None), (101, None), (26, 25)])
def test_impossible_neighbours_are_refused(neighbours: int, max_reference: int | None) -> None:
    available = max_reference or 100
    message = f"from 1 to the number of reference images, {available}, not {neighbours}: lower"
    train = activations(100, 0)
    with pytest.raises(AdvdetectError, match=message):
        fit(train, labels(100), neighbours=neighbours, max_reference=max_reference)
    fitted = fit(train, labels(100), neighbours=1, max_reference=max_reference)
    with pytest.raises(AdvdetectError, match=message):
        nearest_neighbour(activations(5, 1), fitted=fitted, neighbours=neighbours)
