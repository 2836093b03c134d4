"""Crafting the images of an attack piece by piece, alone or together with the values of a sweep."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.attacks.passes import Passes, counted_passes
from advdetect.attacks.result import AttackResult, checked
from advdetect.errors import AdvdetectError, explain_failure
from advdetect.files.attack import PASSES, AttackWriter, pieces
from advdetect.files.locks import claimed
from advdetect.many_classes import CHOSEN, choices
from advdetect.models.guard import unchanged
from advdetect.progress import Progress, report
from advdetect.randomness import SampleGenerator
from advdetect.steps.judging import Victims, judge_rows

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Instance:
    """An attack with one value of the parameters that a sweep varies.

    Attributes:
        name: For example ``cw_l2,kappa=5``.
        values: The values by name, empty for an attack that is not part of a sweep.
        writer: Its file.
    """

    name: str
    values: Values
    writer: AttackWriter


@dataclass(frozen=True)
class Attack:
    """An attack with all the values of its sweep.

    Attributes:
        name: Name of the instance whose file is wanted.
        instances: All of the sweep, in an order of their own; where there is none the attack alone.
        function: What is called with model, images, labels and ``generator=``, and in a sweep with
            ``variants=``, the values of some instances.
        seed: Seed of its random streams.
        minimal_norm: Whether it returns an image unchanged on which it fails.
        work: Name of the sweep, whose rows its jobs divide among themselves.
    """

    name: str
    instances: Sequence[Instance]
    function: Callable[..., Any]
    seed: int
    minimal_norm: bool
    work: str

    @property
    def is_sweep(self) -> bool:
        """Whether there are several instances."""
        return len(self.instances) > 1

    @property
    def writer(self) -> AttackWriter:
        """The file that is wanted."""
        (writer,) = (instance.writer for instance in self.instances if instance.name == self.name)
        return writer


def craft(attack: Attack, victims: Victims, batch_size: int) -> None:
    """Craft, judge and write all images; what an interrupted run or a sibling has done is kept.

    The images that have to be computed are computed for all instances of the sweep that lack them,
    in the same batches; jobs of a sweep that run at the same time divide the images among
    themselves.

    Args:
        attack: The attack.
        victims: The images.
        batch_size: Images at a time; an image counts once for each value of the sweep.

    Raises:
        AdvdetectError: The attack returned something else than an attack must.
    """
    writer, count = attack.writer, len(victims.index)
    lacking = [i for i in attack.instances if i.writer is writer or not i.writer.is_complete()]
    work = pieces(writer.done(), max(1, batch_size // len(lacking)))
    before = count - sum(map(len, work))
    if before:
        report(f"attack {attack.name}: {before} of {count} images were finished before")
    who = f"attack {attack.name}"
    with (
        choices(who) as chosen,
        Progress(who, count, "image", before) as progress,
        _signs_of_life(victims.model, progress),
    ):
        wait = False  # at first for nobody: what others are at comes last, mostly done by then
        while work:
            claimed_by_others = []
            for rows in work:
                claim = claimed(writer.output.parent, attack.work, rows, wait)
                with claim if attack.is_sweep else nullcontext(True) as is_mine:
                    if not is_mine:
                        claimed_by_others.append(rows)
                        continue
                    # Others may have done a part of them, in pieces of another size.
                    for lost in _undone(writer, rows):
                        _craft_rows(attack, victims, lost, batch_size, chosen)
                progress.advance(len(rows), _success_so_far(writer))
            work, wait = claimed_by_others, True


@contextmanager
def _signs_of_life(model: nn.Module, progress: Progress) -> Iterator[None]:
    """Count what passes through the model: on photos a piece may take an hour."""
    # Not the method itself: with a copy of the model its owner would be copied.
    hook = model.register_forward_hook(lambda *_: progress.tick("forward passes"))
    try:
        yield
    finally:
        hook.remove()


def _undone(writer: AttackWriter, rows: range) -> list[range]:
    done = writer.done()[rows.start : rows.stop]
    return [
        range(rows.start + part.start, rows.start + part.stop) for part in pieces(done, len(rows))
    ]


def _craft_rows(
    attack: Attack, victims: Victims, rows: range, batch_size: int, chosen: Mapping[str, Any]
) -> None:
    """Attack some images for the instances that lack them, among them the one that is wanted."""
    lacking = [
        instance
        for instance in attack.instances
        if instance.writer is attack.writer
        # In this order: when its unfinished file is gone, the whole one is in its place.
        or (_undone(instance.writer, rows) and not instance.writer.is_complete())
    ]
    for first in range(0, len(lacking), batch_size):
        together = lacking[first : first + batch_size]
        results, passes = _call(attack, together, victims, rows)
        columns = apportioned(passes, [result.iterations for result in results])
        for instance, result, shares in zip(together, results, columns, strict=True):
            if chosen:  # before the file begins with what it says of its making
                instance.writer.facts[CHOSEN] = dict(chosen)
            for part in _undone(instance.writer, rows):
                start, stop = part.start - rows.start, part.stop - rows.start
                judge_rows(
                    instance.writer,
                    victims,
                    part,
                    result.part(start, stop),
                    {name: values[start:stop] for name, values in shares.items()},
                    name=instance.name,
                    restore_failures=attack.minimal_norm,
                )


def _call(
    attack: Attack, instances: Sequence[Instance], victims: Victims, rows: range
) -> tuple[list[AttackResult], Passes]:
    """Return what the attack makes of some images, for each of the instances, and what it took."""
    images = victims.images(rows)
    variants = {"variants": [i.values for i in instances]} if attack.is_sweep else {}
    who = f"The attack {attack.name}"
    with (
        unchanged(victims.model, who),
        explain_failure(who),
        counted_passes(victims.model) as passes,
    ):
        results = attack.function(
            victims.model,
            images.clone().to(victims.device),  # the user's code may write into it
            victims.labels(rows).to(victims.device),
            generator=SampleGenerator(attack.seed, victims.index[rows.start : rows.stop]),
            **variants,
        )
    if not attack.is_sweep:
        results = [results]
    if not isinstance(results, Sequence) or len(results) != len(instances):
        raise AdvdetectError(
            f"The sweep of the attack {attack.name} must return a list of one AttackResult for "
            f"each of its {len(instances)} variants, in their order."
        )
    pairs = zip(instances, results, strict=True)
    return [checked(result, images, instance.name) for instance, result in pairs], passes


def apportioned(passes: Passes, iterations: Sequence[Tensor]) -> list[dict[str, Tensor]]:
    """Divide what one call of an attack took among its results and their images.

    No row of a pass says whose it was, so an image counts by its iterations; where there are none,
    all count equally. The sum is what the model has seen.

    Args:
        passes: Of the call.
        iterations: For each result (N,) update steps, N at least 1.

    Returns:
        For each result the columns of its file, (N,) float64 each.
    """
    steps = torch.stack(list(iterations)).double()
    if not steps.any():
        steps = torch.ones_like(steps)
    # Divided last: of equal images each has a whole number, in whatever batch.
    counts = zip(PASSES, (passes.forward, passes.backward), strict=True)
    shares = {name: count * steps / steps.sum() for name, count in counts}
    return [{name: of[row] for name, of in shares.items()} for row in range(len(steps))]


def _success_so_far(writer: AttackWriter) -> str:
    done, columns = writer.done(), writer.columns("success", "l2")
    fooled = columns["success"][done]
    text = f"{fooled.mean():.1%} fooled"
    return f"{text}, mean L2 {columns['l2'][done][fooled].mean():.3f}" if fooled.any() else text
