"""The cells of a paper's table under one reading of its protocol, by kind of table.

A table's specification names what the paper calls things; a reading maps these names to ours and
says what counts. Both are described in ``config/config.yaml``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.defenses import defended_share, defended_tables
from advdetect.evaluation.perturbation import fooling_rate, mean_success_norm, norm_at_rate
from advdetect.files.published import read_csv
from advdetect.papers.found import ScoreReader, Sources, Spec, named, norms_of
from advdetect.papers.reproduction import Cell, auroc, reported_cells
from advdetect.papers.several_runs import crossings, networks, transfer
from advdetect.protocol import CLEAN

_NEGATIVES = ("clean", "noisy")


class ReportedRate(NamedTuple):
    """What a paper reports of images that were crafted on another model.

    Attributes:
        attack: Name of the attack here, as in ``fgsm@substitute,epsilon=0.3``.
        row: The paper's name of the row.
        value: The share that fools, in [0, 1].
    """

    attack: str
    row: str
    value: float


def cells(spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame) -> Iterator[Cell]:
    """Yield the cells of a table under one reading.

    Args:
        spec: The table: kind, methods (pairs of the paper's name and ours), rate, ….
        reading: The reading: attacks and defenses (pairs of the paper's name and ours), positives,
            bits, negatives, within, crafted.
        sources: What the pipeline found.
        reported: What `reproduction.reported_cells` returns.

    Raises:
        AdvdetectError: Something that the reading names is not among the sources.
    """
    return _KINDS[spec["kind"]](spec, reading, sources, reported)


def _detection(
    spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame
) -> Iterator[Cell]:
    for row, method in spec["methods"]:
        for column, attack in reading["attacks"]:
            tables = _samples(method, attack, attack, reading, sources)
            yield Cell(row, column, "auroc", tables, auroc)


def _cross_attack(
    spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame
) -> Iterator[Cell]:
    ((_, method),) = spec["methods"]
    for row, trained_on in reading["attacks"]:
        for column, tested_on in reading["attacks"]:
            tables = _samples(method, trained_on, tested_on, reading, sources)
            yield Cell(row, column, "auroc", tables, auroc)


def _least_perturbation(
    spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame
) -> Iterator[Cell]:
    for row, attack in reading["attacks"]:
        tables = norms_of(attack, reading, sources)
        yield Cell(row, "", "least_l2", tables, mean_success_norm)
        yield Cell(row, "", "fooling_rate", tables, fooling_rate)


def _norm_at_rate(
    spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame
) -> Iterator[Cell]:
    for row, attack in reading["attacks"]:
        tables = norms_of(attack, reading, sources)
        yield Cell(row, "", "norm_at_rate", tables, norm_at_rate(spec["rate"]))


def _defense(spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame) -> Iterator[Cell]:
    first, *_ = spec["rows"]
    bits, positives, _ = _what_counts(reading)
    patterns = dict(reading["attacks"])
    for facts in reported.drop_duplicates("row").to_dict("records"):
        if facts[first] not in patterns:
            continue
        attack = patterns[facts[first]].format_map(facts)
        for column, defense in reading["defenses"]:
            seeds = named(sources.defenses, defense, "defence")
            tables = defended_tables(seeds, attack, bits, positives)
            if any(map(len, tables)):  # a small experiment has fewer values of what is swept
                yield Cell(facts["row"], column, "defense_accuracy", tables, defended_share)


_KINDS: Mapping[str, Callable[[Spec, Spec, Sources, pd.DataFrame], Iterator[Cell]]] = {
    "detection": _detection,
    "cross_attack": _cross_attack,
    "least_perturbation": _least_perturbation,
    "norm_at_rate": _norm_at_rate,
    "defense": _defense,
    "networks": networks,
    "transfer": transfer,
}


def _samples(
    method: Spec, trained_on: str, tested_on: str, reading: Spec, sources: Sources
) -> list[pd.DataFrame]:
    """Return of each seed the scores of negatives and positives: index, kind and score.

    Those of an unsupervised detector are the same whatever it would be trained on.
    """
    bits, positives, kinds = _what_counts(reading)
    if "column" in method:
        return column_samples(method, tested_on, reading, sources)
    seeds = named(sources.scores, method["feature"], "feature")
    wanted: dict[str, str] = {
        "detector": method["detector"],
        "trained_on": trained_on,
        "tested_on": tested_on,
        "bits": bits,
        "positives": positives,
    }
    tables = [read(**wanted | {"trained_on": CLEAN}) for read in seeds.values()]
    if any(table.empty for table in tables):
        tables = [read(**wanted) for read in seeds.values()]
    for read, table in zip(seeds.values(), tables, strict=True):
        if table.empty:
            raise _no_scores(method["feature"], wanted, read)
    return [table[table["kind"].isin(kinds)] for table in tables]


def _no_scores(feature: str, wanted: Mapping[str, str], read: ScoreReader) -> AdvdetectError:
    """Name the first of the columns that has no such value."""
    tried: dict[str, str] = {}
    for column, name in wanted.items():
        tried[column] = name
        if read(**tried).empty:
            break
    return AdvdetectError(
        f"There are no scores of {feature} with {column} {name}: mend the names of the reading."
    )


def column_samples(
    method: Spec, attack: str, reading: Spec, sources: Sources
) -> list[pd.DataFrame]:
    """Return the values of a feature's column as scores; all images count, none is fitted on.

    Args:
        method: feature, column, and adversarial (``high`` or ``low``).
        attack: Name of the attack.
        reading: positives, bits and negatives, where they are not the default.
        sources: What the pipeline found.

    Returns:
        Of each seed a table with index, kind and score, higher for adversarial.
    """
    bits, positives, kinds = _what_counts(reading)
    suffix = "_8bit" if bits == "8bit" else ""
    clean = named(sources.features, (method["feature"], CLEAN), "feature")
    attacked = named(sources.features, (method["feature"], attack), "feature")
    tables = []
    for seed, table in attacked.items():
        rows = pd.concat([clean[seed], table], ignore_index=True)
        names = {kind if kind == CLEAN else f"{kind}{suffix}": kind for kind in kinds}
        rows["kind"] = rows["kind"].map(names)
        rows = rows.dropna(subset="kind")
        if positives == "successful":
            norms = named(sources.norms, attack, "attack").seeds[seed]
            fooled = norms.loc[norms[f"success{suffix}"], "index"]
            rows = rows[(rows["kind"] != "adversarial") | rows["index"].isin(fooled)]
        values = rows[method["column"]]
        rows = rows.assign(score=values if method["adversarial"] == "high" else -values)
        tables.append(rows[["index", "kind", "score"]])
    return tables


def reported_defenses(
    reproductions: Sequence[Spec], files: Mapping[str, str], run: str
) -> pd.DataFrame | None:
    """Return what papers report of defences, under the names that they have here.

    Args:
        reproductions: The tables of defences; their first readings say how attacks and defences are
            called here, and `dataset` for which data set.
        files: The path of each file of reported values by its name.
        run: The run that is shown; a table may say that it is of another.

    Returns:
        Columns attack, defense and value in [0, 1]; None without such tables.
    """
    rows = []
    own = [spec for spec in reproductions if spec.get("run", run) == run]
    for spec in own:
        first, *_ = spec["readings"]
        patterns, defenses = dict(first["attacks"]), dict(first["defenses"])
        for facts in _reported(spec, files).to_dict("records"):
            pattern = patterns.get(facts[spec["rows"][0]])
            if pattern and facts["column"] in defenses:
                rows.append((pattern.format_map(facts), defenses[facts["column"]], facts["value"]))
    columns = ["attack", "defense", "value"]
    return pd.DataFrame(rows, columns=columns) if own else None


def reported_transfers(
    reproductions: Sequence[Spec], files: Mapping[str, str], run: str
) -> list[ReportedRate]:
    """Return what papers report of images that cross, under the names that they have here.

    Several attacks that stand for one of the paper's have its value each. The mean of several in a
    table with columns is of none of them, and is left out.

    Args:
        reproductions: The tables of transfers; their first readings say how attacks are called.
        files: The path of each file of reported values by its name.
        run: The run that judges.
    """
    rates = []
    for spec in reproductions:
        reported = _reported(spec, files)
        shares = reported[reported["quantity"] == "fooling_rate"]
        known = shares.set_index(["row", "column"])["value"]
        first, *_ = spec["readings"]
        for row, column, pairs in crossings(spec, first):
            is_mean = bool(column) and len(pairs) > 1
            if (row, column) in known and not is_mean:
                value = float(known[row, column])
                rates += [
                    ReportedRate(attack, row, value) for label, attack in pairs if label == run
                ]
    return rates


def _reported(spec: Spec, files: Mapping[str, str]) -> pd.DataFrame:
    """Return what `reproduction.reported_cells` does of a table's file."""
    return reported_cells(
        read_csv(files[spec["reported"]]),
        dataset=spec["dataset"],
        rows=spec["rows"],
        columns=spec.get("columns"),
        values=dict(spec["values"]),
    )


def _what_counts(reading: Spec) -> tuple[str, str, list[str]]:
    """Return the form of the images, which positives count, and the kinds of images."""
    kinds = [*reading.get("negatives", _NEGATIVES), "adversarial"]
    return reading.get("bits", "float32"), reading.get("positives", "successful"), kinds
