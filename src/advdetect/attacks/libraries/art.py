"""Attacks of the Adversarial Robustness Toolbox, ART (Nicolae et al. 2018)."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.libraries.shared import (
    FrozenCopy,
    check_arguments,
    find_attack,
    is_concrete,
    run_attack,
    with_targeted,
)
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import Target
from advdetect.errors import AdvdetectError
from advdetect.imports import load_library
from advdetect.inference import class_count
from advdetect.randomness import SampleGenerator

#: Attacks that have no parameter ``targeted`` and take the labels that they are given for targets.
_ALWAYS_TARGETED = frozenset(
    {
        "GRAPHITEBlackbox",
        "GRAPHITEWhiteboxPyTorch",
        "LowProFool",
        "SaliencyMapMethod",
        "TargetedUniversalPerturbation",
    }
)


def attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    method: str,
    arguments: Mapping[str, Any],
    minimal_norm: bool,
    output: Literal["logits", "probabilities"] = "logits",
    target: Target | None = None,
) -> AttackResult:
    """Run an evasion attack of ART; `run_attack` says what is done with what it returns.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets and the library's seed.
        method: Name of a class in ``art.attacks.evasion``.
        arguments: Arguments of the class, without the classifier and targeted.
        minimal_norm: Whether images on which the attack fails are returned unchanged
            (CarliniL2Method, NewtonFool) or keep their perturbation (attacks within a radius).
        output: What the attack gets as the classifier's outputs. Most want logits; some whose
            formulas have the probabilities refuse logits (SimBA), others do not (NewtonFool).
        target: How to choose the target classes; None for an untargeted attack.

    Returns:
        The verified result.

    Raises:
        AdvdetectError: ART is not installed, or does not accept a parameter.
    """
    if output not in ("logits", "probabilities"):
        raise AdvdetectError(f"The output must be logits or probabilities, not {output!r}.")
    library = load_library("art.attacks.evasion", "art")
    base = load_library("art.attacks", "art").EvasionAttack
    classifiers = load_library("art.estimators.classification", "art")
    make = find_attack(library, method, lambda value: is_concrete(value, base))
    complete = _complete(make, arguments, target)
    check_arguments(make, complete, positional=1)

    def run(frozen: FrozenCopy, images: Tensor, classes: Tensor) -> Tensor:
        count = class_count(frozen.model, images)
        classifier = classifiers.PyTorchClassifier(
            model=frozen if output == "logits" else nn.Sequential(frozen, nn.Softmax(dim=1)),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(images.shape[1:]),
            nb_classes=count,
            clip_values=(0.0, 1.0),
            # ART chooses the first GPU where there is one, unless it is told otherwise.
            device_type="gpu" if images.is_cuda else "cpu",
        )
        one_hot = functional.one_hot(classes, count).float()
        perturbed = make(classifier, **complete).generate(
            x=images.cpu().numpy(), y=one_hot.cpu().numpy()
        )
        return torch.as_tensor(perturbed)

    return run_attack(
        run,
        f"art.attacks.evasion.{method}",
        model,
        images,
        labels,
        generator=generator,
        target=target,
        minimal_norm=minimal_norm,
    )


def _complete(make: type, arguments: Mapping[str, Any], target: str | None) -> dict[str, Any]:
    """Return an attack's arguments, with ``targeted`` where it has such a parameter."""
    if make.__name__ not in _ALWAYS_TARGETED:
        return with_targeted(make, arguments, target)
    if target is None:
        raise AdvdetectError(f"{make.__name__} always aims at a class: set target.")
    return dict(arguments)
