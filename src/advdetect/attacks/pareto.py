"""The best pair of elements by a product of sums, exactly, without looking at all pairs."""

import torch
from torch import Tensor

#: Pairs that are looked at together, in all lanes: bounds the memory (to some 100 MB).
_PAIRS_AT_ONCE = 2**22


def best_pair(a: Tensor, b: Tensor, domain: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the pair p < q with the largest (a_p + a_q)(b_p + b_q), both sums positive.

    Say that r beats p if a_r ≥ a_p and b_r ≥ b_p and, when both are equal, r < p. If r ≠ q beats p,
    then the pair (r, q) is better than (p, q), or equal and earlier. So each of the best pair is
    beaten by at most one other element, its partner. These few candidates are found in
    O(D log D), and only their pairs are compared.

    Args:
        a: (N, D) float.
        b: (N, D) float.
        domain: (N, D) bool, the elements that may be chosen; D at least 2.

    Returns:
        (N,) int64 p and (N,) int64 q, of equal pairs the first in lexicographic order, and (N,)
        bool that is true where there is such a pair; elsewhere p and q mean nothing.
    """
    a, b = a.masked_fill(~domain, -torch.inf), b.masked_fill(~domain, -torch.inf)
    chosen = _beaten_at_most_once(a, b)
    width = max(2, int(chosen.sum(dim=1).max()))
    elements = a.shape[1]
    position = torch.arange(elements, device=a.device)
    index = torch.where(chosen, position, elements).topk(width, largest=False).values
    padding = index == elements
    index = index.clamp_max(elements - 1)
    # In float64, products of small float32 numbers do not underflow to a tie.
    first, second, found = _best_of_all_pairs(
        a.gather(1, index).double().masked_fill(padding, -torch.inf),
        b.gather(1, index).double().masked_fill(padding, -torch.inf),
    )
    p, q = (index.gather(1, which[:, None]).squeeze(1) for which in (first, second))
    return p, q, found


def _beaten_at_most_once(a: Tensor, b: Tensor) -> Tensor:
    """Return (N, D) bool: all elements that at most one other beats, and maybe some more.

    In the order of falling a, where equal ones keep theirs, whoever comes earlier and has no
    smaller b beats an element. So an element is left out if the second largest b before it is not
    below its own.
    """
    order = a.sort(dim=1, descending=True, stable=True).indices
    b = b.gather(1, order)
    largest = _before(b.cummax(dim=1).values)
    second = _before(torch.minimum(b, largest).cummax(dim=1).values)
    return torch.zeros_like(b, dtype=torch.bool).scatter(1, order, b > second)


def _before(running: Tensor) -> Tensor:
    """Shift (N, D) running maxima by one: those of the elements before each."""
    return torch.nn.functional.pad(running[:, :-1], (1, 0), value=-torch.inf)


def _best_of_all_pairs(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `best_pair` does, by comparing all pairs of (N, M) elements, some rows at a time."""
    lanes, width = a.shape
    rows = max(1, _PAIRS_AT_ONCE // (lanes * width))
    best = a.new_zeros(lanes)
    place = torch.zeros(lanes, dtype=torch.int64, device=a.device)
    for start in range(0, width, rows):
        part = slice(start, start + rows)
        sum_a = a[:, part, None] + a[:, None, :]
        sum_b = b[:, part, None] + b[:, None, :]
        # Not `<= 0`, so that NaN is no pair either.
        score = (sum_a * sum_b).masked_fill_(~((sum_a > 0) & (sum_b > 0)), 0)
        value, at = score.triu_(start + 1).flatten(1).max(dim=1)
        place = torch.where(value > best, at + start * width, place)
        best = torch.maximum(best, value)
    return place // width, place % width, best > 0
