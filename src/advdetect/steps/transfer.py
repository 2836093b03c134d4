"""Judge adversarial images that were made for another model, or with any other tool."""

import argparse
from pathlib import Path
from typing import Any

import torch

from advdetect import provenance
from advdetect.attacks.result import AttackResult
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.files.attack import LEFT_OUT, TRANSFER, pieces
from advdetect.identity import digest
from advdetect.inference import forward_batch, predict_logits
from advdetect.many_classes import CHOSEN
from advdetect.progress import report, track
from advdetect.provenance import CRAFTED
from advdetect.requirements.memory import FORWARD
from advdetect.steps import options
from advdetect.steps.batches import images_at_a_time
from advdetect.steps.classifier import add_judged, given_model, judged
from advdetect.steps.crafted import Crafted, read_crafted
from advdetect.steps.images import read_correct
from advdetect.steps.judging import Victims, describe_model, judge_rows, report_success


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, """'{}'""")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument(
        "--name", required=True, help="name of the attack, for example fgsm@shallow_vgg"
    )
    parser.add_argument(
        "--crafted",
        required=True,
        help="file from attack, with another model; or your own images: .npz or .safetensors with "
        "the arrays adversarial (N, C, H, W), of 8 bits or float in [0, 1], and index (N,), the "
        "positions of the clean images in the test split",
    )
    add_judged(parser)
    parser.add_argument("--output", required=True, help="file to write: the adversarial images")


def run(arguments: argparse.Namespace) -> None:
    """Judge and write piece by piece the images whose clean ones the model gets right.

    Of the others the file says in its provenance whether they are misclassified as well, for rates
    over all images that were crafted.
    """
    device = prepare_torch(arguments.device, arguments.threads)
    name = arguments.name
    data = read_split(arguments.test)
    crafted = read_crafted(arguments.crafted, data)
    facts = _describe(arguments, crafted, device)
    facts["class_names"] = data.class_names
    model = given_model(arguments, device)
    kept = _kept(crafted, read_correct(arguments.clean))
    if left_out := len(crafted.index) - len(kept):
        report(
            f"transfer {name}: {left_out} of {len(crafted.index)} images are left out: the model "
            f"gets them wrong when clean"
        )
    if not len(kept):
        raise AdvdetectError(f"transfer {name}: the model gets none of the clean images right.")

    victims = Victims(model, data, crafted.index[kept], arguments.seed, device)
    facts[LEFT_OUT] = _left_out(crafted, kept, victims)
    writer = victims.writer(arguments.output, facts)
    writer.remove_unfinished(keep_own=bool(arguments.code))
    image = victims.images(range(1)).to(device)
    size = images_at_a_time(arguments, f"transfer {name}", model, image, FORWARD)
    work = pieces(writer.done(), size)
    for rows in track(work, len(work), f"transfer {name}", "batch"):
        chosen = kept[rows.start : rows.stop]
        # Whatever is misclassified is a success, also of an attack that aims at a class.
        result = AttackResult(
            adversarial=crafted.images(chosen),
            success=torch.ones(len(rows), dtype=torch.bool),
            target=crafted.target[chosen],
            iterations=crafted.iterations[chosen],
        )
        judge_rows(
            writer,
            victims,
            rows,
            result,
            {column: values[chosen] for column, values in crafted.passes.items()},
            name=name,
            crafted_success=crafted.success[chosen],
        )
    columns = writer.columns("success", "l2")
    writer.publish()
    report_success("transfer", name, arguments.seed, columns)


def _describe(
    arguments: argparse.Namespace, crafted: Crafted, device: torch.device
) -> dict[str, Any]:
    """Return the provenance: of the attack's file, or of what a user's file holds."""
    spec, inputs = options.read_spec(arguments), judged(arguments)
    if crafted.model is None:
        spec["content"] = digest(Path(arguments.crafted).read_bytes())
    else:
        inputs = {CRAFTED: arguments.crafted, **inputs}
    facts = provenance.describe(
        TRANSFER,
        spec,
        arguments.code,
        inputs=inputs,
        outputs=[arguments.output],
        keyed={"name": arguments.name, "seed": arguments.seed},
        device=device.type,
        threads=arguments.threads,
        crafted_on=crafted.model,
        judged_on=describe_model(arguments.model),
    )
    chosen = {CHOSEN: crafted.chosen} if crafted.chosen else {}
    return facts | chosen | {"spec": {**crafted.spec, **spec}}


def _kept(crafted: Crafted, right: torch.Tensor) -> torch.Tensor:
    """Return the rows whose clean image the model gets right, in the order of the split."""
    rows = torch.isin(crafted.index, right).nonzero().flatten()
    return rows[crafted.index[rows].argsort()]


def _left_out(crafted: Crafted, kept: torch.Tensor, victims: Victims) -> dict[str, list[Any]]:
    """Return of the images that are not kept their index, success here and success where made."""
    is_kept = torch.zeros(len(crafted.index), dtype=torch.bool)
    is_kept[kept] = True
    rows = (~is_kept).nonzero().flatten()
    prediction = torch.empty(0, dtype=torch.int64)
    if len(rows):
        prediction = predict_logits(
            lambda chosen: victims.model(crafted.images(chosen).to(victims.device)),
            rows,
            forward_batch(victims.data.images[:1]),
        ).argmax(1)
    columns = {
        "index": crafted.index[rows],
        "success": prediction != victims.data.labels[crafted.index[rows]],
        "crafted_success": crafted.success[rows],
    }
    return {name: values.tolist() for name, values in columns.items()}
