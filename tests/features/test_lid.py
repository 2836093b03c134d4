import math

import numpy as np
import pytest
from array_calls import fit_of_arrays, of_arrays

from advdetect.errors import AdvdetectError
from advdetect.features import lid as module

fit, lid = fit_of_arrays(module.fit), of_arrays(module.lid)

WIDTHS = {"features.4": 12, "classifier.1": 6, "penultimate": 4, "logits": 3}
COLUMNS = ["lid_features_4", "lid_classifier_1", "lid_penultimate"]


def activations(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        layer: rng.normal(size=(count, width)).astype(np.float32) for layer, width in WIDTHS.items()
    }


def labels(count: int) -> np.ndarray:
    return np.zeros(count, dtype=np.int64)


def one_layer(samples: np.ndarray, queries: np.ndarray, neighbours: int) -> np.ndarray:
    """Return the feature of queries among reference points, both (…, d), as a layer."""
    fitted = fit({"penultimate": samples}, labels(len(samples)), neighbours=neighbours)
    result = lid({"penultimate": queries}, fitted=fitted, neighbours=neighbours)
    assert list(result) == ["lid_penultimate"]
    return result["lid_penultimate"]


@pytest.mark.parametrize("neighbours", [2, 20, 50])
def test_matches_a_loop(neighbours: int) -> None:
    train, queries = activations(50, 0), activations(9, 1)
    fitted = fit(train, labels(50), neighbours=neighbours)
    result = lid(queries, fitted=fitted, neighbours=neighbours)
    assert list(result) == COLUMNS
    for column, layer in zip(COLUMNS, WIDTHS, strict=False):
        assert result[column].dtype == np.float64
        for row, point in enumerate(queries[layer].tolist()):
            distances = sorted(math.dist(point, other) for other in train[layer].tolist())
            logs = [math.log(r / distances[neighbours - 1]) for r in distances[:neighbours]]
            expected = -1 / (math.fsum(logs) / neighbours)
            assert result[column][row] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("dimension", [1, 3, 8])
def test_finds_the_dimension_of_a_ball_in_a_larger_space(dimension: int) -> None:
    """Seen from the centre, the k − 1 terms −log(r_i / r_k) are exponential with the mean 1/m.

    So k / LID is the sum of k − 1 of them: its mean is (k − 1)/m, its variance (k − 1)/m².
    """
    neighbours, balls, width = 20, 200, 10
    rng = np.random.default_rng(dimension)
    basis = np.linalg.qr(rng.normal(size=(width, dimension)))[0]
    center = rng.normal(size=width).astype(np.float32)
    sums = []
    for _ in range(balls):
        directions = rng.normal(size=(60, dimension))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        ball = directions * rng.random((60, 1)) ** (1 / dimension)
        samples = (center + ball @ basis.T).astype(np.float32)
        sums.append(neighbours / one_layer(samples, center[None], neighbours).item())
    standard_error = math.sqrt((neighbours - 1) / balls) / dimension
    assert abs(np.mean(sums) - (neighbours - 1) / dimension) < 3 * standard_error
    assert np.std(sums) / math.sqrt(balls) == pytest.approx(standard_error, rel=0.2)


def test_an_image_does_not_depend_on_the_others() -> None:
    queries = activations(30, 1)
    fitted = fit(activations(200, 0), labels(200))
    whole = lid(queries, fitted=fitted)
    twins = {layer: np.concatenate([values, values + 1e-4]) for layer, values in queries.items()}
    with_twins = lid(twins, fitted=fitted)
    for column in COLUMNS:
        assert (with_twins[column][:30] == whole[column]).all()
    for row in range(30):
        alone = lid({k: v[row : row + 1] for k, v in queries.items()}, fitted=fitted)
        assert [alone[column].item() for column in COLUMNS] == [whole[c][row] for c in COLUMNS]


def test_the_reference_is_spread_over_the_training_images() -> None:
    train = activations(100, 0)
    fitted = fit(train, labels(100), neighbours=5, reference=25)
    assert list(fitted) == ["features.4", "classifier.1", "penultimate"]
    for layer, values in fitted.items():
        assert (values == train[layer][::4]).all()
    everything = fit(train, labels(100), reference=1000)
    assert (everything["penultimate"] == train["penultimate"]).all()


def test_named_layers_are_used_beside_the_penultimate_one() -> None:
    train, queries = activations(50, 0), activations(9, 1)
    fitted = fit(train, labels(50), layers=["logits"])
    assert list(fitted) == ["penultimate", "logits"]
    result = lid(queries, fitted=fitted, layers=["logits"])
    assert list(result) == ["lid_penultimate", "lid_logits"]
    everything = lid(queries, fitted=fit(train, labels(50)))
    assert (result["lid_penultimate"] == everything["lid_penultimate"]).all()


def line(*positions: float) -> np.ndarray:
    return np.array(positions, dtype=np.float32)[:, None]


def test_a_duplicate_of_the_image_counts_as_the_resolution_of_float32() -> None:
    value = one_layer(line(0, 1, 2, 9), line(0), neighbours=3).item()
    assert value == pytest.approx(3 / (24 * math.log(2) + math.log(2)))


def test_an_image_with_only_duplicates_has_the_lowest_value() -> None:
    value = one_layer(line(0, 0, 0, 9), line(0), neighbours=3).item()
    assert value == pytest.approx(1 / (24 * math.log(2)))


def test_equal_distances_have_the_highest_value() -> None:
    samples = np.concatenate([np.full((5, 3), 0.1), np.full((5, 3), 100)]).astype(np.float32)
    queries = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert one_layer(samples, queries, neighbours=5).tolist() == [2.0**24] * 4


def test_a_layer_that_is_always_the_same_is_finite() -> None:
    dead = np.zeros((30, 7), dtype=np.float32)
    assert np.isfinite(one_layer(dead, dead[:3], neighbours=20)).all()


@pytest.mark.parametrize(("neighbours", "reference"), [(1, 30), (31, 30), (51, 1000)])
def test_impossible_neighbours_are_refused(neighbours: int, reference: int) -> None:
    available = min(reference, 50)
    message = f"from 2 to the number of reference images, {available}, not {neighbours}: lower"
    with pytest.raises(AdvdetectError, match=message):
        fit(activations(50, 0), labels(50), neighbours=neighbours, reference=reference)
    fitted = fit(activations(50, 0), labels(50), reference=reference)
    with pytest.raises(AdvdetectError, match=message):
        lid(activations(5, 1), fitted=fitted, neighbours=neighbours)


def test_an_unknown_layer_is_refused() -> None:
    with pytest.raises(AdvdetectError, match="lid asks for the layer 'fc'"):
        fit(activations(50, 0), labels(50), layers=["fc"])


def test_activations_need_no_other_layers() -> None:
    train = {"penultimate": activations(50, 0)["penultimate"]}
    assert list(fit(train, labels(50))) == ["penultimate"]
