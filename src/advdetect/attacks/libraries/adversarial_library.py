"""Attacks of adversarial-library (Rony and Ben Ayed 2023), whose package is named ``adv_lib``."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from advdetect.attacks.libraries.shared import (
    FrozenCopy,
    check_arguments,
    find_attack,
    run_attack,
    with_targeted,
)
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target
from advdetect.imports import load_library
from advdetect.randomness import SampleGenerator


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    method: str,
    arguments: Mapping[str, Any],
    target: Target | None = None,
) -> AttackResult:
    """Run an attack of adversarial-library; `run_attack` says what is done with what it returns.

    An image on which it fails is returned unchanged. The library's attacks within a radius
    (pgd_linf, apgd) do that by themselves and keep no perturbation that does not fool.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets and the library's seed.
        method: Name of a function in ``adv_lib.attacks``.
        arguments: Arguments of the function, without model, inputs, labels and targeted.
        target: How to choose the target classes; None for an untargeted attack.

    Returns:
        The verified result.

    Raises:
        AdvdetectError: adversarial-library is not installed, or does not accept a parameter.
    """
    library = load_library("adv_lib.attacks", "adversarial-library")
    function = find_attack(library, method, inspect.isfunction)
    complete = with_targeted(function, arguments, target)
    check_arguments(function, complete, positional=3)

    def run(frozen: FrozenCopy, images: Tensor, classes: Tensor) -> Tensor:
        return function(frozen, images, classes, **complete)

    return run_attack(
        run,
        f"adv_lib.attacks.{method}",
        model,
        images,
        labels,
        generator=generator,
        target=target,
        minimal_norm=True,
    )
