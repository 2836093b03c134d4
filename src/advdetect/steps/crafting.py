"""Crafting the images of an attack chunk by chunk, alone or together with the values of a sweep."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.progress import Progress, report
from advdetect.randomness import SampleGenerator
from advdetect.steps import options
from advdetect.steps.chunks import Chunks, gaps

NO_TARGET = -1
SWEEP = "_sweep_"


@dataclass(frozen=True)
class Victims:
    """The images to attack.

    Attributes:
        model: Returns logits; on the device that the images are attacked on.
        images: (N, C, H, W) float32 in [0, 1], on the CPU.
        labels: (N,) int64 true classes, on the CPU.
        index: (N,) position of each image in its data split.
        seed: Seed of the attack's random streams.
        device: The device.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    index: Tensor
    seed: int
    device: torch.device


@dataclass(frozen=True)
class Instance:
    """An attack with one value of the parameters that a sweep varies.

    Attributes:
        name: For example ``cw_l2,kappa=5``.
        values: The values by name, empty for an attack that is not part of a sweep.
        chunks: What is finished of it.
    """

    name: str
    values: Mapping[str, Any]
    chunks: Chunks


def craft(
    spec: Mapping[str, Any],
    name: str,
    instances: Sequence[Instance],
    victims: Victims,
    batch_size: int,
    lock: str,
) -> dict[str, Tensor]:
    """Attack all images; what an interrupted run or a sibling's job has done is taken over.

    The images that have to be computed are computed for all instances of the sweep that lack them,
    in the same batches; jobs of a sweep that run at the same time divide the images among
    themselves.

    Args:
        spec: The attack's specification.
        name: The attack's name.
        instances: The instances of its sweep in an order of their own; the attack alone where
            there is no sweep.
        victims: The images.
        batch_size: Images at a time; an image counts once for each value of the sweep.
        lock: Name of the sweep, of which its jobs claim pieces.

    Returns:
        The fields of `AttackResult` for all images; ``target`` is -1 where there is none.

    Raises:
        AdvdetectError: The specification names no attack, or the attack returned something else
            than an attack must.
    """
    attack = _bind(spec, sweep=len(instances) > 1)
    (mine,) = (instance.chunks for instance in instances if instance.name == name)
    count = len(victims.images)
    mine.remove_unusable()
    lacking = [
        instance
        for instance in instances
        if instance.name == name or not instance.chunks.complete()
    ]
    work = list(gaps(mine.ranges(), range(count), max(1, batch_size // len(lacking))))
    done, tally = count - sum(map(len, work)), _Tally()
    for rows in gaps(work, range(count), count):
        tally.add(mine.read(rows), victims.images[_slice(rows)])
    if done:
        report(f"attack {name}: {done} of {count} images were finished before")
    with Progress(f"attack {name}", count, "image", done) as progress:
        wait = False  # at first for nobody: what others are at comes last, mostly done by then
        while work:
            claimed_by_others = []
            for rows in work:
                claim = mine.claim(f"{lock}-{rows.start}-{rows.stop}", wait)
                with claim if len(instances) > 1 else nullcontext(True) as is_mine:
                    if not is_mine:
                        claimed_by_others.append(rows)
                        continue
                    if not mine.cover(rows):
                        _craft_rows(attack, name, instances, victims, rows, batch_size)
                tally.add(mine.read(rows), victims.images[_slice(rows)])
                progress.advance(len(rows), tally.text())
            work, wait = claimed_by_others, True
    return mine.read(range(count))


def _bind(spec: Mapping[str, Any], sweep: bool) -> Callable[..., Any]:
    """Return the attack, for a sweep the function that takes ``variants=``."""
    if not sweep:
        return options.bind_target(spec, "_target_", positional=3, given=["generator"])
    common = {name: value for name, value in spec.items() if name not in spec[SWEEP]["over"]}
    return options.bind_target(
        common | {"_target_": spec[SWEEP]["_target_"]},
        "_target_",
        positional=3,
        given=["generator", "variants"],
    )


def _craft_rows(
    attack: Callable[..., Any],
    name: str,
    instances: Sequence[Instance],
    victims: Victims,
    rows: range,
    batch_size: int,
) -> None:
    """Attack some images for the instances that lack them, among them the one of the name."""
    lacking = [
        instance
        for instance in instances
        if instance.name == name
        # In this order: a file is complete before its chunks are removed.
        or not (instance.chunks.cover(rows) or instance.chunks.complete())
    ]
    images, labels, index = (
        tensor[_slice(rows)] for tensor in (victims.images, victims.labels, victims.index)
    )
    sweep = len(instances) > 1
    for start in range(0, len(lacking), batch_size):
        together = lacking[start : start + batch_size]
        variants = {"variants": [instance.values for instance in together]} if sweep else {}
        results = attack(
            victims.model,
            images.to(victims.device),
            labels.to(victims.device),
            generator=SampleGenerator(victims.seed, index),
            **variants,
        )
        if not sweep:
            results = [results]
        if not isinstance(results, Sequence) or len(results) != len(together):
            raise AdvdetectError(
                f"The sweep of the attack {name} must return a list of one AttackResult for "
                f"each of its {len(together)} variants, in their order."
            )
        chunks = [
            _checked(result, images, instance.name)
            for instance, result in zip(together, results, strict=True)
        ]
        for instance, chunk in zip(together, chunks, strict=True):
            instance.chunks.write(rows, chunk)


def _checked(result: object, images: Tensor, name: str) -> dict[str, Tensor]:
    """Return what an attack on (N, C, H, W) images returned, on the CPU, if it is sound."""
    if not isinstance(result, AttackResult):
        raise AdvdetectError(
            f"The attack {name} returned {type(result).__name__}: it must return an AttackResult."
        )
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    if values["target"] is None:
        values["target"] = torch.full((len(images),), NO_TARGET)
    per_image = (torch.int64, images.shape[:1])
    expected = {
        "adversarial": (images.dtype, images.shape),
        "success": (torch.bool, images.shape[:1]),
        "target": per_image,
        "iterations": per_image,
        "gradient_calls": per_image,
    }
    for field, (dtype, shape) in expected.items():
        value = values[field]
        if not isinstance(value, Tensor) or (value.dtype, value.shape) != (dtype, shape):
            is_tensor = isinstance(value, Tensor)
            found = f"{value.dtype} {tuple(value.shape)}" if is_tensor else type(value).__name__
            raise AdvdetectError(
                f"The attack {name} returned '{field}' as {found}: it must be {dtype} "
                f"{tuple(shape)}."
            )
    adversarial = values["adversarial"]
    if not bool(((adversarial >= 0) & (adversarial <= 1)).all()):
        raise AdvdetectError(
            f"The attack {name} returned pixels outside [0, 1] or not a number: mend the attack; "
            f"its images must stay in the box."
        )
    # Copies, since an attack may return one tensor twice, which no file can hold.
    return {field: value.detach().cpu().clone() for field, value in values.items()}


class _Tally:
    """Success so far, as the attack itself judges it."""

    def __init__(self) -> None:
        self._images = self._successes = 0
        self._l2 = 0.0

    def add(self, result: Mapping[str, Tensor], images: Tensor) -> None:
        success = result["success"]
        difference = (result["adversarial"] - images)[success].flatten(1).double()
        self._images += len(success)
        self._successes += len(difference)
        self._l2 += float(difference.norm(dim=1).sum())

    def text(self) -> str:
        fooled = f"{self._successes / self._images:.1%} fooled"
        if not self._successes:
            return fooled
        return f"{fooled}, mean L2 {self._l2 / self._successes:.3f}"


def _slice(rows: range) -> slice:
    return slice(rows.start, rows.stop)
