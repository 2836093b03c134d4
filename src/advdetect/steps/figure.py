"""One figure, drawn from the files that its kind reads; of several runs a block for each."""

import argparse
from dataclasses import replace
from pathlib import Path

from advdetect.errors import AdvdetectError, explain_failure
from advdetect.figures.plotting import draw_runs, save_figure
from advdetect.progress import report
from advdetect.runs import RunFiles, group_by_run, with_tables
from advdetect.steps import options
from advdetect.tables.names import titled


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "config/figure/roc.yaml")
    parser.add_argument(
        "--inputs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="the files that the kind of figure reads (see _reads_ in its YAML file)",
    )
    parser.add_argument(
        "--data",
        nargs="*",
        default=[],
        metavar="FILE",
        help="the images that are evaluated, where it shows them: one file, or one for each run",
    )
    parser.add_argument(
        "--reported",
        nargs="*",
        default=[],
        metavar="CSV",
        help="what papers report, if it is shown",
    )
    options.add_runs(parser)
    options.add_titles(parser)
    parser.add_argument(
        "--output", required=True, metavar="SVG", help="file to write; a PNG is put beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    """Draw the figure and write it as SVG and PNG."""
    spec = options.read_spec(arguments)
    draw = options.bind_target(spec, "_target_", positional=1, given=("canvas",))
    with titled(arguments.titles), explain_failure(f"The figure {spec['_target_']}"):
        # A kind that says which runs it compares shows them in one; others each by itself.
        figure = draw(_runs(arguments)) if "runs" in spec else draw_runs(_runs(arguments), draw)
    paths = save_figure(figure, Path(arguments.output).with_suffix(""))
    report(f"figure: {', '.join(map(str, paths))}")


def _runs(arguments: argparse.Namespace) -> dict[str, RunFiles]:
    """Return what each run is drawn from."""
    labels = arguments.runs
    tables = [path for path in arguments.inputs if Path(path).suffix == ".csv"]
    others = [path for path in arguments.inputs if path not in tables]
    runs = with_tables(group_by_run(others, labels), tables, labels)
    data = arguments.data * len(runs) if len(arguments.data) == 1 else arguments.data
    if data and len(data) != len(runs):
        raise AdvdetectError(
            f"--data: {len(data)} files for {len(runs)} runs: give one, or one for each run in the "
            f"order of --runs."
        )
    reported = {Path(path).name: path for path in arguments.reported}
    return {
        label: replace(files, reported=reported, data=data[i] if data else "")
        for i, (label, files) in enumerate(runs.items())
    }
