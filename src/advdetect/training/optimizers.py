"""What the loop of a training may be set to: optimizer, schedule and precision."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.training.muon import Muon

OPTIMIZERS = ("adamw", "sgd", "muon")
SCHEDULES = ("one_cycle", "cosine")
PRECISIONS = ("float32", "bfloat16")


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float,
    momentum: float,
    weight_decay: float,
    fused: bool,
) -> torch.optim.Optimizer:
    """Return an optimizer of some weights.

    Args:
        name: ``adamw``, whose weight decay is decoupled from the gradient, ``sgd`` or ``muon``, see
            `Muon`.
        parameters: The weights.
        learning_rate: The highest of the schedule.
        momentum: Of ``sgd`` and ``muon``, in [0, 1); AdamW has its own.
        weight_decay: Factor of the weights in each step.
        fused: Whether AdamW's step is one kernel.

    Raises:
        AdvdetectError: There is none of that name.
    """
    _check("optimizer", name, OPTIMIZERS)
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay
        )
    if name == "muon":
        return Muon(parameters, lr=learning_rate, momentum=momentum, weight_decay=weight_decay)
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=fused)


def make_schedule(
    name: str, optimizer: torch.optim.Optimizer, learning_rate: float, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return how the learning rate goes over the steps of a training.

    Args:
        name: ``one_cycle``, up from a 25th in three tenths of the steps and down to nothing (Smith
            and Topin 2018), with AdamW also of its momentum; or ``cosine``, from the highest down.
        optimizer: What takes the steps.
        learning_rate: The highest.
        steps: How many there are.

    Raises:
        AdvdetectError: There is none of that name.
    """
    _check("schedule", name, SCHEDULES)
    if name == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=learning_rate,
        total_steps=steps,
        cycle_momentum=isinstance(optimizer, torch.optim.AdamW),  # that of others is a setting
    )


def in_precision(name: str, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which losses are computed; weights and their steps are float32.

    Args:
        name: ``float32``, or ``bfloat16`` for what PyTorch's autocast computes in 16 bits.
        device: Where they are computed.

    Raises:
        AdvdetectError: There is none of that name.
    """
    _check("precision", name, PRECISIONS)
    if name == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def is_emulated(name: str, device: torch.device) -> bool:
    """Whether a processor has to emulate a precision, which makes it many times slower."""
    native = device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return name == "bfloat16" and not native


def _check(setting: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise AdvdetectError(f"model.training.{setting}: {name} is none of {', '.join(known)}.")
