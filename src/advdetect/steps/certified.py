"""The table of certified accuracy, from counts of images under noise."""

import argparse
from pathlib import Path

from advdetect.evaluation.cells import stack_runs
from advdetect.evaluation.certified import certified_accuracies, read_smoothed
from advdetect.files.texts import write_text
from advdetect.progress import report
from advdetect.runs import group_by_run
from advdetect.steps import options
from advdetect.tables.certified_table import certified_table
from advdetect.tables.names import titled
from advdetect.tables.rendering import to_csv, to_latex, to_markdown, to_text

FORMATS = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex, ".txt": to_text}
NAME = "certified"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument(
        "--certificates", nargs="+", required=True, metavar="FILE", help="files from certify"
    )
    parser.add_argument(
        "--alpha", type=float, default=0.001, help="probability of a wrong one (default 0.001)"
    )
    parser.add_argument(
        "--radii", type=float, nargs="*", default=[], help="where accuracies are given"
    )
    options.add_bootstrap(parser)
    options.add_runs(parser)
    options.add_titles(parser)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write to")


def run(arguments: argparse.Namespace) -> None:
    """Write the table in every format."""
    runs = group_by_run(arguments.certificates, arguments.runs, "certificates")
    cells = stack_runs(
        runs,
        lambda files: certified_accuracies(
            read_smoothed(files.paths, arguments.alpha),
            arguments.radii,
            replicates=arguments.replicates,
            seed=arguments.bootstrap_seed,
        ),
    )
    table = certified_table(cells, arguments.alpha)
    folder = Path(arguments.output)
    with titled(arguments.titles):
        for suffix, render in FORMATS.items():
            write_text(folder / f"{NAME}{suffix}", render(table))
    broken = int(cells.loc[cells["quantity"] == "broken", "value"].sum())
    report(f"certified: {folder / NAME}.csv")
    if broken:
        report(
            f"certified: warning: attacks change {broken} images inside their certified radius; α "
            f"allows for {arguments.alpha:g} of the certificates"
        )
