import pytest
import torch
from attack_reference import reference_bim
from torch import Tensor, nn

from advdetect.attacks.bim import bim
from advdetect.attacks.fgm import fgm
from advdetect.attacks.fgsm import fgsm
from advdetect.randomness import SampleGenerator


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("step_size", "alpha"), [(None, 0.3 / 4), (0.2, 0.2)])
def test_matches_the_definition(
    norm: str,
    step_size: float | None,
    alpha: float,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: SampleGenerator,
) -> None:
    model, images = model.double(), images.double()
    adversarial = bim(
        model,
        images,
        labels,
        generator=generator,
        epsilon=0.3,
        norm=norm,  # type: ignore[arg-type]
        steps=4,
        step_size=step_size,
    ).adversarial
    for row in range(0, len(images), 3):
        expected = reference_bim(model, images[row], int(labels[row]), 0.3, norm, 4, alpha)
        torch.testing.assert_close(adversarial[row], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("norm", "one_step"), [("linf", fgsm), ("l2", fgm)])
def test_one_step_is_the_one_step_attack(
    norm: str,
    one_step: object,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: SampleGenerator,
) -> None:
    assert callable(one_step)
    several = bim(
        model,
        images,
        labels,
        generator=generator,
        epsilon=0.3,
        norm=norm,  # type: ignore[arg-type]
        steps=1,
    )
    single = one_step(model, images, labels, generator=generator, epsilon=0.3)
    assert torch.equal(several.adversarial, single.adversarial)


def test_more_steps_fool_more(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    single = fgm(model, images, labels, generator=generator, epsilon=0.7)
    several = bim(model, images, labels, generator=generator, epsilon=0.7, norm="l2", steps=10)
    assert several.success.sum() >= single.success.sum()
