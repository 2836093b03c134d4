import numpy as np
import pytest

from advdetect.errors import AdvdetectError
from advdetect.figures.gallery import GalleryExamples, gallery_figure


def examples(attack: str, n: int, channels: int = 1) -> GalleryExamples:
    generator = np.random.default_rng(n)
    clean = generator.random((n, channels, 4, 5)).astype(np.float32)
    adversarial = np.clip(clean + generator.normal(0, 0.1, clean.shape), 0, 1).astype(np.float32)
    return GalleryExamples(
        attack=attack,
        clean=clean,
        adversarial=adversarial,
        labels=[f"class {i}" for i in range(n)],
        clean_predictions=["class 0"] * n,
        adversarial_predictions=["other"] * n,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_shown(channels: int) -> None:
    one = examples("fgsm", 2, channels)
    figure = gallery_figure([one])
    axes = [axis for axis in figure.axes if axis.images]
    assert len(axes) == 6
    for row in range(2):
        clean, adversarial, difference = (axis.images[0] for axis in axes[3 * row : 3 * row + 3])
        for picture, image in ((clean, one.clean), (adversarial, one.adversarial)):
            expected = np.moveaxis(image[row], 0, -1).squeeze()
            np.testing.assert_array_equal(np.asarray(picture.get_array()).squeeze(), expected)
        signed = (one.adversarial[row].astype(float) - one.clean[row]).mean(axis=0)
        np.testing.assert_allclose(difference.get_array(), signed)
        low, high = difference.get_clim()
        assert low == -high == -np.abs(signed).max()
    assert axes[0].get_title() == "clean\nclass 0"
    assert axes[3].get_title() == "class 1 → class 0"
    assert axes[4].get_title() == "→ other"
    norm = np.linalg.norm((one.adversarial[1] - one.clean[1]).ravel())
    assert axes[5].get_title().endswith(f"L2 {norm:.3g}")


def test_attacks_fill_bands_of_three() -> None:
    sizes = {"a": 2, "b": 1, "c": 3, "d": 0, "e": 1}
    figure = gallery_figure([examples(name, n) for name, n in sizes.items()])
    titles = [block.get_suptitle() for block in figure.subfigs]
    assert titles == ["a", "b", "c", "e", "", ""]
    assert sum(bool(axis.images) for axis in figure.axes) == 3 * 7


def test_an_unchanged_image_has_an_empty_difference() -> None:
    one = examples("fgsm", 1)
    same = GalleryExamples("fgsm", one.clean, one.clean, ["a"], ["a"], ["a"])
    figure = gallery_figure([same])
    assert not np.asarray(figure.axes[2].images[0].get_array()).any()


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(AdvdetectError, match="gallery is empty"):
        gallery_figure([examples("fgsm", 0)])
    with pytest.raises(AdvdetectError, match="gallery of 'fgsm' needs"):
        gallery_figure([examples("fgsm", 2, channels=2)])
