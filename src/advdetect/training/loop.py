"""The loop of every training, repeatable to the bit for the same seed, threads and machine."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.inference import predict_logits, to_float
from advdetect.training.optimizers import in_precision, make_optimizer, make_schedule
from advdetect.training.unfinished import History, Unfinished


class Objective(Protocol):
    """What a kind of training minimises, and on which images.

    It may have a method ``begin(model, images, labels)``, which is called once before the first
    epoch and returns the (N, C, H, W) uint8 images and the labels to train on. It is called again
    where a killed training goes on, with the same random numbers, torch's own.
    """

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch, and the logits by which its accuracy is counted.

        Random numbers are torch's own, which the loop seeds and keeps.

        Args:
            model: The model, in training mode.
            images: (N, C, H, W) float32 in [0, 1].
            labels: (N,) int64.
        """


def train(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    seed: int,
    optimizer: str,
    momentum: float,
    schedule: str,
    precision: str,
    channels_last: bool,
    after_epoch: Callable[[dict[str, Any]], None] = lambda epoch: None,
    unfinished: Unfinished | None = None,
) -> History:
    """Train a model; changes it.

    The global random state of torch is seeded here, since dropout knows no other, and restored.
    A training that was killed goes on after its last epoch, and ends with the same bits.

    Args:
        model: Returns logits; already on its device, where it stays.
        images: (N, C, H, W) training images, uint8 or float32 in [0, 1].
        labels: (N,) int64.
        objective: What is minimised.
        epochs: Passes over the images, at least 1.
        batch_size: Images per step.
        learning_rate: Highest learning rate of the schedule.
        weight_decay: Of the optimizer.
        seed: Seed of the order of the images, of dropout and of what the objective draws.
        optimizer: As of `make_optimizer`.
        momentum: As of `make_optimizer`.
        schedule: As of `make_schedule`.
        precision: As of `in_precision`.
        channels_last: Whether weights of convolutions have the channels innermost meanwhile, which
            some processors compute faster.
        after_epoch: Called with each epoch, as it stands in what is returned.
        unfinished: Keeps where the training stands.

    Returns:
        By epoch its number from 1, ``epoch``, the mean ``loss`` and the running ``train_accuracy``.

    Raises:
        AdvdetectError: The loss of an epoch is no finite number, or a name is unknown.
    """
    device = next(model.parameters()).device
    images, labels = images.to(device), labels.to(device)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    steps = make_optimizer(
        optimizer,
        model.parameters(),
        learning_rate=learning_rate,
        momentum=momentum,
        weight_decay=weight_decay,
        fused=device.type == "cuda",
    )
    sizes = batch_sizes(len(images), batch_size)
    rate = make_schedule(schedule, steps, learning_rate, epochs * len(sizes))
    cuda_devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda_devices):
        torch.manual_seed(seed)
        history = unfinished.resume(model, [steps], rate) if unfinished else []
        for epoch in range(len(history) + 1, epochs + 1):
            model.train()
            loss_sum = torch.zeros((), device=device)
            correct = torch.zeros((), device=device)
            for rows in torch.randperm(len(images)).to(device).split(sizes):
                with in_precision(precision, device):
                    loss, logits = objective(model, to_float(images[rows]), labels[rows])
                steps.zero_grad(set_to_none=True)
                loss.backward()
                steps.step()
                rate.step()
                loss_sum += loss.detach() * len(rows)
                correct += (logits.detach().argmax(1) == labels[rows]).sum()
            model.eval()
            mean_loss = loss_sum.item() / len(images)
            if not math.isfinite(mean_loss):
                raise AdvdetectError(
                    f"The training has diverged: the mean loss of epoch {epoch} is {mean_loss}. "
                    f"Take a lower model.training.learning_rate than {learning_rate}."
                )
            accuracy_now = correct.item() / len(images)
            history.append({"epoch": epoch, "loss": mean_loss, "train_accuracy": accuracy_now})
            if unfinished:
                unfinished.keep(history, model, [steps], rate)
            after_epoch(history[-1])
    if channels_last:  # as a model that is read from its file
        model.to(memory_format=torch.contiguous_format)
    return history


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """Return the sizes of batches of N images; none is of one image, which batch norm refuses."""
    sizes = [batch_size] * (count // batch_size)
    rest = count % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the share of (N, C, H, W) uint8 images that the model classifies correctly."""
    device = next(model.parameters()).device
    # Converted batch by batch: a whole split of floats would be four times the memory.
    logits = predict_logits(lambda batch: model(to_float(batch)), images, device=device)
    return (logits.argmax(1) == labels).double().mean().item()
