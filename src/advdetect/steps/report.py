"""The HTML report: tables, figures, settings, timings and provenance in one file."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import ATTACKS_TABLE, METRICS_TABLE, PAIRED_TABLE, RUN, stack_runs
from advdetect.files.experiment import timing_files
from advdetect.files.published import read_published
from advdetect.files.texts import read_json, write_text
from advdetect.io import read_provenance
from advdetect.many_classes import CHOSEN, described
from advdetect.progress import report
from advdetect.report.findings import ControlCheck
from advdetect.report.report import ReportContext, ReportFigure, render_report
from advdetect.report.timings import stage_timings
from advdetect.runs import group_by_run, read_frame
from advdetect.steps import options
from advdetect.steps.tables import least_perturbations_of_runs
from advdetect.tables.certified_table import certified_table
from advdetect.tables.defense_table import DEFENSE_TABLES, stored_defense_table
from advdetect.tables.names import display_name, run_name, titled
from advdetect.tables.reproduction_tables import read_comparison, reproduction_tables
from advdetect.tables.substitute_table import substitute_table
from advdetect.tables.table import Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this step."""
    options.add_spec(parser, "report.yaml, the resolved configuration")
    parser.add_argument("--command", required=True, help="the command that makes the experiment")
    parser.add_argument("--metrics", nargs="+", required=True, help="files from evaluate")
    parser.add_argument("--paired", required=True, help="the file from paired")
    parser.add_argument("--control", nargs="*", default=[], help="files from evaluate --control")
    parser.add_argument(
        "--defense-tables", nargs="*", default=[], help="defense_accuracy*.csv from tables"
    )
    parser.add_argument("--certified", help="certified.csv from certified")
    parser.add_argument("--substitutes", help="substitutes.csv from tables, if there are any")
    parser.add_argument(
        "--reproductions", nargs="*", default=[], help="tables of papers, CSV, from reproduce"
    )
    parser.add_argument("--attack-summary", required=True, help="attack_summary.csv from tables")
    parser.add_argument("--histories", nargs="+", required=True, help="histories from train")
    parser.add_argument("--clean", nargs="+", required=True, help="files from classify")
    parser.add_argument("--attacks", nargs="+", required=True, help="files from attack")
    parser.add_argument("--figures", nargs="+", required=True, help="SVG files from figure")
    parser.add_argument("--manifest", required=True, help="the file from manifest")
    options.add_runs(parser)
    options.add_titles(parser)
    parser.add_argument("--output", required=True, help="HTML file to write")


def run(arguments: argparse.Namespace) -> None:
    """Collect what the report shows and write it."""
    with titled(arguments.titles):
        context = _context(arguments)
        page = render_report(context)
        failed = [_failure(check) for check in context.checks if not check.passed]
    write_text(arguments.output, page)
    for sentence in failed:
        report(f"report: warning: {sentence}")
    report(f"report: {arguments.output}")


def _context(arguments: argparse.Namespace) -> ReportContext:
    """Collect what the report shows."""
    spec = options.read_spec(arguments)
    settings = spec["settings"]
    return ReportContext(
        experiment=settings["name"],
        description=settings["title"],
        command=arguments.command,
        settings=_settings(spec),
        attacks=_attacks(spec),
        model_metrics=_model_metrics(arguments),
        attack_summary=read_frame(arguments.attack_summary, columns=ATTACKS_TABLE),
        least_perturbations=least_perturbations_of_runs(
            group_by_run(arguments.attacks, arguments.runs, "attacks"),
            replicates=settings["evaluation"]["replicates"],
            seed=settings["evaluation"]["bootstrap_seed"],
        ),
        metrics=read_frame(*arguments.metrics, columns=METRICS_TABLE),
        paired=read_frame(arguments.paired, columns=PAIRED_TABLE),
        primary_detector=settings["evaluation"]["primary_detector"],
        controls={
            name: detector["_control_"]
            for run in spec["runs"]
            for name, detector in run["detectors"]
            if "_control_" in detector
        },
        figures=[
            ReportFigure(**spec["figures"][Path(path).stem], content=content)
            for path, content in zip(
                arguments.figures, read_published(*arguments.figures), strict=True
            )
        ],
        timings=stage_timings(timing_files(Path(arguments.manifest).parent)),
        provenance=provenance_groups(arguments.attacks)
        | chosen_for_many_classes(arguments.manifest),
        defense_tables=[
            stored_defense_table(read_frame(path), DEFENSE_TABLES[Path(path).stem])
            for path in arguments.defense_tables
        ],
        certified_tables=[
            certified_table(read_frame(arguments.certified), settings["certification"]["alpha"])
        ]
        if arguments.certified
        else [],
        reproduction_tables=[
            table
            for path in arguments.reproductions
            for table in _reproduction(Path(path), spec["reproductions"])
        ],
        unchanged=read_frame(*arguments.control, columns=METRICS_TABLE)
        if arguments.control
        else None,
        substitutes=substitute_table(read_frame(arguments.substitutes))
        if arguments.substitutes
        else None,
    )


def _failure(check: ControlCheck) -> str:
    """Say which control fails, and where."""
    names = (run_name(check.run), display_name(check.feature), display_name(check.other))
    where = ", ".join(name for name in names if name)
    return (
        f"{display_name(check.control)} has AUROC {check.value:.3f} where it must have "
        f"{check.expected:g} ({where}): these numbers cannot be trusted"
    )


def _settings(spec: Mapping[str, Any]) -> dict[str, str]:
    settings = spec["settings"]
    rows = {
        "evaluated on": f"{settings['evaluate_on']} images",
        "seeds": ", ".join(map(str, settings["seeds"])),
        **{
            name: _described(settings[name])
            for name in ("activations", "sensitivity", "certification", "evaluation")
            if name in settings
        },
    }
    for run in spec["runs"]:
        of = f", {run_name(run['name'])}" if len(spec["runs"]) > 1 else ""
        rows |= {f"{what}{of}": _described(run[key]) for what, key in _OF_RUN.items()}
        for group in ("features", "detectors", "defenses"):
            for name, method in run[group]:
                parts = " and ".join(method.get("_union_", []))
                rows[f"{group[:-1]} {name}{of}"] = _described(method) or parts or "no parameters"
    rows |= {f"left out, {number}": text for number, text in enumerate(spec["left_out"], 1)}
    return rows


def _attacks(spec: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the parameters of each attack, those of each run where there are several."""
    runs = spec["runs"]
    return {
        (name, run["name"] if len(runs) > 1 else ""): _shown_parameters(attack)
        for run in runs
        for name, attack in run["attacks"]
    }


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


_OF_RUN = {"data set": "dataset", "model": "model"}


def _model_metrics(arguments: argparse.Namespace) -> pd.DataFrame:
    """Return a row for each model, which of several runs says which it is of."""
    histories, clean = (
        group_by_run(paths, arguments.runs, role)
        for paths, role in ((arguments.histories, None), (arguments.clean, "clean"))
    )
    models = stack_runs(histories, lambda files: _models(files.paths, clean[files.label].paths))
    several = len(models[RUN].unique()) > 1
    return models if several else models.drop(columns=RUN)


def _models(histories: Sequence[str], clean: Sequence[str]) -> pd.DataFrame:
    """Return a row for each seed: how the model was trained, and how it does on test images."""
    tested = {facts["seed"]: facts for facts in map(read_provenance, clean)}
    rows = []
    for path, made in zip(histories, map(read_json, histories), strict=True):
        if "history" not in made or made["seed"] not in tested:
            raise AdvdetectError(
                f"{path} is no history of train, or of a seed that --clean has no file of."
            )
        own = tested[made["seed"]]
        shown = {name: made[name] for name in ("seed", "train_accuracy")}
        shown |= {"test_accuracy": own["accuracy"], "train_count": made["train_count"]}
        rows.append(shown | {"test_count": own["count"], "parameters": made["parameters"]})
    return pd.DataFrame(rows)


def _reproduction(path: Path, titles: Mapping[str, str]) -> list[Table]:
    return reproduction_tables(path.stem, titles[path.stem], read_comparison(str(path)))


def chosen_for_many_classes(manifest: str) -> dict[str, dict[str, str]]:
    """Return what was chosen for many classes, by what chose it, as the manifest has it.

    That is an attack or a feature, or what figures show of an attack and has no name of its own.
    """
    chosen = {
        f"{facts['step']} {facts.get('name') or facts['attack']}": described(facts[CHOSEN])
        for facts in read_json(manifest)["files"].values()
        if CHOSEN in facts
    }
    return {"chosen for many classes": chosen} if chosen else {}


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
