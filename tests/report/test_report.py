import base64
import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from advdetect.errors import AdvdetectError
from advdetect.evaluation.cells import stack_runs
from advdetect.report.report import ReportContext, ReportFigure, render_report
from advdetect.tables.table import Table

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
PARTS = {"reproduction": "summary", "defenses": "other-metrics"}  # each and what it follows
MALICIOUS = "<script>alert('x')</script>\"&"


def small_table(name: str) -> Table:
    cells = pd.DataFrame({"attack": ["fgsm"], "defense": ["magnet"], "value": [0.5]})
    cells = cells.assign(standard_deviation=np.nan, low=0.4, high=0.6)
    return Table(name, "A table.", "attack", "defense", cells)


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
        element = self.open[-1] if self.open else ""
        if element in ("style", "script"):
            self.texts[element] = self.texts.get(element, "") + data
        else:
            self.text += data

    def ids(self, tag: str) -> list[str]:
        return [values["id"] for name, values in self.tags if name == tag and "id" in values]


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
    paired = ["table-paired_auroc_logistic_regression_float32_successful"]
    expected = [*paired, *attacks, *detection, *detectors, *cross, *others]
    assert sorted(names) == sorted(expected)
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


def test_the_summary_tests_the_best_feature_against_the_others(
    context: ReportContext, source: str
) -> None:
    start, end = (source.index(f'<section id="{name}">') for name in ("summary", "settings"))
    text = Page(source[start:end]).text
    assert re.search(r"FGSM: best is Input .*; significantly better than BU \(by .*, p\s[<=]", text)
    assert "table-paired_auroc_logistic_regression_float32_successful" in source[start:end]
    one = replace(
        context,
        metrics=context.metrics[context.metrics["feature"] == "bu"],
        paired=context.paired[:0],
    )
    page = Page(render_report(one))
    assert "FGSM: best is BU, AUROC" in page.text
    assert not any(name.startswith("table-paired") for name in page.ids("figure"))


def test_parts_that_an_experiment_may_lack(context: ReportContext, source: str) -> None:
    """The contents follow; without them nothing is left of such a part, not even its heading."""
    shown = small_table("shown")
    full = replace(
        context,
        defense_tables=[replace(shown, name="of_a_defence")],
        reproduction_tables=[replace(shown, name="of_a_paper")],
        figures=[*context.figures, ReportFigure("reproduction", "Both", SVG)],
    )
    page = Page(render_report(full))
    sections = list(SECTIONS)
    for name, before in PARTS.items():
        sections.insert(sections.index(before) + 1, name)
    assert page.ids("section") == sections
    assert [v["href"] for tag, v in page.tags if tag == "a"] == [f"#{name}" for name in sections]
    assert {"table-of_a_defence", "table-of_a_paper"} < set(page.ids("figure"))
    for words in ("Reported and reproduced", "Defences"):
        assert words in page.text
        assert words not in Page(source).text
    few = Page(render_report(replace(context, figures=[])))
    assert few.ids("section") == [name for name in SECTIONS if name != "gallery"]


def test_a_model_that_came_with_its_weights_has_no_training_accuracy(
    context: ReportContext, source: str
) -> None:
    models = context.model_metrics.assign(train_accuracy=[None, None])
    page = Page(render_report(replace(context, model_metrics=models)))
    assert page.text.count("–") == Page(source).text.count("–") + 2


def test_cells_carry_the_numbers_that_they_sort_by(context: ReportContext) -> None:
    values = [0.12345, np.nan, np.inf, -1e-9]
    timings = pd.DataFrame({"stage": ["a", "b", "c", "d"], "seconds": values})
    page = Page(render_report(replace(context, timings=timings, metrics=context.metrics)))
    numbers = [v["data-number"] for tag, v in page.tags if tag == "td" and "data-number" in v]
    assert {"0.12345", "Infinity", "-1e-09"} < set(numbers)
    assert "nan" not in numbers
    cell = context.metrics.query(
        "feature == 'bu' and detector == 'logistic_regression' and trained_on == tested_on and "
        "seed == 'mean' and metric == 'auroc'"
    )
    assert {repr(float(value)) for value in cell["value"].dropna()} < set(numbers)


def test_nothing_is_loaded_from_elsewhere(source: str) -> None:
    page = Page(source)
    for tag, values in page.tags:
        assert tag not in ("link", "iframe", "object")
        assert "style" not in values  # which the policy would not admit
        for name in ("src", "href"):
            assert values.get(name, "#").startswith(("#", "data:image/"))
    for address in ("http:", "https:", "//", "@import", "url("):
        assert address not in page.text + page.texts["style"]


def test_only_this_style_and_this_script_are_admitted(source: str) -> None:
    page = Page(source)
    assert [tag for tag, _ in page.tags].count("script") == 1
    (policy,) = (v["content"] for tag, v in page.tags if tag == "meta" and "http-equiv" in v)
    digests = {
        name: base64.b64encode(hashlib.sha256(page.texts[name].encode()).digest()).decode()
        for name in ("style", "script")
    }
    assert policy.split("; ") == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digests['style']}'",
        f"script-src 'sha256-{digests['script']}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_figures_are_embedded(context: ReportContext, source: str) -> None:
    pictures = [values for tag, values in Page(source).tags if tag == "img"]
    assert [picture["alt"] for picture in pictures] == ["ROC curves", "Examples"]
    content = base64.b64encode(context.figures[0].content).decode()
    assert pictures[0]["src"] == f"data:image/svg+xml;base64,{content}"
    assert pictures[1]["src"].startswith("data:image/png;base64,")


def test_least_perturbations_stand_with_the_attacks(context: ReportContext, source: str) -> None:
    start, end = (source.index(f'<section id="{name}">') for name in ("attacks", "detection"))
    section = source[start:end]
    assert 'id="table-least_perturbation"' in section
    assert "Mean least L2" in section
    none = replace(context, least_perturbations=pd.DataFrame())
    assert "least_perturbation" not in render_report(none)


def test_substitutes_stand_with_the_attacks(context: ReportContext, source: str) -> None:
    shown = replace(context, substitutes=replace(small_table("shown"), name="substitutes"))
    page = render_report(shown)
    start, end = (page.index(f'<section id="{name}">') for name in ("attacks", "detection"))
    assert 'id="table-substitutes"' in page[start:end]
    assert "table-substitutes" not in source


def test_names_are_escaped(context: ReportContext, attack_summary: pd.DataFrame) -> None:
    metrics, paired = (
        table.replace({"bu": MALICIOUS, "fgsm": MALICIOUS})
        for table in (context.metrics, context.paired)
    )
    nasty = replace(
        context,
        experiment=MALICIOUS,
        description=MALICIOUS,
        command=MALICIOUS,
        settings={MALICIOUS: MALICIOUS},
        attacks={(MALICIOUS, MALICIOUS): {MALICIOUS: MALICIOUS}},
        metrics=metrics,
        paired=paired,
        attack_summary=attack_summary.replace("fgsm", MALICIOUS),
        figures=[ReportFigure("models", MALICIOUS, SVG)],
        timings=pd.DataFrame({MALICIOUS: [MALICIOUS]}),
        provenance={MALICIOUS: {MALICIOUS: MALICIOUS}},
    )
    page = Page(render_report(nasty))
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.count(MALICIOUS) > 10


def test_wrong_contexts_are_refused(context: ReportContext) -> None:
    with pytest.raises(AdvdetectError, match="section 'end'; use models"):
        render_report(replace(context, figures=[ReportFigure("end", "x", SVG)]))
    with pytest.raises(AdvdetectError, match="No metrics for detector 'svm'"):
        render_report(replace(context, primary_detector="svm"))


def test_evaluation_does_not_import_slow_packages() -> None:
    """Every job pays for its imports; only figures may load matplotlib, and nothing torch."""
    code = (
        "import sys, advdetect.report.report, advdetect.tables.rendering\n"
        "print(*({'torch', 'matplotlib', 'seaborn', 'sklearn', 'scipy'} & set(sys.modules)))\n"
        "import advdetect.figures.roc, advdetect.figures.gallery\n"
        "print(*({'torch', 'sklearn'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_report_of_two_runs_says_of_each_what_its_own_says(context):
    other = context.metrics.assign(
        **{
            name: 1 - context.metrics[of]
            for name, of in {"value": "value", "low": "high", "high": "low"}.items()
        }
    )
    alone = {"A": context, "B": replace(context, metrics=other)}
    both = replace(
        context,
        **{
            name: stack_runs({run: getattr(own, name) for run, own in alone.items()}, _copied)
            for name in ("metrics", "paired", "attack_summary", "least_perturbations")
        },
    )
    page, pages = render_report(both), {run: render_report(own) for run, own in alone.items()}
    sentences = {run: re.findall("<li>(.*?)</li>", text) for run, text in pages.items()}
    assert re.findall("<li>(.*?)</li>", page) == sentences["A"] + sentences["B"]
    assert sentences["A"] != sentences["B"]
    assert page.index("<h3>A</h3>") < page.index("<h3>B</h3>")
    for name in ("table-detection_auroc", "table-attacks"):
        rows = {run: _rows_of(text, name) for run, text in (pages | {"both": page}).items()}
        expected = [
            row.replace("<tr>", f'<tr><th scope="row">{run}</th>')
            for run in "AB"
            for row in rows[run]
        ]
        assert rows["both"] == expected


def test_a_reason_stands_below_its_table(context):
    empty = (context.metrics["tested_on"] == "deepfool") & context.metrics["value"].isna()
    reason = pd.Series("", index=context.metrics.index).mask(empty, "nothing <fools> it")
    page = render_report(replace(context, metrics=context.metrics.assign(reason=reason)))
    table = page[page.index('id="table-detection_auroc') :]
    table = table[: table.index("</figure>")]
    assert table.count("–<sup>1</sup>") == 2
    assert '<p class="note"><sup>1</sup> nothing &lt;fools&gt; it</p>' in table
    assert "<li>DeepFool: nothing &lt;fools&gt; it.</li>" in page


HEAD = '<th scope="row">{}</th>'


def _copied(table):
    return table.copy()


def _rows_of(page, name):
    body = page[page.index(f'id="{name}') :]
    return re.findall(r"<tr>.*?</tr>", body[body.index("<tbody>") : body.index("</tbody>")], re.S)
