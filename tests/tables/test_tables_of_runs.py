"""Tables of two runs: each run's block is its own table; and why cells are empty."""

import io

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.cells import stack_runs
from advdetect.evaluation.perturbation import AttackNorms, least_perturbations
from advdetect.tables.defense_table import defense_table
from advdetect.tables.names import titled
from advdetect.tables.rendering import to_csv, to_latex, to_markdown, to_text
from advdetect.tables.standard import standard_tables
from advdetect.tables.table import Table

RUNS = ("MNIST, LeNet-5", "Digits")


@pytest.fixture(scope="module")
def frames(metrics, paired, attack_summary):
    """Of each run its own frames; the second run's numbers are others."""
    norms = pd.DataFrame({"index": [0, 1, 2], "success": [True, True, False], "l2": [1.0, 3.0, 0]})
    first = {
        "metrics": metrics,
        "attack_summary": attack_summary,
        "paired": paired,
        "least_perturbations": _least(norms),
    }
    swapped = {"auroc": "auroc_other", "auroc_other": "auroc", "low": "high", "high": "low"}
    turned = paired.rename(columns=swapped)
    turned[["difference", "low", "high"]] *= -1
    second = {
        "metrics": metrics.assign(
            value=1 - metrics["value"], low=1 - metrics["high"], high=1 - metrics["low"]
        ),
        "attack_summary": attack_summary.assign(mean_l2=attack_summary["mean_l2"] * 2),
        "paired": turned,
        "least_perturbations": _least(norms.assign(l2=norms["l2"] / 7)),
    }
    return dict(zip(RUNS, (first, second), strict=True))


def _least(norms):
    attacks = [AttackNorms("fgm_least", True, True, {0: norms})]
    return least_perturbations(attacks, replicates=20, seed=0)


def _tables(frames):
    return standard_tables(
        frames["metrics"],
        frames["attack_summary"],
        detector="logistic_regression",
        controls=("random_scores", "true_labels"),
        least_perturbations=frames["least_perturbations"],
        paired=frames["paired"],
    )


@pytest.fixture(scope="module")
def together(frames):
    names = frames[RUNS[0]]
    return _tables(
        {name: stack_runs({run: own[name] for run, own in frames.items()}, _same) for name in names}
    )


def _same(table):
    return table.copy()


@pytest.fixture(scope="module")
def alone(frames):
    return {run: _tables(own) for run, own in frames.items()}


def test_the_block_of_a_run_is_its_own_table(together, alone):
    assert together.keys() == alone[RUNS[0]].keys()
    assert {"detection", "detectors", "attacks", "least_perturbation", "paired"} < together.keys()
    for name, both in together.items():
        tables = [alone[run][name] for run in RUNS]
        assert both.header == ["Run", *tables[0].header]
        expected = [row for table in tables for row in table.body()]
        assert both.body() == expected, name
        runs = [run for run, table in zip(RUNS, tables, strict=True) for _ in table.body()]
        assert both.headings == [
            [run, row] for run, (row, _) in zip(runs, expected, strict=True)
        ], name


def test_the_tidy_cells_of_a_run_are_those_of_its_own_table(together, alone):
    for name, both in together.items():
        cells = pd.read_csv(io.StringIO(to_csv(both)), dtype={"run": str, "reason": str})
        for run in RUNS:
            own = pd.read_csv(
                io.StringIO(to_csv(alone[run][name])), dtype={"run": str, "reason": str}
            )
            here = cells[cells["run"] == run].reset_index(drop=True)
            pd.testing.assert_frame_equal(here.drop(columns="run"), own.drop(columns="run"))


def test_every_format_names_the_run_of_each_row(together):
    table = together["detection"]
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    markdown = lines[-len(table.body()) :]
    assert [line.split("|")[1].strip() for line in markdown] == [RUNS[0]] * 2 + [RUNS[1]] * 2
    latex = to_latex(table)
    assert r"\begin{tabular}{ll" in latex
    assert "MNIST, LeNet-5 & BU & " in latex
    assert to_text(table).count("MNIST, LeNet-5  ") == 2


def test_people_read_the_title_of_a_run_and_programs_its_name(together):
    table = together["detection"]
    plain = to_csv(table)
    with titled({f"@{RUNS[0]}": "The first"}):
        assert [run for run, _ in table.headings] == ["The first"] * 2 + [RUNS[1]] * 2
        assert to_text(table).count("The first  ") == 2
        assert to_csv(table) == plain


def test_the_tests_of_a_run_are_corrected_within_it(together, paired):
    count = int(paired["p_value"].count())
    assert f"for all {count} pairs of features and attacks of its run" in together["paired"].caption


def test_the_defences_of_a_run_stand_beside_what_is_reported_of_it():
    def cells(value):
        keys = {"attack": ["fgsm", "clean"], "defense": "mid"}
        spread = {"standard_deviation": np.nan, "low": value, "high": value}
        return pd.DataFrame(keys | spread | {"value": value, "n_positive": 3, "n_negative": 1})

    reported = pd.DataFrame({"attack": ["fgsm"], "defense": "mid", "value": 0.9, "run": "B"})
    both = defense_table(stack_runs({"A": 0.5, "B": 0.25}, cells), reported, "float32")
    alone = [
        defense_table(cells(0.5), None, "float32"),
        defense_table(cells(0.25), reported.drop(columns="run"), "float32"),
    ]
    texts = [[cell.value for cell in row] for _, row in both.body()]
    assert texts == [["50.0", "–"], ["50.0", "–"], ["25.0", "90.0"], ["25.0", "–"]]
    for block, table in zip((both.body()[:2], both.body()[2:]), alone, strict=True):
        own = table.body()
        assert [(name, row[: len(own[0][1])]) for name, row in block] == own


@pytest.fixture(scope="module")
def empty_cells():
    nothing = {"standard_deviation": np.nan, "low": np.nan, "high": np.nan, "interval": "none"}
    rows = [
        ("kd", "a", 0.5, ""),
        ("kd", "b", np.nan, "no image fools the model"),
        ("lid", "a", np.nan, "the model has no hidden layers & more"),
        ("lid", "b", np.nan, "no image fools the model"),
        ("bu", "a", np.nan, ""),
        ("bu", "b", 0.25, "a value has no reason"),
    ]
    cells = pd.DataFrame(rows, columns=["feature", "attack", "value", "reason"])
    return Table("t", "A table.", "feature", "attack", cells.assign(**nothing))


def test_a_reason_stands_once_below_the_table(empty_cells):
    reasons = ["no image fools the model", "the model has no hidden layers & more"]
    assert empty_cells.notes == reasons
    numbers = [[cell.note for cell in row] for _, row in empty_cells.body()]
    assert numbers == [[0, 1], [2, 1], [0, 0]]
    markdown = to_markdown(empty_cells)
    assert [line.strip() for line in markdown.splitlines()[-3:]] == [
        f"¹ {reasons[0]}", "", f"² {reasons[1]}",
    ]  # fmt: skip
    rows = [[part.strip() for part in line.split("|")[2:4]] for line in markdown.splitlines()[4:7]]
    assert rows == [["**50.0**", "–¹"], ["–²", "–¹"], ["–", "**25.0**"]] or rows == [
        ["50.0", "–¹"], ["–²", "–¹"], ["–", "25.0"],
    ]  # fmt: skip
    assert to_text(empty_cells).endswith(f"\n\n¹ {reasons[0]}\n² {reasons[1]}\n")
    latex = to_latex(empty_cells)
    assert latex.count(r"--\textsuperscript{1}") == 2
    assert r"\par\footnotesize \textsuperscript{2} the model has no hidden layers \& more" in latex


def test_without_a_reason_there_is_nothing_below_the_table(empty_cells):
    plain = Table("t", "A table.", "feature", "attack", empty_cells.cells.drop(columns="reason"))
    assert plain.notes == []
    assert to_markdown(plain).rstrip().endswith("|")
    assert "textsuperscript" not in to_latex(plain)
