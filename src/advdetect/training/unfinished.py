"""A training that has not ended: where it stands, beside the model's file, after each epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.io import read_tensors, write_tensors

History = list[dict[str, Any]]
_MODEL, _OPTIMIZER, _RANDOM, _PART = "model/", "optimizer/", "random/", "part/"
#: What the bits of a training depend on, of a step's provenance.
_FACTS = ("key", "device", "threads", "packages", "hardware")


@dataclass(frozen=True)
class Part:
    """One of several trainings that follow each other, such as a round of a substitute.

    Attributes:
        number: Which one.
        history: That of the parts before.
        tensors: What it starts from, by name.
    """

    number: int
    history: History
    tensors: Mapping[str, Tensor]


class Unfinished:
    """Where a training stands: weights, optimizers, schedule, random state and history.

    Args:
        output: The model's file, beside which it lies under a hidden name.
        facts: Of its provenance. What a training has left that depended on anything else is not
            taken up.
        part: Which part of the training it is, where there are several.
    """

    def __init__(
        self, output: str | Path, facts: Mapping[str, Any], part: Part | None = None
    ) -> None:
        self._output = output = Path(output)
        self._path = output.with_name(f".{output.name}.partial")
        self._facts = {name: facts[name] for name in _FACTS if name in facts}
        self._part = part

    def of(self, part: Part) -> "Unfinished":
        """Return where a part of the training stands; it lies in the place of the one before."""
        return Unfinished(self._output, self._facts, part)

    def last_part(self) -> Part | None:
        """Return the part that was left; None where nothing is there that could be taken up."""
        tensors, standing = self._left()
        if "part" not in standing:
            return None
        return Part(standing["part"], standing["before"], _below(tensors, _PART))

    def keep(
        self,
        history: History,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Write where the training stands, in place of where it stood.

        Args:
            history: The epochs so far.
            model: All that is trained.
            optimizers: What trains it.
            schedule: Of the learning rate, where it changes.
            generator: Where the random numbers come from; None: torch's own.
        """
        states = [optimizer.state_dict() for optimizer in optimizers]
        tensors = {f"{_MODEL}{name}": tensor.clone() for name, tensor in model.state_dict().items()}
        for which, state in enumerate(states):
            for number, values in state["state"].items():
                prefix = f"{_OPTIMIZER}{which}/{number}/"
                tensors |= {f"{prefix}{name}": value for name, value in values.items()}
        random = _random_state(model, generator)
        tensors |= {f"{_RANDOM}{name}": value for name, value in random.items()}
        standing = {
            "key": self._facts.get("key", ""),  # of the store's folder, in which it lies
            "training": self._facts,
            "history": history,
            "groups": [state["param_groups"] for state in states],
            "schedule": schedule.state_dict() if schedule else None,
        }
        if self._part is not None:
            tensors |= {f"{_PART}{name}": value for name, value in self._part.tensors.items()}
            standing |= {"part": self._part.number, "before": self._part.history}
        write_tensors(self._path, tensors, standing)

    def resume(
        self,
        model: nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
        generator: torch.Generator | None = None,
    ) -> History:
        """Take up what was left: the arguments and the random state become what they were.

        Args:
            model: As of `keep`, like the others.
            optimizers: As of `keep`.
            schedule: As of `keep`.
            generator: As of `keep`.

        Returns:
            The history so far, empty where nothing is there that could be taken up.
        """
        tensors, standing = self._left()
        if not standing or standing.get("part") != (self._part and self._part.number):
            return []
        model.load_state_dict(_below(tensors, _MODEL))
        for which, optimizer in enumerate(optimizers):
            state = _below(tensors, f"{_OPTIMIZER}{which}/")
            _resume_optimizer(optimizer, state, standing["groups"][which])
        if schedule:
            schedule.load_state_dict(standing["schedule"])
        random = _below(tensors, _RANDOM)
        if generator:
            generator.set_state(random["generator"])
            return list(standing["history"])
        torch.set_rng_state(random["cpu"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], _device(model))
        return list(standing["history"])

    def _left(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what this training has left, nothing where it is not there or damaged."""
        try:
            tensors, standing = read_tensors(self._path)
        except AdvdetectError:  # from the beginning
            return {}, {}
        return (tensors, standing) if standing.get("training") == self._facts else ({}, {})

    def remove(self) -> None:
        """Leave nothing, where the training has ended."""
        self._path.unlink(missing_ok=True)


def _resume_optimizer(
    optimizer: torch.optim.Optimizer, values: Mapping[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in values.items():
        number, _, key = name.partition("/")
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            if value.shape == parameter.shape:  # with the strides of the weights, as it had
                own[name] = torch.empty_like(parameter).copy_(value)


def _random_state(model: nn.Module, generator: torch.Generator | None) -> dict[str, Tensor]:
    if generator:
        return {"generator": generator.get_state()}
    state = {"cpu": torch.get_rng_state()}
    if _device(model).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(_device(model))
    return state


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
