"""Choosing the class that a targeted attack aims at."""

from typing import Literal, get_args

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

Target = Literal["random", "next", "least_likely"]


def choose_target(
    target: str, logits: Tensor, labels: Tensor, generator: SampleGenerator
) -> Tensor:
    """Return a wrong class for each image.

    Args:
        target: "random" draws uniformly from the wrong classes; "next" takes the class after the
            label, the first after the last; "least_likely" the wrong class of the smallest
            probability.
        logits: (N, C) of the images.
        labels: (N,) int64 true classes.
        generator: One stream per image; used by "random" only.

    Returns:
        (N,) int64, on the device of the labels.

    Raises:
        AdvdetectError: The target is none of the three.
    """
    classes = logits.shape[1]
    if target == "random":
        return random_wrong_class(labels, classes, generator)
    if target == "next":
        return (labels + 1) % classes
    if target == "least_likely":
        return logits.scatter(1, labels[:, None], torch.inf).argmin(dim=1)
    raise AdvdetectError(
        f"The target of an attack must be one of {', '.join(get_args(Target))}, not {target!r}."
    )


def random_wrong_class(labels: Tensor, classes: int, generator: SampleGenerator) -> Tensor:
    """Draw for each image a class that is not its label, all equally likely.

    Args:
        labels: (N,) int64 in [0, classes).
        classes: Number of classes, at least 2.
        generator: One stream per image.

    Returns:
        (N,) int64, on the device of the labels.
    """
    shift = 1 + generator.integers(classes - 1).to(labels.device)
    return (labels + shift) % classes


def largest_wrong_classes(logits: Tensor, labels: Tensor, count: int | None) -> Tensor:
    """Return the wrong classes of the largest logits, the largest first.

    Args:
        logits: (N, C), C at least 2.
        labels: (N,) int64 in [0, C).
        count: How many, at least 1; all C − 1 where there are no more, or for None.

    Returns:
        (N, min(count, C − 1)) int64.
    """
    wrong = logits.scatter(1, labels[:, None], -torch.inf)
    there = logits.shape[1] - 1
    return wrong.topk(there if count is None else min(count, there), dim=1).indices
