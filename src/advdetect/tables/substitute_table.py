"""The table of substitutes: what they asked their oracles for, and how well they imitate them."""

import pandas as pd

from advdetect.tables.table import CellFormat, Table

NAME = "substitutes"


def substitute_table(cells: pd.DataFrame) -> Table:
    """Build the table of substitutes by quantities.

    Args:
        cells: What `substitutes.imitations` returns, or what the table's CSV file holds.
    """
    return Table(
        name=NAME,
        caption="Substitutes of models that answer labels: labels that were asked for, and the "
        "share of the test images that substitute and oracle give the same class. In brackets the "
        "95 % bootstrap interval over seeds and images.",
        rows="substitute",
        columns="quantity",
        cells=cells,
        formats={"queries": CellFormat(scale=1, decimals=0, spread="nothing", best=False)},
        format=CellFormat(best=False),
    )
