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
            own: _label(run_name(own), run_name(oracle))
            for own, oracle in zip(named["substitute"], oracles, strict=True)
        },
    )


def _label(substitute: str, oracle: str) -> str:
    """Name the oracle as well, where it is a run and the title does not name it already."""
    return substitute if not oracle or oracle in substitute else f"{substitute} (of {oracle})"
