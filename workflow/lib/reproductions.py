"""The papers' tables and figures that an experiment reproduces: the names and files they need."""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
CLEAN = "clean"
SPECTRUM = "fisher_input"  # the feature whose columns are a spectrum
# Figures of a few images of the first seed.
OF_EXAMPLES = {"eigenvalue_path": "paths/{}.parquet", "sensitivity": "sensitivity/{}.safetensors"}


def unknown_names(reproduction: Spec, known: Mapping[str, Iterable[str]]) -> Iterable[str]:
    """Yield what is wrong with the names that a reproduction uses, a sentence each.

    Args:
        reproduction: Its specification.
        known: The names of this experiment, by group: attack, feature, detector, defense. A
            feature whose column is used need not be one that is evaluated: ``computed``.
    """
    used: list[tuple[str, str]] = []
    for method in reproduction.get("methods", {}).values():
        used.append(("computed" if "column" in method else "feature", method["feature"]))
        if "detector" in method:
            used.append(("detector", method["detector"]))
    for reading in reproduction["readings"]:
        used += [("attack", name) for name in reading["attacks"].values()]
        used += [("defense", name) for name in reading.get("defenses", {}).values()]
    yield from _unknown(used, known)


def unknown_names_of_figure(figure: Spec, known: Mapping[str, Iterable[str]]) -> Iterable[str]:
    """Yield what is wrong with the names that a figure uses, as `unknown_names` does."""
    used = [("attack", name) for name in figure["attacks"]]
    if "feature" in figure:
        used.append(("computed", figure["feature"]))
    if figure["kind"] == "eigenvalue_perturbation":
        used.append(("computed", SPECTRUM))
    yield from _unknown(used, known)


def _unknown(used: list[tuple[str, str]], known: Mapping[str, Iterable[str]]) -> Iterable[str]:
    for group, name in dict.fromkeys(used):
        # A pattern names an attack for each of its values, some of which a small run may lack.
        pattern = re.sub(r"\\\{\w+\\\}", "[^,]+", re.escape(name))
        if not any(re.fullmatch(pattern, own) for own in known[group]):
            what = "feature" if group == "computed" else group
            yield (
                f"the {what} {name} is not among those of this experiment "
                f"({'; '.join(known[group]) or 'none'})"
            )


def check_reported(reproduction: Spec, path: Path, dataset: str) -> Iterable[str]:
    """Yield what a file of reported values lacks that a reproduction needs, a sentence each.

    Args:
        reproduction: Its specification.
        path: The CSV file, which exists.
        dataset: Name of the data set.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        known = list(reader.fieldnames or [])
        datasets = {row.get("dataset") for row in reader}
    columns = reproduction.get("columns")
    wanted = [*reproduction["rows"], *([columns] if columns else []), *reproduction["values"]]
    missing = [name for name in wanted if name not in known]
    if missing:
        yield f"{path.name} has no column {', '.join(missing)}; it has: {', '.join(known)}"
    elif "dataset" in known and dataset not in datasets:
        there = ", ".join(sorted(map(str, datasets)))
        yield f"{path.name} reports nothing for the data set {dataset}, but for: {there}"


def files(reproduction: Spec, attacks: Iterable[str]) -> Iterable[str]:
    """Yield the files below a run that a reproduction is made from.

    Args:
        reproduction: Its specification.
        attacks: The attacks of the experiment.
    """
    named = {name for reading in reproduction["readings"] for name in reading["attacks"].values()}
    own = [name for name in attacks if name in named]
    if reproduction["kind"] == "defense":
        defenses = (
            name for reading in reproduction["readings"] for name in reading["defenses"].values()
        )
        yield from (f"defenses/{name}.parquet" for name in dict.fromkeys(defenses))
        return
    methods = reproduction.get("methods", {}).values()
    if not all("detector" in method for method in methods) or not methods:
        yield from (f"attacks/{name}.safetensors" for name in own)
    for feature in dict.fromkeys(m["feature"] for m in methods if "column" in m):
        yield from (f"features/{name}/{feature}.parquet" for name in (CLEAN, *own))
    for feature in dict.fromkeys(m["feature"] for m in methods if "detector" in m):
        yield f"scores/{feature}.parquet"


def figure_files(figure: Spec) -> Iterable[str]:
    """Yield the files below a run that a figure is drawn from."""
    kind, attacks = figure["kind"], figure["attacks"]
    if kind in OF_EXAMPLES:
        yield from (OF_EXAMPLES[kind].format(name) for name in attacks)
        return
    yield from (f"attacks/{name}.safetensors" for name in attacks)
    if "feature" in figure:
        yield from (f"features/{name}/{figure['feature']}.parquet" for name in (CLEAN, *attacks))
    if kind == "eigenvalue_perturbation":
        yield f"features/{CLEAN}/{SPECTRUM}.parquet"
