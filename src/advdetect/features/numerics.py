"""Distances and sums of exponentials in float64, for features that are computed from arrays."""

from collections.abc import Iterator

import numpy as np

_BLOCK = 2**22  # distances held at a time: 32 MiB of float64


def log_sum_exp(values: np.ndarray) -> np.ndarray:
    """Return log Σ_j exp(v_j) over the last axis, without overflow or underflow.

    Args:
        values: (N, m) numbers; −∞ stands for a term of zero, and each row has one that is finite.

    Returns:
        (N,) float64.
    """
    values = values.astype(np.float64)  # a copy, so the lines below may work in place
    largest = values.max(axis=1)
    values -= largest[:, None]
    return np.log(np.exp(values, out=values).sum(axis=1)) + largest


def squared_distances(
    queries: np.ndarray, samples: np.ndarray
) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield the squared distances of some queries to all samples, as one matrix product.

    ‖q‖² + ‖s‖² − 2 q·s, measured from the mean of the samples, cancels where q is near s; how much
    of a distance is rounding is bounded, and `nearest_distances` does without this form.

    Args:
        queries: (n, d) points.
        samples: (m, d) points, m at least 1.

    Yields:
        The slice of the queries, their (b, m) squared distances, float64 and at least 0, and a
        (b,) bound on the rounding error of a row. Blocks hold about four million distances.
    """
    center = samples.mean(axis=0, dtype=np.float64)
    samples = samples - center
    sample_squares = np.square(samples).sum(axis=1)
    furthest = np.sqrt(sample_squares.max())
    # Inner products of length d in float64, and a few roundings more (Higham 2002, section 3.1).
    relative_error = (samples.shape[1] + 8) * np.finfo(np.float64).eps
    rows_at_once = max(1, _BLOCK // len(samples))
    for start in range(0, len(queries), rows_at_once):
        rows = slice(start, min(start + rows_at_once, len(queries)))
        points = queries[rows] - center
        point_squares = np.square(points).sum(axis=1)
        squares = points @ samples.T
        squares *= -2
        squares += point_squares[:, None]
        squares += sample_squares
        np.maximum(squares, 0, out=squares)
        yield rows, squares, relative_error * (np.sqrt(point_squares) + furthest) ** 2


def nearest_distances(queries: np.ndarray, samples: np.ndarray, count: int) -> np.ndarray:
    """Return the distances of each query to its nearest samples, exact for any batch of queries.

    The matrix product only rules out samples that are too far even with its rounding error. The
    distances to all others are computed from the differences, so that they neither cancel nor
    depend on which other queries there are.

    Args:
        queries: (n, d) points.
        samples: (m, d) points.
        count: k, from 1 to m.

    Returns:
        (n, k) float64 in ascending order.
    """
    samples = samples.astype(np.float64)
    result = np.empty((len(queries), count))
    for rows, squares, rounding in squared_distances(queries, samples):
        limits = np.partition(squares, count - 1, axis=1)[:, count - 1] + 2 * rounding
        for row, limit, candidates in zip(
            range(rows.start, rows.stop), limits, squares, strict=True
        ):
            differences = samples[candidates <= limit] - queries[row]
            exact = np.square(differences, out=differences).sum(axis=1)
            result[row] = np.sort(exact)[:count]
    return np.sqrt(result)
