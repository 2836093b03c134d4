"""Drawing from a discrete distribution by the alias method (Walker 1977; Vose 1991).

Zhao et al. (2019) draw classes in this way, citing Marsaglia, Tsang and Wang (2004). Once a table
of C entries is made, a draw takes one look-up, whatever C is.

`torch.multinomial` is faster for one image (25 µs against 0.8 ms at C = 1000), but draws for a
batch from one generator, so that an image's classes would depend on the others. Beside the
backward passes of the classes drawn, which take seconds, either is nothing.
"""

import torch
from torch import Tensor

from advdetect.randomness import SampleGenerator


def draw_classes(probabilities: Tensor, draws: int, generator: SampleGenerator) -> Tensor:
    """Draw classes of each image from its own distribution, with replacement.

    Args:
        probabilities: (N, C), each row of sum 1.
        draws: Number of draws for each image, n.
        generator: One stream per image.

    Returns:
        (N, n) int64, on the device of the probabilities.
    """
    tables = [alias_table(row) for row in probabilities.tolist()]
    threshold = torch.tensor([table[0] for table in tables], dtype=torch.float64)
    alias = torch.tensor([table[1] for table in tables])
    # float64, since in float32 the product with C may round up to C.
    column, height = generator.uniform(2, draws).to(torch.float64).unbind(dim=1)
    column = (column * threshold.shape[1]).long()
    stays = height < threshold.gather(1, column)
    return torch.where(stays, column, alias.gather(1, column)).to(probabilities.device)


def alias_table(probabilities: list[float]) -> tuple[list[float], list[int]]:
    """Cut a distribution into C columns of equal weight with at most two classes each (Vose 1991).

    A column c drawn uniformly, and c itself drawn with its threshold, its alias otherwise, have
    the given distribution.

    Args:
        probabilities: C numbers of sum 1.

    Returns:
        C thresholds in [0, 1], and C aliases in [0, C).
    """
    count = len(probabilities)
    threshold = [count * p for p in probabilities]
    alias = list(range(count))
    small = [c for c in alias if threshold[c] < 1]
    large = [c for c in alias if threshold[c] >= 1]
    while small and large:
        lower, upper = small.pop(), large[-1]
        alias[lower] = upper  # the upper one fills the column of the lower
        threshold[upper] -= 1 - threshold[lower]
        if threshold[upper] < 1:
            small.append(large.pop())
    # What is left is full but for rounding.
    for column in (*small, *large):
        threshold[column] = 1.0
    return threshold, alias
