"""Distances in float64, in blocks that bound the memory; differentiable in the queries."""

from collections.abc import Iterator

import torch
from torch import Tensor

_BLOCK = (
    2**22
)  # distances, or numbers that distances are made of, held at a time: 32 MiB of float64


def squared_distances(queries: Tensor, samples: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
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
    samples = samples.double()
    center = samples.mean(dim=0)
    samples = samples - center
    sample_squares = samples.square().sum(dim=1)
    furthest = sample_squares.max().sqrt()
    # Inner products of length d in float64, and a few roundings more (Higham 2002, section 3.1).
    relative_error = (samples.shape[1] + 8) * torch.finfo(torch.float64).eps
    rows_at_once = max(1, _BLOCK // len(samples))
    for start in range(0, len(queries), rows_at_once):
        rows = slice(start, min(start + rows_at_once, len(queries)))
        points = queries[rows].double() - center
        point_squares = points.square().sum(dim=1)
        squares = -2 * (points @ samples.T) + point_squares[:, None] + sample_squares
        rounding = relative_error * (point_squares.detach().sqrt() + furthest) ** 2
        yield rows, squares.clamp_min(0), rounding


def nearest_distances(queries: Tensor, samples: Tensor, count: int) -> Tensor:
    """Return the distances of each query to its nearest samples, exact for any batch of queries.

    The matrix product only rules out samples that are too far even with its rounding error. The
    distances to all others are computed from the differences, so that they neither cancel nor
    depend on which other queries there are. The gradient of a distance of zero is taken as zero.

    Args:
        queries: (n, d) points.
        samples: (m, d) points.
        count: k, from 1 to m.

    Returns:
        (n, k) float64 in ascending order.
    """
    queries, samples = queries.double(), samples.double()
    nearest = []
    for rows, squares, rounding in squared_distances(queries.detach(), samples):
        limits = squares.kthvalue(count, dim=1).values + 2 * rounding
        # Rows with fewer candidates than another get some that are too far, which are sorted out.
        candidates = max(count, int((squares <= limits[:, None]).sum(dim=1).max()))
        chosen = squares.topk(candidates, dim=1, largest=False).indices
        rows_at_once = max(1, _BLOCK // (candidates * samples.shape[1]))
        for points, indices in zip(
            queries[rows].split(rows_at_once), chosen.split(rows_at_once), strict=True
        ):
            exact = (samples[indices] - points[:, None]).square().sum(dim=2)
            nearest.append(exact.sort(dim=1).values[:, :count])
    found = torch.cat(nearest)
    apart = found > 0
    return torch.where(apart, found.where(apart, 1).sqrt(), 0)
