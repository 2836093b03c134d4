"""Runs: a data set and a model, pooled over seeds; which files and which rows belong to which.

A file says in its provenance which run it is of (the fact ``run``, an identifier). Readers see a
label instead, which the workflow gives for each identifier. A single run needs none: it is "".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import RUN, of_runs
from advdetect.files.published import read_csv
from advdetect.files.texts import read_json
from advdetect.io import read_provenance
from advdetect.provenance import read_made_by

#: What tells two files of one run apart.
_IDENTITY = ("step", "name", "attack", "split", "seed")


@dataclass(frozen=True)
class RunFiles:
    """The files of one run.

    Attributes:
        label: What readers call the run, "" where there is one.
        paths: Files of this run only, in the order in which they were given.
        tables: CSV files, which may hold several runs.
        reported: CSV files of what papers report, by their names.
        data: The images that are evaluated, where they were given.
    """

    label: str
    paths: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    reported: Mapping[str, str] = field(default_factory=dict)
    data: str = ""

    def frame(self, columns: Iterable[str] = ()) -> pd.DataFrame:
        """Return the rows of this run in its CSV files, one file below the other.

        Raises:
            AdvdetectError: There is none, or one of these columns is not there.
        """
        if not self.tables:
            raise AdvdetectError("This is drawn of CSV tables: there is none among --inputs.")
        table = read_frame(*self.tables, columns=columns)
        return table[table[RUN] == self.label].reset_index(drop=True)


def group_by_run(
    paths: Iterable[str], labels: Mapping[str, str], role: str | None = None
) -> dict[str, RunFiles]:
    """Say which files belong to which run.

    Args:
        paths: Files with provenance, and metrics of train in JSON.
        labels: The label of each run by its identifier; empty where there is one run.
        role: What all of them must be, a role of `provenance.MADE_BY`; None where they differ.

    Returns:
        By label, in the order of the labels; runs without a file are left out.

    Raises:
        AdvdetectError: A file is of a run that has no label, or two are of the same run, method and
            seed.
    """
    found: dict[str, list[str]] = {label: [] for label in labels.values()} or {"": []}
    known: dict[tuple[Any, ...], str] = {}
    for path in paths:
        is_json = Path(path).suffix == ".json"
        if is_json:
            facts = read_json(path)
        else:
            facts = read_made_by(path, role) if role else read_provenance(path)
        label = _label(path, facts, labels)
        key = (label, *(facts.get(name) for name in _IDENTITY))
        if (other := known.setdefault(key, path)) != path:
            raise AdvdetectError(
                f"{other} and {path} are of the same run and seed ({_described(facts)}): give one."
            )
        found[label].append(path)
    return {label: RunFiles(label, tuple(own)) for label, own in found.items() if own}


def with_tables(
    runs: Mapping[str, RunFiles], tables: Sequence[str], labels: Mapping[str, str]
) -> dict[str, RunFiles]:
    """Add CSV files, which may hold several runs.

    Args:
        runs: What `group_by_run` returns.
        tables: The files.
        labels: As there.
    """
    if not tables:
        return dict(runs)
    there = dict.fromkeys(read_frame(*tables)[RUN])
    order = [label for label in labels.values() if label in there] or list(there)
    return {
        label: replace(runs.get(label, RunFiles(label)), tables=tuple(tables))
        for label in dict.fromkeys([*runs, *order])
    }


def read_frame(*paths: str, columns: Iterable[str] = ()) -> pd.DataFrame:
    """Read CSV files whose rows may be of several runs; what is not there is "".

    Args:
        paths: The files.
        columns: What they must have.

    Returns:
        With the columns ``run`` and ``reason``, never missing.

    Raises:
        AdvdetectError: A file is missing, no table or not what its stamp says, or has no such
            column.
    """
    table = read_csv(*paths)
    if missing := [name for name in columns if name not in table]:
        raise AdvdetectError(
            f"{', '.join(paths)}: there is no column {missing[0]}: give a table of another kind."
        )
    return of_runs(table)


def _label(path: str, facts: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    if facts.get(RUN) not in labels:
        raise AdvdetectError(
            f"{path} is of the run {facts.get(RUN)}, which --runs does not name: "
            f"{', '.join(labels)}."
        )
    return labels[facts[RUN]]


def _described(facts: Mapping[str, Any]) -> str:
    named = ((name, facts.get(name)) for name in _IDENTITY)
    return ", ".join(f"{name} {value}" for name, value in named if value is not None)
