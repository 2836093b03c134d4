"""The words of tidy cells: one row per cell, its keys, its value and what stands behind it."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import pandas as pd

RUN = "run"  # the column that names the run: a data set and a model; "" where there is one
REASON = "reason"  # the column that says why a cell is empty, "" otherwise

SIGNIFICANCE = 0.05  # below it, features are said to differ
#: The columns of tidy cells that are no keys.
STATISTICS = [
    "value",
    "standard_deviation",
    "low",
    "high",
    "interval",
    "n_positive",
    "n_negative",
]
#: Columns that tidy cells may have beside them, which neither name a cell nor are its value.
FACTS = ["p_value", "reported", "difference", "verdict", REASON]
#: What the column ``interval`` says where low and high are one; elsewhere they are another range.
BOOTSTRAP_INTERVAL = "95 % bootstrap"
#: What tables of metrics, of paired tests and of attacks have, to tell them from others.
METRICS_TABLE = ("feature", "detector", "trained_on", "tested_on", "metric", "seed", "value")
PAIRED_TABLE = ("difference", "low", "high")
ATTACKS_TABLE = ("attack", "seed")
T = TypeVar("T")


def of_runs(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns run and reason, "" where it says nothing of them."""
    return table.assign(
        **{
            name: table[name].astype(object).fillna("") if name in table else ""
            for name in (RUN, REASON)
        }
    )


def split_runs(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each run by its label, in the order in which they come."""
    groups = of_runs(table).groupby(RUN, sort=False)
    return {str(label): rows.reset_index(drop=True) for label, rows in groups}


def stack_runs(runs: Mapping[str, T], compute: Callable[[T], pd.DataFrame]) -> pd.DataFrame:
    """Compute a table of each run and put them below each other, with the column run first."""
    parts = []
    for label, data in runs.items():
        part = compute(data)
        rest = part.drop(columns=RUN, errors="ignore")
        rest.insert(0, RUN, label)
        parts.append(rest)
    return pd.concat(parts, ignore_index=True)
