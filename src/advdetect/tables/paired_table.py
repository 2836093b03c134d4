"""What a reader sees of the paired tests: each attack's best feature against every other."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from advdetect.evaluation.cells import (
    BOOTSTRAP_INTERVAL,
    REASON,
    RUN,
    SIGNIFICANCE,
    STATISTICS,
    of_runs,
    split_runs,
)
from advdetect.tables.names import display_name
from advdetect.tables.table import CellFormat, Table
from advdetect.tables.tables import interval_note, lower

COLUMNS = [RUN, "attack", "feature", "best", *STATISTICS, "p_value", REASON]


def against_best(paired: pd.DataFrame, controls: Collection[str] = ()) -> pd.DataFrame:
    """Turn paired tests into comparisons of every feature with the best one of each attack.

    Args:
        paired: What `paired.paired_tests` returns.
        controls: Control features, left out.

    Returns:
        A row for each run, attack and feature, in the order of `paired`: run, attack, feature,
        best, value (AUROC of the feature less that of the best one, at most 0),
        standard_deviation (NaN), low, high, interval (what those two are), p_value (corrected),
        n_positive and n_negative. Of the best feature itself value is 0, the limits and the p
        value NaN; all are NaN on an attack that no feature has a value for. No row where there is
        one feature.
    """
    swapped = {
        "feature": "other",
        "other": "feature",
        "auroc": "auroc_other",
        "auroc_other": "auroc",
        "low": "high",
        "high": "low",
    }
    mirrored = paired.rename(columns=swapped)
    mirrored[["difference", "low", "high"]] *= -1
    both = pd.concat([paired, mirrored], ignore_index=True)
    both = both[~both[["feature", "other"]].isin(list(controls)).any(axis=1)]
    parts = [_of_attack(cells) for _, cells in of_runs(both).groupby([RUN, "attack"], sort=False)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def paired_table(paired: pd.DataFrame, *, detector: str, controls: Collection[str] = ()) -> Table:
    """Build the table of features by attacks: each against the best feature of the attack.

    Args:
        paired: What `paired.paired_tests` returns, at least one row.
        detector: The detector of the tests.
        controls: Control features, left out.

    Returns:
        Differences in points with their 95 % interval and corrected p value.
    """
    cells = against_best(paired, controls)
    counts = [int(rows["p_value"].count()) for rows in split_runs(paired).values()]
    pairs = " or ".join(str(count) for count in dict.fromkeys(counts))
    of_run = " of its run" if len(counts) > 1 else ""
    return Table(
        name=f"paired_auroc_{detector}_float32_successful",
        caption=f"AUROC less that of the best feature of the attack, in points: "
        f"{lower(detector)}, trained and tested on the same attack, "
        f"{display_name('successful')}, {display_name('float32')}. "
        f"{interval_note(int(paired['n_seeds'].max()))} p: two-sided, of the paired difference, "
        f"corrected (Holm) for all {pairs} pairs of features and attacks{of_run}; "
        f"the intervals are not corrected. "
        f"Bold: the best feature, and every one that cannot be distinguished from it "
        f"(p ≥ {SIGNIFICANCE}).",
        rows="feature",
        columns="attack",
        cells=cells[[RUN, "feature", "attack", "best", *STATISTICS, "p_value", REASON]],
        format=CellFormat(spread="test"),
    )


def _of_attack(cells: pd.DataFrame) -> pd.DataFrame:
    aurocs = cells.groupby("feature", sort=False)["auroc"].first()
    best = str(aurocs.idxmax() if aurocs.notna().any() else aurocs.index[0])
    tests = cells[cells["other"] == best].set_index("feature").reindex(aurocs.index)
    return pd.DataFrame(
        {
            RUN: cells[RUN].iloc[0],
            "attack": cells["attack"].iloc[0],
            "feature": aurocs.index,
            "best": best,
            "value": (aurocs - aurocs.max()).to_numpy(),
            "standard_deviation": np.nan,
            "low": tests["low"].to_numpy(),
            "high": tests["high"].to_numpy(),
            "interval": np.where(tests["low"].isna(), "none", BOOTSTRAP_INTERVAL),
            "p_value": tests["p_value_holm"].to_numpy(),
            "n_positive": cells["n_positive"].max(),
            "n_negative": cells["n_negative"].max(),
            REASON: tests[REASON].fillna("").to_numpy(),
        }
    )
