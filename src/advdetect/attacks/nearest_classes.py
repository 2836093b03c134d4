"""Least perturbation by a search towards each of the nearest classes."""

from torch import Tensor, nn

from advdetect.attacks.balls import BALLS, NormName
from advdetect.attacks.class_search import CANDIDATES, RANKED, STEPS, search_classes
from advdetect.attacks.gradient import check_steps
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator


def nearest_classes(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    norm: NormName = "l2",
    candidates: int = CANDIDATES,
    ranked: int | None = RANKED,
    starts: int = 1,
    steps: int = STEPS,
) -> AttackResult:
    """Search towards each of the classes whose boundaries are nearest, and keep the nearest point.

    To first order the boundary to class k is at the distance (z_y − z_k) / ‖∇(z_y − z_k)‖ from the
    image, by the dual norm (Moosavi-Dezfooli et al. 2016, section 3.3); in L1 the box is heeded.
    Towards each of the nearest classes goes a targeted DDN (Rony et al. 2019) on the margin z_y −
    z_t, whose direction does not mix classes as that of the cross entropy does. In L1 and L∞ the
    sphere is a ball, as in FMN (Pintor et al. 2021), in L1 together with the box. All lengths are
    relative: the first radius is 1.5 times that distance, and a step falls from 3 radii (L1: 1) to
    0.01 along a cosine, while the radius changes by 10 % at first and 0.5 % at last, and is never
    above the nearest success. A step goes along the gradient, in L∞ along the roots of its entries.
    Leaving y for any class is a success. A search that has fallen behind another one of the same
    image is dropped.

    The result is a local minimum, as that of every attack by gradients: what is lost is lost in the
    choice of it, which is why the first steps are long. Further starts leave the image in random
    directions that are ten times as far across the gradient as along it.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float in [0, 1]; up to N · candidates · starts go through the model at
            a time.
        labels: (N,) int64 true classes y.
        generator: One stream per image, for starts after the first.
        norm: "l1", "l2" or "linf", of the perturbation.
        candidates: Classes that are searched towards, at least 1.
        ranked: Only so many wrong classes, those of the largest logits, are ranked by their
            distance, at one backward pass for each; at least `candidates`. None means all.
        starts: Searches towards each class, at least 1.
        steps: Of each search, at least 1.

    Returns:
        The nearest images found; where there is none, or where the image is misclassified from the
        start, the image unchanged. Iterations are those of all searches together.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    _check(norm, candidates, ranked, starts, steps)
    found = search_classes(
        model,
        images.detach(),
        labels,
        [0.0],
        generator=generator,
        norm=norm,
        candidates=candidates,
        ranked=ranked,
        starts=starts,
        steps=steps,
    )
    return AttackResult(
        adversarial=found.image[:, 0],
        success=found.distance[:, 0].isfinite(),
        target=None,
        iterations=found.iterations,
    )


def _check(norm: str, candidates: int, ranked: int | None, starts: int, steps: int) -> None:
    if norm not in BALLS:
        raise AdvdetectError(
            f"The norm of nearest_classes must be one of {', '.join(BALLS)}, not {norm!r}."
        )
    check_steps(steps)
    for name, value in (("candidates", candidates), ("starts", starts)):
        if value < 1:
            raise AdvdetectError(f"The {name} of nearest_classes must be at least 1, not {value}.")
    if ranked is not None and ranked < candidates:
        raise AdvdetectError(
            f"The ranked classes of nearest_classes must be at least as many as its candidates, "
            f"{candidates}, or null, not {ranked}."
        )
