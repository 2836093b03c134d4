"""Where the time of our attacks by penalty goes."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from tabulate import tabulate
from torch import Tensor, nn

from advdetect.attacks import cw_l2, ead, penalty, penalty_search
from advdetect.attacks.libraries.shared import FrozenCopy
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.record import record
from advdetect.lanes import State
from attack_contenders import Attack, cw_runs, ead_runs


class Stopwatch:
    """Seconds of the phases of a program; of nested phases only the innermost runs."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time within the context, less that of phases inside, under a name."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls are a phase."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.phase(name):
                return function(*args, **kwargs)

        return call

    def _switch(self) -> None:
        now = time.process_time()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now


def print_profile(model: nn.Module, images: Tensor, labels: Tensor, iterations: int) -> None:
    """Print a table: phase by phase the share of the time and milliseconds per gradient."""
    columns = {
        "cw_l2": cw_runs([0], iterations)[0].attack,
        "ead, both rules": ead_runs(0, iterations, art=False)[1].attack,
    }
    profiles = {name: _profile(attack, model, images, labels) for name, attack in columns.items()}
    phases = dict.fromkeys(phase for seconds, _ in profiles.values() for phase in seconds)
    rows = [
        [phase, *(cell for profile in profiles.values() for cell in _cells(profile, [phase]))]
        for phase in phases
    ]
    rows.append(
        ["all", *(cell for profile in profiles.values() for cell in _cells(profile, list(phases)))]
    )
    headers = ["phase"]
    for name in columns:
        headers += [f"{name}: share", "ms per gradient"]
    print(f"\nWhere the time goes, {len(images)} images in one batch, κ = 0\n")
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def _cells(profile: tuple[dict[str, float], int], phases: Sequence[str]) -> list[str]:
    seconds, gradients = profile
    part = sum(seconds[phase] for phase in phases)
    return [f"{part / sum(seconds.values()):.1%}", f"{1e3 * part / gradients:.4f}"]


def _profile(
    attack: Attack, model: nn.Module, images: Tensor, labels: Tensor
) -> tuple[dict[str, float], int]:
    watch, frozen = Stopwatch(), FrozenCopy(model, images.dtype)
    iterate, hinge = penalty_search.iterate, penalty.hinge

    def timed_iterate(state: State, step: Callable[[State], State], **kwargs: Any) -> State:
        kwargs["check"] = watch.timed("checkpoints: next c", kwargs["check"])
        return iterate(state, watch.timed("rest of a step", step), **kwargs)

    def timed_hinge(targeted: bool) -> penalty_search.Loss:
        return watch.timed("loss and success", hinge(targeted))

    replacements = [
        (frozen.model, "forward", watch.timed("forward", frozen.model.forward)),
        (torch.autograd, "grad", watch.timed("backward", torch.autograd.grad)),
        (penalty_search, "iterate", timed_iterate),
        *((module, "hinge", timed_hinge) for module in (cw_l2, ead)),
        *((module, "record", watch.timed("best so far", record)) for module in (cw_l2, ead)),
        (cw_l2, "adam", watch.timed("Adam", penalty.adam)),
    ]
    with ExitStack() as stack:
        for owner, name, function in replacements:
            stack.enter_context(patch.object(owner, name, function))
        with watch.phase("checkpoints: lanes that leave"), counted_passes(frozen) as passes:
            attack(frozen, images, labels)
    return watch.seconds, passes.backward
