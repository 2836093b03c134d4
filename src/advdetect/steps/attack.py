"""Attack the clean-correct test images and verify every success from the stored file."""

import argparse
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from advdetect import provenance
from advdetect.attacks.noise import noisy_twins
from advdetect.attacks.result import AttackResult
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.inference import (
    batch_slices,
    clean_correct,
    predict_logits,
    round_to_8_bits,
    to_float,
)
from advdetect.io import read_tensors, write_tensors
from advdetect.models.store import read_model
from advdetect.progress import report, track
from advdetect.randomness import SampleGenerator
from advdetect.seeding import derive_seed
from advdetect.steps import options

NO_TARGET = -1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/attack/fgsm.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--name", required=True, help="name of the attack, for its random numbers")
    parser.add_argument("--data", required=True, help="test split, from prepare-data")
    parser.add_argument("--model", required=True, help="model, from train")
    parser.add_argument("--output", required=True, help="file to write: the adversarial images")


def run(arguments: argparse.Namespace) -> None:
    """Attack, add noisy twins of equal norm, verify from the stored file and write the result."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    model = read_model(arguments.model, device)
    data = read_split(arguments.data)
    index = clean_correct(model, data, device)
    images, labels = to_float(data.images[index]), data.labels[index]

    generator = SampleGenerator(derive_seed(arguments.seed, "attack", arguments.name), index)
    attack = options.bind_target(spec, "_target_", positional=3, given=["generator"])
    rows_of_batches = list(batch_slices(len(images), arguments.batch_size))
    results = []
    for rows in track(rows_of_batches, len(rows_of_batches), f"attack {arguments.name}", "batch"):
        result = attack(
            model,
            images[rows].to(device),
            labels[rows].to(device),
            generator=generator[rows],
        )
        results.append(_on_cpu(result))
    tensors = _join(results)
    adversarial = tensors["adversarial"]
    _check_box(adversarial, arguments.name)

    difference = (adversarial - images).flatten(1)
    tensors["l2"] = difference.double().norm(dim=1)
    tensors["linf"] = difference.abs().amax(dim=1)
    noise = SampleGenerator(derive_seed(arguments.seed, "noise", arguments.name), index)
    tensors["noisy"] = noisy_twins(images, tensors["l2"], noise)
    tensors |= {"index": index, "label": labels}

    facts = provenance.describe(
        "attack",
        spec,
        arguments.code,
        name=arguments.name,
        seed=arguments.seed,
        device=device.type,
        threads=arguments.threads,
        class_names=data.class_names,
    )
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.safetensors"
        write_tensors(draft, tensors, facts)
        stored = read_tensors(draft)[0]["adversarial"]
    verified = verify(model, stored, labels, device)
    withdrawn = int((tensors["success"] & ~verified["success"]).sum())
    if withdrawn:
        report(
            f"attack {arguments.name}: {withdrawn} claimed successes do not fool the model from "
            f"the stored file and count as failures"
        )
    # A claim is only ever withdrawn: a minimal-norm attack may reject what happens to fool.
    verified["success"] &= tensors["success"]
    write_tensors(arguments.output, tensors | verified, facts)
    report(
        f"attack {arguments.name} seed {arguments.seed}: {len(images)} images, "
        f"{verified['success'].double().mean():.1%} fooled, mean L2 {tensors['l2'].mean():.3f}"
    )


def verify(
    model: nn.Module, stored: Tensor, labels: Tensor, device: torch.device
) -> dict[str, Tensor]:
    """Feed the stored images to the model, as they are and rounded to 8 bits.

    Returns:
        ``prediction`` and ``success`` (misclassified), and the same of the rounded images as
        ``prediction_8bit`` and ``success_8bit``.
    """
    prediction = predict_logits(model, stored, device=device).argmax(1)
    rounded = predict_logits(model, round_to_8_bits(stored), device=device).argmax(1)
    return {
        "prediction": prediction,
        "success": prediction != labels,
        "prediction_8bit": rounded,
        "success_8bit": rounded != labels,
    }


def _on_cpu(result: AttackResult) -> dict[str, Tensor]:
    values: dict[str, Any] = {field.name: getattr(result, field.name) for field in fields(result)}
    if values["target"] is None:
        values["target"] = torch.full_like(result.iterations, NO_TARGET)
    return {name: value.detach().cpu() for name, value in values.items()}


def _join(results: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([result[name] for result in results]) for name in results[0]}


def _check_box(adversarial: Tensor, name: str) -> None:
    if not bool(((adversarial >= 0) & (adversarial <= 1)).all()):
        raise AdvdetectError(
            f"The attack {name} returned pixels outside [0, 1] or not a number: mend the attack; "
            f"its images must stay in the box."
        )
