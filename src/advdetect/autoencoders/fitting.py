"""Fitting auto-encoders on training images, and keeping them as named tensors."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.autoencoders import alpha_gan_training, denoising
from advdetect.autoencoders.alpha_gan import AlphaGan
from advdetect.autoencoders.architecture import AutoEncoder, DenoisingAutoEncoder
from advdetect.errors import AdvdetectError
from advdetect.inference import map_batches, to_float
from advdetect.requirements.held_out import check_number, held_out_count
from advdetect.seeding import derive_seed
from advdetect.training.unfinished import Part, Unfinished

Specification = Mapping[str, Any]
#: Called with the auto-encoder's number (from 1), the epoch (from 1) and its training error.
AfterEpoch = Callable[[int, int, float], None]

_NONE = torch.empty(0, dtype=torch.float64)
_TRAIN: dict[str, Callable[..., AutoEncoder]] = {
    "denoising": denoising.train,
    "alpha_gan": alpha_gan_training.train,
}
_CLASSES: dict[str, type[AutoEncoder]] = {"denoising": DenoisingAutoEncoder, "alpha_gan": AlphaGan}

#: Auto-encoders I and II of MagNet on MNIST (Meng & Chen 2017).
MNIST: tuple[Specification, ...] = (
    {"kind": "denoising", "structure": [3, "average", 3], "noise": 0.1},
    {"kind": "denoising", "structure": [3], "noise": 0.1},
)


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
    after_epoch: AfterEpoch | None = None,
    unfinished: Unfinished | None = None,
) -> dict[str, Tensor]:
    """Train auto-encoders on a part of the training images and hold out the rest.

    The held-out images are for thresholds and validation: nothing is fitted on them. Nothing
    depends on the classifier or on the labels.

    Args:
        model: Says on which device to train; not used otherwise.
        images: (N, C, H, W) uint8 training images, on the CPU.
        labels: Not used.
        batch_size: Images per forward pass of the validation; that of the training is a
            parameter of each auto-encoder, since the result depends on it.
        seed: Seed of the split and of every training.
        autoencoders: One specification each: ``kind``, ``denoising`` or ``alpha_gan``, and the
            parameters of `denoising.train` or `alpha_gan_training.train`.
        epochs: Epochs of each auto-encoder that does not name its own.
        held_out: Share of the images to hold out, in (0, 1).
        after_epoch: Called after each epoch of each auto-encoder, for showing progress.
        unfinished: Keeps where the training stands; the auto-encoders are its parts.

    Returns:
        All on the CPU: ``held_out`` int64 sorted positions of the images held out,
        ``held_out_error`` (auto-encoders,) float64 mean squared error on them, without noise, and
        the auto-encoders, for `restore`.

    Raises:
        AdvdetectError: A specification or the share is impossible.
    """
    trainers = [_trainer(specification, epochs) for specification in autoencoders]
    if not trainers:
        raise AdvdetectError("autoencoders: the list is empty; name at least one.")
    device = next(chain(model.parameters(), model.buffers()), images).device
    trained, left_out = split_positions(len(images), held_out, seed)
    training, validation = images[trained], images[left_out]
    part = (unfinished and unfinished.last_part()) or Part(1, [], {"held_out_error": _NONE})
    for number, (kind, train) in enumerate(trainers[part.number - 1 :], start=part.number):

        def report(epoch: int, error: float, number: int = number) -> None:
            if after_epoch:
                after_epoch(number, epoch, error)

        autoencoder = train(
            training,
            seed=derive_seed(seed, "autoencoder", str(number)),
            device=device,
            after_epoch=report,
            unfinished=unfinished.of(part) if unfinished else None,
        )
        error = _mean_squared_error(autoencoder, validation, batch_size, device)
        fitted = {**part.tensors, **_to_tensors(number, kind, autoencoder)}
        fitted["held_out_error"] = torch.cat([fitted["held_out_error"], error[None]])
        part = Part(number + 1, [], fitted)
    return {**part.tensors, "held_out": left_out}


def restore(fitted: Mapping[str, Tensor]) -> list[AutoEncoder]:
    """Return the auto-encoders that `fit` trained, in order, in eval mode, with frozen weights.

    Args:
        fitted: What `fit` returned, on any device; the auto-encoders stay there and share its
            memory.

    Raises:
        AdvdetectError: It holds no auto-encoder.
    """
    autoencoders: list[AutoEncoder] = []
    while (recipe_name := f"{len(autoencoders) + 1}.recipe") in fitted:
        recipe = json.loads(bytes(fitted[recipe_name].tolist()))
        prefix = recipe_name.removesuffix("recipe") + "weights."
        state = {
            name.removeprefix(prefix): tensor
            for name, tensor in fitted.items()
            if name.startswith(prefix)
        }
        # Made without memory, so that no random first weights are drawn.
        with torch.device("meta"):
            autoencoder = _CLASSES[recipe.pop("kind")](**recipe)
        autoencoder.load_state_dict(state, assign=True)
        autoencoders.append(autoencoder.requires_grad_(False).eval())
    if not autoencoders:
        raise AdvdetectError("The fitted model holds no auto-encoder: fit the feature magnet.")
    return autoencoders


def select(autoencoders: Sequence[AutoEncoder], number: int) -> AutoEncoder:
    """Return the auto-encoder of that number, from 1.

    Raises:
        AdvdetectError: There is none.
    """
    check_number(number, len(autoencoders))
    return autoencoders[number - 1]


def split_positions(count: int, held_out: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split the positions 0 … count − 1 at random into those to train on and those held out.

    Args:
        count: Number of images.
        held_out: Share to hold out, in (0, 1).
        seed: Seed of the split.

    Returns:
        Sorted int64 positions of the images to train on, and of those held out.

    Raises:
        AdvdetectError: The share is impossible, or leaves one part empty.
    """
    number = held_out_count(count, held_out)
    generator = torch.Generator().manual_seed(derive_seed(seed, "held-out"))
    order = torch.randperm(count, generator=generator)
    return order[number:].sort().values, order[:number].sort().values


def _trainer(specification: Specification, epochs: int) -> tuple[str, Callable[..., AutoEncoder]]:
    """Return the kind of an auto-encoder, and its training function with its parameters."""
    arguments = {"epochs": epochs, **specification}
    kind = arguments.pop("kind", None)
    if kind not in _TRAIN:
        raise AdvdetectError(
            f"autoencoders: the kind {kind} is unknown; use {' or '.join(_TRAIN)}."
        )
    train = _TRAIN[kind]
    try:
        given = dict.fromkeys(("seed", "device", "after_epoch", "unfinished"))
        inspect.signature(train).bind(None, **arguments, **given)
    except TypeError as error:
        raise AdvdetectError(
            f"autoencoders: the kind {kind} does not take these parameters ({error}); correct them."
        ) from error

    def bound(images: Tensor, **others: Any) -> AutoEncoder:
        return train(images, **arguments, **others)

    return kind, bound


def _to_tensors(number: int, kind: str, autoencoder: AutoEncoder) -> dict[str, Tensor]:
    # A fitted model is tensors only, so what is needed to build it again is one, too: JSON bytes.
    recipe = json.dumps({"kind": kind, **autoencoder.recipe}).encode()
    weights = {
        f"{number}.weights.{name}": tensor.detach().cpu().contiguous()
        for name, tensor in autoencoder.state_dict().items()
    }
    return {f"{number}.recipe": torch.tensor(list(recipe), dtype=torch.uint8), **weights}


@torch.no_grad()
def _mean_squared_error(
    autoencoder: AutoEncoder, images: Tensor, batch_size: int, device: torch.device
) -> Tensor:
    def squares(stored: Tensor) -> Tensor:
        batch = to_float(stored)
        return (batch - autoencoder(batch)).double().square().flatten(1).mean(dim=1)

    return map_batches(squares, images, batch_size, device).mean()
