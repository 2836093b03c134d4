import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from advdetect.features import numerics


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "many blocks":
        monkeypatch.setattr(numerics, "_BLOCK", 1)
    return request.param


def points(count: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def nearest_distances(queries: np.ndarray, samples: np.ndarray, count: int) -> np.ndarray:
    points = torch.from_numpy(queries), torch.from_numpy(samples)
    return numerics.nearest_distances(*points, count).numpy()


@pytest.mark.parametrize("offset", [0, 1000])
def test_squared_distances_are_within_their_bound(blocks: str, offset: float) -> None:
    queries, samples = points(30, 9, 0) + np.float32(offset), points(40, 9, 1) + np.float32(offset)
    queries[:5] = samples[:5]
    expected = cdist(queries, samples, "sqeuclidean")
    seen = 0
    tensors = torch.from_numpy(queries), torch.from_numpy(samples)
    for rows, squares, rounding in numerics.squared_distances(*tensors):
        assert rows.start == seen
        seen = rows.stop
        assert (squares >= 0).all()
        assert (abs(squares.numpy() - expected[rows]) <= rounding[:, None].numpy()).all()
        assert (rounding < 1e-12).all()  # also far from the origin
    assert seen == 30


@pytest.mark.parametrize("count", [1, 7, 40])
def test_nearest_distances_match_brute_force(blocks: str, count: int) -> None:
    queries, samples = points(30, 9, 0), points(40, 9, 1)
    expected = np.sort(cdist(queries, samples), axis=1)[:, :count]
    np.testing.assert_allclose(nearest_distances(queries, samples, count), expected, rtol=1e-13)


def test_nearest_distances_do_not_cancel() -> None:
    """Of two points 1e-9 apart and 1000 from all others, the matrix product sees nothing."""
    samples = np.zeros((3, 2))
    samples[0] = [1000, 0]
    queries = np.array([[1000 + 2**-30, 0]])
    assert nearest_distances(queries, samples, 1).tolist() == [[2**-30]]


def test_nearest_distances_order_samples_that_the_matrix_product_cannot() -> None:
    rng = np.random.default_rng(0)
    samples = np.concatenate([rng.normal(size=(50, 3)) * 1e-9, rng.normal(size=(50, 3)) * 1e3])
    expected = np.sort(cdist(np.zeros((1, 3)), samples), axis=1)[:, :20]
    result = nearest_distances(np.zeros((1, 3)), samples, 20)
    np.testing.assert_allclose(result, expected, rtol=1e-13)


def test_nearest_distances_with_duplicates() -> None:
    samples = np.ones((10, 4), dtype=np.float32)
    queries = np.array([[1, 1, 1, 1], [1, 1, 1, 3]], dtype=np.float32)
    assert nearest_distances(queries, samples, 3).tolist() == [[0, 0, 0], [2, 2, 2]]


def test_nearest_distances_are_the_same_numbers_in_any_batch() -> None:
    queries, samples = points(30, 84, 0), points(200, 84, 1)
    whole = nearest_distances(queries, samples, 20)
    for row in range(30):
        assert (nearest_distances(queries[row : row + 1], samples, 20) == whole[row]).all()
