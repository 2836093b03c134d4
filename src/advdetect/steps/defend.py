"""Apply a defence to the clean images and to every attack's: what it flags, what it mends."""

import argparse
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor

from advdetect import provenance
from advdetect.data.store import read_split
from advdetect.defenses.defense import Defense, held_out_thresholds
from advdetect.device import prepare_torch
from advdetect.errors import AdvdetectError, explain_failure
from advdetect.files.attack import AttackFile
from advdetect.inference import batch_slices, to_float
from advdetect.io import read_provenance, read_table, read_tensors, write_table
from advdetect.models.guard import unchanged
from advdetect.progress import report
from advdetect.protocol import BITS, CLEAN, HELD_OUT
from advdetect.requirements.memory import FORWARD
from advdetect.steps import options
from advdetect.steps.batches import images_at_a_time
from advdetect.steps.classifier import add_judged, given_model, judged
from advdetect.steps.images import (
    Kind,
    add_bits,
    changed_images,
    read_correct,
    split_images,
)

# For each source and kind, for each feature its columns.
Columns = dict[tuple[str, str], dict[str, dict[str, Tensor]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/defense/magnet.yaml")
    options.add_runtime(parser)
    add_bits(parser)
    parser.add_argument("--name", required=True, help="name of the defence")
    add_judged(parser)
    parser.add_argument(
        "--attacks", nargs="+", required=True, metavar="FILE", help="files from attack"
    )
    parser.add_argument(
        "--features",
        nargs="+",
        required=True,
        metavar="FILE",
        help="files from feature: of the held-out, the clean and every attack's images",
    )
    parser.add_argument("--fitted", required=True, help="auto-encoders, from fit-feature")
    parser.add_argument("--output", required=True, help="file to write: one row per image and kind")


def run(arguments: argparse.Namespace) -> None:
    """Defend every kind of image and write what came of it."""
    device = prepare_torch(arguments.device, arguments.threads)
    spec = options.read_spec(arguments)
    files = {name: getattr(arguments, name) for name in ("attacks", "features", "fitted")}
    facts = provenance.describe(
        "defend",
        spec,
        arguments.code,
        inputs={**judged(arguments), **files},
        outputs=[arguments.output],
        keyed={"name": arguments.name, "bits": arguments.bits},
        device=device.type,
        threads=arguments.threads,
    )
    given = ["features", "limits", "fitted", "batch_size"]
    defend = options.bind_target(spec, "_target_", positional=2, given=given)
    model = given_model(arguments, device)
    fitted = {name: value.to(device) for name, value in read_tensors(arguments.fitted)[0].items()}
    columns = _read_features(arguments.features)
    facts["thresholds"] = limits = held_out_thresholds(
        _of(columns, HELD_OUT, HELD_OUT), spec["detectors"]
    )
    data = read_split(arguments.test)

    image = to_float(data.images[:1]).to(device)
    size = images_at_a_time(arguments, f"defend {arguments.name}", model, image, FORWARD)
    who = f"The defence {arguments.name}"

    def table_of(source: str, name: str, kind: Kind, rows: slice) -> pd.DataFrame:
        own = _of(columns, source, name)
        with unchanged(model, who), explain_failure(who):
            # Copies, since the user's code may write into them.
            defense = defend(
                model,
                kind.images(rows),
                features={
                    feature: {column: values[rows].clone() for column, values in of.items()}
                    for feature, of in own.items()
                },
                limits=dict(limits),
                fitted={key: values.clone() for key, values in fitted.items()},
                batch_size=size,
            )
        if not isinstance(defense, Defense):
            raise AdvdetectError(f"{who} returned {type(defense).__name__}: it must be a Defense.")
        index = kind.index[rows]
        truth = data.labels[index]
        good = defense.accepted(truth) if source == CLEAN else defense.defended(truth)
        return pd.DataFrame(
            {
                "attack": source,
                "kind": name,
                "index": index.numpy(),
                "good": good.numpy(),
                "flagged": defense.flagged.numpy(),
                "reformed_class": defense.reformed_class.numpy(),
                **{
                    f"flagged_by_{name}": flags.numpy()
                    for name, flags in defense.flagged_by.items()
                },
            }
        )

    def whole_table(source: str, name: str, kind: Kind) -> pd.DataFrame:
        batches = batch_slices(len(kind.index), size)
        return pd.concat([table_of(source, name, kind, rows) for rows in batches])

    clean = split_images(data, read_correct(arguments.clean))
    parts = [whole_table(CLEAN, CLEAN, clean).assign(success=True)]
    names = []
    for path in arguments.attacks:
        attack = AttackFile(path)
        names.append(attack.name)
        kinds = changed_images(attack, data, arguments.bits)
        for suffix in (BITS[form] for form in arguments.bits):
            name = f"adversarial{suffix}"
            success = attack.column(f"success{suffix}")[attack.column(f"changed{suffix}")]
            if len(success):
                parts.append(whole_table(attack.name, name, kinds[name]).assign(success=success))
    table = pd.concat(parts, ignore_index=True)
    table["attack"] = pd.Categorical(table["attack"], [CLEAN, *names])
    write_table(arguments.output, table, facts)
    flagged = table.loc[table["attack"] == CLEAN, "flagged"].mean()
    report(f"defend {arguments.name}: {100 * flagged:.2f} % of the clean images flagged")


def _read_features(paths: Sequence[str]) -> Columns:
    columns: Columns = {}
    for path in paths:
        facts = read_provenance(path)
        for kind, rows in read_table(path).groupby("kind", sort=False):
            values = {
                str(column): torch.from_numpy(rows[column].to_numpy(copy=True))
                for column in rows.columns.drop(["index", "kind"])
            }
            columns.setdefault((facts["attack"], str(kind)), {})[facts["name"]] = values
    return columns


def _of(columns: Columns, source: str, kind: str) -> Mapping[str, Mapping[str, Tensor]]:
    if (source, kind) not in columns:
        raise AdvdetectError(f"--features lacks the files of {source} ({kind}).")
    return columns[source, kind]
