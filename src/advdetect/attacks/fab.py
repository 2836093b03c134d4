"""FAB, the fast adaptive boundary attack towards each class (Croce and Hein 2020)."""

import torch
from torch import Tensor, nn

from advdetect.attacks.balls import BALLS
from advdetect.attacks.gradient import Norm, check_norm, check_steps, per_image
from advdetect.attacks.hyperplane import step_to_hyperplane
from advdetect.attacks.logits import differentiable_logits, is_reached
from advdetect.attacks.record import record
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import largest_wrong_classes
from advdetect.errors import AdvdetectError
from advdetect.lanes import State, iterate
from advdetect.randomness import SampleGenerator

#: Lengths of steps are at least this when they are compared (as in the authors' code).
_LEAST_LENGTH = 1e-8


@torch.no_grad()
def fab(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    norm: Norm = "linf",
    target_classes: int = 9,
    steps: int = 100,
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
) -> AttackResult:
    """Step onto the linearised boundary to a class, drawn towards the image; go back a success.

    Croce and Hein 2020, "Minimally distorted adversarial examples with a fast adaptive boundary
    attack", Algorithm 1, in its targeted form, FAB-T. At x the boundary to the class t is to first
    order the hyperplane z_t − z_y + ⟨∇(z_t − z_y), · − x⟩ = 0. With δ and δ₀ the shortest steps to
    it within the box from x and from the image x₀,
    x ← clip((1 − α)(x + η δ) + α (x₀ + η δ₀)), α = min(‖δ‖ / (‖δ‖ + ‖δ₀‖), α_max). A success is
    followed by x ← x₀ + β (x − x₀). Leaving y for any class is a success. There is one run towards
    each class, from the image.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1]; N · target_classes go through the model at a time.
        labels: (N,) int64 true classes y.
        generator: Not used; the attack is deterministic.
        norm: "linf" or "l2", the norm that is to be small.
        target_classes: That many wrong classes, at least 1, those of the largest logits.
        steps: Towards each class, at least 1; a step is two forward passes and a backward pass.
        alpha_max: Largest α, in [0, 1].
        eta: η, share by which the boundary is overshot, at least 1.
        beta: β, share of the way that is kept after a success, in (0, 1).

    Returns:
        The nearest images found; where there is none, or where the image is misclassified from the
        start, the image unchanged. Iterations are those towards all classes together.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    _check(norm, target_classes, steps, alpha_max, eta, beta)
    origin, count = images.detach(), len(images)
    logits = model(origin)
    there = is_reached(logits, labels, targeted=False)
    targets = largest_wrong_classes(logits, labels, target_classes)
    lanes = targets.shape[1]
    owner = torch.arange(count, device=labels.device).repeat_interleave(lanes)
    difference = torch.zeros_like(logits[owner])
    difference.scatter_(1, targets.view(-1, 1), 1).scatter_(1, labels[owner, None], -1)
    state = {
        "origin": origin[owner],
        "image": origin[owner],
        "label": labels[owner],
        "difference": difference,
        "best": origin[owner, None],
        "shortest": torch.full_like(difference[:, :1], torch.inf),
        "iterations": torch.zeros_like(owner),
        "done": there[owner],
    }

    def step(state: State) -> State:
        clean = state["origin"]
        image = _drawn_onto_boundary(model, state, norm, alpha_max, eta)
        success = is_reached(model(image), state["label"], targeted=False)
        record(state, image, success, [BALLS[norm].length(image - clean)])
        state["image"] = torch.where(per_image(success), clean + beta * (image - clean), image)
        state["iterations"] += 1
        state["done"] = state["iterations"] >= steps
        return state

    end = iterate(state, step, keep=("best", "shortest", "iterations"), every=steps)
    shortest, nearest = end["shortest"].view(count, lanes).min(dim=1)
    rows = torch.arange(count, device=labels.device) * lanes + nearest
    return AttackResult(
        adversarial=end["best"][rows, 0],
        success=there | shortest.isfinite(),
        target=None,
        iterations=end["iterations"].view(count, lanes).sum(dim=1),
    )


def _check(
    norm: str, target_classes: int, steps: int, alpha_max: float, eta: float, beta: float
) -> None:
    check_norm(norm)
    check_steps(steps)
    if target_classes < 1:
        raise AdvdetectError(f"The target_classes of fab must be at least 1, not {target_classes}.")
    if not (0 <= alpha_max <= 1 and eta >= 1 and 0 < beta < 1):
        raise AdvdetectError(
            "The alpha_max of fab must be in [0, 1], its eta at least 1 and its beta in (0, 1), "
            f"not {alpha_max}, {eta} and {beta}."
        )


def _drawn_onto_boundary(
    model: nn.Module, state: State, norm: Norm, alpha_max: float, eta: float
) -> Tensor:
    """Return the next (lanes, C, H, W) points."""
    image, clean, difference = state["image"], state["origin"], state["difference"]
    logits, gradient = differentiable_logits(model, image)
    normal = gradient(difference).nan_to_num(0, 0, 0)
    gap = -(logits * difference).sum(dim=1)
    gap_of_clean = gap + (normal * (image - clean)).flatten(1).sum(dim=1)
    step = step_to_hyperplane(image, normal, gap, norm)
    step_of_clean = step_to_hyperplane(clean, normal, gap_of_clean, norm)
    length, length_of_clean = (
        BALLS[norm].length(part).clamp_min(_LEAST_LENGTH) for part in (step, step_of_clean)
    )
    alpha = per_image((length / (length + length_of_clean)).clamp_max(alpha_max))
    return ((1 - alpha) * (image + eta * step) + alpha * (clean + eta * step_of_clean)).clamp(0, 1)
