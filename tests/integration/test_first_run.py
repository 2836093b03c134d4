"""The finished run: what it prints, its report and its control detectors."""

import re

import numpy as np
import pandas as pd
import pytest
from snakemake_project import ATTACKS, FEATURES, PUBLISHED, STORED

from advdetect.tables.names import display_name

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def metrics(first_run) -> pd.DataFrame:
    project, _ = first_run
    tables = [pd.read_csv(project.results / "metrics" / f"{name}.csv") for name in FEATURES]
    table = pd.concat(tables, ignore_index=True)
    return table[(table["metric"] == "auroc") & (table["seed"] == "mean")]


def test_it_ends_with_the_main_table_and_the_path_of_the_report(first_run):
    project, printed = first_run
    table = (project.results / "tables" / "detection.txt").read_text()
    end = printed[-len(table) - 2000 :]
    assert table in end
    assert f"Report: {project.results / 'report.html'}" in end[end.index(table) :]


def test_a_second_run_does_nothing(finished):
    before = finished.state()
    assert "Nothing to be done" in finished.run()
    assert finished.state() == before


def test_the_report_names_every_method_and_loads_nothing(first_run):
    page = (first_run[0].results / "report.html").read_text()
    for name in (*ATTACKS, *FEATURES):
        assert display_name(name) in page
    assert "https://" not in page
    assert "http://" not in page
    sources = re.findall(r"""\b(?:src|href)\s*=\s*["']([^"']*)""", page)
    assert sources
    assert all(source.startswith(("data:image/", "#")) for source in sources)


def test_random_scores_detect_nothing(metrics):
    control = metrics[metrics["detector"] == "random_scores"]
    own = control[control["trained_on"] == control["tested_on"]]
    assert len(own) == len(FEATURES) * len(ATTACKS) * 4  # two bit depths, two sets of positives
    # The variance of the AUROC under the null hypothesis (Mann and Whitney 1947).
    positive, negative = control["n_positive"], control["n_negative"]
    deviation = np.sqrt((positive + negative + 1) / (12 * positive * negative))
    assert (abs(control["value"] - 0.5) < 4 * deviation).all()
    assert ((own["low"] <= 0.5) & (own["high"] >= 0.5)).mean() > 0.7


def test_no_detector_tells_clean_images_from_those_that_take_the_path_of_an_attack(first_run):
    table = pd.read_csv(first_run[0].results / "tables" / "control.csv").set_index("feature")
    real = table[~table["detector"].str.contains("random_scores|true_labels")]
    # A union has no single score, so no threshold.
    assert real["detector"].value_counts().to_dict() == {
        "random_forest": len(FEATURES), "gaussian": len(FEATURES), "threshold": len(FEATURES) - 1,
    }  # fmt: skip
    drawn = real.index == "kd_bu"  # it draws random numbers, others for each path
    assert (real.loc[~drawn, ["value", "low", "high"]] == 0.5).all(axis=None)
    assert ((real["low"] <= 0.5) & (real["high"] >= 0.5)).all()
    assert (real["n_positive"] == real["n_negative"]).all()


def test_true_labels_detect_everything(metrics):
    control = metrics[metrics["detector"] == "true_labels"]
    # Trained on each attack and on all but the one that it is tested on.
    # Four forms of the images; attacks are left out in the form of the cross-attack tables only.
    assert len(control) == len(FEATURES) * (4 * len(ATTACKS) ** 2 + len(ATTACKS))
    assert (control["value"] == 1).all()
    assert (control[control["trained_on"] == control["tested_on"]]["low"] == 1).all()


def test_detectors_are_trained_on_attacks_or_on_clean_images(metrics):
    """Each supervised one also on all attacks but one, the others on no attack."""
    cells = metrics.groupby("detector")[["trained_on", "tested_on"]]
    pairs = cells.apply(lambda table: set(map(tuple, table.to_numpy())))
    supervised = {(one, another) for one in (*ATTACKS, "others") for another in ATTACKS}
    assert pairs.to_dict() == {
        "gaussian": {("clean", attack) for attack in ATTACKS},
        "threshold": {("clean", attack) for attack in ATTACKS},
        **dict.fromkeys(("random_forest", "random_scores"), supervised),
        "true_labels": supervised,
    }


def test_a_threshold_is_skipped_for_a_union_which_has_no_score(metrics):
    threshold = metrics[metrics["detector"] == "threshold"]
    assert set(threshold["feature"]) == set(FEATURES) - {"kd_bu"}


def test_nothing_temporary_is_left(first_run):
    results = first_run[0].folder / "results"
    assert not list(results.rglob("*.tmp"))
    assert {path.name for path in results.rglob(".*")} == {".stamps"}


def test_the_store_holds_what_is_between_the_stages_and_nothing_else(first_run):
    project, _ = first_run
    names = {name.removesuffix("/fitted") for name in project.files()}
    with_them = {"model.json", *(f"detectors/{feature}/split" for feature in FEATURES)}
    with_them |= {f"detectors/{feature}/thresholds" for feature in FEATURES}
    assert names == STORED | with_them


def test_all_that_is_published_has_one_stamp(first_run):
    stamps = sorted((first_run[0].results / ".stamps").iterdir())
    assert [path.name.partition(".")[0] for path in stamps] == sorted(PUBLISHED)
