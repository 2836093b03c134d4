"""The papers' tables that an experiment reproduces: the names and files they need."""

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
CLEAN = "clean"


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
    used += [("attack", name) for name in attacks_of(reproduction)]
    for reading in reproduction["readings"]:
        used += [("defense", name) for name in reading.get("defenses", {}).values()]
    yield from unknown(used, known)
    yield from _unfilled(reproduction)


def _unfilled(reproduction: Spec) -> Iterable[str]:
    """Yield which patterns of attacks have braces that no column of the reported values fills."""
    is_filled = reproduction["kind"] == "defense"
    columns = [*reproduction["rows"], reproduction.get("columns")] if is_filled else []
    named = ", ".join(filter(None, columns))
    reason = f"rows and columns are {named}" if is_filled else "only the kind defense fills braces"
    for name in attacks_of(reproduction):
        for field in re.findall(r"\{(\w+)\}", name):
            if field not in columns:
                yield f"nothing fills {{{field}}} of the attack {name}: {reason}"


def unknown(used: Iterable[tuple[str, str]], known: Mapping[str, Iterable[str]]) -> Iterable[str]:
    """Yield which of the names that are used, group and name, this experiment lacks."""
    for group, name in dict.fromkeys(used):
        # A pattern names an attack for each of its values, some of which a small run may lack.
        pattern = re.sub(r"\\\{\w+\\\}", "[^,]+", re.escape(name))
        if not any(re.fullmatch(pattern, own) for own in known[group]):
            what = "feature" if group == "computed" else group
            yield (
                f"the {what} {name} is not among those of this experiment "
                f"({'; '.join(known[group]) or 'none'})"
            )


def attacks_of(reproduction: Spec) -> list[str]:
    """Return the attacks that the readings of a reproduction name."""
    return _flat(value for each in reproduction["readings"] for value in each["attacks"].values())


def runs_of(reproduction: Spec) -> list[str] | None:
    """Return the labels of the runs that a reproduction is made from, None for the only one."""
    if "runs" in reproduction:
        return _flat(reproduction["runs"].values())
    return [reproduction["run"]] if "run" in reproduction else None


def _flat(values: Iterable[str | list[str]]) -> list[str]:
    parts = ([value] if isinstance(value, str) else value for value in values)
    return list(dict.fromkeys(name for part in parts for name in part))


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
    named = attacks_of(reproduction)
    own = [name for name in attacks if name in named]
    if reproduction["kind"] == "defense":
        defenses = (
            name for reading in reproduction["readings"] for name in reading["defenses"].values()
        )
        yield from (f"defenses/{name}.parquet" for name in dict.fromkeys(defenses))
        return
    if reproduction["kind"] == "networks":
        yield from ("training", CLEAN)
    methods = reproduction.get("methods", {}).values()
    if not all("detector" in method for method in methods) or not methods:
        yield from (f"attacks/{name}.safetensors" for name in own)
    for feature in dict.fromkeys(m["feature"] for m in methods if "column" in m):
        yield from (f"features/{name}/{feature}.parquet" for name in (CLEAN, *own))
    for feature in dict.fromkeys(m["feature"] for m in methods if "detector" in m):
        yield f"scores/{feature}.parquet"
