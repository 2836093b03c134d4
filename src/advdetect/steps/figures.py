"""Plots of detection, of attacks and of training."""

import argparse
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from advdetect.errors import AdvdetectError
from advdetect.evaluation.defense_figure import defense_accuracy_figure
from advdetect.evaluation.defenses import defense_accuracies
from advdetect.evaluation.figures import (
    cross_attack_heatmap,
    eigenvalue_spectra,
    roc_figure,
    score_histograms,
    training_curves,
)
from advdetect.evaluation.gallery import GalleryExamples, gallery_figure
from advdetect.evaluation.perturbation_figures import (
    eigenvalue_perturbation_figure,
    fooling_rate_figure,
)
from advdetect.evaluation.plotting import save_figure
from advdetect.evaluation.reproduction_figures import reproduction_figure
from advdetect.evaluation.sensitivity_figure import SensitivityExamples, sensitivity_figure
from advdetect.io import read_arrays, read_csv, read_json, read_provenance, read_table
from advdetect.progress import report
from advdetect.protocol import on_own_attack
from advdetect.steps import options
from advdetect.steps.defended import read_defenses, read_reported
from advdetect.steps.norms import read_norms
from advdetect.steps.reproduce import read_comparison

MAIN = {"bits": "float32", "positives": "successful"}
EXAMPLES = 4  # rows of the gallery
TOP_EIGENVALUE = "log10_eigenvalue_01"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    parser.add_argument("--figure", required=True, choices=FIGURES, help="which figure")
    parser.add_argument(
        "--inputs",
        nargs="+",
        required=True,
        metavar="FILE",
        help="roc and scores: files from detect; cross_attack: from evaluate; gallery: from attack "
        "and the test split; spectra: from feature; fooling_rate: from attack; "
        "eigenvalue_perturbation: from attack and, of the clean images, from feature; training: "
        "metrics from train; defense_accuracy: from defend",
    )
    parser.add_argument("--detector", default="random_forest", help="the detector of the figure")
    options.add_reported(parser)
    options.add_bootstrap(parser)
    parser.add_argument(
        "--output", required=True, metavar="SVG", help="file to write; a PNG is put beside it"
    )


def run(arguments: argparse.Namespace) -> None:
    """Draw the figure and write it as SVG and PNG."""
    figure = FIGURES[arguments.figure](arguments)
    paths = save_figure(figure, Path(arguments.output).with_suffix(""))
    report(f"figures: {', '.join(map(str, paths))}")


def draw_roc(arguments: argparse.Namespace) -> Figure:
    """Draw the ROC curves of every feature, each trained and tested on the same attack."""
    return roc_figure(_own_scores(arguments))


def draw_low_roc(arguments: argparse.Namespace) -> Figure:
    """Draw the same with a logarithmic false positive rate."""
    return roc_figure(_own_scores(arguments), log_scale=True)


def draw_scores(arguments: argparse.Namespace) -> Figure:
    """Draw the score histograms of one feature, all seeds together."""
    (by_seed,) = _own_scores(arguments).values()
    return score_histograms(pd.concat(by_seed.values(), ignore_index=True))


def draw_cross_attack(arguments: argparse.Namespace) -> Figure:
    """Draw the cross-attack heat map of every feature."""
    return cross_attack_heatmap(_select(read_csv(*arguments.inputs), arguments.detector))


def draw_gallery(arguments: argparse.Namespace) -> Figure:
    """Draw a few successes of each attack: clean, adversarial, difference."""
    steps = {path: read_provenance(path) for path in arguments.inputs}
    (data,) = (path for path, facts in steps.items() if facts["step"] == "prepare-data")
    images = read_arrays(data, ["images"])["images"]
    examples = []
    for path, facts in steps.items():
        if facts["step"] != "attack":
            continue
        names = np.array(facts["class_names"])
        arrays = read_arrays(path, ["index", "label", "adversarial", "success", "prediction"])
        rows = np.flatnonzero(arrays["success"])[:EXAMPLES]
        labels = names[arrays["label"][rows]].tolist()
        examples.append(
            GalleryExamples(
                attack=facts["name"],
                clean=images[arrays["index"][rows]] / 255,
                adversarial=arrays["adversarial"][rows],
                labels=labels,
                clean_predictions=labels,  # only clean-correct images are attacked
                adversarial_predictions=names[arrays["prediction"][rows]].tolist(),
            )
        )
    return gallery_figure(examples)


def draw_sensitivity(arguments: argparse.Namespace) -> Figure:
    """Draw the Fisher information sensitivity of a few adversarials and of their originals."""
    names = [field.name for field in fields(SensitivityExamples) if field.name != "attack"]
    return sensitivity_figure(
        [
            SensitivityExamples(read_provenance(path)["attack"], **read_arrays(path, names))
            for path in arguments.inputs
        ]
    )


def draw_spectra(arguments: argparse.Namespace) -> Figure:
    """Draw the eigenvalue spectra of clean images and of each attack's, all seeds together."""
    tables: dict[str, list[pd.DataFrame]] = {}
    for path in arguments.inputs:
        tables.setdefault(read_provenance(path)["attack"], []).append(read_table(path))
    clean = tables.pop("clean")
    return eigenvalue_spectra(
        {
            attack: pd.concat([*clean, *parts], ignore_index=True).query(
                "kind in ('clean', 'noisy', 'adversarial')"
            )
            for attack, parts in tables.items()
        }
    )


def draw_training(arguments: argparse.Namespace) -> Figure:
    """Draw the training curves of every seed."""
    metrics = [read_json(path) for path in arguments.inputs]
    return training_curves({run["seed"]: run["history"] for run in metrics})


def draw_fooling_rate(arguments: argparse.Namespace) -> Figure:
    """Draw the fooling rate against the norm: minimal-norm attacks and sweeps of epsilon."""
    return fooling_rate_figure(read_norms(arguments.inputs))


def draw_defense_accuracy(arguments: argparse.Namespace) -> Figure:
    """Draw the accuracy of each defence over the swept parameter, reported values beside it."""
    cells = defense_accuracies(
        read_defenses(arguments.inputs),
        **MAIN,
        replicates=arguments.replicates,
        seed=arguments.bootstrap_seed,
    )
    reported = read_reported(arguments.reported, arguments.dataset, cells)
    return defense_accuracy_figure(cells, reported)


def draw_eigenvalue_perturbation(arguments: argparse.Namespace) -> Figure:
    """Draw the top eigenvalue of each clean image against its least perturbation."""
    attacks, eigenvalues = [], {}
    for path in arguments.inputs:
        facts = read_provenance(path)
        if facts["step"] == "attack":
            attacks.append(path)
        else:
            eigenvalues[facts["seed"]] = read_table(path)[["index", TOP_EIGENVALUE]].rename(
                columns={TOP_EIGENVALUE: "log10_eigenvalue"}
            )
    return eigenvalue_perturbation_figure(
        {
            norms.attack: {
                seed: table[table["success"]].merge(eigenvalues[seed], on="index")
                for seed, table in norms.seeds.items()
            }
            for norms in read_norms(attacks)
        }
    )


def draw_reproduction(arguments: argparse.Namespace) -> Figure:
    """Draw all cells of a paper's table, reported and reproduced."""
    return reproduction_figure(read_comparison(*arguments.inputs))


FIGURES: dict[str, Callable[[argparse.Namespace], Figure]] = {
    "roc": draw_roc,
    "roc_low": draw_low_roc,
    "scores": draw_scores,
    "cross_attack": draw_cross_attack,
    "gallery": draw_gallery,
    "sensitivity": draw_sensitivity,
    "spectra": draw_spectra,
    "fooling_rate": draw_fooling_rate,
    "eigenvalue_perturbation": draw_eigenvalue_perturbation,
    "training": draw_training,
    "reproduction": draw_reproduction,
    "defense_accuracy": draw_defense_accuracy,
}


def _own_scores(arguments: argparse.Namespace) -> dict[str, dict[int, pd.DataFrame]]:
    """Read the scores trained and tested on the same attack, by feature and seed."""
    scores: dict[str, dict[int, pd.DataFrame]] = {}
    for path in arguments.inputs:
        facts = read_provenance(path)
        table = _select(read_table(path), arguments.detector)
        scores.setdefault(facts["name"], {})[facts["seed"]] = table[on_own_attack(table)]
    return scores


def _select(table: pd.DataFrame, detector: str) -> pd.DataFrame:
    chosen = table[table["detector"] == detector]
    if chosen.empty:
        known = ", ".join(map(str, table["detector"].unique()))
        raise AdvdetectError(f"--detector: there are no values of {detector}; there are: {known}.")
    for column, value in MAIN.items():
        chosen = chosen[chosen[column] == value]
    return chosen
