"""A training that has not ended: where it stands, beside the model's file, after each epoch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.io import read_tensors, write_tensors

History = list[dict[str, Any]]
_MODEL, _OPTIMIZER, _RANDOM, _PART = "model/", "optimizer/", "random/", "part/"


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
    """Where a training stands: weights, optimizer, schedule, random state and history.

    Args:
        output: The model's file, beside which it lies under a hidden name.
        facts: All that the training depends on. What another training has left is not taken up.
        part: Which part of the training it is, where there are several.
    """

    def __init__(
        self, output: str | Path, facts: Mapping[str, Any], part: Part | None = None
    ) -> None:
        self._output = output = Path(output)
        self._path = output.with_name(f".{output.name}.partial")
        self._facts = dict(facts)
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
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> None:
        """Write where the training stands, in place of where it stood."""
        state = optimizer.state_dict()
        tensors = {f"{_MODEL}{name}": tensor.clone() for name, tensor in model.state_dict().items()}
        for number, values in state["state"].items():
            tensors |= {f"{_OPTIMIZER}{number}/{name}": value for name, value in values.items()}
        tensors |= {f"{_RANDOM}{name}": value for name, value in _random_state(model).items()}
        standing = {
            "key": self._facts.get("key", ""),  # of the store's folder, in which it lies
            "training": self._facts,
            "history": history,
            "groups": state["param_groups"],
            "schedule": schedule.state_dict(),
        }
        if self._part is not None:
            tensors |= {f"{_PART}{name}": value for name, value in self._part.tensors.items()}
            standing |= {"part": self._part.number, "before": self._part.history}
        write_tensors(self._path, tensors, standing)

    def resume(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> History:
        """Take up what was left: the arguments and the random state become what they were.

        Returns:
            The history so far, empty where nothing is there that could be taken up.
        """
        tensors, standing = self._left()
        if not standing or standing.get("part") != (self._part and self._part.number):
            return []
        model.load_state_dict(_below(tensors, _MODEL))
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(tensors, _OPTIMIZER).items():
            number, _, key = name.partition("/")
            state.setdefault(int(number), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": standing["groups"]})
        for parameter, values in optimizer.state.items():
            for name, value in values.items():
                if value.shape == parameter.shape:  # with the strides of the weights, as it had
                    values[name] = torch.empty_like(parameter).copy_(value)
        schedule.load_state_dict(standing["schedule"])
        random = _below(tensors, _RANDOM)
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


def _random_state(model: nn.Module) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if _device(model).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(_device(model))
    return state


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: t for name, t in tensors.items() if name.startswith(prefix)}
