"""A figure of a paper, drawn from this experiment."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from advdetect.evaluation.perturbation_figures import eigenvalue_path_figure
from advdetect.evaluation.plotting import save_figure
from advdetect.evaluation.readings import column_samples
from advdetect.evaluation.reproduction_figures import column_roc_figure, distribution_figure
from advdetect.io import read_provenance, read_table
from advdetect.progress import report
from advdetect.steps import options
from advdetect.steps.figures import (
    draw_eigenvalue_perturbation,
    draw_fooling_rate,
    draw_sensitivity,
)
from advdetect.steps.reproduce import read_sources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(
        parser, "a figure of paper_figures in config/config.yaml, in JSON; its columns as pairs"
    )
    parser.add_argument(
        "--inputs", nargs="+", required=True, metavar="FILE", help="what the figure is drawn from"
    )
    parser.add_argument(
        "--output", required=True, metavar="SVG", help="file to write; a PNG is put beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    """Draw the figure and write it as SVG and PNG."""
    spec = options.read_spec(arguments)
    figure = FIGURES[spec["kind"]](arguments.inputs, spec)
    paths = save_figure(figure, Path(arguments.output).with_suffix(""))
    report(f"paper-figure: {', '.join(map(str, paths))}")


def draw_distribution(inputs: list[str], spec: Mapping[str, Any]) -> Figure:
    """Draw how a column of a feature is distributed, all seeds together."""
    sources = read_sources(inputs)
    ((label, column),) = spec["columns"]
    method = {"feature": spec["feature"], "column": column, "adversarial": "high"}
    return distribution_figure(
        {
            attack: pd.concat(column_samples(method, attack, spec, sources), ignore_index=True)
            for attack in spec["attacks"]
        },
        label,
    )


def draw_column_roc(inputs: list[str], spec: Mapping[str, Any]) -> Figure:
    """Draw the ROC curves of columns of a feature."""
    sources = read_sources(inputs)
    return column_roc_figure(
        {
            attack: {
                name: column_samples(
                    {"feature": spec["feature"], "column": column, "adversarial": "high"},
                    attack,
                    spec,
                    sources,
                )
                for name, column in spec["columns"]
            }
            for attack in spec["attacks"]
        }
    )


def draw_eigenvalue_path(inputs: list[str], spec: Mapping[str, Any]) -> Figure:
    """Draw the largest eigenvalue along the perturbations of a few images."""
    return eigenvalue_path_figure(
        {read_provenance(path)["attack"]: read_table(path) for path in inputs}
    )


def _of(inputs: list[str]) -> argparse.Namespace:
    """Return the arguments of a figure of our own that needs its inputs only."""
    return argparse.Namespace(inputs=inputs)


FIGURES: dict[str, Callable[[list[str], Mapping[str, Any]], Figure]] = {
    "distribution": draw_distribution,
    "column_roc": draw_column_roc,
    "eigenvalue_path": draw_eigenvalue_path,
    "fooling_rate": lambda inputs, spec: draw_fooling_rate(_of(inputs)),
    "eigenvalue_perturbation": lambda inputs, spec: draw_eigenvalue_perturbation(_of(inputs)),
    "sensitivity": lambda inputs, spec: draw_sensitivity(_of(inputs)),
}
