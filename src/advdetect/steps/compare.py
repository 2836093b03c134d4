"""Compare the tables of two results folders: which cells changed beyond their intervals."""

import argparse
import math
from pathlib import Path

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import RUN, STATISTICS
from advdetect.evaluation.comparison import (
    CHANGES,
    OUTCOMES,
    by_size,
    compare_cells,
    count_outcomes,
)
from advdetect.files.published import read_csv
from advdetect.files.texts import write_text
from advdetect.steps.settings import differing_settings, read_settings
from advdetect.steps.tables import ATTACK_SUMMARY, MEASURED

_HEADINGS = {
    "beyond": "changed beyond the intervals",
    "no_interval": "changed, without intervals to judge it by",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    outcomes = "; ".join(f"{name}: {meaning}" for name, meaning in OUTCOMES.items())
    parser.epilog = (
        f"Outcomes of a cell: {outcomes}. The interval of a difference is put together from those "
        "of the two cells (Zou & Donner 2008). For independent runs it takes five in a hundred of "
        "the cells that did not change for changed; for runs that share images or seeds, fewer."
    )
    parser.add_argument("first", metavar="FIRST", help="a results folder, such as results/a")
    parser.add_argument("second", metavar="SECOND", help="another, such as results/b")
    parser.add_argument(
        "--tables", nargs="+", metavar="NAME", help="compare these only, such as detection"
    )
    parser.add_argument("--csv", metavar="FILE", help="file to write: every cell and its outcome")
    parser.add_argument(
        "--fail-on-change",
        action="store_true",
        help="exit with status 1 if a cell changed beyond its intervals, or changed and has none; "
        "a cell in one folder only does not count",
    )


def run(arguments: argparse.Namespace) -> None:
    """Match the cells, print what became of them and why, and write all if asked for."""
    folders = (Path(arguments.first), Path(arguments.second))
    compared = _compare_tables(_table_paths(folders, arguments.tables))
    cells = pd.concat(
        [table.assign(table=name) for name, table in compared.items()], ignore_index=True
    )
    cells.insert(0, "table", cells.pop("table"))
    if arguments.csv:
        write_text(arguments.csv, cells.to_csv(index=False, lineterminator="\n"))
    counts = {name: count_outcomes(table) for name, table in compared.items()}
    print(f"first:  {folders[0]}\nsecond: {folders[1]}\n")
    print(_grid(pd.DataFrame(counts).T.rename_axis("table").reset_index()))
    for name, table in compared.items():
        for outcome, heading in _HEADINGS.items():
            changed = by_size(table, [outcome])
            if len(changed):
                print(f"\n{name}, {heading}:\n{_grid(_listed(changed))}")
    print(f"\n{_settings_text(folders)}")
    if arguments.fail_on_change and (changes := int(cells["outcome"].isin(CHANGES).sum())):
        raise AdvdetectError(
            f"{changes} of {len(cells)} cells changed beyond their intervals or without any "
            f"(--fail-on-change)."
        )


def _table_paths(folders: tuple[Path, Path], wanted: list[str] | None) -> dict[str, list[Path]]:
    """Return the paths of each table in the two folders, where it is in at least one."""
    tables: dict[str, list[Path]] = {}
    for folder in folders:
        if not folder.is_dir():
            raise AdvdetectError(f"The folder {folder} does not exist: name a results folder.")
        paths = [path for path in folder.glob("tables/*.csv") if path.name != ATTACK_SUMMARY]
        if not paths:
            raise AdvdetectError(
                f"{folder / 'tables'} holds no tables (*.csv): name the results folder of a "
                f"finished run, such as results/quickstart."
            )
        for path in paths:
            tables.setdefault(path.stem, [other / "tables" / path.name for other in folders])
    if unknown := [name for name in wanted or [] if name not in tables]:
        raise AdvdetectError(
            f"--tables: {', '.join(unknown)} is in neither folder; there are: "
            f"{', '.join(sorted(tables))}."
        )
    return {name: tables[name] for name in wanted or sorted(tables)}


def _compare_tables(tables: dict[str, list[Path]]) -> dict[str, pd.DataFrame]:
    """Return the compared cells of each table."""
    compared: dict[str, pd.DataFrame] = {}
    for name, paths in tables.items():
        first, second = (_read_cells(path) if path.is_file() else None for path in paths)
        try:
            compared[name] = compare_cells(first, second)
        except AdvdetectError as error:
            raise AdvdetectError(f"The table {name}: {error}") from error
    return compared


def _read_cells(path: Path) -> pd.DataFrame:
    """Read the results of a tidy table.

    A file that was cut off lacks a column or a count of its last cell.
    """
    cells = read_csv(path)
    missing = [name for name in STATISTICS if name not in cells]
    whole = not missing and not cells[["n_positive", "n_negative"]].isna().to_numpy().any()
    numbers = not missing and all(
        pd.api.types.is_numeric_dtype(cells[name]) for name in ("value", "low", "high")
    )
    if not (whole and numbers):
        reason = f"it lacks {', '.join(missing)}" if missing else "a cell is not whole"
        raise AdvdetectError(
            f"The table {path} cannot be read ({reason}): it is damaged or of another kind. Delete "
            f"it and run again; only it and what follows from it are made anew."
        )
    return cells[~cells["quantity"].isin(MEASURED)] if "quantity" in cells else cells


def _listed(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells as text: values with their intervals, and the difference with its own."""
    runs = {RUN: cells[RUN]} if cells[RUN].any() else {}
    return pd.DataFrame(
        {
            **runs,
            "row": cells["row"],
            "column": cells["column"],
            **{
                name: [_with_interval(*cell) for cell in cells[columns].itertuples(index=False)]
                for name, columns in {
                    "first": ["value_first", "low_first", "high_first"],
                    "second": ["value_second", "low_second", "high_second"],
                    "difference": ["difference", "difference_low", "difference_high"],
                }.items()
            },
        }
    )


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.4g}" if math.isnan(low) else f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _grid(table: pd.DataFrame) -> str:
    return table.to_markdown(index=False, tablefmt="simple", disable_numparse=True)


def _settings_text(folders: tuple[Path, Path]) -> str:
    """Say why the runs may differ, as far as their files know."""
    first, second = (read_settings(folder) for folder in folders)
    for folder, settings in zip(folders, (first, second), strict=True):
        if not settings:
            return (
                f"The settings cannot be compared: {folder} holds no files with provenance "
                f"(*.safetensors, *.parquet)."
            )
    lines = differing_settings(first, second)
    if not lines:
        return "Settings, code and versions are the same."
    return "\n".join(["Settings that differ (first → second):", *(f"  {line}" for line in lines)])
