import numpy as np
import pytest

from advdetect.errors import AdvdetectError
from advdetect.figures.sensitivity import SensitivityExamples, sensitivity_figure


def examples(count=2, channels=1, clean_peak=0.0, adversarial_peak=2.0):
    generator = np.random.default_rng(0)
    images = generator.random((2, count, channels, 8, 8))
    maps = 2 * generator.random((2, count, channels, 8, 8)) - 1
    maps /= np.abs(maps).max(axis=(2, 3, 4), keepdims=True)
    return SensitivityExamples(
        "fgsm", *images, *maps, np.full(count, clean_peak), np.full(count, adversarial_peak)
    )


def panels(figure, rows=2):
    return np.array(figure.axes).reshape(rows, 5)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_map_is_drawn_over_its_image(channels):
    given = examples(channels=channels)
    axes = panels(sensitivity_figure([given]))
    for row in range(2):
        shown = [np.asarray(axis.images[-1].get_array()) for axis in axes[row]]
        own = np.abs(given.clean_sensitivity[row]).max(axis=0)
        np.testing.assert_allclose(shown[1], np.abs(given.adversarial_sensitivity[row]).max(axis=0))
        np.testing.assert_allclose(shown[2], own / 100)  # two decades below the adversarial's
        np.testing.assert_allclose(shown[3], own)
        difference = (given.adversarial[row] - given.clean[row]).mean(axis=0)
        np.testing.assert_allclose(shown[4], difference)
        for column, image in ((0, "adversarial"), (1, "adversarial"), (2, "clean"), (3, "clean")):
            expected = np.moveaxis(getattr(given, image)[row], 0, -1).squeeze()
            np.testing.assert_allclose(axes[row][column].images[0].get_array(), expected)
        assert [axis.get_title().split("\n")[-1] for axis in axes[row]] == [
            "", "2.0", "0.0", "0.0", "",
        ]  # fmt: skip


def test_a_larger_original_saturates_and_does_not_overflow():
    given = examples(clean_peak=900.0, adversarial_peak=-900.0)
    same = np.asarray(panels(sensitivity_figure([given]))[0][2].images[-1].get_array())
    assert np.isfinite(same).all()
    assert ((same == 1) | (given.clean_sensitivity[0, 0] == 0)).all()


def test_an_attack_without_examples_is_left_out():
    assert len(sensitivity_figure([examples(), examples(count=0)]).axes) == 10
    with pytest.raises(AdvdetectError, match="no adversarial"):
        sensitivity_figure([examples(count=0)])
