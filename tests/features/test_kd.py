import math

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, LeaveOneOut
from sklearn.neighbors import KernelDensity
from torch import Tensor, nn

from advdetect.errors import AdvdetectError
from advdetect.features import kd as module
from advdetect.features.kd import fit, kd, leave_one_out_bandwidth, log_kernel_density
from advdetect.randomness import SampleGenerator

CLASSES, WIDTH = 3, 5


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, WIDTH), nn.Tanh(), nn.Linear(WIDTH, CLASSES)
    ).eval()


@pytest.fixture
def train() -> tuple[Tensor, Tensor]:
    """Images and labels that the model often gets wrong."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(90, 1, 4, 4, generator=generator)
    return images, torch.randint(CLASSES, (90,), generator=generator)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(2))


def hidden(model: nn.Sequential, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return model[:-1](images).double().numpy()


def density(model: nn.Module, images: Tensor, fitted: dict[str, Tensor], **params: str) -> Tensor:
    generator = SampleGenerator(0, range(len(images)))
    result = kd(model, images, generator=generator, fitted=fitted, **params)
    assert list(result) == ["log_density"]
    assert result["log_density"].dtype == torch.float64
    return result["log_density"]


@pytest.mark.parametrize("bandwidth", [0.05, 0.3, 2.0])
def test_matches_scikit_learn(
    bandwidth: float, model: nn.Sequential, train: tuple[Tensor, Tensor], images: Tensor
) -> None:
    fitted = fit(model, *train, batch_size=32, bandwidth=bandwidth)
    with torch.no_grad():
        predicted = model(images).argmax(dim=1)
    assert len(predicted.unique()) > 1
    result = density(model, images, fitted)
    for row, label in enumerate(predicted.tolist()):
        members = hidden(model, train[0][train[1] == label])
        reference = KernelDensity(bandwidth=bandwidth).fit(members)
        expected = reference.score_samples(hidden(model, images[row : row + 1]))[0]
        assert float(result[row]) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_sums_over_many_rows_as_over_few(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(7, 4, generator=generator)
    samples = torch.randn(50, 4, generator=generator)
    expected = KernelDensity(bandwidth=0.4).fit(samples.numpy()).score_samples(queries.numpy())
    monkeypatch.setattr(module, "_ROWS", 8)
    result = log_kernel_density(queries, samples, 0.4)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)


def test_a_dead_kernel_is_finite_and_decided_by_the_nearest_sample() -> None:
    samples = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    queries = torch.tensor([[3000.0, 4000.0]])
    expected = -(4995.0**2) / (2 * 0.01**2) - math.log(2) - math.log(2 * math.pi * 0.01**2)
    assert float(log_kernel_density(queries, samples, 0.01)) == pytest.approx(expected, rel=1e-9)


def leave_one_out_score(classes: list[np.ndarray], bandwidth: float) -> float:
    """Score a bandwidth by scikit-learn, leaving out one image after the other."""
    return sum(
        KernelDensity(bandwidth=bandwidth)
        .fit(np.delete(samples, row, axis=0))
        .score(samples[row : row + 1])
        for samples in classes
        for row in range(len(samples))
    )


def test_auto_bandwidth_agrees_with_a_grid_search_of_scikit_learn() -> None:
    samples = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) * 7
    grid = np.logspace(-2, 3, 100)
    search = GridSearchCV(KernelDensity(), {"bandwidth": grid}, cv=LeaveOneOut())
    search.fit(samples.double().numpy())
    best = search.best_params_["bandwidth"]
    chosen = leave_one_out_bandwidth([samples])
    assert abs(math.log(chosen / best)) < math.log(grid[1] / grid[0])


def test_auto_bandwidth_has_the_largest_likelihood_over_all_classes(
    model: nn.Sequential, train: tuple[Tensor, Tensor]
) -> None:
    fitted = fit(model, *train, batch_size=64)
    classes = [hidden(model, train[0][train[1] == label]) for label in range(CLASSES)]
    chosen = leave_one_out_score(classes, float(fitted["bandwidth"]))
    rivals = [leave_one_out_score(classes, bandwidth) for bandwidth in np.logspace(-2, 1, 20)]
    # The chosen one comes from another grid: allow for half a step of it.
    assert chosen >= max(rivals) - 0.2
    assert chosen > np.median(rivals) + 10


def test_auto_bandwidth_leaves_out_some_images_of_large_classes_each_against_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(module, "_QUERIES", 10)
    chosen = leave_one_out_bandwidth([samples])
    rows = samples.double().numpy()

    def score(bandwidth: float) -> float:
        return sum(
            KernelDensity(bandwidth=bandwidth)
            .fit(np.delete(rows, row, axis=0))
            .score(rows[row : row + 1])
            for row in range(10)
        )

    assert score(chosen) >= max(score(bandwidth) for bandwidth in np.logspace(-2, 1, 60)) - 0.05


def test_auto_bandwidth_scales_with_the_features() -> None:
    samples = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    for factor in (1e-3, 1e3):
        scaled = leave_one_out_bandwidth([samples * factor])
        assert scaled == pytest.approx(factor * leave_one_out_bandwidth([samples]), rel=1e-5)


def test_fit_stores_features_of_the_true_classes_and_not_of_the_predicted_ones(
    model: nn.Sequential, train: tuple[Tensor, Tensor]
) -> None:
    fitted = fit(model, *train, batch_size=7, bandwidth=0.5)
    assert set(fitted) == {"features", "counts", "bandwidth"}
    assert fitted["counts"].tolist() == train[1].bincount().tolist()
    expected = np.concatenate([hidden(model, train[0][train[1] == c]) for c in range(CLASSES)])
    np.testing.assert_allclose(fitted["features"].numpy(), expected, atol=1e-6)
    assert fitted["bandwidth"].tolist() == [0.5]


def test_max_per_class_takes_the_first_images(
    model: nn.Sequential, train: tuple[Tensor, Tensor]
) -> None:
    fitted = fit(model, *train, batch_size=7, bandwidth=0.5, max_per_class=4)
    assert fitted["counts"].tolist() == [4, 4, 4]
    expected = np.concatenate([hidden(model, train[0][train[1] == c][:4]) for c in range(CLASSES)])
    np.testing.assert_allclose(fitted["features"].numpy(), expected, atol=1e-6)


def test_does_not_depend_on_the_batch_size(
    model: nn.Sequential, train: tuple[Tensor, Tensor], images: Tensor
) -> None:
    fitted = fit(model, *train, batch_size=90)
    refitted = fit(model, *train, batch_size=1)
    torch.testing.assert_close(refitted, fitted)
    whole = density(model, images, fitted)
    for size in (1, 7):
        parts = [density(model, part, fitted) for part in images.split(size)]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-5)


def test_a_named_layer_takes_the_place_of_the_last_hidden_one(
    model: nn.Sequential, train: tuple[Tensor, Tensor], images: Tensor
) -> None:
    fitted = fit(model, *train, batch_size=90, bandwidth=1.0, layer="3")
    result = density(model, images, fitted, layer="3")
    with torch.no_grad():
        logits, train_logits = model(images), model(train[0]).double().numpy()
    for row, label in enumerate(logits.argmax(dim=1).tolist()):
        reference = KernelDensity(bandwidth=1.0).fit(train_logits[train[1] == label])
        expected = reference.score_samples(logits[row : row + 1].double().numpy())[0]
        assert float(result[row]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("bandwidth", "least"), [("auto", 2), (0.5, 1)])
def test_a_class_without_training_images_is_refused(
    bandwidth: float, least: int, model: nn.Sequential, train: tuple[Tensor, Tensor]
) -> None:
    images, labels = train
    kept = (labels != 2).nonzero().squeeze(1)
    with pytest.raises(AdvdetectError, match=f"at least {least} .* class 2 has 0"):
        fit(model, images[kept], labels[kept], batch_size=32, bandwidth=bandwidth)


def test_duplicates_everywhere_are_refused() -> None:
    samples = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(AdvdetectError, match="has a duplicate"):
        leave_one_out_bandwidth([torch.cat([samples, samples])])
