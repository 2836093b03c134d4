"""Classify the test images once: all that follows is made of those that the model gets right."""

import argparse

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError
from advdetect.inference import check_classes, predict_logits, to_float
from advdetect.io import write_tensors
from advdetect.progress import report
from advdetect.steps import options
from advdetect.steps.classifier import add_model, given_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "'{}'")
    options.add_runtime(parser)
    add_model(parser)
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument("--output", required=True, help="file to write: predictions and positions")


def run(arguments: argparse.Namespace) -> None:
    """Write the prediction of each image, and the positions of the clean-correct ones."""
    device = prepare_torch(arguments.device, arguments.threads)
    facts = provenance.describe(
        "classify",
        options.read_spec(arguments),
        arguments.code,
        inputs={"model": arguments.model, "test": arguments.test},
        outputs=[arguments.output],
        device=device.type,
        threads=arguments.threads,
    )
    model, data = given_model(arguments, device), read_split(arguments.test)
    # Converted batch by batch: a whole split of floats would be four times the memory.
    logits = predict_logits(lambda batch: model(to_float(batch)), data.images, device=device)
    check_classes(logits, len(data.class_names))
    prediction = logits.argmax(1)
    correct = prediction == data.labels
    if not correct.any():
        raise AdvdetectError("The model classifies no test image correctly: train it first.")
    facts["accuracy"], facts["count"] = correct.double().mean().item(), len(data)
    index = correct.nonzero().flatten()
    write_tensors(arguments.output, {"index": index, "prediction": prediction}, facts)
    report(f"classify seed {facts['seed']}: test accuracy {facts['accuracy']:.2%}")
