"""The cells of tables that compare several runs: networks, and images that cross between them."""

import itertools
from collections.abc import Iterator, Sequence

import pandas as pd

from advdetect.evaluation.perturbation import (
    fooling_rate,
    mean_fooling_rate,
    mean_success_distortion,
)
from advdetect.papers.found import Sources, Spec, named, norms_of
from advdetect.papers.reproduction import Cell


def networks(spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame) -> Iterator[Cell]:
    """Yield training error, test error and mean distortion of each network; see `readings.cells`.

    The distortion is that of the attack which the reading names for the network, over its
    successes.
    """
    attacks = dict(reading["attacks"])
    for row, label in spec["runs"]:
        own = sources.runs[label]
        for quantity, seeds in own.errors.items():
            yield Cell(row, "", quantity, list(seeds.values()), fooling_rate)
        tables = norms_of(attacks[row], reading, own)
        yield Cell(row, "", "distortion", tables, mean_success_distortion)


def transfer(spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame) -> Iterator[Cell]:
    """Yield the fooling rates of images that were crafted on one model, on each of the others.

    Several attacks or runs under one name of the paper are its mean over them. Without columns each
    row has a run of its own, or several with an attack for each.
    """
    for row, column, pairs in crossings(spec, reading):
        parts = [_judged(attack, reading, sources.runs[label]) for label, attack in pairs]
        tables = [
            pd.concat([t.assign(part=n) for n, t in enumerate(of_seed)], ignore_index=True)
            for of_seed in zip(*parts, strict=True)
        ]
        yield Cell(row, column, "fooling_rate", tables, mean_fooling_rate)


def crossings(spec: Spec, reading: Spec) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield row and column of each cell of a transfer, and its pairs of run and attack."""
    runs = dict(spec["runs"])
    for row, attacks in reading["attacks"]:
        for column in runs if "columns" in spec else [""]:
            labels = _listed(runs[column or row])
            every = itertools.product(labels, _listed(attacks))
            yield row, column, list(every if column else zip(labels, _listed(attacks), strict=True))


def _judged(attack: str, reading: Spec, sources: Sources) -> list[pd.DataFrame]:
    """Return what each image did, by seed, of those that count.

    These are the images that the judging model gets right when clean, or any; perhaps only what
    fooled the model of its crafting.
    """
    tables = norms_of(attack, reading, sources)
    if reading.get("clean", "right") == "any":
        others = named(sources.norms, attack, "attack").left_out.values()
        tables = [
            pd.concat([table, more], ignore_index=True)
            for table, more in zip(tables, others, strict=True)
        ]
    if reading.get("crafted", "all") == "all":
        return tables
    return [table[table["crafted_success"]] for table in tables]


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names
