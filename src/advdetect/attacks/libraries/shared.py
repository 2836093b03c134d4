"""What the adapters of other libraries share: isolation and verification.

A library's attack gets copies of the model and of the tensors, so whatever it does to them, the
caller's stay as they were. It runs with global random numbers of its own, prints nothing, and
nothing that it says of its success is believed.
"""

import copy
import inspect
import io
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advdetect.attacks.gradient import per_image
from advdetect.attacks.logits import margin, rounding
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.result import AttackResult
from advdetect.attacks.targets import choose_target
from advdetect.errors import AdvdetectError, one_line
from advdetect.randomness import SampleGenerator

#: Maps a model, (N, C, H, W) images and (N,) classes, the targets if there are any and else the
#: labels, to the perturbed images.
ForeignAttack = Callable[["FrozenCopy", Tensor, Tensor], Tensor]


class FrozenCopy(nn.Module):
    """A copy of a model without gradients of its weights.

    Args:
        model: Classifier that returns logits, in eval mode; not changed.
        dtype: What the model takes; a library's images are converted (some go over to float64).

    Attributes:
        model: The copy.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.training = model.training  # libraries ask, and a new module is in training mode

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's logits: (N, classes) for (N, C, H, W) images."""
        return self.model(images.to(self._dtype))


def find_attack(module: ModuleType, method: str, is_attack: Callable[[object], bool]) -> Any:
    """Return an attack of a module by its name.

    Raises:
        AdvdetectError: There is no such attack; the message lists those that there are.
    """
    found = getattr(module, method, None)
    if is_attack(found):
        return found
    names = sorted(name for name, value in vars(module).items() if is_attack(value))
    raise AdvdetectError(
        f"{module.__name__} has no attack named {method}; choose one of: {', '.join(names)}."
    )


def is_concrete(value: object, base: type) -> bool:
    """Return whether a value is a class that can be made, derived from a base class."""
    return inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)


def check_arguments(
    attack: Callable[..., Any], arguments: Mapping[str, Any], positional: int = 0
) -> None:
    """Check the names of an attack's arguments.

    Args:
        attack: Class or function.
        arguments: Those that the configuration gives, by name.
        positional: How many the adapter passes in front of them.

    Raises:
        AdvdetectError: One is unknown or lacking; the message lists those that there are.
    """
    signature = inspect.signature(attack)
    try:
        signature.bind(*[None] * positional, **arguments)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[positional:])
        raise AdvdetectError(
            f"{attack.__name__}: {error}; its arguments are: {known or 'none'}."
        ) from error


def with_targeted(
    attack: Callable[..., Any], arguments: Mapping[str, Any], target: str | None
) -> dict[str, Any]:
    """Return the arguments, with ``targeted`` if the attack has a parameter of this name.

    Raises:
        AdvdetectError: The configuration gives ``targeted`` itself, or wants a target of an attack
            that has none.
    """
    if "targeted" in arguments:
        raise AdvdetectError(
            f"{attack.__name__}: leave targeted out of the arguments and set target instead."
        )
    if "targeted" in inspect.signature(attack).parameters:
        return {**arguments, "targeted": target is not None}
    if target is not None:
        raise AdvdetectError(f"{attack.__name__} cannot aim at a class: set target to null.")
    return dict(arguments)


def run_attack(
    attack: ForeignAttack,
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    generator: SampleGenerator,
    target: str | None,
    minimal_norm: bool,
) -> AttackResult:
    """Run a library's attack apart from everything else, and judge what it returns.

    What it returns is brought into the box [0, 1] by clipping, and then fed to the caller's model.
    A target is reached only by the target class. An image whose result is not finite comes back
    unchanged.

    No library tells its steps. So ``iterations`` are the library's passes forward through the
    model, its own checks among them: their mean over the batch, rounded.

    Args:
        attack: What runs it.
        name: Its name, for messages.
        model: Classifier that returns logits, in eval mode.
        images: (N, C, H, W) float32 in [0, 1].
        labels: (N,) int64 true classes.
        generator: One stream per image, for random targets. The library draws from the global
            generators of torch, NumPy and Python, seeded by the first image's stream while it
            runs. So a random attack depends on the batch, and one that draws elsewhere (ART's
            HopSkipJump asks the operating system) cannot be repeated.
        target: How to choose the targets, see `choose_target`; None for an untargeted attack.
        minimal_norm: Whether an image on which the attack fails is returned unchanged, and one
            that needs no attack, too.

    Returns:
        The verified result.

    Raises:
        AdvdetectError: The target is unknown, or the library refuses a parameter.
    """
    with torch.no_grad():
        logits = model(images)
    aim = None if target is None else choose_target(target, logits, labels, generator)
    seed = int(generator.integers(2**32)[0])
    frozen = FrozenCopy(model, images.dtype)
    classes = (labels if aim is None else aim).clone()
    with (
        _quiet(),
        _global_seed(seed, images.device),
        _refusals(name),
        torch.enable_grad(),
        counted_passes(frozen) as passes,
    ):
        found = attack(frozen, images.detach().clone(), classes)
    found = found.detach().to(images)
    if found.shape != images.shape:
        raise AdvdetectError(f"{name} does not return an image for each image: use another attack.")
    finite = found.flatten(1).isfinite().all(dim=1)
    adversarial = torch.where(per_image(finite), found.clamp(0, 1), images)
    with torch.no_grad():
        success = _reaches(model(adversarial), labels, aim)
    if minimal_norm:
        already = _reaches(logits, labels, aim)
        adversarial = torch.where(per_image(success & ~already), adversarial, images)
        success = success | already
    return AttackResult(
        adversarial=adversarial,
        success=success,
        target=aim,
        iterations=torch.full_like(labels, round(passes.forward / len(images))),
    )


def _reaches(logits: Tensor, labels: Tensor, aim: Tensor | None) -> Tensor:
    """Return an (N,) bool tensor: another class, or the one aimed at, is clearly ahead."""
    ahead = -margin(logits, labels) if aim is None else margin(logits, aim)
    return ahead >= rounding(logits)


@contextmanager
def _global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators, and put them back as they were."""
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed, which seeds the GPUs that are not forked, too.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop progress bars, prints and warnings."""
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turn what libraries raise when they do not accept or lack something into a user's error."""
    try:
        yield
    except (AssertionError, ImportError, NotImplementedError, TypeError, ValueError) as error:
        reason = one_line(error) or type(error).__name__
        raise AdvdetectError(
            f"{name} stops with: {reason}; change its arguments, install what it lacks or use "
            f"another attack."
        ) from error
