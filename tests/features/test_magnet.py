import math

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from torch import nn

from advdetect.autoencoders.fitting import restore
from advdetect.data import digits
from advdetect.errors import AdvdetectError
from advdetect.features.magnet import fit, jensen_shannon, magnet, reconstruction_error
from advdetect.imports import locate
from advdetect.inference import to_float
from advdetect.randomness import SampleGenerator

TWO = [
    {"kind": "denoising", "structure": [3, "average", 3], "batch_size": 64},
    {"kind": "denoising", "structure": [3], "batch_size": 64},
]
COLUMNS = [
    "reconstruction_error_1",
    "reconstruction_error_2",
    "jensen_shannon_10",
    "jensen_shannon_40",
]


@pytest.fixture(scope="module")
def stored():
    return digits.load(test_fraction=0.4, split_seed=0)["train"].images


@pytest.fixture(scope="module")
def images(stored):
    return to_float(stored)


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)).eval()


@pytest.fixture(scope="module")
def fitted(model, stored):
    labels = torch.zeros(200, dtype=torch.int64)
    return fit(
        model, stored[:200], labels, batch_size=64, seed=0, autoencoders=TWO, epochs=2, held_out=0.2
    )


def columns(model, images, fitted, **parameters):
    generator = SampleGenerator(0, range(len(images)))
    return magnet(model, images, generator=generator, fitted=fitted, **parameters)


def test_columns_are_errors_and_divergences(model, images, fitted):
    result = columns(model, images[200:230], fitted)
    assert list(result) == COLUMNS
    with torch.no_grad():
        views = [images[200:230], *(ae(images[200:230]) for ae in restore(fitted))]
        logits = [model(view).double() for view in views]
    for number, norm in ((1, 2), (2, 1)):
        difference = (views[0] - views[number]).double().numpy()
        expected = (np.abs(difference) ** norm).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(result[f"reconstruction_error_{number}"], expected, rtol=1e-6)
    for temperature in (10, 40):
        softened = [(z / temperature).softmax(dim=1).numpy() for z in logits[:2]]
        expected = jensenshannon(*softened, axis=1) ** 2
        np.testing.assert_allclose(
            result[f"jensen_shannon_{temperature}"], expected, rtol=1e-4, atol=1e-12
        )
    assert all(values.dtype == torch.float64 for values in result.values())


def test_norms_and_temperatures_are_parameters(model, images, fitted):
    result = columns(model, images[:9], fitted, norms=[1, 2], temperatures=[0.5])
    assert list(result) == [*COLUMNS[:2], "jensen_shannon_0.5"]
    usual = columns(model, images[:9], fitted)
    # The mean of squares is above the squared mean.
    assert (usual["reconstruction_error_1"] >= result["reconstruction_error_1"] ** 2).all()
    assert list(columns(model, images[:9], fitted, temperatures=[])) == COLUMNS[:2]


def test_does_not_depend_on_the_batch(model, images, fitted):
    whole = columns(model, images[:30], fitted)
    parts = [columns(model, part, fitted) for part in images[:30].split(7)]
    for name in COLUMNS:
        joined = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(joined, whole[name], rtol=1e-4, atol=1e-9)


def test_the_fit_does_not_depend_on_the_classifier_or_the_labels(stored, fitted):
    labels = torch.arange(200) % 10
    other = nn.Linear(1, 1)
    again = fit(
        other, stored[:200], labels, batch_size=64, seed=0, autoencoders=TWO, epochs=2, held_out=0.2
    )
    assert all(torch.equal(fitted[name], again[name]) for name in fitted)


def test_noise_has_larger_errors_than_digits(model, stored, images):
    labels = torch.zeros(len(stored), dtype=torch.int64)
    sharp = [spec | {"batch_size": 32, "learning_rate": 0.02} for spec in TWO[1:]]
    fitted = fit(
        model, stored, labels, batch_size=64, seed=0, autoencoders=sharp, epochs=8, norms=[1]
    )
    clean = images[fitted["held_out"]]
    noise = SampleGenerator(0, range(len(clean))).normal(1, 8, 8)
    noisy = (clean + 0.3 * noise).clamp(0, 1)
    errors = [columns(model, x, fitted, norms=[1])[COLUMNS[0]] for x in (clean, noisy)]
    assert (errors[1] > errors[0]).double().mean() > 0.9


def test_reconstruction_errors_in_closed_form():
    images = torch.tensor([[[[0.0, 1.0]]], [[[0.5, 0.5]]]])
    rebuilt = torch.tensor([[[[0.5, 0.75]]], [[[0.5, 0.5]]]])
    for norm, expected in ((1, 0.375), (2, 0.15625)):
        assert reconstruction_error(images, rebuilt, norm).tolist() == [expected, 0]


def logs(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_divergences_in_closed_form():
    p = logs([1, 0], [1, 0], [0.5, 0.5])
    q = logs([0, 1], [1, 0], [1, 0])
    third = 0.5 * math.log(4 / 3) + 0.25 * (math.log(2 / 3) + math.log(2))
    np.testing.assert_allclose(jensen_shannon(p, q), [math.log(2), 0, third], rtol=1e-14)
    assert float(jensen_shannon(p, q)[1]) == 0


@given(
    st.integers(2, 12).flatmap(
        lambda n: st.tuples(*[st.lists(st.floats(-60, 60), min_size=n, max_size=n)] * 2)
    )
)
@settings(max_examples=60)
def test_divergences_match_scipy_and_keep_their_bounds(pair):
    log_p, log_q = (torch.tensor([z], dtype=torch.float64).log_softmax(dim=1) for z in pair)
    value = float(jensen_shannon(log_p, log_q))
    with np.errstate(invalid="ignore"):  # scipy may take the root of a rounding error below 0
        expected = jensenshannon(log_p.exp()[0].numpy(), log_q.exp()[0].numpy()) ** 2
    assert value == pytest.approx(0 if np.isnan(expected) else expected, abs=1e-14)
    assert value == pytest.approx(float(jensen_shannon(log_q, log_p)), abs=1e-15)
    assert 0 <= value <= math.log(2)


@pytest.mark.parametrize("norms", [[2], [2, 1, 1], [2, 0]])
def test_norms_that_do_not_fit_are_refused_before_training(norms, model, stored, images, fitted):
    with pytest.raises(AdvdetectError, match="norms"):
        columns(model, images[:2], fitted, norms=norms)
    with pytest.raises(AdvdetectError, match="norms"):
        fit(model, stored[:9], None, batch_size=9, seed=0, autoencoders=TWO, norms=norms)


def test_the_configuration_is_that_of_the_functions(repository, model, stored, images):
    spec = yaml.safe_load((repository / "config/feature/magnet.yaml").read_text())
    parameters = {name: value for name, value in spec.items() if not name.startswith("_")}
    assert set(parameters) == set(spec["_schema_"])
    for name, schema in spec["_schema_"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(parameters[name], schema)
    accepted = spec["_schema_"]["autoencoders"]
    for wrong in (
        [],
        [{"kind": "denoising"}],
        [{"kind": "denoising", "structure": ["mean"]}],
        [{"kind": "alpha_gan", "structure": [3]}],
    ):
        assert not jsonschema.Draft202012Validator(accepted).is_valid(wrong)
    jsonschema.validate([{"kind": "alpha_gan", "epochs": 3}], accepted)
    labels = torch.zeros(30, dtype=torch.int64)
    fitted = locate(spec["_fit_"])(
        model, stored[:30], labels, batch_size=9, seed=0, **parameters | {"epochs": 1}
    )
    generator = SampleGenerator(0, range(30))
    result = locate(spec["_target_"])(
        model, images[:30], generator=generator, fitted=fitted, **parameters
    )
    assert list(result) == COLUMNS
    assert spec["_score_"]["column"] in result
