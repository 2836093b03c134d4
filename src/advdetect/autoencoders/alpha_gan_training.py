"""Training α-GAN (Rosca et al. 2017, algorithm 1), repeatable to the bit for the same seed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from advdetect.autoencoders.alpha_gan import AlphaGan, Discriminators
from advdetect.autoencoders.architecture import initialise
from advdetect.inference import to_float
from advdetect.training.unfinished import Unfinished


@dataclass(frozen=True)
class Losses:
    """The four losses of algorithm 1, scalars, each of which belongs to one network.

    Attributes:
        encoder: Of the encoder η.
        decoder: Of the generator θ.
        images: Of the image discriminator φ.
        codes: Of the code discriminator ω.
        distance: Mean over images and pixels of abs(x − G(ẑ)), for reporting.
    """

    encoder: Tensor
    decoder: Tensor
    images: Tensor
    codes: Tensor
    distance: Tensor


def losses(
    autoencoder: AlphaGan,
    discriminators: Discriminators,
    images: Tensor,
    posterior_noise: Tensor,
    prior_codes: Tensor,
    reconstruction_weight: float,
) -> Losses:
    """Return the losses of one batch (Rosca et al. 2017, algorithm 1, its four updates).

    With ẑ ~ q(z | x), z ~ N(0, I), λ the reconstruction weight, and means over the batch:

    - encoder:  λ‖x − G(ẑ)‖₁ − log C(ẑ) + log(1 − C(ẑ))
    - decoder:  λ‖x − G(ẑ)‖₁ + R(G(ẑ)) + R(G(z)), where R(x) = −log D(x) + log(1 − D(x))
    - images:   −log D(x) − log(1 − D(G(ẑ))) − log(1 − D(G(z)))
    - codes:    −log C(z) − log(1 − C(ẑ))

    C is the probability that a code is from the prior; the first version of the paper prints its
    two terms swapped, which would drive the encoder away from the prior. The discriminators return
    log-odds, so R is exactly their negative and the rest are softplus functions.

    Args:
        autoencoder: Encoder and decoder.
        discriminators: Their opponents.
        images: (N, C, H, W) in [0, 1].
        posterior_noise: (N, code_size) standard normal, the ε of ẑ.
        prior_codes: (N, code_size) standard normal, z.
        reconstruction_weight: λ, at least 0.

    Returns:
        The losses. Each depends on all networks: differentiate each by its own network only.
    """
    mean, deviation = autoencoder.posterior(images)
    codes = mean + deviation * posterior_noise
    rebuilt, generated = autoencoder.decoder(codes), autoencoder.decoder(prior_codes)
    difference = (images - rebuilt).abs()
    reconstruction = reconstruction_weight * difference.flatten(1).sum(dim=1).mean()
    code_odds = discriminators.codes(codes)
    rebuilt_odds = discriminators.images(rebuilt)
    generated_odds = discriminators.images(generated)
    return Losses(
        encoder=reconstruction - code_odds.mean(),
        decoder=reconstruction - rebuilt_odds.mean() - generated_odds.mean(),
        images=functional.softplus(-discriminators.images(images)).mean()
        + functional.softplus(rebuilt_odds).mean()
        + functional.softplus(generated_odds).mean(),
        codes=functional.softplus(-discriminators.codes(prior_codes)).mean()
        + functional.softplus(code_odds).mean(),
        distance=difference.detach().mean(),
    )


def train(
    images: Tensor,
    *,
    code_size: int = 32,
    maps: int = 16,
    reconstruction_weight: float = 1.0,
    epochs: int = 10,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    seed: int,
    device: torch.device,
    after_epoch: Callable[[int, float], None],
    unfinished: Unfinished | None = None,
) -> AlphaGan:
    """Train an α-GAN; all four networks take a step of Adam (β 0.5, 0.9) on every batch.

    Args:
        images: (N, C, H, W) uint8, N at least 1.
        code_size: Dimensions of z.
        maps: Feature maps, see `AlphaGan`.
        reconstruction_weight: λ of `losses`; ‖·‖₁ is a sum over pixels.
        epochs: Passes over the images, at least 1.
        batch_size: Images per step.
        learning_rate: Of Adam, for every network.
        seed: Seed of the initial weights, the order of the images and all noise.
        device: Where to train; the random numbers are those of the CPU on any device.
        after_epoch: Called with the epoch (from 1) and its mean absolute reconstruction error.
        unfinished: Keeps where the training stands.

    Returns:
        Encoder and decoder, in eval mode, on the device.
    """
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = images.shape[1:]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        autoencoder = AlphaGan(channels, height, width, code_size, maps)
        discriminators = Discriminators(channels, height, width, code_size, maps)
        initialise(autoencoder)
        initialise(discriminators)
    autoencoder.to(device).train()
    discriminators.to(device)
    players: dict[str, nn.Module] = {
        "encoder": autoencoder.encoder,
        "decoder": autoencoder.decoder,
        "images": discriminators.images,
        "codes": discriminators.codes,
    }
    weights = {name: list(player.parameters()) for name, player in players.items()}
    optimizers = {
        name: torch.optim.Adam(own, lr=learning_rate, betas=(0.5, 0.9))
        for name, own in weights.items()
    }
    networks = nn.ModuleList([autoencoder, discriminators])
    standing = networks, list(optimizers.values()), None, generator
    history = unfinished.resume(*standing) if unfinished else []
    for epoch in range(len(history) + 1, epochs + 1):
        distance_sum = torch.zeros((), dtype=torch.float64, device=device)
        for rows in torch.randperm(len(images), generator=generator).split(batch_size):
            noise, prior = torch.randn(2, len(rows), code_size, generator=generator).to(device)
            loss = losses(
                autoencoder,
                discriminators,
                to_float(images[rows]).to(device),
                noise,
                prior,
                reconstruction_weight,
            )
            # All gradients before any step, so that every network answers the same opponents.
            for name, own in weights.items():
                gradients = torch.autograd.grad(getattr(loss, name), own, retain_graph=True)
                for weight, gradient in zip(own, gradients, strict=True):
                    weight.grad = gradient
            for optimizer in optimizers.values():
                optimizer.step()
            distance_sum += loss.distance * len(rows)
        error = distance_sum.item() / len(images)
        history.append({"epoch": epoch, "error": error})
        if unfinished:
            unfinished.keep(history, *standing)
        after_epoch(epoch, error)
    return autoencoder.eval()
