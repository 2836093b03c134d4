"""Tables and figures of papers are jobs of their own, made from what they name."""

import pandas as pd
import pytest
from snakemake_project import Project

pytestmark = pytest.mark.integration

REPORTED = "dataset,method,attack,auc_percent\ndigits,kd,FGSM,50\ndigits,eigenvalues,OTCM,99\n"
REPRODUCTION = """
reproductions:
  mine:
    kind: detection
    title: Table 1
    reported: mine.csv
    rows: [method]
    columns: attack
    values: {auc_percent: auroc}
    methods:
      kd: {feature: kd, detector: threshold}
      eigenvalues: {feature: fisher_input, column: log10_eigenvalue_01, adversarial: high}
    readings:
      - {name: successful, attacks: {FGSM: fgsm, OTCM: otcm}}
      - {name: all, attacks: {FGSM: fgsm, OTCM: otcm}, positives: all}
paper_figures:
  figure4:
    kind: eigenvalue_path
    caption: Paths
    attacks: [otcm]
paths: {examples: 2, points: 3}
"""
TABLE = "results/tiny/tables/mine.md"
FIGURE = "results/tiny/figures/figure4.svg"


@pytest.fixture
def with_table(finished):
    finished.write("config/reference/mine.csv", REPORTED)
    finished.append("config/experiment/tiny.yaml", REPRODUCTION)
    return finished


@pytest.mark.long
def test_a_finished_experiment_makes_just_the_table_that_is_asked_for(with_table):
    assert with_table.plan(TABLE) == {"table_mine"}
    with_table.run(TABLE)
    first = with_table.results / "tables" / "mine.csv"
    table = pd.read_csv(first)
    assert table["reading"].unique().tolist() == ["successful", "all"]
    cells = list(zip(table["row"], table["column"], strict=True))
    assert cells[:4] == [
        ("kd", "FGSM"), ("kd", "OTCM"), ("eigenvalues", "FGSM"), ("eigenvalues", "OTCM"),
    ]  # fmt: skip
    metrics = pd.read_csv(with_table.results / "metrics" / "kd.csv")
    ours = metrics.query(
        "metric == 'auroc' and seed == 'mean' and detector == 'threshold' and bits == 'float32'"
        " and positives == 'all' and trained_on == 'otcm' and tested_on == 'otcm'"
    )["value"].item()
    reproduced = table.query("reading == 'all' and row == 'kd' and column == 'OTCM'")["value"]
    assert reproduced.item() == pytest.approx(100 * ours)

    before = first.read_bytes()
    first.with_suffix(".md").unlink()
    with_table.run(TABLE)
    assert first.read_bytes() == before  # the same to the last digit

    assert with_table.plan(FIGURE) == {"paths/otcm", "figure_figure4"}
    with_table.write("config/reference/mine.csv", REPORTED.replace("FGSM,50", "FGSM,60"))
    assert with_table.plan(TABLE) == {"table_mine"}
    after = {"table_mine", "figure_reproduction_mine", "manifest", "report"}
    assert with_table.plan() == after | {"paths/otcm", "figure_figure4"}
    with_table.run()
    page = (with_table.results / "report.html").read_text()
    assert "Table 1, reported and reproduced. Reading: successful." in page
    assert "Paths" in page
    with_table.replace("config/experiment/tiny.yaml", "title: Table 1", "title: Table 2")
    assert with_table.plan() == {"table_mine", "figure_reproduction_mine", "report"}


def test_a_table_of_norms_needs_no_feature(source):
    project = Project(source.folder, experiment="zhao2019_small")
    run = "mnist/lenet5-seed{}/{}"
    files = ["model", "clean", *(f"attacks/{name}" for name in (
        "fgm_least", "ossa_least", "bim_l2_least", "ossa_iterated_least",
    ))]  # fmt: skip
    assert project.plan("results/zhao2019_small/tables/table2.md") == {
        "mnist/train",
        "mnist/test",
        *(run.format(seed, file) for seed in (0, 1) for file in files),
        "table_table2",
    }
