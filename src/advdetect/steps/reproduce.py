"""One table of a paper: what it reports beside what came out here, under each reading."""

import argparse
from pathlib import Path

import pandas as pd

from advdetect.evaluation.readings import Sources, cells
from advdetect.evaluation.rendering import to_latex, to_markdown, to_text
from advdetect.evaluation.reproduction import (
    compare,
    reported_cells,
    summarize,
)
from advdetect.evaluation.reproduction_tables import reproduction_tables
from advdetect.io import read_csv, read_provenance, read_table, write_text
from advdetect.progress import report
from advdetect.steps import options
from advdetect.steps.defended import read_defenses
from advdetect.steps.norms import read_norms

FORMATS = {".md": to_markdown, ".tex": to_latex, ".txt": to_text}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(
        parser,
        "a table of reproductions in config/config.yaml, in JSON; what it maps as lists of pairs",
    )
    parser.add_argument("--name", required=True, help="name of the table, such as table4")
    parser.add_argument("--reported", required=True, help="CSV of the values that are reported")
    parser.add_argument("--dataset", required=True, help="name of the data set in --reported")
    parser.add_argument(
        "--inputs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="what the readings name: files from detect, feature, attack and defend",
    )
    options.add_bootstrap(parser)
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to write to")


def run(arguments: argparse.Namespace) -> None:
    """Compare and write the tables in every format."""
    spec = options.read_spec(arguments)
    reported = reported_cells(
        read_csv(arguments.reported),
        dataset=arguments.dataset,
        rows=spec["rows"],
        columns=spec.get("columns"),
        values=dict(spec["values"]),
    )
    sources = read_sources(arguments.inputs)
    comparison = compare(
        {
            reading["name"]: list(cells(spec, reading, sources, reported))
            for reading in spec["readings"]
        },
        reported,
        replicates=arguments.replicates,
        seed=arguments.bootstrap_seed,
    )
    folder = Path(arguments.output)
    write_text(folder / f"{arguments.name}.csv", comparison.to_csv(index=False))
    tables = reproduction_tables(arguments.name, spec["title"], comparison)
    for suffix, render in FORMATS.items():
        write_text(folder / f"{arguments.name}{suffix}", "\n".join(map(render, tables)))
    first = summarize(comparison).iloc[0]
    report(
        f"reproduce {arguments.name}: of {first['cells']} reported cells {first['within']} within "
        f"our intervals, {first['above']} above, {first['below']} below ({first['reading']})"
    )


def read_comparison(path: str) -> pd.DataFrame:
    """Read the comparison that this step wrote; names and verdicts that are empty stay so."""
    return read_csv(path).fillna({"column": "", "verdict": ""})


def read_sources(paths: list[str]) -> Sources:
    """Read files from detect, feature, attack and defend, each by the stage that made it."""
    scores: dict[str, dict[int, pd.DataFrame]] = {}
    features: dict[tuple[str, str], dict[int, pd.DataFrame]] = {}
    attacks, defenses = [], []
    for path in paths:
        facts = read_provenance(path)
        step = facts["step"]
        if step == "attack":
            attacks.append(path)
        elif step == "defend":
            defenses.append(path)
        elif step == "detect":
            scores.setdefault(facts["name"], {})[facts["seed"]] = read_table(path)
        else:
            own = features.setdefault((facts["name"], facts["attack"]), {})
            own[facts["seed"]] = read_table(path)
    norms = {attack.attack: attack for attack in read_norms(attacks)}
    return Sources(scores, features, norms, read_defenses(defenses))
