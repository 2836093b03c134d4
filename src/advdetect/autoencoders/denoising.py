"""Training a denoising auto-encoder, repeatable to the bit for the same seed and machine."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from advdetect.autoencoders.architecture import DenoisingAutoEncoder, add_noise, initialise
from advdetect.inference import to_float
from advdetect.training.unfinished import Unfinished


def train(
    images: Tensor,
    *,
    structure: Sequence[int | str],
    noise: float = 0.1,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int,
    device: torch.device,
    after_epoch: Callable[[int, float], None],
    unfinished: Unfinished | None = None,
) -> DenoisingAutoEncoder:
    """Train ae to map clip(x + noise) to x (Meng & Chen 2017, and their code).

    The mean squared error, by Adam. Noise is drawn anew in every epoch (their code draws it once);
    their penalty of 1e-9 on activations is left out.

    Args:
        images: (N, C, H, W) uint8, N at least 1.
        structure: Of the auto-encoder, see `DenoisingAutoEncoder`.
        noise: Standard deviation of the Gaussian noise: 0.1 for MNIST, 0.025 for CIFAR-10.
        epochs: Passes over the images, at least 1.
        batch_size: Images per step.
        learning_rate: Of Adam.
        seed: Seed of the initial weights, of the order of the images and of the noise.
        device: Where to train; the random numbers are those of the CPU on any device.
        after_epoch: Called with the epoch (from 1) and its mean squared error.
        unfinished: Keeps where the training stands.

    Returns:
        The auto-encoder, in eval mode, on the device.
    """
    # A generator of its own, so that no global random state is read or changed; only layers draw
    # their first weights from the global one, which is put back.
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        autoencoder = DenoisingAutoEncoder(structure, images.shape[1], noise)
        initialise(autoencoder)
    autoencoder.to(device).train()
    images = images.to(device)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=learning_rate)
    standing = autoencoder, [optimizer], None, generator
    history = unfinished.resume(*standing) if unfinished else []
    for epoch in range(len(history) + 1, epochs + 1):
        loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        for rows in torch.randperm(len(images), generator=generator).split(batch_size):
            clean = to_float(images[rows.to(device)])
            disturbance = torch.randn(clean.shape, generator=generator).to(device)
            loss = functional.mse_loss(autoencoder(add_noise(clean, disturbance, noise)), clean)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(rows)
        error = loss_sum.item() / len(images)
        history.append({"epoch": epoch, "error": error})
        if unfinished:
            unfinished.keep(history, *standing)
        after_epoch(epoch, error)
    return autoencoder.eval()
