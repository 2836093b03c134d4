"""The table of substitutes: what they asked their oracles for, and how well they imitate them."""

import pandas as pd

from advdetect.tables.names import run_name
from advdetect.tables.table import CellFormat, Table

NAME = "substitutes"


def substitute_table(cells: pd.DataFrame) -> Table:
    """Build the table of substitutes by quantities.

    Args:
        cells: What `substitutes.imitations` returns, or what the table's CSV file holds.
    """
    named = cells.drop_duplicates("substitute")
    oracles = named["oracle"].astype(object).fillna("")
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
        labels={
            own: f"{run_name(own)} (of {run_name(oracle)})" if oracle else run_name(own)
            for own, oracle in zip(named["substitute"], oracles, strict=True)
        },
    )
