"""Attack the clean-correct test images and verify every success from the stored file."""

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from advdetect import naming, provenance
from advdetect.attacks.noise import noisy_twins
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.inference import clean_correct, predict_logits, round_to_8_bits, to_float
from advdetect.io import read_tensors, write_tensors
from advdetect.models.store import read_model
from advdetect.progress import report
from advdetect.randomness import SampleGenerator
from advdetect.seeding import derive_seed
from advdetect.steps import options
from advdetect.steps.chunks import Chunks
from advdetect.steps.crafting import SWEEP, Instance, Victims, craft


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/attack/fgsm.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument(
        "--name",
        required=True,
        help="name of the attack; what is before its first comma is for its random numbers, so "
        "that the values of a sweep have the same",
    )
    parser.add_argument(
        "--sweep",
        type=json.loads,
        default={},
        metavar="JSON",
        help="values of the swept parameters by name of the attack, as in "
        '{"cw_l2,kappa=0": {"kappa": 0}, "cw_l2,kappa=5": {"kappa": 5}}: where files of these '
        "attacks are missing beside the output, their images are computed in the same batches and "
        "kept for their own jobs",
    )
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
    family = naming.family(arguments.name)

    context = _context(arguments, family)
    chunks = Chunks(Path(arguments.output), _fingerprint(spec, *context))
    if not arguments.code:  # without it, chunks of other code look the same
        chunks.remove()
    seed = derive_seed(arguments.seed, "attack", family)
    tensors = craft(
        spec,
        arguments.name,
        _instances(arguments, spec, context, chunks),
        Victims(model, images, labels, index, seed, device),
        arguments.batch_size,
        lock=_fingerprint({k: v for k, v in spec.items() if k not in _swept(spec)}, *context),
    )
    tensors |= _verified(tensors, model, images, labels, device, spec, arguments.name)
    tensors |= _distances(tensors["adversarial"], images)
    noise = SampleGenerator(derive_seed(arguments.seed, "noise", family), index)
    tensors["noisy"] = noisy_twins(images, tensors["l2"], noise)
    tensors |= {"index": index, "label": labels}
    facts = provenance.describe(
        "attack",
        spec,
        arguments.code,
        key=chunks.key,
        name=arguments.name,
        seed=arguments.seed,
        device=device.type,
        threads=arguments.threads,
        class_names=data.class_names,
    )
    write_tensors(arguments.output, tensors, facts)
    chunks.remove()
    success = tensors["success"]
    report(
        f"attack {arguments.name} seed {arguments.seed}: {len(images)} images, "
        f"{success.double().mean():.1%} fooled"
        + (f", mean L2 {tensors['l2'][success].mean():.3f}" if success.any() else "")
    )


def verify(
    model: nn.Module, adversarial: Tensor, labels: Tensor, device: torch.device
) -> dict[str, Tensor]:
    """Feed images to the model as a file gives them back, as they are and rounded to 8 bits.

    Returns:
        ``prediction`` and ``success`` (misclassified), and the same of the rounded images as
        ``prediction_8bit`` and ``success_8bit``.
    """
    with TemporaryDirectory() as folder:
        draft = Path(folder) / "draft.safetensors"
        write_tensors(draft, {"adversarial": adversarial}, {})
        stored = read_tensors(draft)[0]["adversarial"]
    prediction = predict_logits(model, stored, device=device).argmax(1)
    rounded = predict_logits(model, round_to_8_bits(stored), device=device).argmax(1)
    return {
        "prediction": prediction,
        "success": prediction != labels,
        "prediction_8bit": rounded,
        "success_8bit": rounded != labels,
    }


def _distances(adversarial: Tensor, images: Tensor) -> dict[str, Tensor]:
    """Return how far images were moved, and whether they were at all; rounded to 8 bits, too."""
    difference = (adversarial - images).flatten(1)
    rounded = round_to_8_bits(adversarial) != round_to_8_bits(images)
    return {
        "l2": difference.double().norm(dim=1),
        "linf": difference.abs().amax(dim=1),
        "changed": (difference != 0).any(dim=1),
        "changed_8bit": rounded.flatten(1).any(dim=1),
    }


def _verified(
    claimed: Mapping[str, Tensor],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    device: torch.device,
    spec: Mapping[str, Any],
    name: str,
) -> dict[str, Tensor]:
    """Withdraw the successes that do not hold; return what `verify` does, and ``adversarial``."""
    adversarial = claimed["adversarial"]
    verified = verify(model, adversarial, labels, device)
    withdrawn = claimed["success"] & ~verified["success"]
    if withdrawn.any():
        report(
            f"attack {name}: {int(withdrawn.sum())} claimed successes do not fool the model from "
            f"the stored file and count as failures"
        )
        if spec.get("_minimal_norm_"):  # whose failures are unchanged images
            adversarial = torch.where(withdrawn.view(-1, 1, 1, 1), images, adversarial)
            verified = verify(model, adversarial, labels, device)
    # A claim is only ever withdrawn: a minimal-norm attack may reject what happens to fool.
    verified["success"] &= claimed["success"]
    return {"adversarial": adversarial, **verified}


def _context(arguments: argparse.Namespace, family: str) -> list[Any]:
    """Return all that the images depend on besides the specification."""
    files = []
    for path in (arguments.data, arguments.model):
        with Path(path).open("rb") as file:
            files.append(hashlib.file_digest(file, "sha256").hexdigest())
    return [arguments.code, arguments.seed, family, *files]


def _fingerprint(*values: object) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _swept(spec: Mapping[str, Any]) -> list[str]:
    return spec.get(SWEEP, {}).get("over", [])


def _instances(
    arguments: argparse.Namespace, spec: Mapping[str, Any], context: list[Any], own: Chunks
) -> list[Instance]:
    """Return the instances of the sweep, the attack among them; without a sweep it alone."""
    over, name = _swept(spec), arguments.name
    sweep = arguments.sweep or {name: {key: spec[key] for key in over}}
    if name not in sweep or any(sorted(values) != sorted(over) for values in sweep.values()):
        raise AdvdetectError(
            f"--sweep must give the attack {name} and others a value for each parameter that the "
            f"specification sweeps over ({', '.join(over) or 'none'})."
        )
    if len(sweep) > 1 and not arguments.code:
        raise AdvdetectError("--sweep needs --code: what is kept for other jobs is named by it.")
    instances = []
    for other, values in sweep.items():
        key = _fingerprint({**spec, **values}, *context)
        chunks = Chunks(own.output.with_name(f"{other}.safetensors"), key)
        instances.append(Instance(other, values, own if other == name else chunks))
    return instances
