"""Single units of a hidden layer beside random directions in it (Szegedy et al. 2014)."""

import torch
from torch import Tensor
from torch.nn import functional


def random_directions(count: int, width: int, generator: torch.Generator) -> Tensor:
    """Return (count, width) directions of unit length, evenly spread over the sphere; float64."""
    drawn = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return drawn / drawn.norm(dim=1, keepdim=True)


def most_active(activations: Tensor, directions: Tensor, count: int) -> Tensor:
    """Return of each direction the images that are furthest along it.

    Args:
        activations: φ(x), (N, D) float64.
        directions: v, (M, D) float64; the rows of an identity matrix are the units.
        count: How many images, at most N.

    Returns:
        (M, count) rows of the activations with the largest ⟨φ(x), v⟩, the largest first; of equal
        ones the first.
    """
    along = activations @ directions.T
    return along.argsort(dim=0, descending=True, stable=True)[:count].T


def class_counts(labels: Tensor, classes: int) -> Tensor:
    """Return (M, classes) counts of the classes in (M, count) labels."""
    return functional.one_hot(labels, classes).sum(dim=1)


def purity(counts: Tensor) -> Tensor:
    """Return the (M,) shares of the commonest class, of (M, classes) counts."""
    shares: Tensor = counts.max(dim=1).values / counts.sum(dim=1)
    return shares.double()


def entropy(counts: Tensor) -> Tensor:
    """Return the (M,) entropies in nats of the classes, of (M, classes) counts."""
    shares = counts.double() / counts.sum(dim=1, keepdim=True)
    return -torch.special.xlogy(shares, shares).sum(dim=1)


def permutation_test(
    first: Tensor, second: Tensor, permutations: int, generator: torch.Generator
) -> tuple[float, float]:
    """Test whether two samples have the same mean.

    Args:
        first: (n,) values.
        second: (m,) values.
        permutations: Random divisions of all values into n and m, at least 1.
        generator: What they are drawn from.

    Returns:
        The difference of the means, first less second, and the two-sided p: the share of divisions,
        the one that was found among them, whose difference is at least as large.
    """
    both = torch.cat([first, second]).double()
    n, m = len(first), len(second)
    found = (first.double().mean() - second.double().mean()).item()
    order = torch.rand(permutations, n + m, generator=generator, dtype=torch.float64).argsort(dim=1)
    sums = both[order[:, :n]].sum(dim=1)
    differences = sums / n - (both.sum() - sums) / m
    as_large = int((differences.abs() >= abs(found) - 1e-12).sum())
    return found, (1 + as_large) / (1 + permutations)
