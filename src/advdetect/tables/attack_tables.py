"""The tables of the attacks themselves: their success and the size of their perturbations."""

from dataclasses import replace

import numpy as np
import pandas as pd

from advdetect.evaluation.cells import REASON, RUN, STATISTICS, of_runs, split_runs, stack_runs
from advdetect.tables.table import CellFormat, Table
from advdetect.tables.tables import interval_note, tidy

_SUMMARY_FORMATS = {
    "success_rate": (100, 1),
    "success_rate_8bit": (100, 1),
    "mean_l2": (1, 3),
    "mean_linf": (1, 4),
}


def attack_table(summary: pd.DataFrame) -> Table:
    """Build the table of attacks by quantities, averaged over seeds.

    Args:
        summary: One row per attack and seed: attack, seed, n (images attacked), and numeric columns
            such as success_rate and success_rate_8bit (in [0, 1]), mean_l2, mean_linf,
            mean_iterations, mean_forward_passes, mean_backward_passes.

    Returns:
        Mean over seeds and, for more than one seed, the standard deviation (ddof 1); n_positive
        holds the number of images over all seeds.
    """
    cells = stack_runs(split_runs(summary), _attack_cells)
    plain = CellFormat(scale=1, spread="deviation", best=False)
    formats = {
        name: replace(plain, scale=scale, decimals=decimals)
        for name, (scale, decimals) in _SUMMARY_FORMATS.items()
    }
    return Table(
        name="attacks",
        caption="Success and size of the attacks on the test images: mean over seeds, ± standard "
        "deviation where there are several. Distances are over successful adversarials.",
        rows="attack",
        columns="quantity",
        cells=cells,
        formats={**formats, "n": replace(plain, decimals=0, spread="nothing")},
        format=plain,
    )


def least_perturbation_table(cells: pd.DataFrame) -> Table:
    """Build the table of minimal-norm attacks by norm and rate (Zhao et al. 2019, Table 2).

    Args:
        cells: What `perturbation.least_perturbations` returns, at least one row.

    Returns:
        Mean over seeds with its 95 % interval; nothing is marked as best, since a norm is over the
        successes and so can be compared only at equal rates.
    """
    cells = of_runs(cells)
    images = cells.drop_duplicates([RUN, "attack"]).assign(
        quantity="n",
        value=lambda rows: (rows["n_positive"] + rows["n_negative"]).astype(float),
        standard_deviation=np.nan,
        low=np.nan,
        high=np.nan,
    )
    plain = CellFormat(best=False)
    return Table(
        name="least_perturbation",
        caption="Least perturbation that fools the model: mean L2 norm, in pixel units of [0, 1], "
        "over the test images that are fooled, and the share of those. "
        f"{interval_note(int(cells['n_seeds'].max()))}",
        rows="attack",
        columns="quantity",
        cells=tidy(pd.concat([cells, images], ignore_index=True), ["attack", "quantity"]),
        formats={
            "least_l2": replace(plain, scale=1, decimals=3),
            "n": replace(plain, scale=1, decimals=0, spread="nothing"),
        },
        format=plain,
    )


def _attack_cells(summary: pd.DataFrame) -> pd.DataFrame:
    """Average the quantities of one run over its seeds."""
    named = ("attack", "seed", RUN, REASON)
    quantities = [name for name in summary.columns if name not in named]
    long = summary.melt(["attack", "seed"], quantities, "quantity")
    long["value"] = long["value"].astype(float)
    keys = ["attack", "quantity"]
    cells = long.groupby(keys, sort=False, observed=True)["value"].agg(["mean", "std"])
    cells = cells.rename(columns={"mean": "value", "std": "standard_deviation"}).reset_index()
    images = summary.groupby("attack", observed=True)["n"].sum()
    return cells.assign(
        low=np.nan,
        high=np.nan,
        interval="none",
        n_positive=cells["attack"].map(images),
        n_negative=0,
    )[[*keys, *STATISTICS]]
