"""What every attack returns, and the check that it does."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from advdetect.errors import AdvdetectError


@dataclass(frozen=True)
class AttackResult:
    """The outcome of an attack on N images, one row per image.

    Attributes:
        adversarial: (N, C, H, W) float32 in [0, 1]. A fixed-budget attack that fails on an image
            keeps the perturbed image here; a minimal-norm attack returns the image unchanged.
        success: (N,) bool, the attack's own judgement; the attack step verifies it again from the
            stored file.
        target: (N,) int64, the class aimed at, or None for an untargeted attack.
        iterations: (N,) int64, update steps used; by them the images of a batch share what it took.
    """

    adversarial: Tensor
    success: Tensor
    target: Tensor | None
    iterations: Tensor

    def part(self, start: int, stop: int) -> "AttackResult":
        """Return the result of some of the images."""
        return self._mapped(lambda values: values[start:stop])

    def on_cpu(self) -> "AttackResult":
        """Return it on the CPU, detached from any graph."""
        return self._mapped(lambda values: values.detach().cpu())

    def _mapped(self, function: Callable[[Tensor], Tensor]) -> "AttackResult":
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        mapped: dict[str, Any] = {
            name: None if value is None else function(value) for name, value in values.items()
        }
        return AttackResult(**mapped)


def checked(result: object, images: Tensor, name: str) -> AttackResult:
    """Return what an attack on (N, C, H, W) images returned, on the CPU, if it is sound.

    Args:
        result: What it returned.
        images: The clean images, on the CPU.
        name: The attack's name, for the error.

    Raises:
        AdvdetectError: It is no `AttackResult`, a field is of another type or shape, or pixels are
            outside [0, 1].
    """
    if not isinstance(result, AttackResult):
        raise AdvdetectError(
            f"The attack {name} returned {type(result).__name__}: it must return an AttackResult."
        )
    per_image = (torch.int64, images.shape[:1])
    expected = {
        "adversarial": (images.dtype, images.shape),
        "success": (torch.bool, images.shape[:1]),
        "target": per_image,
        "iterations": per_image,
    }
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    if values["target"] is None:
        del expected["target"]
    for field, (dtype, shape) in expected.items():
        value = values[field]
        if not isinstance(value, Tensor) or (value.dtype, value.shape) != (dtype, shape):
            is_tensor = isinstance(value, Tensor)
            found = f"{value.dtype} {tuple(value.shape)}" if is_tensor else type(value).__name__
            raise AdvdetectError(
                f"The attack {name} returned '{field}' as {found}: it must be {dtype} "
                f"{tuple(shape)}."
            )
    adversarial = values["adversarial"]
    if not bool(((adversarial >= 0) & (adversarial <= 1)).all()):
        raise AdvdetectError(
            f"The attack {name} returned pixels outside [0, 1] or not a number: mend the attack; "
            f"its images must stay in the box."
        )
    return result.on_cpu()
