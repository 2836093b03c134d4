import numpy as np
import pytest
from numpy.typing import NDArray

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


def channels_first(pixels: NDArray[np.floating]) -> NDArray[np.floating]:
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_shown(channels: int) -> None:
    one = examples("fgsm", 2, channels)
    (axis,) = gallery_figure([one]).axes
    shown = [channels_first(np.asarray(image.get_array())) for image in axis.images]
    assert len(shown) == 6
    texts = [text.get_text() for text in axis.texts]
    factor = float(texts[3].partition("×")[2].split("\n")[0])
    for row in range(2):
        clean, adversarial, difference = shown[3 * row : 3 * row + 3]
        np.testing.assert_array_equal(clean, one.clean[row])
        np.testing.assert_array_equal(adversarial, one.adversarial[row])
        signed = one.adversarial[row].astype(float) - one.clean[row]
        inside = np.abs(factor * signed) <= 0.5
        assert inside.mean() > 0.9
        np.testing.assert_allclose((difference - 0.5)[inside], (factor * signed)[inside])
        assert set(difference[~inside]) <= {0.0, 1.0}
    norms = [
        np.linalg.norm((a - c).ravel()) for a, c in zip(one.adversarial, one.clean, strict=True)
    ]
    assert texts == [
        "FGSM",
        "clean\nclass 0",
        "adversarial\n→ other",
        f"difference ×{factor:g}\nL2 {norms[0]:.3g}",
        "class 1 → class 0",
        "→ other",
        f"L2 {norms[1]:.3g}",
    ]


def test_attacks_without_an_example_are_left_out() -> None:
    sizes = {"a": 2, "b": 1, "c": 3, "d": 0}
    (axis,) = gallery_figure([examples(name, n) for name, n in sizes.items()], note="more").axes
    texts = [text.get_text() for text in axis.texts]
    assert [text for text in texts if text in (*sizes, "more")] == ["a", "b", "c", "more"]
    assert len(axis.images) == 3 * 6


def test_an_unchanged_image_has_an_empty_difference() -> None:
    one = examples("fgsm", 1)
    same = GalleryExamples("fgsm", one.clean, one.clean, ["a"], ["a"], ["a"])
    (axis,) = gallery_figure([same]).axes
    assert (np.asarray(axis.images[2].get_array()) == 0.5).all()
    assert axis.texts[3].get_text() == "difference ×1\nL2 0"


def test_what_cannot_be_shown_is_refused() -> None:
    with pytest.raises(AdvdetectError, match="gallery is empty"):
        gallery_figure([examples("fgsm", 0)])
    with pytest.raises(AdvdetectError, match="gallery of 'fgsm' needs"):
        gallery_figure([examples("fgsm", 2, channels=2)])
