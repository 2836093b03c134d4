"""ALMA beside the paper's formulas for one image at a time, and beside adversarial-library's."""

from functools import partial

import pytest
import torch
from attack_models import COUNT
from penalty_cases import linear_classes, norms, run
from torch import Tensor, nn

from advdetect.attacks.alma import alma
from advdetect.attacks.logits import rounding
from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError


def penalty(y: Tensor, rho: float, mu: float) -> Tensor:
    """P₂ of Rony et al. 2021."""
    if y >= 0:
        return mu * y + mu * rho * y**2 + rho**2 * y**3 / 6
    return mu * y / (1 - rho * y)


def reference(model: nn.Module, image: Tensor, label: int, steps: int, distance: float) -> Tensor:
    """Algorithm 1 for one image, by automatic differentiation; the image where there is none."""
    shift = torch.zeros_like(image)
    square, momentum = torch.ones_like(image), torch.zeros_like(image)
    mu, rho, before, first, rate = 1.0, 1.0, 0.0, None, 0.0
    best, shortest = image, float("inf")
    for step in range(steps):
        variable = shift.clone().requires_grad_()
        logits = model((image + variable)[None])[0]
        ordered = logits.sort(descending=True).values
        other = logits[torch.arange(len(logits)) != label].max()
        ahead = logits[label] - other + rounding(logits.detach()[None])[0]
        y = ahead / (ordered[0] - ordered[2] + 1e-8)
        if step == 0:
            before = y.item()
        elif (step + 1) % 10 == 0:
            if first is None and y.item() >= 0.95 * before:
                rho *= 1.2
            before = y.item()
        if step > 0:
            point = y.detach().requires_grad_()
            (follow,) = torch.autograd.grad(penalty(point, rho, mu), point)
            mu = min(max(0.9 * mu + 0.1 * float(follow), 1e-6), 1e12)
        length = float(shift.norm())
        if y < 0:
            first = step if first is None else first
            if length < shortest:
                best, shortest = image + shift, length
        loss = penalty(y, rho, mu) + (variable.norm() if step > 0 else 0)
        (gradient,) = torch.autograd.grad(loss, variable)
        if step == 0:
            low, high = 0.0, 1e3
            for _ in range(100):
                rate = (low + high) / 2
                far = ((image - rate * gradient).clamp(0, 1) - image).norm() > distance
                low, high = (low, rate) if far else (rate, high)
        fallen = 1.0 if first is None else 0.01 ** ((step - first) / (steps - first))
        square = 0.9 * square + 0.1 * gradient**2
        momentum = 0.9 * momentum + gradient / (square.sqrt() + 1e-8)
        shift = (image + shift - rate * fallen * momentum).clamp(0, 1) - image
    return best


@pytest.mark.parametrize(("steps", "found"), [(1, 1), (7, 5), (25, 6)])
def test_is_the_papers_algorithm(
    steps: int, found: int, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images = model.double(), images.double()[:6]
    result = run(partial(alma, steps=steps, initial_distance=0.2), model, images, labels[:6])
    for image, label, ours in zip(images, labels.tolist(), result.adversarial, strict=False):
        expected = reference(model, image, label, steps, distance=0.2)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-7)
    assert int(result.success.sum()) == found


def test_is_near_that_of_adversarial_library(
    model: nn.Module, images: Tensor, labels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which finds the first rate by 20 halvings, and holds some numbers in float32."""
    peers = pytest.importorskip("adv_lib.attacks", reason="needs adversarial-library's extra")
    model, images = model.double(), images.double()
    ours = run(partial(alma, steps=20), model, images, labels)
    monkeypatch.setattr(torch, "float", torch.float64)
    theirs = peers.alma(
        model, images, labels, num_steps=20, init_lr_distance=0.1, logit_tolerance=0
    )
    assert ours.success.any()
    torch.testing.assert_close(ours.adversarial, theirs.detach(), rtol=0, atol=1e-4)


def test_least_norms_of_linear_classes() -> None:
    model, images, labels, least = linear_classes()
    result = run(partial(alma, steps=200), model, images, labels)
    assert result.success.all()
    torch.testing.assert_close(norms(result, images), least(0), rtol=0.01, atol=0)


def test_a_step_is_a_forward_and_a_backward_pass(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    """An image that is misclassified is looked at once."""
    with counted_passes(model) as passes:
        result = run(partial(alma, steps=5), model, images, labels)
    there = torch.arange(COUNT) % 8 == 0
    assert (result.iterations == torch.where(there, 0, 5)).all()
    assert passes.forward == result.iterations.sum() + there.sum()
    assert passes.backward == passes.forward


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"steps": 0}, "steps of an attack must be at least 1, not 0"),
        ({"initial_distance": 0.0}, "initial_distance of alma must be greater than 0, not 0.0"),
        ({"alpha": 1.0}, r"alpha of alma must be in \[0, 1\), not 1.0"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        run(partial(alma, **parameters), model, images, labels)


def test_two_classes_are_refused(images: Tensor, labels: Tensor) -> None:
    """The ratio of their logits is ±1, whatever the image."""
    two = nn.Sequential(nn.Flatten(), nn.Linear(72, 2))
    with pytest.raises(AdvdetectError, match="alma needs at least 3 classes, not 2"):
        run(alma, two, images, labels % 2)
