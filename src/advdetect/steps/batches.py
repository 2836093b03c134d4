"""How many images a step has in memory at a time: a number that is set, or what a budget allows."""

import argparse
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from advdetect.imports import locate
from advdetect.memory import MOST, images_within, measured_row
from advdetect.progress import report
from advdetect.requirements.memory import Need
from advdetect.steps import options

#: In a method's YAML: what says what it holds of an image (`advdetect.requirements.memory`).
MEMORY = "_memory_"


def images_at_a_time(
    arguments: argparse.Namespace,
    who: str,
    model: nn.Module,
    image: Tensor,
    method: Mapping[str, Any] | Need,
) -> int:
    """Return the batch size that is set or, for ``auto``, that ``--memory`` allows.

    Args:
        arguments: Those of `options.add_runtime`.
        who: What runs, for example ``attack fgsm``.
        model: The model, on the device.
        image: (1, C, H, W) float in [0, 1], one of the images, on the device.
        method: The specification of what runs, or what it takes of an image.
    """
    if arguments.batch_size != "auto":
        return arguments.batch_size
    row = measured_row(model, image)
    need = method if isinstance(method, Need) else need_of(method, row.classes)
    each = row.bytes(need)
    size, shown = images_within(1e9 * arguments.memory, each), f"{each / 1e9:.2g} GB"
    if not size:
        report(
            f"{who}: warning: an image takes about {shown}, more than "
            f"memory={arguments.memory:g}: it goes on image by image; make room for that much, or "
            f"take fewer classes, candidates or starts at a time"
        )
    elif size < MOST:
        report(f"{who}: {size} images at a time, of {shown} each (memory={arguments.memory:g})")
    return max(1, size)


def need_of(spec: Mapping[str, Any], classes: int) -> Need:
    """Return what a method takes of an image, with a model of so many classes."""
    if MEMORY not in spec:
        return Need()
    need: Need = locate(spec[MEMORY])(classes, **options.parameters(spec))
    return need
