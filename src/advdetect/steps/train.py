"""Train a classifier, or take the user's own weights; measure its accuracy."""

import argparse
from typing import Any

import torch

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.inference import check_classes, predict_logits, to_float
from advdetect.io import write_json
from advdetect.models.store import build_model, load_weights, resolve_arguments, write_model
from advdetect.models.training import accuracy, train
from advdetect.progress import report
from advdetect.seeding import derive_seed
from advdetect.steps import options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/model/lenet5.yaml")
    options.add_seed(parser)
    options.add_runtime(parser, batch_size=False)
    parser.add_argument("--train", required=True, help="training split, from prepare-data")
    parser.add_argument("--test", required=True, help="test split, from prepare-data")
    parser.add_argument("--model", required=True, help="file to write: the weights")
    parser.add_argument("--metrics", required=True, help="file to write: accuracies and history")


def run(arguments: argparse.Namespace) -> None:
    """Train (or load) the model; write its weights and its metrics."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    training, test = read_split(arguments.train), read_split(arguments.test)
    seed = derive_seed(arguments.seed, "train")
    model_arguments = resolve_arguments(spec["arguments"], training)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(spec["_target_"], model_arguments)

    model.to(device)
    first = predict_logits(model, to_float(training.images[:1]), device=device)
    check_classes(first, training)

    history: list[dict[str, Any]] = []
    if spec["weights"] is not None:
        load_weights(model, spec["weights"])
    else:
        epochs = spec["training"]["epochs"]

        def after_epoch(epoch: int, loss: float, train_accuracy: float) -> None:
            test_accuracy = accuracy(model, test.images, test.labels)
            history.append(
                {
                    "epoch": epoch,
                    "loss": loss,
                    "train_accuracy": train_accuracy,
                    "test_accuracy": test_accuracy,
                }
            )
            report(
                f"train seed {arguments.seed}: epoch {epoch} of {epochs}, loss {loss:.4f}, "
                f"accuracy {train_accuracy:.2%} train, {test_accuracy:.2%} test"
            )

        train(
            model,
            training.images,
            training.labels,
            **spec["training"],
            seed=seed,
            after_epoch=after_epoch,
        )

    facts = provenance.describe(
        "train",
        spec,
        arguments.code,
        seed=arguments.seed,
        device=device.type,
        threads=arguments.threads,
        class_names=test.class_names,
    )
    write_model(arguments.model, model, spec["_target_"], model_arguments, facts)
    metrics = {
        "seed": arguments.seed,
        "train_accuracy": accuracy(model, training.images, training.labels),
        "test_accuracy": accuracy(model, test.images, test.labels),
        "train_count": len(training),
        "test_count": len(test),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "history": history,
    }
    write_json(arguments.metrics, metrics)
    report(f"train seed {arguments.seed}: test accuracy {metrics['test_accuracy']:.2%}")
