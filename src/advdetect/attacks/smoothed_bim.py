"""Basic iterative method against a smoothed classifier (Salman et al. 2019)."""

import math

import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import ascend, loss_gradient
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.inference import batch_slices
from advdetect.randomness import SampleGenerator


class Smoothed(nn.Module):
    """The smoothed classifier, as far as some draws of its noise show it.

    Args:
        model: Classifier that returns logits, in eval mode.
        noise: (N, m, C, H, W), for each of N images m draws, the same at every call.
    """

    def __init__(self, model: nn.Module, noise: Tensor) -> None:
        super().__init__()
        self._model, self._noise = model, noise

    def forward(self, images: Tensor) -> Tensor:
        """Return the (N, classes) logarithms of the probabilities, averaged over the draws."""
        count, draws = self._noise.shape[:2]
        logits = self._model((images[:, None] + self._noise).flatten(0, 1))
        each = logits.log_softmax(dim=1).view(count, draws, -1)
        return each.logsumexp(dim=1) - math.log(draws)


def smoothed_bim(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    epsilon: float,
    sigma: float,
    draws: int = 16,
    steps: int = 10,
    step_size: float | None = None,
) -> AttackResult:
    """Take L2 steps along the gradient of the smoothed classifier's loss, in ball and box.

    Salman et al. 2019, section 2.2: the loss is −log E[F(x + noise)_y], F the probabilities, and
    the expectation a mean over m draws. They are drawn once for each image: a fixed function is
    climbed. Noise is not clipped.

    Args:
        model: The base classifier, which returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for its noise.
        epsilon: L2 radius in pixel units of [0, 1], greater than 0.
        sigma: Standard deviation of the noise, greater than 0.
        draws: m, at least 1.
        steps: Number of steps, at least 1.
        step_size: Length of a step, greater than 0; None means epsilon / steps.

    Returns:
        The perturbed images, where the attack failed too. A success is one that the base classifier
        gets wrong, as of every attack; what the smoothed one says, its certification counts.

    Raises:
        AdvdetectError: A parameter is outside its range.
    """
    if not (sigma > 0 and draws >= 1):
        raise AdvdetectError(
            f"The sigma and the draws of an attack on a smoothed classifier must be greater than "
            f"0, not {sigma} and {draws}."
        )
    noise = sigma * generator.normal(draws, *images.shape[1:]).to(images)

    def direction(current: Tensor, _previous: Tensor, lanes: Tensor) -> Tensor:
        # As many rows at a time as the batch has: memory is that of an attack on the model itself.
        together = max(1, len(current) // draws)
        parts = [
            loss_gradient(Smoothed(model, noise[lanes[rows]]), current[rows], labels[lanes[rows]])
            for rows in batch_slices(len(current), together)
        ]
        return torch.cat(parts)

    return ascend(
        model,
        images,
        labels,
        direction,
        epsilon=epsilon,
        norm="l2",
        steps=steps,
        step_size=step_size,
    )
