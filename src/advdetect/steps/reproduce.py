"""One table of a paper: what it reports beside what came out here, under each reading."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import RUN
from advdetect.files.published import read_csv
from advdetect.files.texts import csv_of, write_text
from advdetect.papers.found import Sources
from advdetect.papers.readings import cells
from advdetect.papers.reproduction import (
    compare,
    reported_cells,
    summarize,
)
from advdetect.papers.sources import read_sources
from advdetect.progress import report
from advdetect.runs import group_by_run
from advdetect.steps import options
from advdetect.tables.names import titled
from advdetect.tables.rendering import to_latex, to_markdown, to_text
from advdetect.tables.reproduction_tables import reproduction_tables

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
        help="what the readings name: files from score, feature, attack and defend; of the kind "
        "networks also from classify and the histories from train",
    )
    options.add_bootstrap(parser)
    options.add_runs(parser)
    options.add_titles(parser)
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
    label, sources = _sources(spec, arguments)
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
    comparison.insert(0, RUN, label)
    write_text(folder / f"{arguments.name}.csv", csv_of(comparison))
    with titled(arguments.titles):
        tables = reproduction_tables(arguments.name, spec["title"], comparison)
        for suffix, render in FORMATS.items():
            write_text(folder / f"{arguments.name}{suffix}", "\n".join(map(render, tables)))
    first = summarize(comparison).iloc[0]
    report(
        f"reproduce {arguments.name}: of {first['cells']} reported cells {first['within']} within "
        f"our intervals, {first['above']} above, {first['below']} below ({first['reading']})"
    )


def _sources(spec: Mapping[str, Any], arguments: argparse.Namespace) -> tuple[str, Sources]:
    """Read the run that the table is of: the one that it names, or the only one; or several."""
    runs = group_by_run(arguments.inputs, arguments.runs)
    if "runs" in spec:
        of_each = {label: read_sources(files.paths) for label, files in runs.items()}
        return "", Sources({}, {}, {}, {}, runs=of_each)
    label = spec.get("run", "" if len(runs) > 1 else next(iter(runs)))
    if label not in runs:
        raise AdvdetectError(
            f"The table {arguments.name} is of one run: name it with run, one of {', '.join(runs)}."
        )
    return label, read_sources(runs[label].paths)
