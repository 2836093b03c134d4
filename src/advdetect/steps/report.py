"""The HTML report: tables, figures, settings, timings and provenance in one file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from advdetect.evaluation.defenses import DEFENSE_TABLES, stored_defense_table
from advdetect.evaluation.perturbation import least_perturbations
from advdetect.evaluation.report import ReportContext, ReportFigure, render_report
from advdetect.evaluation.reproduction_tables import reproduction_tables
from advdetect.evaluation.table import Table
from advdetect.evaluation.timings import stage_timings
from advdetect.io import read_csv, read_json, read_provenance, write_text
from advdetect.progress import report
from advdetect.steps import options
from advdetect.steps.norms import read_norms
from advdetect.steps.reproduce import read_comparison

# Name of the figure up to its first underscore → section of the report and caption.
CAPTIONS = {
    "training": ("models", "Loss and accuracy by epoch; one line per seed."),
    "gallery": (
        "gallery",
        "The first successes of each attack (first seed): clean image, adversarial image with the "
        "new prediction, amplified difference.",
    ),
    "fooling": (
        "attacks",
        "Fooling rate against the L2 norm of the perturbation, mean over seeds with 95 % bootstrap "
        "bands. Curves: attacks that look for the least perturbation; points: sweeps of ε, at the "
        "mean norm over all images. Solid: one step; dashed: iterated.",
    ),
    "eigenvalue": (
        "attacks",
        "Largest eigenvalue of the clean image's Fisher information against the least L2 norm that "
        "fools; images that were fooled, all seeds. ρ: Spearman's rank correlation, mean over "
        "seeds with its 95 % bootstrap interval.",
    ),
    "sensitivity": (
        "detection",
        "Fisher information sensitivity (FIS) of each pixel, absolute values, for the first "
        "successes of each attack (first seed); above each map log10 of its peak. In the same "
        "scale the map of the original may be too small to be seen.",
    ),
    "roc": (
        "detection",
        "ROC curves, detector trained and tested on the same attack, mean over seeds; successful "
        "adversarials against clean and noisy images.",
    ),
    "scores": (
        "detection",
        "Scores of the main feature's detector for clean, noisy and successful adversarial images, "
        "all seeds together.",
    ),
    "defense": (
        "detection",
        "Defence accuracy over the swept parameter of the attack: share of the successful "
        "adversarial images that are flagged, or classified correctly after the reformer; mean "
        "over seeds with 95 % bootstrap bands. Diamonds: reported values.",
    ),
    "spectra": (
        "detection",
        "Eigenvalues of the input's Fisher information: median and bands from the 25 % to the 75 % "
        "and from the 5 % to the 95 % quantile; all adversarials, failed ones included.",
    ),
    "reproduction": (
        "reproduction",
        "Every cell of {title}: reported values (black) and ours with their 95 % intervals.",
    ),
    "cross": ("cross_attack", "AUROC (%) of a detector trained on one attack, tested on another."),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "report.yaml, the resolved configuration")
    parser.add_argument("--command", required=True, help="the command that makes the experiment")
    parser.add_argument("--metrics", nargs="+", required=True, help="files from evaluate")
    parser.add_argument("--paired", required=True, help="the file from paired")
    parser.add_argument(
        "--defense-tables", nargs="*", default=[], help="defense_accuracy*.csv from tables"
    )
    parser.add_argument(
        "--reproductions", nargs="*", default=[], help="tables of papers, CSV, from reproduce"
    )
    parser.add_argument("--attack-summary", required=True, help="attack_summary.csv from tables")
    parser.add_argument("--models", nargs="+", required=True, help="metrics from train")
    parser.add_argument("--attacks", nargs="+", required=True, help="files from attack")
    parser.add_argument("--figures", nargs="+", required=True, help="SVG files from figures")
    parser.add_argument("--logs", required=True, help="folder of the logs")
    parser.add_argument("--output", required=True, help="HTML file to write")


def run(arguments: argparse.Namespace) -> None:
    """Collect what the report shows and write it."""
    spec = options.read_spec(arguments)
    settings = spec["settings"]
    context = ReportContext(
        experiment=settings["name"],
        description=settings["title"],
        command=arguments.command,
        settings=_settings(spec),
        attacks={name: _shown_parameters(attack) for name, attack in spec["attacks"]},
        model_metrics=_model_metrics(arguments.models),
        attack_summary=read_csv(arguments.attack_summary),
        least_perturbations=least_perturbations(
            read_norms(arguments.attacks),
            replicates=settings["evaluation"]["replicates"],
            seed=settings["evaluation"]["bootstrap_seed"],
        ),
        metrics=read_csv(*arguments.metrics),
        paired=read_csv(arguments.paired),
        primary_detector=settings["evaluation"]["primary_detector"],
        controls={
            name: detector["_control_"]
            for name, detector in spec["detectors"]
            if "_control_" in detector
        },
        figures=[_figure(Path(path), spec) for path in arguments.figures],
        timings=stage_timings(Path(arguments.logs)),
        provenance=provenance_groups(arguments.attacks),
        defense_tables=[
            stored_defense_table(read_csv(path), DEFENSE_TABLES[Path(path).stem])
            for path in arguments.defense_tables
        ],
        reproduction_tables=[
            table
            for path in arguments.reproductions
            for table in _reproduction(Path(path), spec["reproductions"])
        ],
    )
    write_text(arguments.output, render_report(context))
    report(f"report: {arguments.output}")


def _settings(spec: Mapping[str, Any]) -> dict[str, str]:
    settings = spec["settings"]
    rows = {
        "data set": _described(spec["dataset"]),
        "evaluated on": f"{settings['evaluate_on']} images",
        "model": _described(spec["model"]),
        "seeds": ", ".join(map(str, settings["seeds"])),
        **{
            name: _described(settings[name])
            for name in ("activations", "sensitivity", "evaluation")
        },
    }
    for group in ("features", "detectors", "defenses"):
        for name, method in spec[group]:
            parts = " and ".join(method.get("_union_", []))
            rows[f"{group[:-1]} {name}"] = _described(method) or parts or "no parameters"
    return rows


def _described(values: Mapping[str, Any]) -> str:
    """Name the values in one line, nested ones in brackets."""
    return ", ".join(
        f"{name} ({_described(value)})" if isinstance(value, dict) else f"{name}: {value}"
        for name, value in options.parameters(values).items()
    )


def _shown_parameters(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters; where one is itself a method, its name and parameters."""
    shown = options.parameters(spec)
    for name, value in shown.items():
        if isinstance(value, dict) and "_target_" in value:
            method, described = value["_target_"].rpartition(".")[2], _described(value)
            shown[name] = f"{method} ({described})" if described else method
    return shown


def _model_metrics(paths: list[str]) -> pd.DataFrame:
    return pd.DataFrame([read_json(path) for path in paths]).drop(columns="history")


def _figure(path: Path, spec: Mapping[str, Any]) -> ReportFigure:
    name = path.stem
    if name in spec["paper_figures"]:
        return ReportFigure("reproduction", spec["paper_figures"][name], path.read_bytes())
    section, caption = CAPTIONS[name.partition("_")[0]]
    if name == "roc_low":
        caption = "The same with a logarithmic false positive rate."
    title = spec["reproductions"].get(name.partition("_")[2], "")
    return ReportFigure(section, caption.format(title=title), path.read_bytes())


def _reproduction(path: Path, titles: Mapping[str, str]) -> list[Table]:
    return reproduction_tables(path.stem, titles[path.stem], read_comparison(str(path)))


def provenance_groups(paths: list[str]) -> dict[str, dict[str, str]]:
    """Group what the attack files say of their making."""
    facts = [read_provenance(path) for path in paths]
    first = facts[0]
    return {
        "software": {"advdetect": first["advdetect"], "python": first["python"]}
        | first["packages"],
        "hardware": {**first["hardware"], "system": first["system"]}
        | {key: ", ".join(sorted({str(f[key]) for f in facts})) for key in ("device", "threads")},
        "code fingerprints": {f"attack {f['name']}": f["code"] for f in facts},
    }
