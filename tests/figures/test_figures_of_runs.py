"""Every figure of two runs: a block for each, which holds what the figure of the run alone does."""

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

from advdetect.evaluation.certified import SmoothedClassifier
from advdetect.evaluation.perturbation import AttackNorms
from advdetect.figures.certified_accuracy import certified_accuracy_figure
from advdetect.figures.column_roc import column_roc_figure
from advdetect.figures.cross_attack import cross_attack_heatmap
from advdetect.figures.defense_accuracy import defense_accuracy_figure
from advdetect.figures.distribution import distribution_figure
from advdetect.figures.eigenvalue_path import eigenvalue_path_figure
from advdetect.figures.eigenvalue_perturbation import eigenvalue_perturbation_figure
from advdetect.figures.fooling_rate import fooling_rate_figure
from advdetect.figures.gallery import GalleryExamples, gallery_figure
from advdetect.figures.plotting import draw_runs, new_figure, save_figure
from advdetect.figures.reproduction import reproduction_figure
from advdetect.figures.roc import roc_figure
from advdetect.figures.scores import score_histograms
from advdetect.figures.sensitivity import SensitivityExamples, sensitivity_figure
from advdetect.figures.spectra import eigenvalue_spectra
from advdetect.figures.training import training_curves
from advdetect.figures.transfer_success import transfer_figure
from advdetect.figures.unit_images import unit_images
from advdetect.figures.unit_purity import unit_purity
from advdetect.tables.names import titled

RUNS = {"A": 1.0, "B": 3.0}
N = 12


def samples(scale):
    """Scores of clean, noisy and adversarial images."""
    generator = np.random.default_rng(int(scale))
    kinds = np.repeat(["clean", "noisy", "adversarial"], N)
    score = generator.normal(size=3 * N) + scale * (kinds == "adversarial")
    return pd.DataFrame({"index": np.tile(np.arange(N), 3), "kind": kinds, "score": score}).assign(
        tested_on="fgsm"
    )


def norms(scale):
    return pd.DataFrame(
        {"index": np.arange(N), "success": np.arange(N) > 2, "l2": scale * np.arange(N)}
    )


def metrics(scale):
    cells = [(a, b) for a in ("fgsm", "ossa") for b in ("fgsm", "ossa")]
    table = pd.DataFrame(cells, columns=["trained_on", "tested_on"])
    return table.assign(
        feature="kd", metric="auroc", seed="mean", value=0.2 * scale + 0.05 * np.arange(4)
    )


def images(scale):
    return np.random.default_rng(int(scale)).random((2, 1, 5, 5))


def spectra(scale):
    table = samples(scale)
    return table.assign(log10_eigenvalue_01=table["score"], log10_eigenvalue_02=-table["score"])


def comparison(scale):
    row = {"reading": "r", "row": "kd", "column": "fgm", "quantity": "auroc", "reported": 80.0}
    return pd.DataFrame([row | {"value": 20 * scale, "low": 19 * scale, "high": 21 * scale}])


def defenses(scale):
    rows = [(f"cw_l2,kappa={k}", "mid", 0.1 * scale + k / 100) for k in (0, 10)]
    table = pd.DataFrame(rows, columns=["attack", "defense", "value"])
    return table.assign(low=table["value"] - 0.01, high=table["value"] + 0.01)


def transferred(scale):
    table = norms(scale).assign(crafted_success=np.arange(N) % int(scale + 1) == 0)
    names = (f"fgsm@other,epsilon={epsilon}" for epsilon in (0.1, 0.3))
    return [AttackNorms(name, False, True, {0: table}) for name in names]


def units(scale):
    kinds = [(n, d) for n in ("trained", "untrained") for d in ("unit", "random")]
    table = pd.DataFrame(kinds * 4, columns=["network", "direction"])
    purity = (np.arange(16) % (2 + int(scale)) + 1) / 8
    return table.assign(purity=purity, **{f"image_{n}": n for n in range(8)})


TESTS = {
    network: {"purity": {"unit": 0.5, "random": 0.4, "p": 0.1}}
    for network in ("trained", "untrained")
}


def smoothed(scale):
    rows = np.arange(N)
    table = pd.DataFrame({"index": rows, "base": rows > 2, "smoothed": rows > 3})
    table = table.assign(
        abstained=rows == 3, radius=np.where(rows > 3, scale * rows / N, -1.0),
        broken=np.inf, base_broken=np.inf, changed=np.inf,
    )  # fmt: skip
    return [SmoothedClassifier(0.25 * scale, scale, (), {0: table})]


KINDS = {
    "roc": (roc_figure, lambda s: {"kd": {0: samples(s)}}),
    "roc_low": (partial(roc_figure, log_scale=True), lambda s: {"kd": {0: samples(s)}}),
    "scores": (score_histograms, samples),
    "cross_attack": (cross_attack_heatmap, metrics),
    "spectra": (eigenvalue_spectra, lambda s: {"fgsm": spectra(s)}),
    "training": (
        training_curves,
        lambda s: {0: [{"loss": s, "accuracy": s / 4}, {"loss": s / 2, "accuracy": s / 3}]},
    ),
    "gallery": (
        gallery_figure,
        lambda s: [GalleryExamples("fgsm", images(s), images(s + 1), "ab", "ab", "ba")],
    ),
    "sensitivity": (
        sensitivity_figure,
        lambda s: [
            SensitivityExamples("fgsm", *map(images, (s, s + 1, s + 2, s + 3)), [0, 1], [1, 0])
        ],
    ),
    "fooling_rate": (
        fooling_rate_figure,
        lambda s: [AttackNorms("fgm_least", True, True, {0: norms(s)})],
    ),
    "eigenvalue_perturbation": (
        eigenvalue_perturbation_figure,
        lambda s: {"fgm_least": {0: norms(s).assign(log10_eigenvalue=np.arange(N) % 5)}},
    ),
    "eigenvalue_path": (
        eigenvalue_path_figure,
        lambda s: {
            "ossa": pd.DataFrame(
                {"index": 0, "l2": [0, s], "log10_eigenvalue": [s, 2], "fooled": [False, True]}
            )
        },
    ),
    "defense_accuracy": (
        lambda cells, **on: defense_accuracy_figure(cells, None, **on),
        defenses,
    ),
    "reproduction": (reproduction_figure, comparison),
    "transfer_success": (transfer_figure, transferred),
    "unit_purity": (lambda table, **on: unit_purity(table, TESTS, **on), units),
    "unit_images": (
        lambda images, **on: unit_images(units(1.0)[:4], images, **on),
        lambda s: np.random.default_rng(int(s)).random((4, 8, 1, 5, 5)),
    ),
    "certified_accuracy": (
        partial(certified_accuracy_figure, replicates=10, seed=0),
        smoothed,
    ),
    "distribution": (
        lambda values, **on: distribution_figure(values, "x", **on),
        lambda s: {"fgsm": samples(s)},
    ),
    "column_roc": (column_roc_figure, lambda s: {"fgsm": {"trace": [samples(s)]}}),
}


def drawn(figure):
    """Return the numbers of all lines, areas, points and images, panel by panel."""
    numbers = []
    for axis in all_axes(figure):
        numbers += [line.get_xydata() for line in axis.lines]
        numbers += [np.ma.getdata(image.get_array()) for image in axis.images]
        numbers += [path.vertices for patch in axis.collections for path in patch.get_paths()]
        numbers += [patch.get_path().vertices for patch in axis.patches]
        numbers += [np.ma.getdata(points.get_offsets()) for points in axis.collections]
    return numbers


def all_axes(figure):
    return [*figure.axes] if not figure.subfigs else [
        axis for part in figure.subfigs for axis in all_axes(part)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_block_of_a_run_shows_what_its_own_figure_does(kind):
    draw, make = KINDS[kind]
    both = draw_runs({run: make(scale) for run, scale in RUNS.items()}, draw)
    assert [block.get_suptitle() for block in both.subfigs] == list(RUNS)
    alone = [draw(make(scale)) for scale in RUNS.values()]
    for block, own in zip(both.subfigs, alone, strict=True):
        shown, expected = drawn(block), drawn(own)
        assert len(shown) == len(expected) > 0
        for here, there in zip(shown, expected, strict=True):
            np.testing.assert_array_equal(here, there)
        titles = [[axis.get_title() for axis in all_axes(figure)] for figure in (block, own)]
        assert titles[0] == titles[1]
    heights = [figure.get_size_inches()[1] for figure in alone]
    assert both.get_size_inches()[1] > sum(heights)


@pytest.mark.parametrize("kind", ["transfer_success", "fooling_rate", "certified_accuracy"])
def test_the_name_of_a_run_and_a_legend_do_not_cover_each_other(kind):
    draw, make = KINDS[kind]
    both = draw_runs({run: make(scale) for run, scale in RUNS.items()}, draw)
    both.draw_without_rendering()
    for block in both.subfigs:
        (legend,) = block.legends
        # Matplotlib has no other way to the artist.
        assert not block._suptitle.get_window_extent().overlaps(legend.get_window_extent())


def test_each_run_is_drawn_once_in_a_block_as_tall_as_its_own_figure():
    few, many = transferred(1.0), transferred(1.0)
    many += [replace(other, attack=other.attack.replace("@other", "@more")) for other in many]
    drawn = []

    def draw(attacks, *, canvas=new_figure):
        figure = transfer_figure(attacks, canvas=canvas)
        drawn.append(len(attacks))
        return figure

    both = draw_runs({"A": few, "B": many}, draw)
    assert drawn == [2, 4]
    both.draw_without_rendering()
    alone = np.array([draw(attacks).get_figheight() for attacks in (few, many)])
    assert alone[0] < alone[1]
    wanted = alone + (both.get_figheight() - alone.sum()) / 2  # both with the name of the run
    shown = np.array([block.bbox.height for block in both.subfigs])
    np.testing.assert_allclose(shown / shown.sum(), wanted / wanted.sum())


def test_a_block_is_called_by_the_title_of_its_run():
    with titled({"@B": "The second"}):
        both = draw_runs({run: samples(scale) for run, scale in RUNS.items()}, score_histograms)
    assert [block.get_suptitle() for block in both.subfigs] == ["A", "The second"]


def test_a_figure_of_several_runs_can_be_saved(tmp_path):
    figure = draw_runs({run: samples(scale) for run, scale in RUNS.items()}, score_histograms)
    svg, png = save_figure(figure, tmp_path / "figure")
    assert svg.read_text().startswith("<?xml")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_single_run_is_its_own_figure():
    figure = draw_runs({"": samples(1.0)}, score_histograms)
    assert not figure.subfigs
    assert figure.get_suptitle() == ""


def test_every_kind_of_figure_is_tested(repository):
    kinds = {path.stem for path in (repository / "config" / "figure").glob("*.yaml")}
    assert kinds == {*KINDS, "success_over_runs"}  # the last has all runs in one panel
