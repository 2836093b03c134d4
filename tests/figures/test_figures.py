from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from sklearn.metrics import roc_auc_score

from advdetect.errors import AdvdetectError
from advdetect.figures.cross_attack import cross_attack_heatmap
from advdetect.figures.plotting import KIND_COLOURS
from advdetect.figures.roc import roc_figure
from advdetect.figures.scores import score_histograms
from advdetect.figures.spectra import eigenvalue_spectra
from advdetect.figures.training import training_curves

Pick = Callable[[pd.DataFrame], pd.DataFrame]
Scores = dict[str, dict[int, pd.DataFrame]]


def lines(axis: object, gid: str) -> list[np.ndarray]:
    return [line.get_xydata() for line in axis.get_lines() if line.get_gid() == gid]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def picked(scores: Scores, chosen: Pick) -> Scores:
    return {
        name: {seed: chosen(table) for seed, table in seeds.items()}
        for name, seeds in scores.items()
    }


def test_roc_lines_have_the_mean_auroc_and_run_corner_to_corner(picked: Scores) -> None:
    figure = roc_figure(picked)
    assert [axis.get_title() for axis in figure.axes] == ["FGSM", "C&W L2 (kappa=10)"]
    for axis, attack in zip(figure.axes, ("fgsm", "cw_l2,kappa=10"), strict=True):
        texts = [text.get_text() for text in axis.get_legend().get_texts()]
        for position, (feature, seeds) in enumerate(picked.items()):
            ((x, y),) = [line.T for line in lines(axis, feature)]
            assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
            cells = [table[table["tested_on"] == attack] for table in seeds.values()]
            aurocs = [roc_auc_score(cell["kind"] == "adversarial", cell["score"]) for cell in cells]
            assert np.trapezoid(y, x) == pytest.approx(np.mean(aurocs), abs=1e-12)
            assert texts[position] == f"{np.mean(aurocs):.3f}"


def test_roc_with_ties_and_a_logarithmic_axis() -> None:
    kinds = np.array(["clean"] * 8 + ["adversarial"] * 4)
    scores = np.array([0, 0, 0, 0, 1, 1, 1, 2, 1, 1, 2, 2], dtype=float)
    table = pd.DataFrame({"tested_on": "fgsm", "kind": kinds, "score": scores})
    figure = roc_figure({"kd": {0: table}}, log_scale=True)
    (axis,) = figure.axes
    (line,) = lines(axis, "kd")
    expected = [[0, 0], [1 / 8, 0.5], [0.5, 1], [1, 1]]
    np.testing.assert_allclose(np.unique(line, axis=0), expected)
    assert axis.get_xscale() == "log"
    assert axis.get_xlim() == (1 / 8, 1)


def test_roc_needs_both_classes(picked: Scores) -> None:
    clean = picked["bu"][0].query("kind == 'clean'")
    with pytest.raises(AdvdetectError, match="no ROC curve"):
        roc_figure({"bu": {0: clean}})


def test_histograms_are_densities_in_the_colours_of_the_kinds(picked: Scores) -> None:
    table = picked["fisher_input"][0]
    table = table.assign(score=table["score"].replace(table["score"].max(), np.inf))
    figure = score_histograms(table)
    assert [axis.get_title() for axis in figure.axes][-1] == "DeepFool"
    for axis, attack in zip(figure.axes, table["tested_on"].unique(), strict=True):
        cell = table[(table["tested_on"] == attack) & np.isfinite(table["score"])]
        outlines = {tuple(c.get_facecolor()[0][:3]): c.get_paths()[0] for c in axis.collections}
        kinds = set(cell["kind"])
        assert set(outlines) == {to_rgba(KIND_COLOURS[kind])[:3] for kind in kinds}
        for kind in kinds:
            values = cell.loc[cell["kind"] == kind, "score"]
            edges = np.histogram_bin_edges(cell["score"], bins=40)
            heights, _ = np.histogram(values, edges, density=True)
            vertices = outlines[to_rgba(KIND_COLOURS[kind])[:3]].vertices
            assert vertices[:, 1].max() == pytest.approx(heights.max())


def test_heat_map_shows_every_cell(metrics: pd.DataFrame) -> None:
    part = metrics[
        (metrics["detector"] == "logistic_regression")
        & (metrics["bits"] == "float32")
        & (metrics["positives"] == "successful")
    ]
    figure = cross_attack_heatmap(part)
    maps = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in maps] == ["BU", "Input Fisher eigenvalues"]
    for axis, feature in zip(maps, ("bu", "fisher_input"), strict=True):
        cells = part[
            (part["feature"] == feature) & (part["metric"] == "auroc") & (part["seed"] == "mean")
        ]
        shown = np.ma.filled(axis.images[0].get_array(), np.nan)
        np.testing.assert_allclose(shown.ravel(), 100 * cells["value"])  # same order
        texts = [text.get_text() for text in axis.texts]
        expected = ["–" if np.isnan(value) else f"{100 * value:.0f}" for value in cells["value"]]
        assert texts == expected
    assert [label.get_text() for label in maps[0].get_yticklabels()][1] == "C&W L2 (kappa=10)"


def test_spectra_show_medians_and_quantiles() -> None:
    generator = np.random.default_rng(0)
    names = [f"log10_eigenvalue_{rank:02d}" for rank in range(1, 4)]
    table = pd.DataFrame(generator.normal(size=(60, 3)), columns=names)
    table["kind"] = np.repeat(["clean", "adversarial"], 30)
    table["log10_condition"] = 1.0
    figure = eigenvalue_spectra({"ossa": table})
    (axis,) = figure.axes
    for position, kind in enumerate(("clean", "adversarial")):
        (line,) = lines(axis, kind)
        values = table.loc[table["kind"] == kind, names].to_numpy()
        np.testing.assert_array_equal(line[:, 0], [1, 2, 3])
        np.testing.assert_allclose(line[:, 1], np.median(values, axis=0))
        wide, narrow = axis.collections[2 * position : 2 * position + 2]
        for band, low, high in ((wide, 0.05, 0.95), (narrow, 0.25, 0.75)):
            y = band.get_paths()[0].vertices[:, 1]
            assert y.min() == pytest.approx(np.quantile(values, low, axis=0).min())
            assert y.max() == pytest.approx(np.quantile(values, high, axis=0).max())
    assert not lines(axis, "noisy")


def test_training_curves_have_a_line_per_seed_and_quantity() -> None:
    history = [
        {"epoch": 3, "train_loss": 0.5, "train_accuracy": 0.7, "test_accuracy": 0.6},
        {"epoch": 6, "train_loss": 0.2, "train_accuracy": 0.9, "test_accuracy": 0.8},
    ]
    figure = training_curves({0: history, 1: [{"train_loss": 0.4}, {"train_loss": 0.3}]})
    loss, accuracy = figure.axes
    np.testing.assert_allclose(
        lines(loss, "train_loss"), [[[3, 0.5], [6, 0.2]], [[1, 0.4], [2, 0.3]]]
    )
    np.testing.assert_allclose(lines(accuracy, "test_accuracy")[0], [[3, 0.6], [6, 0.8]])
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == [
        "train accuracy",
        "test accuracy",
    ]
    losses_only = training_curves({0: [{"train_loss": 1.0}]})
    assert [axis.get_title() for axis in losses_only.axes] == ["Loss"]
