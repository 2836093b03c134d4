"""How far an image is from what an auto-encoder makes of it (Meng & Chen 2017, MagNet)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advdetect.autoencoders import fitting
from advdetect.autoencoders.fitting import MNIST, AfterEpoch, Specification
from advdetect.randomness import SampleGenerator
from advdetect.requirements.held_out import check_norms
from advdetect.training.unfinished import Unfinished


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    seed: int,
    autoencoders: Sequence[Specification] = MNIST,
    epochs: int = 100,
    held_out: float = 0.1,
    norms: Sequence[float] = (2, 1),
    temperatures: Sequence[float] = (10, 40),
    after_epoch: AfterEpoch | None = None,
    unfinished: Unfinished | None = None,
) -> dict[str, Tensor]:
    """Train the auto-encoders: see `advdetect.autoencoders.fitting.fit`, also for what is returned.

    Args:
        model: Says on which device to train; not used otherwise.
        images: (N, C, H, W) uint8 training images, on the CPU.
        labels: Not used.
        batch_size: Images per forward pass of the validation.
        seed: Seed of the held-out part and of the training.
        autoencoders: One specification of each auto-encoder.
        epochs: Epochs of each auto-encoder that does not name its own.
        held_out: Share of the images that nothing is trained on, in (0, 1).
        norms: One p for each auto-encoder, for `magnet`.
        temperatures: Not used; for `magnet`.
        after_epoch: Called after each epoch of each auto-encoder, for showing progress.
        unfinished: Keeps where the training stands.

    Raises:
        AdvdetectError: A parameter is impossible; known before the training starts.
    """
    check_norms(norms, len(autoencoders))
    return fitting.fit(
        model,
        images,
        labels,
        batch_size=batch_size,
        seed=seed,
        autoencoders=autoencoders,
        epochs=epochs,
        held_out=held_out,
        after_epoch=after_epoch,
        unfinished=unfinished,
    )


@torch.no_grad()
def magnet(
    model: nn.Module,
    images: Tensor,
    *,
    generator: SampleGenerator,
    fitted: dict[str, Tensor],
    autoencoders: Sequence[Specification] = MNIST,
    epochs: int = 100,
    held_out: float = 0.1,
    norms: Sequence[float] = (2, 1),
    temperatures: Sequence[float] = (10, 40),
) -> dict[str, Tensor]:
    """Return reconstruction errors and divergences between the predictions for x and for ae(x).

    Meng & Chen 2017, section 4.2. The error of detector i is the mean over pixels of
    abs(x − ae_i(x))^p, as in their code; it orders images as ‖x − ae_i(x)‖_p of the paper does. The
    divergence is that of Jensen and Shannon between softmax(z(x)/T) and softmax(z(ae(x))/T), with
    the first auto-encoder, which is also the reformer.

    Args:
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        generator: Not used; the feature is deterministic.
        fitted: What `fit` returned.
        autoencoders: Were settled by `fit`; taken from ``fitted``.
        epochs: Was settled by `fit`.
        held_out: Was settled by `fit`.
        norms: p of each auto-encoder's error, greater than 0.
        temperatures: T, each greater than 0; the list may be empty.

    Returns:
        Columns ``reconstruction_error_1``, … in the order of the auto-encoders, and
        ``jensen_shannon_10``, … named by T, in [0, log 2]: (N,) float64 on the CPU. All are
        expected to be high for adversarial images.

    Raises:
        AdvdetectError: There is not one norm for each auto-encoder, or one is not positive.
    """
    networks = fitting.restore(fitted)
    check_norms(norms, len(networks))
    reconstructions = [network(images) for network in networks]
    columns = {
        f"reconstruction_error_{number}": reconstruction_error(images, rebuilt, norm)
        for number, (rebuilt, norm) in enumerate(zip(reconstructions, norms, strict=True), start=1)
    }
    if temperatures:
        logits, reformed = (model(x).cpu().double() for x in (images, reconstructions[0]))
        for temperature in temperatures:
            columns[f"jensen_shannon_{temperature:g}"] = jensen_shannon(
                (logits / temperature).log_softmax(dim=1),
                (reformed / temperature).log_softmax(dim=1),
            )
    return columns


def reconstruction_error(images: Tensor, rebuilt: Tensor, norm: float) -> Tensor:
    """Return the mean over pixels and channels of abs(x − ae(x))^p.

    Args:
        images: (N, C, H, W) in [0, 1].
        rebuilt: Their reconstructions.
        norm: p, greater than 0.

    Returns:
        (N,) float64 on the CPU, in [0, 1].
    """
    return (images - rebuilt).double().abs().pow(norm).flatten(1).mean(dim=1).cpu()


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return the Jensen–Shannon divergence (KL(p‖m) + KL(q‖m)) / 2, m = (p + q) / 2, in nats.

    Args:
        log_p: (N, C) float64 log-probabilities, −inf for a probability of 0.
        log_q: As log_p.

    Returns:
        (N,) float64, never outside [0, log 2]; rounding errors are some 1e-16.
    """
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    total = torch.zeros_like(log_m)
    for log_x in (log_p, log_q):
        # The term of a class of probability 0 is 0, though its logarithms are infinite.
        ratio = (log_x - log_m).masked_fill(log_x == -torch.inf, 0)
        total += log_x.exp() * ratio / 2
    return total.sum(dim=1).clamp(0, math.log(2))
