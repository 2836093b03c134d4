"""The table of certified accuracy, that under attack beside it."""

from dataclasses import replace

import pandas as pd

from advdetect.tables.table import CellFormat, Table


def certified_table(cells: pd.DataFrame, alpha: float) -> Table:
    """Build the table of noises by quantities.

    Args:
        cells: What `certified.certified_accuracies` returns, or what the CSV of the table holds.
        alpha: Probability that a certificate is wrong.

    Returns:
        Mean over seeds with its 95 % interval, in percent.
    """
    plain = CellFormat(best=False)
    return Table(
        name="certified",
        caption="Randomised smoothing, in percent of the test images: accuracy of the base "
        "classifier and of the smoothed one, its abstentions, and its certified accuracy at the "
        f"L2 radius r (α = {alpha:g}); beside that, what attacks within r leave of its accuracy. "
        "Broken: images to which an attack inside their certified radius gives another class. In "
        "brackets the 95 % bootstrap interval over seeds and images.",
        rows="noise",
        columns="quantity",
        cells=cells,
        formats={"broken": replace(plain, scale=1, decimals=0, spread="nothing")},
        format=plain,
    )
