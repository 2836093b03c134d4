import base64
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.evaluation.perturbation import AttackNorms, least_perturbations
from advdetect.evaluation.report import ReportContext, ReportFigure, render_report

SVG = b'<svg xmlns="http://www.w3.org/2000/svg"></svg>'
SECTIONS = [
    "summary",
    "settings",
    "models",
    "attacks",
    "detection",
    "cross-attack",
    "other-metrics",
    "gallery",
    "timings",
    "provenance",
]
VOID = {"meta", "img", "br"}
NORMS = pd.DataFrame({"index": [0, 1], "success": [True, False], "l2": [1.0, 0.0]})
MALICIOUS = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """Collect what the tests look at, and check that every tag is closed in order."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.texts: dict[str, str] = {}
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attributes}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def ids(self, tag: str) -> list[str]:
        return [values["id"] for name, values in self.tags if name == tag and "id" in values]


@pytest.fixture(scope="module")
def context(metrics: pd.DataFrame, attack_summary: pd.DataFrame) -> ReportContext:
    return ReportContext(
        experiment="quickstart",
        description="Two features.",
        command="snakemake --cores all",
        settings={"Data set": "digits", "Seeds": "0, 1"},
        attacks={"fgsm": {"epsilon": 0.1}, "deepfool": {}},
        model_metrics=pd.DataFrame(
            {"seed": [0, 1], "train_accuracy": [1.0, 0.999], "test_accuracy": [0.9812, 0.97]}
        ),
        attack_summary=attack_summary,
        least_perturbations=least_perturbations(
            [AttackNorms("fgm_least", True, True, {0: NORMS})], replicates=10, seed=0
        ),
        metrics=metrics,
        primary_detector="logistic_regression",
        controls={"random_scores": 0.5, "true_labels": 1.0},
        figures=[
            ReportFigure("detection", "ROC curves", SVG),
            ReportFigure("gallery", "Examples", b"\x89PNG\r\n\x1a\n"),
        ],
        timings=pd.DataFrame(
            {"stage": ["attack"], "jobs": [6], "seconds": [12345.6], "method_seconds": [np.nan]}
        ),
        provenance={"Package versions": {"torch": "2.15"}, "Hardware": {"Processor": "x"}},
    )


@pytest.fixture(scope="module")
def source(context: ReportContext) -> str:
    return render_report(context)


def test_the_page_is_well_formed_and_complete(source: str) -> None:
    page = Page(source)
    assert page.open == []
    assert page.ids("section") == SECTIONS
    links = [values["href"] for tag, values in page.tags if tag == "a"]
    assert links == [f"#{name}" for name in SECTIONS]
    identifiers = [values["id"] for _, values in page.tags if "id" in values]
    assert len(set(identifiers)) == len(identifiers)


def test_every_table_is_there(source: str, metrics: pd.DataFrame) -> None:
    names = Page(source).ids("figure")
    detection = [
        f"table-detection_auroc_logistic_regression_{bits}_{positives}"
        for bits in ("float32", "8bit")
        for positives in ("successful", "all")
    ]
    others = [
        f"table-detection_{metric}_logistic_regression_float32_successful"
        for metric in ("average_precision", "tpr_at_fpr_0.01", "tpr_at_fpr_0.05")
    ]
    cross = [
        f"table-cross_attack_auroc_{feature}_logistic_regression_float32_successful"
        for feature in ("bu", "fisher_input")
    ]
    detectors = ["table-detectors_auroc_float32_successful"]
    attacks = ["table-attacks", "table-least_perturbation"]
    assert sorted(names) == sorted([*attacks, *detection, *detectors, *cross, *others])
    cells = metrics.query(
        "detector == 'logistic_regression' and trained_on == tested_on and seed == 'mean' "
        "and (metric == 'auroc' or bits == 'float32' and positives == 'successful')"
    )
    assert len(cells) == 2 * 3 * (4 + 3)
    for value in cells["value"].dropna():
        assert f"{100 * value:.1f}" in source


def test_settings_timings_and_controls_are_there(source: str) -> None:
    text = Page(source).text
    for words in ("digits", "epsilon = 0.1", "no parameters", "snakemake --cores all", "12346"):
        assert words in text
    for words in ("98.12", "Package versions", "2.15", "pass (4 of 4 cells)", "Control: random"):
        assert words in text
    assert "FAIL" not in text


def test_a_failing_control_says_where(context: ReportContext) -> None:
    text = Page(render_report(replace(context, controls={"true_labels": 0.5}))).text
    assert "FAIL: FGSM with BU; C&W L2 (kappa=10) with BU; FGSM with Input Fisher" in text
    assert "There is no control" in Page(render_report(replace(context, controls={}))).text


def test_nothing_is_loaded_from_elsewhere(source: str) -> None:
    for tag, values in Page(source).tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href"):
            assert values.get(name, "#").startswith(("#", "data:image/"))
    for address in ("http:", "https:", "//", "@import", "url("):
        assert address not in source.replace(base64.b64encode(SVG).decode(), "")


def test_figures_are_embedded(source: str) -> None:
    pictures = [values for tag, values in Page(source).tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["ROC curves", "Examples"]
    assert pictures[0]["src"] == f"data:image/svg+xml;base64,{base64.b64encode(SVG).decode()}"
    assert pictures[1]["src"].startswith("data:image/png;base64,")


def test_least_perturbations_stand_with_the_attacks(context: ReportContext, source: str) -> None:
    start, end = (source.index(f'<section id="{name}">') for name in ("attacks", "detection"))
    section = source[start:end]
    assert 'id="table-least_perturbation"' in section
    assert "Mean least L2" in section
    none = replace(context, least_perturbations=pd.DataFrame())
    assert "least_perturbation" not in render_report(none)


def test_names_are_escaped(context: ReportContext, attack_summary: pd.DataFrame) -> None:
    metrics = context.metrics.replace({"bu": MALICIOUS, "fgsm": MALICIOUS})
    nasty = replace(
        context,
        experiment=MALICIOUS,
        description=MALICIOUS,
        command=MALICIOUS,
        settings={MALICIOUS: MALICIOUS},
        attacks={MALICIOUS: {MALICIOUS: MALICIOUS}},
        metrics=metrics,
        attack_summary=attack_summary.replace("fgsm", MALICIOUS),
        figures=[ReportFigure("models", MALICIOUS, SVG)],
        timings=pd.DataFrame({MALICIOUS: [MALICIOUS]}),
        provenance={MALICIOUS: {MALICIOUS: MALICIOUS}},
    )
    page = Page(render_report(nasty))
    assert page.open == []
    assert not any(tag == "script" for tag, _ in page.tags)
    assert page.text.count(MALICIOUS) > 10


def test_wrong_contexts_are_refused(context: ReportContext) -> None:
    with pytest.raises(AdvdetectError, match="section 'end'; use models"):
        render_report(replace(context, figures=[ReportFigure("end", "x", SVG)]))
    with pytest.raises(AdvdetectError, match="No metrics for detector 'svm'"):
        render_report(replace(context, primary_detector="svm"))


def test_evaluation_does_not_import_slow_packages() -> None:
    """Every job pays for its imports; only figures may load matplotlib, and nothing torch."""
    code = (
        "import sys, advdetect.evaluation.report, advdetect.evaluation.rendering\n"
        "print(*({'torch', 'matplotlib', 'seaborn', 'sklearn', 'scipy'} & set(sys.modules)))\n"
        "import advdetect.evaluation.figures, advdetect.evaluation.gallery\n"
        "print(*({'torch', 'sklearn'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
