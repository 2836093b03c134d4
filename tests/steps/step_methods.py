"""Methods that do something wrong, for the steps to notice; found by their import path."""

import torch
from torch import Tensor, nn

from advdetect.attacks.result import AttackResult


def _result(adversarial: Tensor, success: Tensor, labels: Tensor) -> AttackResult:
    return AttackResult(adversarial, success, None, torch.ones_like(labels), labels * 0)


def stay(model, images, labels, *, generator):
    """Change nothing and claim success for every image."""
    return _result(images.clone(), torch.ones_like(labels, dtype=torch.bool), labels)


def invert(model, images, labels, *, generator, claim):
    """Return the negative images; claim success for all or for none."""
    return _result(1 - images, torch.full_like(labels, claim, dtype=torch.bool), labels)


def leave_the_box(model, images, labels, *, generator, shift):
    return _result(images + shift, torch.ones_like(labels, dtype=torch.bool), labels)


def break_one_pixel(model, images, labels, *, generator):
    adversarial = images.clone()
    adversarial[0, 0, 0, 0] = torch.nan
    return _result(adversarial, torch.ones_like(labels, dtype=torch.bool), labels)


def not_a_number(model, images, *, generator):
    values = torch.zeros(len(images), dtype=torch.float64)
    values[-1] = torch.nan
    return {"broken": values}


def infinite(model, images, *, generator):
    return {"fine": torch.zeros(len(images)), "endless": torch.full((len(images),), torch.inf)}


def two_per_image(model, images, *, generator):
    return {"pair": torch.zeros(len(images), 2)}


def one_for_all(model, images, *, generator):
    return {"single": torch.zeros(1)}


class ThreeLogits(nn.Module):
    """A model for three classes."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :3]
