"""What the tests of the penalty attacks share: linear models, margins, what a model was shown."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn

from advdetect.attacks.logits import rounding
from advdetect.attacks.result import AttackResult
from advdetect.randomness import SampleGenerator


def run(
    attack: Callable[..., AttackResult], model: nn.Module, images: Tensor, labels: Tensor
) -> AttackResult:
    return attack(model, images, labels, generator=SampleGenerator(7, range(len(images))))


def linear_classes() -> tuple[nn.Module, Tensor, Tensor, Callable[[float], Tensor]]:
    """Return a linear model of six classes in float64, grey images and their classes.

    And a function that maps κ to the least L2 norms at which another class is ahead by κ; they are
    so small that no pixel gets to the edge of the box. All pairs of classes are equally steep, so
    that the rival of the largest logit is also the nearest: the attacks' loss sees only that one.
    """
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(36, 6).double()
    columns = torch.randn(36, 6, dtype=torch.float64, generator=generator)
    unit = torch.linalg.qr(columns).Q.T
    labels = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])
    noise = 0.05 * torch.randn(8, 36, dtype=torch.float64, generator=generator)
    images = (0.5 + 0.5 * unit[labels] + noise).view(8, 1, 6, 6)
    with torch.no_grad():
        linear.weight.copy_(5 * unit)
        linear.bias.copy_(-linear.weight.sum(dim=1) / 2)
    model = nn.Sequential(nn.Flatten(), linear).eval()

    @torch.no_grad()
    def least(kappa: float) -> Tensor:
        logits = model(images)
        steps = linear.weight[None] - linear.weight[labels][:, None]
        behind = logits.gather(1, labels[:, None]) - logits + kappa
        distances = behind / steps.norm(dim=2)
        return distances.scatter(1, labels[:, None], torch.inf).amin(dim=1)

    return model, images, labels, least


def least_to_targets(model: nn.Module, images: Tensor, targets: Tensor, kappa: float) -> Tensor:
    """Return the least L2 norms within the box at which a linear model's target is ahead by κ."""
    linear = model[1]  # type: ignore[index]
    weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
    found = []
    for image, target in zip(images.flatten(1).numpy(), targets.tolist(), strict=True):
        others = np.delete(np.arange(len(bias)), target)
        slopes, offsets = weight[target] - weight[others], bias[target] - bias[others] - kappa
        nearest = optimize.minimize(
            lambda point, image=image: ((point - image) @ (point - image), 2 * (point - image)),
            image,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * len(image),
            constraints={
                "type": "ineq",
                "fun": lambda point, slopes=slopes, offsets=offsets: slopes @ point + offsets,
                "jac": lambda point, slopes=slopes: slopes,
            },
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert nearest.success
        found.append(nearest.fun**0.5)
    return torch.tensor(found)


def margins(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return by how much the class is ahead of the others, from one image at a time."""
    rows = []
    with torch.no_grad():
        for image, index in zip(images, classes.tolist(), strict=True):
            logits = model(image[None])[0]
            others = torch.cat([logits[:index], logits[index + 1 :]])
            rows.append(logits[index] - others.max())
    return torch.stack(rows)


def norms(result: AttackResult, images: Tensor) -> Tensor:
    return torch.linalg.vector_norm((result.adversarial - images).double().flatten(1), dim=1)


@contextmanager
def shown_to(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the batches that the model is shown."""
    shown: list[Tensor] = []
    handle = model.register_forward_pre_hook(
        lambda _module, arguments: shown.append(arguments[0].detach().clone())
    )
    yield shown
    handle.remove()


def points_of(shown: list[Tensor]) -> list[Tensor]:
    """Return the images of all batches, each by itself."""
    return [point for batch in shown for point in batch.split(1)]


def clear_margin(model: nn.Module, image: Tensor, label: int, kappa: float) -> bool:
    """Say whether a wrong class is ahead by κ, and by what rounding could undo."""
    with torch.no_grad():
        hair = rounding(model(image)).item()
    return margins(model, image, torch.tensor([label])).item() <= -kappa - hair


def hinge_of(logits: Tensor, label: int, kappa: float) -> Tensor:
    """Return f₆ of one image that is to leave its class, as in the paper, κ a hair larger."""
    others = torch.cat([logits[0, :label], logits[0, label + 1 :]])
    return (kappa + rounding(logits.detach())[0] + logits[0, label] - others.max()).clamp_min(0)


def constant_at(
    objective: Callable[[Tensor], Tensor], image: Tensor, start: Tensor, l1_weight: float = 0
) -> float:
    """Return the c of a start at which distance + c · loss does not change along its own δ."""
    variable, change = start.clone().requires_grad_(), start - image
    (slope,) = torch.autograd.grad(objective(variable), variable)
    pull = 2 * change.square().sum() + l1_weight * change.abs().sum()
    return (pull / -(slope * change).sum()).item()


def margin_of(logits: Tensor, label: int) -> Tensor:
    """Return how far one image's class is ahead, with a graph."""
    return logits[0, label] - torch.cat([logits[0, :label], logits[0, label + 1 :]]).max()
