"""Judging adversarial images by the bytes that their file gives back, wherever they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from advdetect.attacks.noise import noise_scale, noise_streams
from advdetect.attacks.result import AttackResult
from advdetect.data.split import ImageSplit
from advdetect.files.attack import NO_TARGET, AttackWriter
from advdetect.inference import batch_slices, predict_logits, round_to_8_bits, to_float
from advdetect.progress import report
from advdetect.provenance import read_made_by
from advdetect.randomness import SampleGenerator

# Pixel values at a time: of more, the noise's halvings leave the cache and take five times as long.
_IN_FLOAT64 = 2**19


@dataclass(frozen=True)
class Victims:
    """The clean images that are attacked, and the model that judges what comes of it.

    Attributes:
        model: Returns logits; on the device.
        data: The split that the images are in.
        index: (N,) their positions in it.
        seed: The run's seed.
        device: The device.
    """

    model: nn.Module
    data: ImageSplit
    index: Tensor
    seed: int
    device: torch.device

    def images(self, rows: range) -> Tensor:
        """Return some of the images: (n, C, H, W) float32 in [0, 1], on the CPU."""
        return to_float(self.data.images[self.index[rows.start : rows.stop]])

    def labels(self, rows: range) -> Tensor:
        """Return their (n,) true classes, on the CPU."""
        return self.data.labels[self.index[rows.start : rows.stop]]

    def writer(self, output: str | Path, facts: dict[str, Any]) -> AttackWriter:
        """Return the writer of a file of these images."""
        return AttackWriter(output, len(self.index), self.data.images.shape[1:], facts)


def judge_rows(
    writer: AttackWriter,
    victims: Victims,
    rows: range,
    result: AttackResult,
    passes: Mapping[str, Tensor],
    *,
    name: str,
    crafted_success: Tensor | None = None,
    restore_failures: bool = False,
) -> None:
    """Write adversarial images, feed them to the model from the file, and write what it says.

    Args:
        writer: The attack's file.
        victims: The clean images.
        rows: Which of them.
        result: The adversarial images, on the CPU. Of their successes those are withdrawn that do
            not hold; none is added, since a minimal-norm attack may reject what happens to fool.
        passes: (n,) float64 each, columns of what each image took.
        name: The attack's name, for the streams of the noise.
        crafted_success: (n,) success where the images were crafted, if not by this attack itself.
        restore_failures: Whether an image whose success is withdrawn becomes the clean one again,
            as the failures of a minimal-norm attack are.
    """
    clean, labels = victims.images(rows), victims.labels(rows)
    stored = torch.from_numpy(writer.store(rows, result.adversarial.numpy()))
    verdict = verify(victims.model, stored, labels, victims.device)
    withdrawn = result.success & ~verdict["success"]
    if restore_failures and withdrawn.any():
        mended = torch.where(withdrawn.view(-1, 1, 1, 1), clean, stored)
        stored = torch.from_numpy(writer.store(rows, mended.numpy()))
        verdict = verify(victims.model, stored, labels, victims.device)
    verdict["success"] &= result.success
    index = victims.index[rows.start : rows.stop]
    streams = noise_streams(victims.seed, name, index)
    no_target = torch.full_like(labels, NO_TARGET)
    columns = {
        "index": index,
        "label": labels,
        "target": no_target if result.target is None else result.target,
        "iterations": result.iterations,
        **passes,
        "crafted_success": result.success if crafted_success is None else crafted_success,
        **verdict,
        **distances(stored, clean, streams),
    }
    writer.finish_rows(rows, {field: values.numpy() for field, values in columns.items()})


def verify(
    model: nn.Module, adversarial: Tensor, labels: Tensor, device: torch.device
) -> dict[str, Tensor]:
    """Feed images to the model, as they are and rounded to 8 bits.

    Returns:
        ``prediction`` and ``success`` (misclassified), and the same of the rounded images as
        ``prediction_8bit`` and ``success_8bit``.
    """
    prediction = predict_logits(model, adversarial, device=device).argmax(1)
    rounded = predict_logits(model, round_to_8_bits(adversarial), device=device).argmax(1)
    return {
        "prediction": prediction,
        "success": prediction != labels,
        "prediction_8bit": rounded,
        "success_8bit": rounded != labels,
    }


def describe_model(path: str) -> dict[str, Any]:
    """Return what tells a model from others: its class, the seed of its training, its key."""
    facts = read_made_by(path, "model")
    return {
        "target": facts["model"]["target"],
        "seed": facts.get("seed"),
        "key": facts["key"],
    }


def report_success(stage: str, name: str, seed: int, columns: Mapping[str, NDArray]) -> None:
    """Say how many images fool the model, and how far they were moved.

    Args:
        stage: The stage that made them.
        name: The attack's name.
        seed: The run's seed.
        columns: ``success`` and ``l2`` of all images.
    """
    success = columns["success"]
    report(
        f"{stage} {name} seed {seed}: {len(success)} images, {success.mean():.1%} fooled"
        + (f", mean L2 {columns['l2'][success].mean():.3f}" if success.any() else "")
    )


def distances(adversarial: Tensor, images: Tensor, streams: SampleGenerator) -> dict[str, Tensor]:
    """Return how far images were moved, as they are and rounded to 8 bits, and noise as strong."""
    parts = []
    for part in batch_slices(len(images), max(1, _IN_FLOAT64 // images[0].numel())):
        moved, clean = adversarial[part], images[part]
        difference = (moved - clean).flatten(1)
        l2 = difference.double().norm(dim=1)
        rounded = round_to_8_bits(moved) != round_to_8_bits(clean)
        parts.append(
            {
                "l2": l2,
                "linf": difference.abs().amax(dim=1),
                "changed": (difference != 0).any(dim=1),
                "changed_8bit": rounded.flatten(1).any(dim=1),
                "noise_scale": noise_scale(clean, l2, streams[part]),
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
