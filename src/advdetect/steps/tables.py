"""Detection and cross-attack tables, as CSV, Markdown and LaTeX."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import METRICS_TABLE, PAIRED_TABLE, stack_runs
from advdetect.evaluation.defenses import defense_accuracies
from advdetect.evaluation.inputs import read_defenses, read_norms
from advdetect.evaluation.perturbation import least_perturbations
from advdetect.evaluation.substitutes import imitations
from advdetect.files.attack import PASSES, AttackFile
from advdetect.files.texts import csv_of, write_text
from advdetect.io import read_provenance
from advdetect.many_classes import CHOSEN, described
from advdetect.papers.readings import reported_defenses
from advdetect.progress import report
from advdetect.runs import RunFiles, group_by_run, read_frame
from advdetect.steps import options
from advdetect.tables.defense_table import DEFENSE_TABLES, defense_table
from advdetect.tables.names import display_name, titled
from advdetect.tables.rendering import to_csv, to_latex, to_markdown, to_text
from advdetect.tables.standard import standard_tables
from advdetect.tables.substitute_table import NAME as SUBSTITUTES
from advdetect.tables.substitute_table import substitute_table
from advdetect.tables.table import Table

FORMATS = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex, ".txt": to_text}
ATTACK_SUMMARY = "attack_summary.csv"
#: Quantities of attacks that are measurements of the run, like times, and no results.
MEASURED = [f"mean_{name}" for name in PASSES]


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
    parser.add_argument(
        "--histories",
        nargs="*",
        default=[],
        metavar="FILE",
        help="histories from train of substitutes",
    )
    parser.add_argument(
        "--clean",
        nargs="*",
        default=[],
        metavar="FILE",
        help="files from classify of these and their oracles",
    )
    parser.add_argument(
        "--reproductions",
        type=options.json_value,
        default=[],
        metavar="JSON",
        help="the papers' tables of defences, whose values stand beside ours",
    )
    parser.add_argument(
        "--reported", nargs="*", default=[], metavar="CSV", help="the files of their values"
    )
    parser.add_argument("--detector", default="random_forest", help="the detector of the tables")
    parser.add_argument("--controls", nargs="*", default=[], help="names of control detectors")
    parser.add_argument(
        "--control", nargs="*", default=[], metavar="FILE", help="files from evaluate --control"
    )
    options.add_bootstrap(parser)
    options.add_runs(parser)
    options.add_titles(parser)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write to")


def run(arguments: argparse.Namespace) -> None:
    """Build the tables and write each in every format."""
    attacks = group_by_run(arguments.attacks, arguments.runs, "attacks")
    summary = stack_runs(attacks, lambda files: summarize_attacks(files.paths))
    folder = Path(arguments.output)
    with titled(arguments.titles):
        tables = standard_tables(
            read_frame(*arguments.metrics, columns=METRICS_TABLE),
            summary,
            detector=arguments.detector,
            controls=arguments.controls,
            unchanged=read_frame(*arguments.control, columns=METRICS_TABLE)
            if arguments.control
            else None,
            least_perturbations=least_perturbations_of_runs(
                attacks, replicates=arguments.replicates, seed=arguments.bootstrap_seed
            ),
            paired=read_frame(arguments.paired, columns=PAIRED_TABLE) if arguments.paired else None,
        )
        if arguments.defenses:
            tables |= _defense_tables(arguments)
        if arguments.histories:
            bootstrap = {"replicates": arguments.replicates, "seed": arguments.bootstrap_seed}
            of_runs = (arguments.histories, arguments.clean, arguments.runs)
            tables[SUBSTITUTES] = substitute_table(imitations(*of_runs, **bootstrap))
        if wrong := [name for name in tables if Path(name).name != name]:
            raise AdvdetectError(
                f"--metrics: {wrong[0]!r} would be the name of a file, which has no /: rename "
                "the feature."
            )
        write_text(folder / ATTACK_SUMMARY, csv_of(summary))
        chosen = chosen_for_many_classes(arguments.attacks)
        for name, table in tables.items():
            table = with_remarks(table, chosen)
            for suffix, render in FORMATS.items():
                write_text(folder / f"{name}{suffix}", render(table))
    report(f"tables: {len(tables)} tables in {folder}")


def chosen_for_many_classes(attacks: Sequence[str]) -> dict[str, str]:
    """Return in words what attacks chose for many classes, by their names, from their files."""
    facts = [AttackFile(path).facts for path in attacks]
    return {fact["name"]: described(fact[CHOSEN]) for fact in facts if CHOSEN in fact}


def with_remarks(table: Table, chosen: Mapping[str, str]) -> Table:
    """Return a table that says below what the methods that it shows chose."""
    shown = {*table.cells[table.rows], *table.cells[table.columns]}
    remarks = [f"{display_name(name)}: {text}." for name, text in chosen.items() if name in shown]
    return replace(table, remarks=remarks)


def least_perturbations_of_runs(
    runs: Mapping[str, RunFiles], *, replicates: int, seed: int
) -> pd.DataFrame:
    """Return what `least_perturbations` finds in the files of attacks, run by run.

    Args:
        runs: Files from attack.
        replicates: Number of bootstrap replicates.
        seed: Seed of the bootstrap.
    """
    return stack_runs(
        runs,
        lambda files: least_perturbations(
            read_norms(files.paths), replicates=replicates, seed=seed
        ),
    )


def _defense_tables(arguments: argparse.Namespace) -> dict[str, Table]:
    """Return the tables of defence accuracy, of float images and of rounded ones."""
    runs = group_by_run(arguments.defenses, arguments.runs, "defenses")
    defenses = {label: read_defenses(files.paths) for label, files in runs.items()}
    files = {Path(path).name: path for path in arguments.reported}
    theirs = {label: reported_defenses(arguments.reproductions, files, label) for label in runs}
    known = {label: values for label, values in theirs.items() if values is not None}
    reported = stack_runs(known, pd.DataFrame.copy) if known else None
    tables = {}
    there = read_provenance(arguments.defenses[0])["bits"]
    for name, bits in DEFENSE_TABLES.items():
        if bits not in there:
            continue
        accuracies = partial(
            defense_accuracies,
            bits=bits,
            positives="successful",
            replicates=arguments.replicates,
            seed=arguments.bootstrap_seed,
        )
        tables[name] = defense_table(stack_runs(defenses, accuracies), reported, bits)
    return tables


def summarize_attacks(paths: Sequence[str]) -> pd.DataFrame:
    """Return one row per attack and seed: success rates, mean norms (successful only) and cost."""
    cost = ("iterations", *PASSES)
    names = ["success", "success_8bit", "l2", "linf", *cost]
    rows = []
    for path in paths:
        attack = AttackFile(path)
        facts, arrays = attack.facts, attack.columns(*names)
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
                **{f"mean_{name}": arrays[name].mean() for name in cost},
            }
        )
    return pd.DataFrame(rows)
