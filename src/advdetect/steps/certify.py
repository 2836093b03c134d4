"""Count the classes of images under Gaussian noise, of which certificates are read."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advdetect import provenance
from advdetect.data.split import ImageSplit
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.files.attack import AttackFile
from advdetect.files.counts import UnfinishedCounts, write_counts
from advdetect.inference import batch_slices, check_classes, predict_logits, to_float
from advdetect.progress import Progress, report
from advdetect.protocol import CLEAN
from advdetect.requirements.memory import FORWARD
from advdetect.selection import evenly_spread
from advdetect.smoothing.counting import Noisy, count_classes
from advdetect.smoothing.counts import ESTIMATION, PREDICTION, SELECTION, Counts
from advdetect.steps import options
from advdetect.steps.batches import images_at_a_time
from advdetect.steps.classifier import add_model, given_model
from advdetect.steps.images import adversarial_images, check_split

#: What the bits of counts depend on, and so whether unfinished ones are taken up.
_FACTS = ("key", "device", "threads", "packages", "hardware")


@dataclass(frozen=True)
class Shown:
    """The images that are counted.

    Attributes:
        columns: (N,) of each of `files.counts.IMAGES`, the prediction left out.
        image: Maps a position among the N to the image, (C, H, W) float32 in [0, 1].
    """

    columns: Mapping[str, NDArray]
    image: Callable[[int], Tensor]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    draws = '"selection": 100, "estimation": 1000'
    options.add_spec(parser, f"""'{{"sigma": 0.25, "images": 500, {draws}}}'""")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--name", required=True, help="name of the noise, such as sigma=0.25")
    add_model(parser)
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument(
        "--attacks",
        nargs="*",
        default=[],
        metavar="FILE",
        help="files from attack: their images are counted in place of the clean ones, in draws for "
        '"prediction" alone',
    )
    parser.add_argument("--output", required=True, help="file to write: the counts")


def run(arguments: argparse.Namespace) -> None:
    """Count images of the split, or what attacks made of them; go on where it stood."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    uses = (PREDICTION,) if arguments.attacks else (SELECTION, ESTIMATION)
    options.check_names(spec, ("sigma", "images", *uses), all_needed=True)
    if min(spec["images"], *(spec[use] for use in uses)) < 1:
        raise AdvdetectError(f"--spec: images, {', '.join(uses)} must be at least 1.")
    inputs = {"model": arguments.model, "test": arguments.test}
    facts = provenance.describe(
        "certify",
        spec,
        arguments.code,
        inputs=inputs | ({"attacks": arguments.attacks} if arguments.attacks else {}),
        outputs=[arguments.output],
        keyed={"name": arguments.name, "seed": arguments.seed},
        device=device.type,
        threads=arguments.threads,
    )
    model, data = given_model(arguments, device), read_split(arguments.test)
    attacks = [AttackFile(path) for path in arguments.attacks]
    shown = _attacked(attacks, data, spec["images"]) if attacks else _clean(data, spec["images"])
    facts["attacks"] = [attack.name for attack in attacks] or [CLEAN]
    facts["attack"] = "attacked" if attacks else CLEAN
    facts["classes"] = len(data.class_names)
    image = shown.image(0)[None].to(device)
    size = images_at_a_time(arguments, f"certify {arguments.name}", model, image, FORWARD)
    prediction = _base_classes(model, shown, size, device)
    check_classes(prediction, facts["classes"])

    unfinished = UnfinishedCounts(arguments.output, {name: facts[name] for name in _FACTS})
    if not arguments.code:  # what was counted with other code looks the same
        unfinished.remove()
    index = shown.columns["index"]
    draws = {use: spec[use] for use in uses}
    noisy = Noisy(shown.image, index, spec["sigma"], draws, arguments.seed)
    counts = _counted(model, noisy, unfinished, arguments.name, size, device)
    images = {**shown.columns, "prediction": prediction.argmax(1).numpy()}
    write_counts(arguments.output, images, counts, facts)
    unfinished.remove()
    total = counts.of(uses[-1], len(index), facts["classes"])
    right = np.take_along_axis(total, images["label"][:, None], axis=1).sum() / total.sum()
    report(
        f"certify {arguments.name} seed {arguments.seed}: {len(index)} {facts['attack']} images, "
        f"{right:.1%} of the draws are of the true class"
    )


def _clean(data: ImageSplit, count: int) -> Shown:
    index = evenly_spread(len(data), count)
    columns = {
        "index": index.numpy(),
        "label": data.labels[index].numpy(),
        "attack": np.zeros(len(index), np.int64),
        "l2": np.zeros(len(index)),
    }
    return Shown(columns, lambda row: to_float(data.images[index[row]]))


def _attacked(attacks: list[AttackFile], data: ImageSplit, count: int) -> Shown:
    """Return what attacks made of the same images, as far as they attacked them."""
    counted = evenly_spread(len(data), count).numpy()
    parts: dict[str, list[NDArray]] = {name: [] for name in ("index", "label", "l2", "attack")}
    rows = []
    for number, attack in enumerate(attacks):
        check_split(attack, data)
        columns = attack.columns("index", "label", "l2")
        chosen = np.flatnonzero(np.isin(columns["index"], counted))
        for name, values in columns.items():
            parts[name].append(values[chosen])
        parts["attack"].append(np.full(len(chosen), number))
        rows += [(attack, row) for row in chosen]
    if not rows:
        raise AdvdetectError(
            f"--attacks: none of the {len(counted)} images that are counted was attacked: count "
            "more."
        )

    def image(position: int) -> Tensor:
        attack, row = rows[position]
        return adversarial_images(attack, torch.tensor([row]))[0]

    return Shown({name: np.concatenate(values) for name, values in parts.items()}, image)


def _base_classes(model: nn.Module, shown: Shown, batch_size: int, device: torch.device) -> Tensor:
    """Return the (N, classes) logits without noise."""
    batches = batch_slices(len(shown.columns["index"]), batch_size)
    return torch.cat(
        [
            predict_logits(
                model,
                torch.stack([shown.image(row) for row in range(rows.start, rows.stop)]),
                device=device,
            )
            for rows in batches
        ]
    )


def _counted(
    model: nn.Module,
    noisy: Noisy,
    unfinished: UnfinishedCounts,
    name: str,
    batch_size: int,
    device: torch.device,
) -> Counts:
    """Count what is not counted yet."""
    so_far = unfinished.resume()
    done = so_far.draws()
    if done:
        report(f"certify {name}: {done} of {noisy.total} draws were counted before")
    with Progress(f"certify {name}", noisy.total, "draw", done) as progress:

        def after_chunk(counts: Counts, draws: int) -> None:
            unfinished.keep(counts)
            progress.advance(draws)

        return count_classes(
            model,
            noisy,
            batch_size=batch_size,
            device=device,
            so_far=so_far,
            after_chunk=after_chunk,
        )
