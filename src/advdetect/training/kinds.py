"""What a kind of training is to the step: an objective of the loop, or a method of its own."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from advdetect.errors import explain_failure
from advdetect.imports import locate
from advdetect.requirements.training import OPTIONS
from advdetect.training.loop import Objective, train
from advdetect.training.standard import Standard
from advdetect.training.unfinished import History, Unfinished

#: What `model.training` holds, whatever the kind, beside `OPTIONS`.
TRAINING = ("epochs", "batch_size", "learning_rate", "weight_decay")


class OwnMethod(Protocol):
    """A kind that is no loss: it cannot be called, and trains the model itself.

    Attributes:
        rounds: How often it trains for the number of epochs.
    """

    rounds: int

    def train(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        seed: int,
        after_epoch: Callable[[dict[str, Any]], None],
        unfinished: Unfinished | None,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        **options: Any,
    ) -> History:
        """Train the model and return how it went; arguments and result as of `loop.train`.

        The options are those of `OPTIONS`.
        """


Kind = Objective | OwnMethod


def make(training: Mapping[str, Any], others: Mapping[str, Any]) -> Kind:
    """Make a kind of training with its settings; without a kind it is standard training.

    Args:
        training: Specification of the training: of the loop, and of the kind with ``_target_``.
        others: The other models that it needs, in eval mode, by the settings that name them;
            for one of them perhaps weights by name, from a file.
    """
    target = training.get("_target_", f"{Standard.__module__}.{Standard.__qualname__}")
    of_loop = {*TRAINING, *OPTIONS}
    own = {k: v for k, v in training.items() if k not in of_loop and not k.startswith("_")}
    with explain_failure(f"training: {target}"):
        kind: Kind = locate(target)(**own, **others)
    return kind


def epochs_of(kind: Kind, training: Mapping[str, Any]) -> int:
    """Return how many epochs there are in all."""
    return int(training["epochs"]) * (1 if callable(kind) else kind.rounds)


def train_as(
    kind: Kind,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    training: Mapping[str, Any],
    **more: Any,
) -> History:
    """Train a model as its kind says; changes the model.

    Args:
        kind: As of `make`.
        model: Returns logits; on its device.
        images: (N, C, H, W) uint8.
        labels: (N,) int64.
        training: Specification of the training.
        more: seed, after_epoch and unfinished; see `loop.train`.
    """
    set_here = OPTIONS | dict(training)
    settings = {name: set_here[name] for name in (*TRAINING, *OPTIONS)} | more
    if not callable(kind):
        return kind.train(model, images, labels, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        images, labels = begun(kind, model, images, labels)
    return train(model, images, labels, objective=kind, **settings)


def begun(
    objective: Objective, model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the images and the labels that are trained on: as ``begin`` says, where there is one.

    See `loop.Objective`.
    """
    begin = getattr(objective, "begin", None)
    return begin(model, images, labels) if begin else (images, labels)
