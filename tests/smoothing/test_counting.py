import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from advdetect.errors import AdvdetectError
from advdetect.seeding import derive_seed
from advdetect.smoothing.certificates import ABSTAIN, certify, predict
from advdetect.smoothing.counting import Noisy, count_classes
from advdetect.smoothing.counts import Block, Counts

CPU = torch.device("cpu")
SHAPE = (1, 3, 3)
DISTANCE = 0.4


def linear_model(classes=2):
    """Return a linear model, and an image at a distance of 0.4 from the boundary, of class 0."""
    generator = torch.Generator().manual_seed(1)
    linear = nn.Linear(9, classes)
    with torch.no_grad():
        linear.weight.normal_(generator=generator)
        linear.bias.zero_()
        image = torch.full(SHAPE, 0.5)
        scores = linear(image.flatten())
        difference = linear.weight[0] - linear.weight[1]
        linear.bias[0] = scores[1] - scores[0] + DISTANCE * difference.norm()
    return nn.Sequential(nn.Flatten(), linear).eval(), image


def noisy(images, *, draws, index=None, sigma=0.25, seed=7):
    index = range(len(images)) if index is None else index
    return Noisy(lambda row: images[row], index, sigma, draws, seed)


def some_images(count=4):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(2))


def test_the_counts_are_those_of_a_loop_over_images_and_blocks():
    model, _ = linear_model(classes=4)
    images, index = some_images(3), [5, 0, 9]
    draws = {"selection": 100, "estimation": 250}
    asked = noisy(images, draws=draws, index=index)
    counts = count_classes(model, asked, batch_size=256, device=CPU)
    for use, sizes in {"selection": [100], "estimation": [100, 100, 50]}.items():
        expected = np.zeros((3, 4), np.int64)
        for row, position in enumerate(index):
            seed = derive_seed(7, "certify", use, str(position))
            generator = torch.Generator().manual_seed(seed)
            for size in sizes:
                noise = 0.25 * torch.randn(size, *SHAPE, generator=generator)
                expected[row] += np.bincount(model(images[row] + noise).argmax(1), minlength=4)
        np.testing.assert_array_equal(counts.of(use, 3, 4), expected)
        assert (expected.sum(axis=1) == draws[use]).all()


@pytest.mark.parametrize("batch_size", [1, 30, 100, 101, 350, 5000])
def test_counts_do_not_depend_on_the_batch(batch_size):
    model, _ = linear_model(classes=4)
    asked = noisy(some_images(), draws={"selection": 100, "estimation": 330})
    expected = count_classes(model, asked, batch_size=256, device=CPU)
    found = count_classes(model, asked, batch_size=batch_size, device=CPU)
    np.testing.assert_array_equal(found.table(), expected.table())
    assert found.blocks == expected.blocks == 4 * 5


def test_counts_do_not_depend_on_the_other_images_nor_on_their_order():
    model, _ = linear_model(classes=4)
    images, draws = some_images(), {"selection": 50, "estimation": 200}
    whole = count_classes(model, noisy(images, draws=draws), batch_size=64, device=CPU)
    order = [2, 0]
    part = noisy(images[order], draws=draws, index=order)
    found = count_classes(model, part, batch_size=64, device=CPU)
    for use in draws:
        np.testing.assert_array_equal(found.of(use, 2, 4), whole.of(use, 4, 4)[order])


def test_fewer_draws_are_the_first_of_more():
    model, _ = linear_model(classes=4)
    images = some_images()
    fewer, more = (
        count_classes(model, noisy(images, draws={"estimation": n}), batch_size=256, device=CPU)
        for n in (200, 500)
    )
    np.testing.assert_array_equal(more.of("estimation", 4, 4, 200), fewer.of("estimation", 4, 4))
    with pytest.raises(AdvdetectError, match="no 250 draws for estimation of each image, but 300"):
        more.of("estimation", 4, 4, 250)
    with pytest.raises(AdvdetectError, match="no 600 draws"):
        more.of("estimation", 4, 4, 600)


def test_each_use_seed_and_image_has_noise_of_its_own():
    model, image = linear_model()
    images = image.expand(3, *SHAPE)
    draws = {"selection": 1000, "estimation": 1000}
    first, second = (
        count_classes(model, noisy(images, draws=draws, seed=seed), batch_size=1000, device=CPU)
        for seed in (0, 1)
    )
    hits = [c.of(use, 3, 2)[:, 0] for c in (first, second) for use in draws]
    assert len(set(np.concatenate(hits))) > 6


def test_the_noise_is_normal_and_not_clipped():
    """The share of a linear model's class is Φ(distance / σ), whatever the box of the images."""
    model, image = linear_model()
    for sigma in (0.25, 1.0):
        asked = noisy(image[None], draws={"estimation": 20_000}, sigma=sigma)
        hits = count_classes(model, asked, batch_size=4000, device=CPU).of("estimation", 1, 2)[0, 0]
        share = stats.norm.cdf(DISTANCE / sigma)
        assert stats.binomtest(int(hits), 20_000, share).pvalue > 0.001


def test_the_radius_of_a_linear_model_tends_to_the_distance_to_its_boundary():
    model, image = linear_model()
    draws = {"selection": 100, "estimation": 100_000}
    counts = count_classes(
        model, noisy(image[None], draws=draws, sigma=0.3), batch_size=10_000, device=CPU
    )
    selection = counts.of("selection", 1, 2)
    radii = [
        certify(selection, counts.of("estimation", 1, 2, n), 0.001, 0.3).radius[0]
        for n in (100, 1000, 10_000, 100_000)
    ]
    assert radii == sorted(radii)
    assert DISTANCE - 0.01 < radii[-1] < DISTANCE


def test_an_image_on_the_boundary_is_left_without_an_answer():
    model, image = linear_model()
    weight = model[1].weight[0] - model[1].weight[1]
    on_it = image - DISTANCE * (weight / weight.norm()).detach().view(SHAPE)
    counts = count_classes(
        model,
        noisy(on_it[None], draws={"selection": 100, "estimation": 1000}),
        batch_size=1100,
        device=CPU,
    )
    tables = [counts.of(use, 1, 2) for use in ("selection", "estimation")]
    assert certify(*tables, alpha=0.001, sigma=0.25).classes.tolist() == [ABSTAIN]
    assert predict(tables[1], 0.001).tolist() == [ABSTAIN]


def test_certificates_of_a_known_model_are_wrong_as_seldom_as_alpha_says():
    """Of 1,000 images at a known distance, the share whose radius goes beyond the boundary."""
    model, image = linear_model()
    alpha, sigma = 0.05, 0.4
    draws = {"selection": 10, "estimation": 100}
    asked = noisy(image.expand(1000, *SHAPE), draws=draws, sigma=sigma)
    counts = count_classes(model, asked, batch_size=5000, device=CPU)
    found = certify(*(counts.of(use, 1000, 2) for use in draws), alpha=alpha, sigma=sigma)
    assert (found.classes == 0).mean() > 0.99
    failures = int((found.radius > DISTANCE).sum())
    assert 0 < failures <= stats.binom.ppf(0.999, 1000, alpha)


class KilledError(Exception):
    """What ends a count in the middle."""


@pytest.mark.parametrize("batch_size", [100, 350])
def test_an_interrupted_count_goes_on_and_ends_with_the_same_counts(batch_size, monkeypatch):
    monkeypatch.setattr("advdetect.smoothing.counting._CHUNK", 1)  # of one batch
    model, _ = linear_model(classes=4)
    asked = noisy(some_images(), draws={"selection": 100, "estimation": 330})
    expected = count_classes(model, asked, batch_size=256, device=CPU)
    kept, passes = Counts(), []
    for _ in range(3):  # killed within images, and gone on with

        def die(counts, _draws):
            nonlocal kept
            kept = Counts(counts.table().copy(), counts.blocks)
            if kept.blocks % 3 == 1 or kept.blocks > 10:
                raise KilledError

        with pytest.raises(KilledError):
            count_classes(
                model, asked, batch_size=batch_size, device=CPU, so_far=kept, after_chunk=die
            )
    done = kept.blocks
    assert 0 < done < 20
    model.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    found = count_classes(model, asked, batch_size=batch_size, device=CPU, so_far=kept)
    np.testing.assert_array_equal(found.table(), expected.table())
    assert sum(passes) == sum(block.size for block in list(asked.blocks())[done:])


def test_merged_blocks_hold_the_same_counts():
    model, _ = linear_model(classes=4)
    asked = noisy(some_images(), draws={"selection": 100, "estimation": 730})
    counts = count_classes(model, asked, batch_size=256, device=CPU)
    merged = counts.merged(3)
    for use, draws in (("selection", None), ("estimation", None), ("estimation", 600)):
        np.testing.assert_array_equal(merged.of(use, 4, 4, draws), counts.of(use, 4, 4, draws))
    assert len(merged.table()) < len(counts.table())
    with pytest.raises(AdvdetectError, match="a multiple of 300"):
        merged.of("estimation", 4, 4, 200)


def test_counts_hold_only_the_classes_that_came():
    counts = Counts()
    counts.add([Block(0, "selection", 0, 3), Block(1, "selection", 0, 1)], np.array([7, 2, 7, 900]))
    expected = [[0, 0, 0, 2, 1], [0, 0, 0, 7, 2], [1, 0, 0, 900, 1]]
    np.testing.assert_array_equal(counts.table(), expected)
    total = counts.of("selection", 2, 1000)
    assert total.sum() == 4
    assert total[0, 7] == 2


def test_a_model_without_an_answer_is_refused():
    def broken(images):
        return images.flatten(1)[:, :2] * torch.nan

    with pytest.raises(AdvdetectError, match="no finite numbers"):
        count_classes(
            broken, noisy(some_images(), draws={"prediction": 10}), batch_size=10, device=CPU
        )


def test_noise_of_no_width_is_refused():
    with pytest.raises(AdvdetectError, match="sigma"):
        noisy(some_images(), draws={"prediction": 10}, sigma=0.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_noise_is_drawn_there_and_counts_do_not_depend_on_the_batch():
    device = torch.device("cuda")
    model, image = linear_model()
    asked = noisy(image.expand(4, *SHAPE), draws={"selection": 100, "estimation": 20_000})
    tables = [
        count_classes(model.to(device), asked, batch_size=size, device=device)
        for size in (150, 4096)
    ]
    np.testing.assert_array_equal(tables[0].table(), tables[1].table())
    share = stats.norm.cdf(DISTANCE / 0.25)
    for hits in tables[0].of("estimation", 4, 2)[:, 0]:
        assert stats.binomtest(int(hits), 20_000, share).pvalue > 0.0001
