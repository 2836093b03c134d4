"""AutoAttack: four attacks, each on the images that those before it left (Croce and Hein 2020)."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from advdetect.attacks.apgd import apgd
from advdetect.attacks.balls import BALLS
from advdetect.attacks.fab import fab
from advdetect.attacks.gradient import Norm, checked_step_size
from advdetect.attacks.result import AttackResult
from advdetect.attacks.square import square
from advdetect.randomness import SampleGenerator


class Attack(Protocol):
    """An attack whose parameters are set."""

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, generator: SampleGenerator
    ) -> AttackResult:
        """Attack (N, C, H, W) images in [0, 1]."""


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    norm: Norm = "linf",
    steps: int = 100,
    target_classes: int = 9,
    squares: int = 5000,
) -> AttackResult:
    """Run APGD-CE, APGD-T, FAB-T and Square, each on the images that are still classified rightly.

    Croce and Hein 2020, section 6, the standard version. FAB looks for a least perturbation, of
    which one within the radius counts.

    Args:
        model: Classifier that returns logits, of 4 classes or more, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image.
        epsilon: Radius in pixel units of [0, 1], greater than 0.
        norm: "linf" or "l2", of the ball.
        steps: Of APGD and of FAB, of each run, at least 1.
        target_classes: Of APGD-T and of FAB-T: that many wrong classes, at least 1.
        squares: Steps of Square, at least 1.

    Returns:
        The perturbed images; where all attacks failed, that of Square. Iterations are those of all
        attacks that an image went through.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    checked_step_size(epsilon, norm, min(steps, squares), None)
    climb = partial(apgd, epsilon=epsilon, norm=norm, steps=steps)
    attacks: list[Attack] = [
        climb,
        partial(climb, loss="dlr_targeted", target_classes=target_classes),
        partial(_nearest_within, epsilon=epsilon, norm=norm, steps=steps, classes=target_classes),
        partial(square, epsilon=epsilon, norm=norm, steps=squares),
    ]
    return first_success(attacks, model, images, labels, generator)


def first_success(
    attacks: Sequence[Attack],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: SampleGenerator,
) -> AttackResult:
    """Run attacks one after the other, each on the images on which those before it failed.

    Args:
        attacks: Untargeted attacks, at least one.
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image; an attack goes on where the one before it stopped drawing.

    Returns:
        Of each image the first success, where there is none the last image. Iterations are summed.
    """
    adversarial = images.detach().clone()
    success = torch.zeros_like(labels, dtype=torch.bool)
    iterations = torch.zeros_like(labels)
    for attack in attacks:
        left = (~success).nonzero().flatten()
        if not len(left):
            break
        found = attack(model, images[left], labels[left], generator=generator[left])
        adversarial[left] = found.adversarial
        success[left] = found.success
        iterations[left] += found.iterations
    return AttackResult(adversarial, success, target=None, iterations=iterations)


def _nearest_within(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    norm: Norm,
    steps: int,
    classes: int,
) -> AttackResult:
    """Return the least perturbation that FAB-T finds, a success where it is within the radius."""
    given = {"norm": norm, "steps": steps, "target_classes": classes}
    found = fab(model, images, labels, generator=generator, **given)  # type: ignore[arg-type]
    length = BALLS[norm].length(found.adversarial - images)
    return AttackResult(
        found.adversarial, found.success & (length <= epsilon), None, found.iterations
    )
