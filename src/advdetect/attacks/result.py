"""What every attack returns."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class AttackResult:
    """The outcome of an attack on N images, one row per image.

    Attributes:
        adversarial: (N, C, H, W) float32 in [0, 1]. A fixed-budget attack that fails on an image
            keeps the perturbed image here; a minimal-norm attack returns the image unchanged.
        success: (N,) bool, the attack's own judgement; the attack step verifies it again from the
            stored file.
        target: (N,) int64, the class aimed at, or None for an untargeted attack.
        iterations: (N,) int64, update steps used.
        gradient_calls: (N,) int64, backward passes through the model used.
    """

    adversarial: Tensor
    success: Tensor
    target: Tensor | None
    iterations: Tensor
    gradient_calls: Tensor
