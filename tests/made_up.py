"""Score tables with known properties, shaped like those that the detection step writes."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.metrics import evaluate_feature
from advdetect.evaluation.paired import paired_tests
from advdetect.evaluation.perturbation import AttackNorms, least_perturbations
from advdetect.protocol import KINDS, on_own_attack
from advdetect.report.report import ReportContext, ReportFigure
from advdetect.tables.names import titled
from advdetect.yaml_text import read_yaml_file

CONFIG = Path(__file__).resolve().parents[1] / "config"
ATTACKS = ("fgsm", "cw_l2,kappa=10", "deepfool")
DETECTORS = ("logistic_regression", "random_forest", "random_scores", "true_labels")
NEVER_SUCCEEDS = "deepfool"
NORMS = pd.DataFrame({"index": [0, 1], "success": [True, False], "l2": [1.0, 0.0]})
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"></svg>'


def score_table(seed: int, separation: float, n: int = 40) -> pd.DataFrame:
    """Make scores whose adversarials are `separation` standard deviations above the rest."""
    generator = np.random.default_rng([seed, int(10 * separation)])
    parts = []
    cells = itertools.product(
        DETECTORS, ATTACKS, ATTACKS, ("float32", "8bit"), ("successful", "all"), KINDS
    )
    for detector, trained_on, tested_on, bits, positives, kind in cells:
        index = np.arange(n)
        if kind == "adversarial" and positives == "successful":
            index = index[: 0 if tested_on == NEVER_SUCCEEDS else n // 2]
        score = generator.normal(size=len(index))
        if detector == "true_labels":
            score = np.full(len(index), float(kind == "adversarial"))
        elif detector != "random_scores":
            score += separation * (kind == "adversarial")
        names = {
            "detector": detector,
            "trained_on": trained_on,
            "tested_on": tested_on,
            "bits": bits,
            "positives": positives,
            "kind": kind,
        }
        parts.append(pd.DataFrame({**names, "index": index, "score": score}))
    names = ["detector", "trained_on", "tested_on", "bits", "positives", "kind"]
    return pd.concat(parts, ignore_index=True).astype(dict.fromkeys(names, "category"))


def shipped_titles() -> dict[str, str]:
    """Return the titles of methods and papers in ``config/``, as the workflow passes them on."""
    titles: dict[str, str] = {}
    for path in set(CONFIG.glob("*/*.yaml")) - set(CONFIG.glob("schema/*.yaml")):
        spec = read_yaml_file(path)
        for table in spec.get("reproductions", {}).values():
            titles |= (table or {}).get("titles", {})
        title = spec.get("_title_")
        titles |= title if isinstance(title, dict) else {path.stem: title} if title else {}
    return titles


TITLES = shipped_titles()


@pytest.fixture(scope="session", autouse=True)
def _titles() -> Iterator[None]:
    with titled(TITLES):
        yield


@pytest.fixture(scope="session")
def scores() -> dict[str, dict[int, pd.DataFrame]]:
    """Two features, the second better than the first, two seeds each."""
    return {
        name: {seed: score_table(seed, separation) for seed in (0, 1)}
        for name, separation in (("bu", 0.5), ("fisher_input", 2.0))
    }


@pytest.fixture(scope="session")
def metrics(scores: dict[str, dict[int, pd.DataFrame]]) -> pd.DataFrame:
    tables = [
        evaluate_feature(
            {run: [table] for run, table in seeds.items()},
            replicates=50,
            seed=7,
            primary_detector="logistic_regression",
        ).assign(feature=feature)
        for feature, seeds in scores.items()
    ]
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="session")
def paired(scores: dict[str, dict[int, pd.DataFrame]]) -> pd.DataFrame:
    features = {
        feature: {
            run: table[
                (table["detector"] == "logistic_regression")
                & (table["bits"] == "float32")
                & (table["positives"] == "successful")
                & on_own_attack(table)
            ]
            for run, table in seeds.items()
        }
        for feature, seeds in scores.items()
    }
    return paired_tests(features, replicates=50, seed=7)


@pytest.fixture(scope="session")
def context(
    metrics: pd.DataFrame, paired: pd.DataFrame, attack_summary: pd.DataFrame
) -> ReportContext:
    return ReportContext(
        experiment="quickstart",
        description="Two features.",
        command="snakemake --cores all",
        settings={"Data set": "digits", "Seeds": "0, 1"},
        attacks={("fgsm", ""): {"epsilon": 0.1}, ("deepfool", ""): {}},
        model_metrics=pd.DataFrame(
            {"seed": [0, 1], "train_accuracy": [1.0, 0.999], "test_accuracy": [0.9812, 0.97]}
        ),
        attack_summary=attack_summary,
        least_perturbations=least_perturbations(
            [AttackNorms("fgm_least", True, True, {0: NORMS})], replicates=10, seed=0
        ),
        metrics=metrics,
        paired=paired,
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


@pytest.fixture(scope="session")
def chosen() -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Pick the cells of one detector, trained and tested on the same attack."""

    def pick(table: pd.DataFrame) -> pd.DataFrame:
        return table[
            (table["detector"] == "logistic_regression")
            & (table["bits"] == "float32")
            & (table["positives"] == "successful")
            & (table["trained_on"].astype(str) == table["tested_on"].astype(str))
        ]

    return pick


@pytest.fixture(scope="session")
def attack_summary() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "attack": ["fgsm", "fgsm", "cw_l2,kappa=10", "cw_l2,kappa=10"],
            "seed": [0, 1, 0, 1],
            "n": [40, 40, 40, 40],
            "success_rate": [0.9, 0.7, 1.0, 1.0],
            "mean_l2": [1.5, 1.7, 0.25, np.nan],
        }
    )
