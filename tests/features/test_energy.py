import numpy as np
import pytest
from array_calls import of_arrays
from scipy.special import logsumexp

from advdetect.errors import AdvdetectError
from advdetect.features import energy as module

energy = of_arrays(module.energy)


def feature_of(logits: np.ndarray, **params: float) -> np.ndarray:
    result = energy({"logits": logits}, **params)
    assert list(result) == ["energy"]
    assert result["energy"].dtype == np.float64
    return result["energy"]


@pytest.mark.parametrize("temperature", [0.01, 1.0, 1000.0])
def test_matches_scipy(temperature: float) -> None:
    logits = np.random.default_rng(0).normal(size=(30, 7)).astype(np.float32) * 10
    expected = -temperature * logsumexp(logits.astype(float) / temperature, axis=1)
    result = feature_of(logits, temperature=temperature)
    np.testing.assert_allclose(result, expected, rtol=1e-14)


def test_large_logits_stay_exact() -> None:
    logits = np.array([[5e4, 5e4], [-5e4, -5e4]], dtype=np.float32)
    np.testing.assert_allclose(feature_of(logits), [-5e4 - np.log(2), 5e4 - np.log(2)], rtol=1e-15)


def test_a_cold_model_has_its_largest_logit() -> None:
    logits = np.array([[1.0, 3.0, 2.0]], dtype=np.float32)
    assert feature_of(logits, temperature=1e-3).item() == pytest.approx(-3)


def test_an_image_does_not_depend_on_the_others() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 10)).astype(np.float32)
    rows = [feature_of(logits[row : row + 1]).item() for row in range(20)]
    assert rows == pytest.approx(feature_of(logits).tolist(), rel=1e-14)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(AdvdetectError, match="temperature of the feature energy must be greater"):
        feature_of(np.zeros((1, 2), dtype=np.float32), temperature=temperature)
