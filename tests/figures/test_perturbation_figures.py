import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from advdetect.errors import AdvdetectError
from advdetect.evaluation.perturbation import AttackNorms
from advdetect.figures.eigenvalue_perturbation import eigenvalue_perturbation_figure
from advdetect.figures.fooling_rate import fooling_rate_figure


def norms(seed: int, rate: float, longest: float, n: int = 40) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    success = np.arange(n) < rate * n
    l2 = np.where(success, generator.uniform(0.1, longest, n), 0.0)
    return pd.DataFrame({"index": np.arange(n), "success": success, "l2": l2})


def attack(name: str, *, minimal_norm: bool, one_step: bool, rate: float) -> AttackNorms:
    seeds = {seed: norms(seed, rate, 4.0) for seed in (0, 1)}
    return AttackNorms(name, minimal_norm, one_step, seeds)


def lines(axis, gid):
    return [line for line in axis.get_lines() if line.get_gid() == gid]


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_curve_is_the_share_of_images_within_the_norm():
    least = attack("fgm_least", minimal_norm=True, one_step=True, rate=0.95)
    iterated = attack("bim_l2_least", minimal_norm=True, one_step=False, rate=0.8)
    budget = attack("fgm", minimal_norm=False, one_step=True, rate=0.5)
    figure = fooling_rate_figure([least, iterated, budget])
    (axis,) = figure.axes
    for given in (least, iterated):
        (line,) = lines(axis, given.attack)
        for radius, shown in line.get_xydata()[::20]:
            shares = [(t["success"] & (t["l2"] <= radius)).mean() for t in given.seeds.values()]
            assert shown == pytest.approx(100 * np.mean(shares))
        assert line.get_linestyle() == ("-" if given.one_step else "--")
    assert not lines(axis, "fgm")
    pooled = np.sort(pd.concat(least.seeds.values()).query("success")["l2"])
    at_90 = pooled[int(np.ceil(0.9 * 80)) - 1]
    assert labels(figure) == [f"FGM, least ε (90 % at {at_90:.2f})", "BIM (L2), first success"]
    band = axis.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() <= 100
    assert band[:, 1].min() >= 0


def test_curves_of_many_attacks_all_differ():
    many = [AttackNorms(f"a{i}", True, i % 3 == 0, {0: norms(i, 0.9, 4.0, n=4)}) for i in range(24)]
    (axis,) = fooling_rate_figure(many).axes
    drawn = [line for one in many for line in lines(axis, one.attack)]
    assert len(drawn) == 24
    assert len({(line.get_color(), str(line._dash_pattern)) for line in drawn}) == 24


def test_a_sweep_is_a_line_of_rates_against_mean_norms():
    rates = {2.0: 0.9, 0.5: 0.2, 1.0: 0.6}
    sweep = [
        AttackNorms(
            f"bim_l2,epsilon={epsilon},steps=10",
            False,
            False,
            {0: norms(0, rate, 1.0).assign(l2=epsilon * 0.9)},
        )
        for epsilon, rate in rates.items()
    ]
    figure = fooling_rate_figure(sweep)
    (axis,) = figure.axes
    (line,) = lines(axis, "bim_l2,steps=10")
    np.testing.assert_allclose(line.get_xydata(), [[0.45, 20], [0.9, 60], [1.8, 90]])
    assert (line.get_marker(), line.get_linestyle()) == ("o", "--")
    assert labels(figure) == ["BIM (L2) (steps=10), sweep of ε"]


def test_a_swept_search_is_a_curve_for_each_value():
    names = ["bim_l2_least,epsilon=5", "bim_l2_least,epsilon=9"]
    figure = fooling_rate_figure(
        [attack(name, minimal_norm=True, one_step=False, rate=0.5) for name in names]
    )
    assert [line.get_gid() for line in figure.axes[0].get_lines()][1:] == (names)


def test_a_fooling_rate_needs_an_attack_that_has_one():
    with pytest.raises(AdvdetectError, match="minimal-norm kind or a sweep"):
        fooling_rate_figure([attack("fgm", minimal_norm=False, one_step=True, rate=0.5)])


def test_an_attack_that_never_succeeds_is_a_flat_curve():
    figure = fooling_rate_figure([attack("fgm_least", minimal_norm=True, one_step=True, rate=0)])
    (line,) = lines(figure.axes[0], "fgm_least")
    assert set(line.get_ydata()) == {0}
    assert labels(figure) == ["FGM, least ε"]


def test_eigenvalues_are_shown_with_their_rank_correlation():
    generator = np.random.default_rng(0)
    seeds = {}
    for seed in (0, 1):
        eigenvalue = generator.normal(size=60)
        l2 = 3 - 0.5 * eigenvalue + generator.normal(size=60)
        seeds[seed] = pd.DataFrame(
            {"index": np.arange(60), "log10_eigenvalue": eigenvalue, "l2": l2.clip(0.01)}
        )
    figure = eigenvalue_perturbation_figure({"ossa_least": seeds, "fgm_least": seeds})
    assert len(figure.axes) == 2
    axis = figure.axes[0]
    points = pd.concat(seeds.values())[["log10_eigenvalue", "l2"]]
    np.testing.assert_allclose(axis.collections[0].get_offsets(), points)
    rho = np.mean([spearmanr(t["log10_eigenvalue"], t["l2"]).statistic for t in seeds.values()])
    name, shown = axis.get_title().split("\n")
    assert name == "OSSA, least ε"
    assert shown.startswith(f"ρ = {rho:.2f} [".replace("-", "−"))
    low, high = (float(x) for x in shown.split("[")[1].rstrip("]").replace("−", "-").split(","))
    assert low < rho < high < 0


def test_eigenvalues_of_an_attack_that_never_succeeds_have_no_correlation():
    nothing = pd.DataFrame({"index": [], "log10_eigenvalue": [], "l2": []})
    figure = eigenvalue_perturbation_figure({"ossa_least": {0: nothing}})
    assert figure.axes[0].get_title() == "OSSA, least ε"
