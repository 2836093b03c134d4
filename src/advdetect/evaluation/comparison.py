"""Which cells of a table differ between two runs by more than their intervals allow."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import BOOTSTRAP_INTERVAL, FACTS, RUN, STATISTICS, of_runs

#: What can become of a cell, in the order in which it is reported.
OUTCOMES = {
    "equal": "value and interval are the same to the last digit",
    "within": "changed, and the interval of the difference holds zero",
    "beyond": "changed, and the interval of the difference leaves zero out",
    "no_interval": "changed, and one side at least has no interval to judge it by",
    "only_first": "a value in the first only",
    "only_second": "a value in the second only",
}
#: The outcomes that no interval explains.
CHANGES = ("beyond", "no_interval")
_NAMES = ["row", "column"]
_KEYS = [RUN, *_NAMES]
_COMPARED = ["value", "low", "high"]
_SIDES = ("_first", "_second")


def compare_cells(first: pd.DataFrame | None, second: pd.DataFrame | None) -> pd.DataFrame:
    """Match the cells of a table in two runs by their keys and judge each difference.

    A cell has changed beyond its intervals if the 95 % interval of the difference d = v₂ − v₁
    leaves out zero. It is put together from the intervals [l, u] of the two values by the method of
    variance estimates recovery (Zou & Donner 2008), so it need not be symmetrical:

        d − √((v₂ − l₂)² + (u₁ − v₁)²)   to   d + √((u₂ − v₂)² + (v₁ − l₁)²)

    For equal symmetrical intervals of half width h that is |d| > √2 h: less strict than that they
    do not overlap, |d| > 2h, and stricter than that a value lies outside the other's interval,
    |d| > h. For independent runs it takes 5 % of the cells that did not change for changed. Runs
    that share images or seeds are positively correlated, so for them it takes fewer.

    Only bootstrap intervals count; the range over attacks of an average is no interval.

    Args:
        first: Tidy cells of the first run, one per row, as `rendering.to_csv` writes them: two or
            more keys, `STATISTICS` and perhaps `FACTS`, in any order. None where this run has no
            such table.
        second: Those of the second; not None as well.

    Returns:
        One row per cell, in the order of the first and then of the second: run, row (its first
        other key) and column (the others); value, low and high with the suffixes _first and
        _second; difference, difference_low and difference_high (NaN where there is nothing to
        compare); and outcome, one of `OUTCOMES`.
        A cell without a value counts as one that is not there; without one in either it is equal.

    Raises:
        AdvdetectError: The two have other keys, or a cell stands twice in one.
    """
    first, second = (None if table is None else of_runs(table) for table in (first, second))
    tables = [table for table in (first, second) if table is not None]
    keys = _keys(tables[0])
    for table in tables:
        others = _keys(table)
        if len(others) < len(_NAMES) or set(others) != set(keys):
            raise AdvdetectError(
                f"its cells are named by {', '.join(keys)} and by {', '.join(others)}: two or more "
                f"names, the same in both, are needed to match them."
            )
        if (twice := table.duplicated([RUN, *keys])).any():
            named = ", ".join(map(str, table.loc[twice, keys].iloc[0]))
            raise AdvdetectError(f"the cell {named} stands in it twice.")
    sides = [
        _compared(tables[0].head(0) if table is None else table, keys, suffix)
        for table, suffix in zip((first, second), _SIDES, strict=True)
    ]
    cells = pd.concat([side[_KEYS] for side in sides]).drop_duplicates()
    for side in sides:
        cells = cells.merge(side, on=_KEYS, how="left")
    return _judged(cells)


def count_outcomes(cells: pd.DataFrame) -> dict[str, int]:
    """Return how many cells of `compare_cells` have each of the `OUTCOMES`."""
    counts = cells["outcome"].value_counts()
    return {outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES}


def by_size(cells: pd.DataFrame, outcomes: Collection[str] = CHANGES) -> pd.DataFrame:
    """Return the cells of `compare_cells` with these outcomes, the largest difference first."""
    chosen = cells[cells["outcome"].isin(list(outcomes))]
    return chosen.sort_values(
        "difference", key=lambda difference: -difference.abs(), kind="stable", ignore_index=True
    )


def _compared(table: pd.DataFrame, keys: list[str], suffix: str) -> pd.DataFrame:
    """Return the keys under names of their own, and what is compared with a suffix."""
    compared = table[_COMPARED].astype(np.float64)
    is_interval = table["interval"] == BOOTSTRAP_INTERVAL
    compared[["low", "high"]] = compared[["low", "high"]].where(is_interval, axis=0)
    names = table[keys].fillna("").astype(str)
    column = names[keys[1:]].agg(", ".join, axis=1) if len(names) else names[keys[1]]
    named = names[keys[:1]].set_axis(_NAMES[:1], axis=1).assign(column=column)
    named.insert(0, RUN, table[RUN])
    return pd.concat([named, compared.add_suffix(suffix)], axis=1)


def _keys(table: pd.DataFrame) -> list[str]:
    return [name for name in table.columns if name not in (RUN, *STATISTICS, *FACTS)]


def _judged(cells: pd.DataFrame) -> pd.DataFrame:
    """Add the differences, their intervals and the outcomes."""
    (v1, l1, u1), (v2, l2, u2) = (
        [cells[f"{name}{suffix}"] for name in _COMPARED] for suffix in _SIDES
    )
    difference = v2 - v1
    low = difference - np.hypot(v2 - l2, u1 - v1)
    high = difference + np.hypot(u2 - v2, v1 - l1)
    equal = [(a == b) | (a.isna() & b.isna()) for a, b in ((v1, v2), (l1, l2), (u1, u2))]
    conditions = [
        (np.logical_and.reduce(equal), "equal"),
        (v2.isna() & v1.notna(), "only_first"),
        (v1.isna() & v2.notna(), "only_second"),
        # Equal values have not changed, whatever became of their intervals.
        (difference == 0, "within"),
        (low.isna() | high.isna(), "no_interval"),
        ((low > 0) | (high < 0), "beyond"),
    ]
    outcome = np.select(
        [condition for condition, _ in conditions], [name for _, name in conditions], "within"
    )
    return cells.assign(
        difference=difference, difference_low=low, difference_high=high, outcome=outcome
    )
