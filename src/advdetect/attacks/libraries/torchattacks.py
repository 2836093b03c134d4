"""Attacks of torchattacks (Kim 2020)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from advdetect.attacks.libraries.shared import (
    FrozenCopy,
    check_arguments,
    find_attack,
    is_concrete,
    run_attack,
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
    minimal_norm: bool,
    target: Target | None = None,
) -> AttackResult:
    """Run an attack class of torchattacks; `run_attack` says what is done with what it returns.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets and the library's seed.
        method: Name of a class in ``torchattacks``.
        arguments: Arguments of the class, without the model.
        minimal_norm: Whether images on which the attack fails are returned unchanged (CW,
            DeepFool) or keep their perturbation (attacks within a radius).
        target: How to choose the target classes; None for an untargeted attack.

    Returns:
        The verified result.

    Raises:
        AdvdetectError: torchattacks is not installed, or does not accept a parameter.
    """
    library = load_library("torchattacks", "torchattacks")
    make = find_attack(library, method, lambda value: is_concrete(value, library.attack.Attack))
    check_arguments(make, arguments, positional=1)

    def run(frozen: FrozenCopy, images: Tensor, classes: Tensor) -> Tensor:
        foreign = make(frozen, **arguments)
        if target is not None:
            foreign.set_mode_targeted_by_function(lambda _images, given: given)
        return foreign(images, classes)

    return run_attack(
        run,
        f"torchattacks.{method}",
        model,
        images,
        labels,
        generator=generator,
        target=target,
        minimal_norm=minimal_norm,
    )
