"""Train a classifier, have it fit itself, or take the user's own weights as they are."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from advdetect import provenance
from advdetect.data.split import ImageSplit
from advdetect.data.store import read_split
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError, explain_failure, explain_unreadable
from advdetect.files.texts import write_json
from advdetect.identity import digest, run_of
from advdetect.inference import to_float
from advdetect.io import read_provenance
from advdetect.models.guard import TRIED, check_answers, check_weights
from advdetect.models.layout import suits_channels_last
from advdetect.models.published import named_weights
from advdetect.models.store import build_model, read_model, resolve_arguments, write_model
from advdetect.models.weights import load_weights, read_weights
from advdetect.progress import report
from advdetect.requirements.subsets import check_training_images
from advdetect.requirements.training import (
    FITTED,
    FROM_WEIGHTS,
    OPTIONS,
    check_source_of_weights,
)
from advdetect.requirements.weights import is_name
from advdetect.seeding import derive_seed
from advdetect.steps import options
from advdetect.training.kinds import TRAINING, epochs_of, make, train_as
from advdetect.training.loop import accuracy
from advdetect.training.optimizers import is_emulated
from advdetect.training.unfinished import History, Unfinished


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/model/lenet5.yaml")
    options.add_seed(parser)
    options.add_runtime(parser)
    parser.add_argument("--train", required=True, help="training split, from prepare-data")
    parser.add_argument(
        "--unused",
        help="images that nothing was trained on, from prepare-data: what is trained on where the "
        "kind of training says that it needs them",
    )
    parser.add_argument(
        "--weights",
        help="file of your own weights, or the name that the model's library has for them, in "
        "place of training or for it to go on from",
    )
    parser.add_argument(
        "--root",
        help="folder of weights that have a name, in place of the specification's weights_root; "
        "not in the provenance",
    )
    parser.add_argument(
        "--others",
        nargs="*",
        default=[],
        help="models that the training needs, from train, in the order of its settings' names",
    )
    parser.add_argument(
        "--others-spec",
        action="append",
        default=[],
        metavar="YAML|JSON",
        help="what each of these was trained from",
    )
    parser.add_argument("--output", required=True, help="file to write: the weights")
    parser.add_argument(
        "--history", required=True, help="file to write: loss and accuracy by epoch"
    )


def run(arguments: argparse.Namespace) -> None:
    """Train (fit, load) the model; write its weights and how its training went."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    root = spec.pop("weights_root", None)  # where they lie changes nothing that follows from them
    weights = arguments.weights or spec.pop("weights", None)
    is_named = is_name(weights, spec)
    spec["weights"] = _digest_of(weights) if weights and not is_named else weights
    facts = provenance.describe(
        "train",
        spec,
        arguments.code,
        inputs={
            "train": arguments.train,
            "unused": arguments.unused or [],
            "others": arguments.others,
        },
        outputs=[arguments.output, arguments.history],
        keyed={"seed": arguments.seed},
        device=device.type,
        threads=arguments.threads,
    )
    of_others = [read_provenance(path)["run"] for path in arguments.others]
    facts["run"] = run_of(spec, arguments.code, facts["inputs"]["train"], of_others)
    own = spec.get("training") or {}
    if bool(arguments.unused) != bool(own.get("_unused_")):
        raise AdvdetectError(
            "--unused: give it where the training says _unused_: true, and only there."
        )
    training = read_split(arguments.unused or arguments.train)
    seed = derive_seed(arguments.seed, "train")
    model_arguments = resolve_arguments(spec.get("arguments") or {}, training)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(spec["_target_"], model_arguments)

    model.to(device)
    few = _tried(training).to(device)
    classes = len(training.class_names)
    history: History = []
    unfinished = Unfinished(arguments.output, facts)
    check_source_of_weights(spec)
    if is_named:
        weights = named_weights(weights, spec, model_arguments, classes, arguments.root or root)
        facts["weights_file"] = weights.name
    if not weights or FROM_WEIGHTS in own:
        check_training_images(
            len(training), "the model would be trained", "give --weights, and no fine-tuning"
        )
    within = spec.get("weights_key"), spec.get("weights_prefix")
    if weights and FROM_WEIGHTS not in own:
        load_weights(model, weights, *within, classes=classes)
    elif spec.get(FITTED):
        _fit(model, training, seed)
    else:
        _check_trainable(model, spec)
        check_answers(model, few, classes)  # of what is wrong already training is spared
        _check_layout(model, few, own)
        others: dict[str, Any] = {}
        if weights:
            others[own[FROM_WEIGHTS]] = read_weights(weights, model.state_dict(), *within)
        others |= _others(sorted({*own.get("_others_", ())} - others.keys()), arguments, device)
        kind = make(own, others)
        epochs = epochs_of(kind, own)
        if is_emulated(own.get("precision", ""), device):
            report(
                f"train seed {arguments.seed}: warning: this processor has no 16-bit arithmetic: "
                f"precision=bfloat16 is many times slower here than float32"
            )

        def after_epoch(epoch: dict[str, Any]) -> None:
            report(
                f"train seed {arguments.seed}: epoch {epoch['epoch']} of {epochs}, "
                f"loss {epoch['loss']:.4f}, accuracy {epoch['train_accuracy']:.2%}"
            )

        history = train_as(
            kind,
            model,
            training.images,
            training.labels,
            own,
            seed=seed,
            after_epoch=after_epoch,
            unfinished=unfinished,
        )

    check_weights(model)
    check_answers(model, few, classes)
    facts["class_names"] = training.class_names
    write_model(
        *(arguments.output, model, spec["_target_"], model_arguments, facts),
        channels_last=suits_channels_last(model, few),
    )
    summary = {
        **{name: facts[name] for name in ("run", "seed", "key", "inputs")},
        "train_accuracy": None,
        "train_count": len(training),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "history": history,
    }
    if len(training):
        summary["train_accuracy"] = accuracy(model, training.images, training.labels)
    write_json(arguments.history, summary)
    unfinished.remove()
    if not len(training):
        report(f"train seed {arguments.seed}: weights as they are; there are no training images")
        return
    report(f"train seed {arguments.seed}: training accuracy {summary['train_accuracy']:.2%}")
    most_frequent = training.labels.bincount().max().item() / len(training)
    if summary["train_accuracy"] <= most_frequent:
        report(
            f"train seed {arguments.seed}: warning: the model is no better than to name the most "
            f"frequent class ({most_frequent:.2%}): look at its training, its weights or its labels"
        )


def _tried(training: ImageSplit) -> Tensor:
    """Return some of the training images as floats, noise where there are none."""
    if len(training):
        return to_float(training.images[:: -(-len(training) // TRIED)])
    return torch.rand(TRIED, *training.shape, generator=torch.Generator().manual_seed(0))


def _digest_of(weights: str) -> str:
    with explain_unreadable(weights):
        return digest(Path(weights).read_bytes())


def _others(
    settings: Sequence[str], arguments: argparse.Namespace, device: torch.device
) -> dict[str, nn.Module]:
    """Read the models that a training needs, by the settings that name them."""
    if not len(settings) == len(arguments.others) == len(arguments.others_spec):
        raise AdvdetectError(
            f"--others and --others-spec: give one for each of: {', '.join(settings) or 'none'}."
        )
    specs = [options.read_mapping(text, "--others-spec") for text in arguments.others_spec]
    models = map(read_model, arguments.others, specs, [device] * len(specs))
    return dict(zip(settings, models, strict=True))


def _fit(model: nn.Module, training: ImageSplit, seed: int) -> None:
    """Have a model fit itself to the training images."""
    with explain_failure(f"model: the method fit of {type(model).__name__}"):
        fit: Any = model.fit
        fit(training.images, training.labels, seed=seed)
    model.eval()


def _check_layout(model: nn.Module, images: Tensor, training: Mapping[str, Any]) -> None:
    if training.get("channels_last") and not suits_channels_last(model, images):
        raise AdvdetectError(
            f"model.training.channels_last: {type(model).__name__} does not work with the channels "
            f"of its weights innermost, as where it flattens by view: use flatten or reshape in "
            f"its forward, or set it to false."
        )


def _check_trainable(model: nn.Module, spec: Mapping[str, Any]) -> None:
    loop = spec["training"].keys() - OPTIONS.keys()
    if "_target_" in loop:  # with the settings of its kind
        loop &= set(TRAINING)
    options.check_names(loop, TRAINING, all_needed=True, option="model.training")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise AdvdetectError(
            f"model: all weights of {type(model).__name__} are frozen: there is nothing to train; "
            f"give model.weights, or leave some of them free."
        )
