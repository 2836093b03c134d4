"""Certified accuracy and accuracy under attack of counts that are made by hand."""

import numpy as np
import pytest

from advdetect.errors import AdvdetectError
from advdetect.evaluation.certified import (
    broken_certificates,
    certified_accuracies,
    certified_at,
    read_smoothed,
    standing_at,
)
from advdetect.smoothing.certificates import certify, largest_radius
from certified_files import ALPHA, SIGMA, attacked_file, clean_file


def of_one(statistic, table):
    return statistic(table, np.ones((1, len(table))))[:, 0].tolist()


@pytest.fixture
def smoothed(tmp_path):
    (found,) = read_smoothed([clean_file(tmp_path), attacked_file(tmp_path)], ALPHA)
    return found


def test_what_is_known_of_each_image(smoothed):
    (table,) = smoothed.seeds.values()
    assert (smoothed.sigma, smoothed.attacks) == (SIGMA, ("weak", "strong"))
    assert smoothed.largest_radius == largest_radius(100, ALPHA, SIGMA)
    assert table["index"].tolist() == [0, 1, 2, 3]
    # Sure and right; right, but less sure; sure and wrong; undecided, where the base is right.
    assert table["base"].tolist() == [True, True, False, True]
    assert table["smoothed"].tolist() == [True, True, False, False]
    assert table["abstained"].tolist() == [False, False, False, True]
    expected = certify([[100, 0], [100, 0]], [[100, 0], [80, 20]], ALPHA, SIGMA).radius
    np.testing.assert_allclose(table["radius"], [*expected, -1, -1])
    # The weak attack changes what PREDICT says of the second image, the strong one of both.
    assert table["broken"].tolist() == [2.0, 0.5, 0.0, 0.0]
    assert table["changed"].tolist() == [2.0, 0.5, np.inf, np.inf]
    assert table["base_broken"].tolist() == [2.0, np.inf, 0.0, 1.5]


def test_shares_at_radii(smoothed):
    (table,) = smoothed.seeds.values()
    first, second = table["radius"][:2]
    radii = [0, second, np.nextafter(second, 1), first, np.nextafter(first, 1)]
    assert of_one(certified_at(radii), table) == [0.5, 0.5, 0.25, 0.25, 0]
    assert of_one(standing_at([0, 0.49, 0.5, 1.9, 2.0]), table) == [0.5, 0.5, 0.25, 0.25, 0]
    assert of_one(standing_at([0, 1.5], "base_broken"), table) == [0.75, 0.5]


def test_a_certificate_that_an_attack_breaks_is_counted(smoothed):
    (table,) = smoothed.seeds.values()
    assert broken_certificates(table) == 0
    inside = 0.9 * table["radius"][0]
    assert broken_certificates(table.assign(changed=[inside, np.inf, 0.0, 0.0])) == 1
    # An abstention breaks no certificate.
    assert broken_certificates(table.assign(broken=[inside, np.inf, 0.0, 0.0])) == 0


def test_cells_are_means_over_seeds(tmp_path):
    paths = [clean_file(tmp_path, seed=0), clean_file(tmp_path, seed=1, sure=60)]
    cells = certified_accuracies(read_smoothed(paths, ALPHA), [0.05], replicates=50, seed=0)
    values = cells.set_index("quantity")["value"]
    assert values.index.tolist() == [
        *("base_accuracy", "smoothed_accuracy", "abstained", "certified,r=0.05")
    ]
    # With 60 of 100 draws the first image of the second seed is without an answer.
    assert values.tolist() == [0.75, (0.5 + 0.25) / 2, (0.25 + 0.5) / 2, (0.5 + 0.25) / 2]
    assert set(cells["noise"]) == {"σ = 0.25"}
    assert (cells["n_positive"] == 8).all()
    assert (cells["low"] <= cells["value"]).all()
    assert (cells["high"] >= cells["value"]).all()


def test_what_attacks_leave_stands_beside_what_is_certified(smoothed):
    cells = certified_accuracies([smoothed], [0.1, 1.0], replicates=50, seed=0)
    values = cells.set_index("quantity")["value"]
    assert values[["attacked,r=0.1", "attacked,r=1", "broken"]].tolist() == [0.5, 0.25, 0]
    for radius in ("0.1", "1"):
        assert values[f"certified,r={radius}"] <= values[f"attacked,r={radius}"]


def test_classifiers_are_in_the_order_of_their_noise(tmp_path):
    paths = [clean_file(tmp_path, sigma=sigma) for sigma in (1.0, 0.12, 0.5)]
    assert [one.sigma for one in read_smoothed(paths, ALPHA)] == [0.12, 0.5, 1.0]


def test_attacked_images_without_the_clean_ones_are_refused(tmp_path):
    with pytest.raises(AdvdetectError, match=r"σ = 0.25 and seed 0"):
        read_smoothed([attacked_file(tmp_path)], ALPHA)
    with pytest.raises(AdvdetectError, match=r"σ = 0.25 and seed 1"):
        read_smoothed([clean_file(tmp_path), attacked_file(tmp_path, seed=1)], ALPHA)
