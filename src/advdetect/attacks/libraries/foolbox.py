"""Attacks of foolbox (Rauber et al. 2020)."""

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
    epsilon: float | None,
    target: Target | None = None,
) -> AttackResult:
    """Run an attack class of foolbox; `run_attack` says what is done with what it returns.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets and the library's seed.
        method: Name of a class in ``foolbox.attacks``.
        arguments: Arguments of the class.
        epsilon: Radius in the norm of the attack, in pixel units, to which foolbox shortens the
            perturbation; images on which the attack fails keep it. None for the minimal norm,
            with the images unchanged where the attack fails.
        target: How to choose the target classes; None for an untargeted attack.

    Returns:
        The verified result.

    Raises:
        AdvdetectError: foolbox is not installed, or does not accept a parameter.
    """
    library = load_library("foolbox.attacks", "foolbox")
    foolbox = load_library("foolbox", "foolbox")
    make = find_attack(library, method, lambda value: is_concrete(value, library.base.Attack))
    check_arguments(make, arguments)

    def run(frozen: FrozenCopy, images: Tensor, classes: Tensor) -> Tensor:
        bounded = foolbox.PyTorchModel(frozen, bounds=(0, 1), device=images.device)
        goal = foolbox.Misclassification if target is None else foolbox.TargetedMisclassification
        return make(**arguments)(bounded, images, goal(classes), epsilons=epsilon)[1]

    return run_attack(
        run,
        f"foolbox.attacks.{method}",
        model,
        images,
        labels,
        generator=generator,
        target=target,
        minimal_norm=epsilon is None,
    )
