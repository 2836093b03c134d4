"""Detection and cross-attack tables, as CSV, Markdown and LaTeX."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from advdetect.evaluation.defenses import DEFENSE_TABLES, defense_accuracies, defense_table
from advdetect.evaluation.perturbation import least_perturbations
from advdetect.evaluation.rendering import to_csv, to_latex, to_markdown, to_text
from advdetect.evaluation.standard import standard_tables
from advdetect.evaluation.table import Table
from advdetect.io import read_arrays, read_csv, read_provenance, write_text
from advdetect.progress import report
from advdetect.steps import options
from advdetect.steps.defended import read_defenses, read_reported
from advdetect.steps.norms import read_norms

FORMATS = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex, ".txt": to_text}
ATTACK_SUMMARY = "attack_summary.csv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument(
        "--metrics", nargs="+", required=True, metavar="FILE", help="files from evaluate"
    )
    parser.add_argument("--paired", metavar="FILE", help="the file from paired")
    parser.add_argument(
        "--attacks", nargs="+", required=True, metavar="FILE", help="files from attack"
    )
    parser.add_argument(
        "--defenses", nargs="*", default=[], metavar="FILE", help="files from defend"
    )
    options.add_reported(parser)
    parser.add_argument("--detector", default="random_forest", help="the detector of the tables")
    parser.add_argument("--controls", nargs="*", default=[], help="names of control detectors")
    options.add_bootstrap(parser)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write to")


def run(arguments: argparse.Namespace) -> None:
    """Build the tables and write each in every format."""
    metrics = read_csv(*arguments.metrics)
    summary = summarize_attacks(arguments.attacks)
    folder = Path(arguments.output)
    write_text(folder / ATTACK_SUMMARY, summary.to_csv(index=False, lineterminator="\n"))
    tables = standard_tables(
        metrics,
        summary,
        detector=arguments.detector,
        controls=arguments.controls,
        least_perturbations=least_perturbations(
            read_norms(arguments.attacks),
            replicates=arguments.replicates,
            seed=arguments.bootstrap_seed,
        ),
        paired=read_csv(arguments.paired) if arguments.paired else None,
    )
    if arguments.defenses:
        tables |= _defense_tables(arguments)
    for name, table in tables.items():
        for suffix, render in FORMATS.items():
            write_text(folder / f"{name}{suffix}", render(table))
    report(f"tables: {len(tables)} tables in {folder}")


def _defense_tables(arguments: argparse.Namespace) -> dict[str, Table]:
    """Return the tables of defence accuracy, of float images and of rounded ones."""
    defenses = read_defenses(arguments.defenses)
    tables = {}
    for name, bits in DEFENSE_TABLES.items():
        cells = defense_accuracies(
            defenses,
            bits=bits,
            positives="successful",
            replicates=arguments.replicates,
            seed=arguments.bootstrap_seed,
        )
        reported = read_reported(arguments.reported, arguments.dataset, cells)
        tables[name] = defense_table(cells, reported, bits)
    return tables


def summarize_attacks(paths: Sequence[str]) -> pd.DataFrame:
    """Return one row per attack and seed: success rates, mean norms (successful only) and cost."""
    names = ["success", "success_8bit", "l2", "linf", "iterations", "gradient_calls"]
    rows = []
    for path in paths:
        facts, arrays = read_provenance(path), read_arrays(path, names)
        success = arrays["success"]
        rows.append(
            {
                "attack": facts["name"],
                "seed": facts["seed"],
                "n": len(success),
                "success_rate": success.mean(),
                "success_rate_8bit": arrays["success_8bit"].mean(),
                "mean_l2": arrays["l2"][success].mean() if success.any() else float("nan"),
                "mean_linf": arrays["linf"][success].mean() if success.any() else float("nan"),
                "mean_iterations": arrays["iterations"].mean(),
                "mean_gradient_calls": arrays["gradient_calls"].mean(),
            }
        )
    return pd.DataFrame(rows)
