"""A user's own weights, from checkpoints as people have them; nothing in them is run."""

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from advdetect.errors import AdvdetectError, one_line
from advdetect.requirements.weights import SAFETENSORS, say_other_classes

#: How to find weights that are elsewhere in a file.
WHERE = "model.weights_key and model.weights_prefix say where in the file they are"
_SHOWN = 3  # names in an error, of what may be hundreds


def load_weights(
    model: nn.Module,
    path: str | Path,
    key: str | None = None,
    prefix: str | None = None,
    *,
    classes: int | None = None,
) -> None:
    """Load weights into a model; arguments as of `read_weights`.

    Args:
        model: The model.
        path: The file.
        key: Where in it the weights are.
        prefix: What their names begin with.
        classes: How many the data has, for the sentence if that is all that is wrong.

    Raises:
        AdvdetectError: The file is missing, unreadable, holds more than tensors, or its tensors are
            not those of the model.
    """
    own = model.state_dict()
    state = read_weights(path, own, key, prefix)
    if classes and (found := _other_classes(state, own, classes)):
        raise AdvdetectError(f"model.weights: {say_other_classes(str(path), found, classes)}")
    if problem := difference(state, own):
        raise AdvdetectError(
            f"model.weights: {path} does not hold the weights of {type(model).__name__}: "
            f"{problem}. Choose the model's arguments that they were made with; {WHERE}."
        )
    model.load_state_dict(state)


def read_weights(
    path: str | Path, own: Iterable[str], key: str | None = None, prefix: str | None = None
) -> dict[str, Tensor]:
    """Read weights by the names that a model has for them; others may be among them.

    Args:
        path: ``.safetensors``, or what ``torch.save`` has written of a state dict, or of a
            checkpoint that holds one. It is read without running what a pickle might name.
        own: The names of the model's weights. What they all begin with and those in the file do
            not, where a model wraps another, is put before these.
        key: Where in the checkpoint the state dict is; None where it is all that there is, or the
            only mapping of tensors in it.
        prefix: What each name in it begins with and the model's do not, such as ``module.``; None
            where all begin with the same, or with nothing.

    Raises:
        AdvdetectError: The file is missing or unreadable, or holds more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise AdvdetectError(f"model.weights: the file {path} does not exist.")
    state = _state_in(_read(path), key, path)
    own = list(own)
    within = (name.partition(".")[2] for name in own)  # of a model that wraps another
    state = _without_prefix(state, {*own, *within}, prefix, path)
    before = _common_prefix(own, state)
    return {f"{before}{name}": values for name, values in state.items()}


def _read(path: Path) -> Any:
    try:
        if path.suffix == SAFETENSORS:
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # each format has its own classes
        if "weights_only" in str(error):
            raise AdvdetectError(
                f"model.weights: {path} holds more than tensors, and reading that could run code: "
                f"save model.state_dict() instead, or a safetensors file."
            ) from error
        raise AdvdetectError(
            f"model.weights: {path} cannot be read as weights ({one_line(error)})."
        ) from error


def _state_in(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    if key is not None:
        for part in key.split("."):
            if not isinstance(content, Mapping) or part not in content:
                raise AdvdetectError(
                    f"model.weights_key: {path} has no {key}; it holds {_names(content)}."
                )
            content = content[part]
    if _is_state(content):
        return dict(content)
    states = [k for k in content if _is_state(content[k])] if isinstance(content, Mapping) else []
    if len(states) == 1 and key is None:
        return dict(content[states[0]])
    raise AdvdetectError(
        f"model.weights: {path} holds {_names(content)}: name the weights among them with "
        f"model.weights_key."
        if states
        else f"model.weights: {path} holds no state dict, but {_names(content)}."
    )


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(name, str) for name in content)
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _without_prefix(
    state: dict[str, Tensor], own: Container[str], prefix: str | None, path: Path
) -> dict[str, Tensor]:
    if prefix is None:
        prefix = _common_prefix(state, own)
    chosen = {name.removeprefix(prefix): v for name, v in state.items() if name.startswith(prefix)}
    if not chosen:
        raise AdvdetectError(
            f"model.weights_prefix: no weight in {path} begins with {prefix}; they are "
            f"{listed(state)}."
        )
    return chosen


def _common_prefix(state: Iterable[str], own: Container[str]) -> str:
    """Return what all names begin with, where without it they are among other ones."""
    first = next(iter(state))
    for start in (i + 1 for i, letter in enumerate(first) if letter == "."):
        prefix = first[:start]
        if first[start:] in own and all(name.startswith(prefix) for name in state):
            return prefix if first not in own else ""
    return ""


def _other_classes(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], classes: int
) -> int | None:
    """Return how many classes weights are of, if that is how they differ from the model's."""
    if state.keys() != own.keys():
        return None
    pairs = [(state[name].shape, own[name].shape) for name in own]
    others = {(a[:1], b[:1], a[1:] == b[1:]) for a, b in pairs if a != b}
    if len(others) != 1:
        return None
    ((found, wanted, is_alike),) = others
    return found[0] if is_alike and wanted == (classes,) and len(found) else None


def difference(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Say how the names and shapes of weights differ from the model's; nothing if they do not."""
    parts = []
    if missing := [name for name in own if name not in state]:
        parts.append(f"it lacks {listed(missing)}")
    if unknown := [name for name in state if name not in own]:
        parts.append(f"it has {listed(unknown)}, which the model has not")
    shapes = [
        f"{name} {tuple(state[name].shape)}, in the model {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if shapes:
        parts.append(f"other shapes: {listed(shapes, '; ')}")
    return "; ".join(parts)


def _names(content: Any) -> str:
    if isinstance(content, Mapping):
        return listed([str(key) for key in content]) if content else "nothing"
    return f"a {type(content).__name__}"


def listed(names: Iterable[str], separator: str = ", ", shown: int = _SHOWN) -> str:
    """Return the first of some names as a text, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return separator.join(names[:shown]) + more
