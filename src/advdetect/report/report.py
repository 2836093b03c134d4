"""The report: one HTML file with nothing outside it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import RUN
from advdetect.evaluation.metrics import METRICS
from advdetect.report.findings import ControlCheck, control_checks, findings_of_runs
from advdetect.report.page import render_page
from advdetect.tables.names import run_name
from advdetect.tables.standard import DETECTION_TABLES, standard_tables
from advdetect.tables.table import Table

FIGURE_SECTIONS = (
    "models",
    "attacks",
    "detection",
    "cross_attack",
    "certification",
    "gallery",
    "reproduction",
)


@dataclass(frozen=True)
class ReportFigure:
    """A figure of the report.

    Attributes:
        section: One of `FIGURE_SECTIONS`.
        caption: What it shows, in plain text.
        content: The bytes of an SVG or PNG file.
    """

    section: str
    caption: str
    content: bytes

    @property
    def source(self) -> str:
        """The picture as a data URI."""
        kind = "png" if self.content.startswith(b"\x89PNG") else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.content).decode()}"


@dataclass(frozen=True)
class ReportContext:
    """Everything that the report shows.

    Attributes:
        experiment: Name of the experiment.
        description: One or two sentences about it.
        command: The command that makes it again.
        settings: Name and value of each general setting: data set, model, seeds, …
        attacks: The parameters of each attack, by its name and of several runs that of its run,
            "" otherwise.
        model_metrics: One row per seed: seed and numeric columns such as train_accuracy and
            test_accuracy (in [0, 1]).
        attack_summary: One row per attack and seed, as `tables.attack_table` takes it.
        least_perturbations: What `perturbation.least_perturbations` returns, perhaps empty.
        metrics: The metrics of all features, with the column ``feature`` and of several runs with
            the column ``run``, in the order in which these and attacks are to be shown.
        paired: The paired tests of the primary detector, as `paired.paired_tests` returns them.
        primary_detector: The detector whose tables are shown in full.
        controls: The expected AUROC of each control, a detector or a feature (0.5 for random
            scores, 1.0 for true labels).
        figures: The figures, in the order in which they are to be shown.
        timings: One row per stage, see `stage_timings`.
        provenance: Groups of names and values: package versions, hardware, code fingerprints, …
        defense_tables: The tables of defence accuracy; none without defences.
        certified_tables: The table of certified accuracy, if there are certificates.
        reproduction_tables: Tables of reported and reproduced values, perhaps none.
        unchanged: The metrics of `protocol.UNCHANGED`, None where there are none.
        substitutes: The table of substitutes, None where there are none.
    """

    experiment: str
    description: str
    command: str
    settings: Mapping[str, str]
    attacks: Mapping[tuple[str, str], Mapping[str, object]]
    model_metrics: pd.DataFrame
    attack_summary: pd.DataFrame
    least_perturbations: pd.DataFrame
    metrics: pd.DataFrame
    paired: pd.DataFrame
    primary_detector: str
    controls: Mapping[str, float]
    figures: Sequence[ReportFigure]
    timings: pd.DataFrame
    provenance: Mapping[str, Mapping[str, str]]
    defense_tables: Sequence[Table] = ()
    certified_tables: Sequence[Table] = ()
    reproduction_tables: Sequence[Table] = ()
    unchanged: pd.DataFrame | None = None
    substitutes: Table | None = None

    @cached_property
    def checks(self) -> list[ControlCheck]:
        """What came of the controls."""
        return control_checks(self.metrics, controls=self.controls, unchanged=self.unchanged)


def render_report(context: ReportContext) -> str:
    """Write the report.

    Args:
        context: What it shows.

    Returns:
        A self-contained HTML page: nothing is loaded from elsewhere, and the only script is the one
        that sorts tables.

    Raises:
        AdvdetectError: If a figure names an unknown section or the metrics lack the primary
            detector.
    """
    for figure in context.figures:
        if figure.section not in FIGURE_SECTIONS:
            raise AdvdetectError(
                f"Unknown report section {figure.section!r}; use {', '.join(FIGURE_SECTIONS)}."
            )
    tables = standard_tables(
        context.metrics,
        context.attack_summary,
        detector=context.primary_detector,
        controls=context.controls,
        unchanged=context.unchanged,
        least_perturbations=context.least_perturbations,
        paired=context.paired,
    )
    return render_page(
        "report.html.j2",
        context=context,
        sections=_sections(context),
        findings=findings_of_runs(
            context.metrics,
            context.paired,
            detector=context.primary_detector,
            controls=context.controls,
        ),
        paired_table=tables.get("paired"),
        control_table=tables.get("control"),
        models=_models(context.model_metrics),
        attack_tables=[
            *(tables[name] for name in ("attacks", "least_perturbation") if name in tables),
            *([context.substitutes] if context.substitutes else []),
        ],
        detection_tables=[tables[name] for name in DETECTION_TABLES if name in tables],
        detector_table=tables["detectors"],
        other_tables=[tables[f"detection_{metric}"] for metric in METRICS[1:]],
        cross_attack_tables=[
            table for name, table in tables.items() if name.startswith("cross_attack_")
        ],
    )


def _sections(context: ReportContext) -> dict[str, str]:
    """Return the sections that there are, in their order: identifier and title."""
    pictured = {figure.section for figure in context.figures}
    return {
        "summary": "Summary",
        **(
            {"reproduction": "Reported and reproduced"}
            if context.reproduction_tables or "reproduction" in pictured
            else {}
        ),
        "settings": "Settings",
        "models": "Models",
        "attacks": "Attacks",
        "detection": "Detection",
        "cross-attack": "Across attacks",
        "other-metrics": "Other metrics",
        **({"defenses": "Defences"} if context.defense_tables else {}),
        **({"certification": "Certificates"} if context.certified_tables else {}),
        **({"gallery": "Gallery"} if "gallery" in pictured else {}),
        "timings": "Timings",
        "provenance": "Provenance",
    }


def _models(model_metrics: pd.DataFrame) -> pd.DataFrame:
    """Show accuracies in percent and the names of runs, as everywhere else."""
    accuracies = [name for name in model_metrics.columns if name.endswith("accuracy")]
    shown = model_metrics.astype(dict.fromkeys(accuracies, object))
    for name in accuracies:
        shown[name] = [
            "–" if pd.isna(value) else f"{100 * value:.2f}" for value in model_metrics[name]
        ]
    if RUN in shown:
        shown[RUN] = shown[RUN].map(run_name)
    return shown.rename(columns={name: f"{name} (%)" for name in accuracies})
