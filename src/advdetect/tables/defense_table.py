"""The tables of defence accuracy, reported values beside ours."""

import numpy as np
import pandas as pd

from advdetect.evaluation.cells import BOOTSTRAP_INTERVAL, RUN, of_runs
from advdetect.tables.names import REPORTED, display_name
from advdetect.tables.table import CellFormat, Table

# File name → bits.
DEFENSE_TABLES = {"defense_accuracy": "float32", "defense_accuracy_8bit": "8bit"}


def defense_table(cells: pd.DataFrame, reported: pd.DataFrame | None, bits: str) -> Table:
    """Build the table of attacks by defences, the reported values beside ours.

    Args:
        cells: What `defense_accuracies` returns, of several runs with the column run.
        reported: Columns attack, defense and value in [0, 1]; None where there are none.
        bits: ``float32`` or ``8bit``.

    Returns:
        Mean over seeds with its 95 % interval, in percent.
    """
    cells = of_runs(cells)
    keys = [RUN, "attack", "defense"]
    statistics = ["value", "standard_deviation", "low", "high", "n_positive", "n_negative"]
    ours = cells[[*keys, *statistics]].assign(interval=BOOTSTRAP_INTERVAL)
    parts = [ours]
    if reported is not None:
        known = of_runs(reported).merge(cells[keys], on=keys)
        theirs = known.assign(defense=known["defense"] + REPORTED, interval="none")
        parts.append(theirs.reindex(columns=ours.columns))
    table = pd.concat(parts, ignore_index=True).fillna({"n_positive": 0, "n_negative": 0})
    order = [
        name
        for defense in cells["defense"].unique()
        for name in (defense, f"{defense}{REPORTED}")
        if (table["defense"] == name).any()
    ]
    rank = table["defense"].map(order.index)
    ordered = table.iloc[np.argsort(rank.to_numpy(), kind="stable")].reset_index(drop=True)
    return stored_defense_table(ordered, bits)


def stored_defense_table(cells: pd.DataFrame, bits: str) -> Table:
    """Build the table again from its cells.

    Args:
        cells: The cells of a `defense_table`, as its CSV file holds them.
        bits: ``float32`` or ``8bit``.
    """
    return Table(
        name=f"defense_accuracy_{bits}",
        caption="Defence accuracy in percent, "
        f"{display_name(bits)}: share of the successful adversarial images that are flagged, or "
        "classified correctly after the reformer; of the clean images, the share that is not "
        "flagged and classified correctly after it. In brackets the 95 % bootstrap interval over "
        "seeds and source images.",
        rows="attack",
        columns="defense",
        cells=cells,
        format=CellFormat(best=False),
    )
