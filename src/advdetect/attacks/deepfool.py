"""DeepFool (Moosavi-Dezfooli, Fawzi and Frossard 2016), in L2."""

import torch
from torch import Tensor, nn

from advdetect.attacks.logits import differentiable_logits, is_reached
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import largest_wrong_classes
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.many_classes import Auto, by_classes
from advdetect.randomness import SampleGenerator

#: Added to the length of each step, in pixel units (as in the authors' code).
_PUSH = 1e-4
#: Classes that are walked to where there are many, as in the authors' code.
_CANDIDATES = 10


@torch.no_grad()
def deepfool(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    overshoot: float = 0.02,
    iterations: int = 50,
    candidates: int | Auto | None = "auto",
) -> AttackResult:
    """Walk to the nearest class boundary of the linearised model until the class is left.

    Moosavi-Dezfooli et al. 2016, Algorithm 2, for p = 2. At x the boundary to class k is at the
    distance |f'_k| / ‖w'_k‖₂ with f'_k = z_k − z_y and w'_k = ∇f'_k. The steps r to the nearest one
    are added up, and the next point is clip(x₀ + (1 + η) Σ r). As in the authors' code, the
    overshoot η is applied at every step and not only at the end, and a step is 1e-4 longer than the
    distance: where clipping takes back a part of each step, a boundary would else be approached
    for ever.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1].
        labels: (N,) int64 true classes y.
        generator: Not used; the attack is deterministic.
        overshoot: η, greater than 0; of a linear model the perturbation is longer than needed by
            this share.
        iterations: Steps at most, at least 1.
        candidates: Only so many wrong classes, those of the largest logits at x₀, are walked to, at
            one backward pass per class and step; None means all, "auto" all up to
            `advdetect.many_classes.MANY_CLASSES` classes and ten of more. Leaving y for any class
            is a success.

    Returns:
        The first misclassified points; where there is none, or where the image is misclassified
        from the start, the image unchanged.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    _check(overshoot, iterations, candidates)
    origin = images.detach()
    logits = model(origin)
    success = is_reached(logits, labels, targeted=False)
    considered: int | None = by_classes(
        "candidates", candidates, logits.shape[1], few=None, many=_CANDIDATES
    )
    state = {
        "origin": origin,
        "label": labels,
        "classes": largest_wrong_classes(logits, labels, considered),
        "image": origin,
        "perturbation": torch.zeros_like(origin),
        "iterations": torch.zeros_like(labels),
        "success": success,
        "done": success,
    }

    def step(state: State) -> State:
        shortest, found = _nearest_boundary(model, state["image"], state["label"], state["classes"])
        perturbation = state["perturbation"] + shortest
        image = (state["origin"] + (1 + overshoot) * perturbation).clamp(0, 1)
        steps = state["iterations"] + found
        success = is_reached(model(image), state["label"], targeted=False)
        return state | {
            "image": image,
            "perturbation": perturbation,
            "iterations": steps,
            "success": success,
            "done": success | ~found | (steps >= iterations),
        }

    # A step costs a backward pass per class: more than waiting for the device does.
    end = iterate(state, step, keep=("image", "success", "iterations"), every=1)
    return AttackResult(
        adversarial=torch.where(end["success"].view(-1, 1, 1, 1), end["image"], origin),
        success=end["success"],
        target=None,
        iterations=end["iterations"],
    )


def _check(overshoot: float, iterations: int, candidates: int | Auto | None) -> None:
    if not overshoot > 0:
        raise AdvdetectError(f"The overshoot of deepfool must be greater than 0, not {overshoot}.")
    if iterations < 1:
        raise AdvdetectError(f"The iterations of deepfool must be at least 1, not {iterations}.")
    if isinstance(candidates, int) and candidates < 1:
        raise AdvdetectError(
            f"The candidates of deepfool must be at least 1, null or auto, not {candidates}."
        )


def _nearest_boundary(
    model: nn.Module, images: Tensor, labels: Tensor, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the step over the nearest boundary to one of the classes, to first order.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W).
        labels: (N,) int64.
        classes: (N, K) int64 wrong classes.

    Returns:
        (N, C, H, W) steps, and (N,) bool: false, and the step zero, where no gradient points
        anywhere.
    """
    logits, gradient = differentiable_logits(model, images)
    own = torch.zeros_like(logits).scatter(1, labels[:, None], 1)
    step, distance = torch.zeros_like(images), torch.full_like(logits[:, 0], torch.inf)
    # Beyond this a sum of steps could overflow; no image is larger.
    distance_limit = torch.finfo(images.dtype).max ** 0.5
    for column in classes.split(1, dim=1):
        difference = torch.zeros_like(logits).scatter(1, column, 1) - own
        normal = gradient(difference)
        length = torch.linalg.vector_norm(normal.flatten(1), dim=1)
        away = (logits * difference).sum(dim=1).abs() / length
        nearer = (length > 0) & (away < distance) & (away < distance_limit)
        across = (away + _PUSH).view(-1, 1, 1, 1) * (normal / length.view(-1, 1, 1, 1))
        distance = torch.where(nearer, away, distance)
        step = torch.where(nearer.view(-1, 1, 1, 1), across, step)
    return step, distance.isfinite()
