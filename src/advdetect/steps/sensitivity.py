"""Compute the Fisher information sensitivity of a few adversarial images and of their originals."""

import argparse

import torch

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.files.attack import AttackFile
from advdetect.fisher.sensitivity import fisher_sensitivity
from advdetect.inference import to_float
from advdetect.io import write_tensors
from advdetect.many_classes import CHOSEN, by_classes, choices
from advdetect.progress import report
from advdetect.selection import evenly_spread
from advdetect.steps import options
from advdetect.steps.classifier import add_model, given_model
from advdetect.steps.images import adversarial_images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, """'{"classes": "auto", "examples": 2}'""")
    options.add_runtime(parser)
    add_model(parser)
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument("--attack", required=True, help="file from attack")
    parser.add_argument("--output", required=True, help="file to write: images and their maps")


def run(arguments: argparse.Namespace) -> None:
    """Compute the maps of some of the attack's successes, or of its images without one."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    options.check_names(spec, ("classes", "examples"), all_needed=True)
    facts = provenance.describe(
        "sensitivity",
        spec,
        arguments.code,
        inputs={name: getattr(arguments, name) for name in ("model", "test", "attack")},
        outputs=[arguments.output],
        device=device.type,
        threads=arguments.threads,
    )
    model = given_model(arguments, device)
    attack = AttackFile(arguments.attack)
    facts["attack"] = attack.name
    chosen = torch.from_numpy(attack.column("success")).nonzero().flatten()
    if not len(chosen):
        chosen = torch.arange(len(attack))
    chosen = chosen[evenly_spread(len(chosen), spec["examples"])]
    index = torch.from_numpy(attack.column("index"))[chosen]
    clean = to_float(read_split(arguments.test).images[index])
    images = {"clean": clean, "adversarial": adversarial_images(attack, chosen)}
    with choices(f"sensitivity {attack.name}") as chosen_classes, torch.no_grad():
        logits = model(clean[:1].to(device))
        classes = by_classes("classes", spec["classes"], logits.shape[1], few="all", many="two")
    if chosen_classes:
        facts[CHOSEN] = chosen_classes
    written = {"index": index}
    for kind, batch in images.items():
        maps = fisher_sensitivity(model, batch.to(device), classes=classes, unit_direction=True)
        written |= {
            kind: batch,
            f"{kind}_sensitivity": maps.relative,
            f"{kind}_log10_peak": maps.log10_peak,
        }
    write_tensors(arguments.output, written, facts)
    report(f"sensitivity {attack.name}: {len(chosen)} images")
