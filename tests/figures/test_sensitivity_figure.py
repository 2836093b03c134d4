import numpy as np
import pytest

from advdetect.errors import AdvdetectError
from advdetect.figures.pictures import overlay
from advdetect.figures.sensitivity import SensitivityExamples, sensitivity_figure


def examples(count=2, channels=1, clean_peak=-0.5, adversarial_peak=1.5):
    generator = np.random.default_rng(0)
    images = generator.random((2, count, channels, 8, 8))
    maps = 2 * generator.random((2, count, channels, 8, 8)) - 1
    maps /= np.abs(maps).max(axis=(2, 3, 4), keepdims=True)
    return SensitivityExamples(
        "fgsm", *images, *maps, np.full(count, clean_peak), np.full(count, adversarial_peak)
    )


def shown(figure):
    (axis,) = figure.axes
    return [np.asarray(image.get_array()) for image in axis.images]


@pytest.mark.parametrize("channels", [1, 3])
def test_each_map_is_drawn_over_its_image(channels):
    given = examples(channels=channels)
    figure = sensitivity_figure([given])
    pictures = shown(figure)
    assert len(pictures) == 2 * 6
    for row in range(2):
        clean, adversarial, _, own, same, of_it = pictures[6 * row : 6 * row + 6]
        for picture, image in ((clean, given.clean), (adversarial, given.adversarial)):
            np.testing.assert_allclose(picture, np.moveaxis(image[row], 0, -1).squeeze())
        weight = np.abs(given.clean_sensitivity[row]).max(axis=0)
        np.testing.assert_allclose(own, overlay(given.clean[row], weight))
        # Two decades below the adversarial's.
        np.testing.assert_allclose(same, overlay(given.clean[row], weight / 100))
        weight = np.abs(given.adversarial_sensitivity[row]).max(axis=0)
        np.testing.assert_allclose(of_it, overlay(given.adversarial[row], weight))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[1:3] == ["original", "adversarial"]
    assert [text.split("\n")[-1] for text in texts[4:7:2]] == ["up to 10^−0.5", "up to 10^1.5"]


def test_a_larger_original_saturates_and_does_not_overflow():
    given = examples(clean_peak=900.0, adversarial_peak=-900.0)
    same = shown(sensitivity_figure([given]))[4]
    weight = np.where(given.clean_sensitivity[0, 0] == 0, 0.0, 1.0)
    np.testing.assert_allclose(same, overlay(given.clean[0], weight))


def test_an_attack_without_examples_is_left_out():
    assert len(shown(sensitivity_figure([examples(), examples(count=0)]))) == 12
    with pytest.raises(AdvdetectError, match="no adversarial"):
        sensitivity_figure([examples(count=0)])
