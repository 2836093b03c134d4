"""The cells of a paper's table under one reading of its protocol, by kind of table.

A table's specification names what the paper calls things; a reading maps these names to ours and
says what counts. Both are described in ``config/config.yaml``.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.defenses import defended_share, defended_tables
from advdetect.evaluation.perturbation import (
    AttackNorms,
    fooling_rate,
    mean_fooling_rate,
    mean_success_norm,
    norm_at_rate,
)
from advdetect.files.published import read_csv
from advdetect.papers.reproduction import Cell, auroc, reported_cells
from advdetect.protocol import CLEAN

Spec = Mapping[str, Any]
#: Reads the scores of the cells in which columns have the values that are named.
ScoreReader = Callable[..., pd.DataFrame]
#: Of each seed a table.
Seeds = Mapping[int, pd.DataFrame]

_NEGATIVES = ("clean", "noisy")


@dataclass(frozen=True)
class Sources:
    """What the pipeline found, as far as a table needs it.

    Attributes:
        scores: By feature and seed, a reader of the scores of its detectors: detector, trained_on,
            tested_on, bits, positives, index, kind and score.
        features: By feature and attack (or ``clean``), its columns with index and kind.
        norms: By attack, what it reached.
        defenses: By defence, a row per image: attack, kind, index, success and good.
        runs: The same of every run, by its label, for a table of several.
    """

    scores: Mapping[str, Mapping[int, ScoreReader]]
    features: Mapping[tuple[str, str], Seeds]
    norms: Mapping[str, AttackNorms]
    defenses: Mapping[str, Seeds]
    runs: Mapping[str, "Sources"] = field(default_factory=dict)


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
        tables = _norms(attack, reading, sources)
        yield Cell(row, "", "least_l2", tables, mean_success_norm)
        yield Cell(row, "", "fooling_rate", tables, fooling_rate)


def _norm_at_rate(
    spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame
) -> Iterator[Cell]:
    for row, attack in reading["attacks"]:
        tables = _norms(attack, reading, sources)
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
            seeds = _of(sources.defenses, defense, "defence")
            tables = defended_tables(seeds, attack, bits, positives)
            if any(map(len, tables)):  # a small experiment has fewer values of what is swept
                yield Cell(facts["row"], column, "defense_accuracy", tables, defended_share)


def _transfer(
    spec: Spec, reading: Spec, sources: Sources, reported: pd.DataFrame
) -> Iterator[Cell]:
    """Yield the fooling rates of images that were crafted on one model, on each of the others.

    Several attacks or runs under one name of the paper are its mean over them. Without columns each
    row has a run of its own, or several with an attack for each.
    """
    runs = dict(spec["runs"])
    for row, attacks in reading["attacks"]:
        for column in runs if "columns" in spec else [""]:
            labels = _listed(runs[column or row])
            every = itertools.product(labels, _listed(attacks))
            pairs = every if column else zip(labels, _listed(attacks), strict=True)
            parts = [_judged(attack, reading, sources.runs[label]) for label, attack in pairs]
            tables = [
                pd.concat([t.assign(part=n) for n, t in enumerate(of_seed)], ignore_index=True)
                for of_seed in zip(*parts, strict=True)
            ]
            yield Cell(row, column, "fooling_rate", tables, mean_fooling_rate)


def _judged(attack: str, reading: Spec, sources: Sources) -> list[pd.DataFrame]:
    """Return the norms of each seed, perhaps only of what fooled the model of its crafting."""
    tables = _norms(attack, reading, sources)
    if reading.get("crafted", "all") == "all":
        return tables
    return [table[table["crafted_success"]] for table in tables]


def _listed(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


_KINDS: Mapping[str, Callable[[Spec, Spec, Sources, pd.DataFrame], Iterator[Cell]]] = {
    "detection": _detection,
    "cross_attack": _cross_attack,
    "least_perturbation": _least_perturbation,
    "norm_at_rate": _norm_at_rate,
    "defense": _defense,
    "transfer": _transfer,
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
    seeds = _of(sources.scores, method["feature"], "feature")
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
    clean = _of(sources.features, (method["feature"], CLEAN), "feature")
    attacked = _of(sources.features, (method["feature"], attack), "feature")
    tables = []
    for seed, table in attacked.items():
        rows = pd.concat([clean[seed], table], ignore_index=True)
        names = {kind if kind == CLEAN else f"{kind}{suffix}": kind for kind in kinds}
        rows["kind"] = rows["kind"].map(names)
        rows = rows.dropna(subset="kind")
        if positives == "successful":
            norms = _of(sources.norms, attack, "attack").seeds[seed]
            fooled = norms.loc[norms["success"], "index"]
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
        reported = reported_cells(
            read_csv(files[spec["reported"]]),
            dataset=spec["dataset"],
            rows=spec["rows"],
            columns=spec.get("columns"),
            values=dict(spec["values"]),
        )
        first, *_ = spec["readings"]
        patterns, defenses = dict(first["attacks"]), dict(first["defenses"])
        for facts in reported.to_dict("records"):
            pattern = patterns.get(facts[spec["rows"][0]])
            if pattern and facts["column"] in defenses:
                rows.append((pattern.format_map(facts), defenses[facts["column"]], facts["value"]))
    columns = ["attack", "defense", "value"]
    return pd.DataFrame(rows, columns=columns) if own else None


def _what_counts(reading: Spec) -> tuple[str, str, list[str]]:
    """Return the form of the images, which positives count, and the kinds of images."""
    kinds = [*reading.get("negatives", _NEGATIVES), "adversarial"]
    return reading.get("bits", "float32"), reading.get("positives", "successful"), kinds


def _norms(attack: str, reading: Spec, sources: Sources) -> list[pd.DataFrame]:
    """Return the norms of each seed; beyond the radius of the reading nothing is a success."""
    within = reading.get("within")
    tables = list(_of(sources.norms, attack, "attack").seeds.values())
    if within is None:
        return tables
    return [table.assign(success=table["success"] & (table["l2"] <= within)) for table in tables]


def _of(tables: Mapping[Any, Any], name: Any, what: str) -> Any:
    if name not in tables:
        shown = " of ".join(name) if isinstance(name, tuple) else name
        raise AdvdetectError(f"There is no file of the {what} {shown}: give it to --inputs.")
    return tables[name]
