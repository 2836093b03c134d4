"""The files in config/feature and the functions that they name fit together."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from array_calls import fit_of_arrays, of_arrays

from advdetect.errors import AdvdetectError
from advdetect.steps import options

ACTIVATION_FEATURES = ["energy", "kd", "lid", "mahalanobis", "max_probability", "nearest_neighbour"]


def spec_of(repository: Path, feature: str, **changes: Any) -> dict[str, Any]:
    """Read a specification as a step does, with some values changed."""
    path = repository / "config" / "feature" / f"{feature}.yaml"
    sets = [f"{name}={json.dumps(value)}" for name, value in changes.items()]
    return options.read_spec(Namespace(spec=str(path), set=sets))


def activations(count: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    widths = {"features.4": 9, "penultimate": 6, "logits": 3}
    return {
        layer: rng.normal(size=(count, width)).astype(np.float32) for layer, width in widths.items()
    }


def columns_of(spec: dict[str, Any]) -> dict[str, np.ndarray]:
    """Fit on 90 images and compute the feature of 10, as the steps do."""
    given = {}
    if "_fit_" in spec:
        fit = fit_of_arrays(options.bind_target(spec, "_fit_", positional=2))
        given["fitted"] = fit(activations(90, 0), np.arange(90) % 3)
    names = ["generator", "activations", *given]
    feature = of_arrays(options.bind_target(spec, "_target_", positional=2, given=names))
    return feature(activations(10, 1), **given)


@pytest.mark.parametrize("feature", ACTIVATION_FEATURES)
def test_activation_features_return_their_score_and_only_finite_columns(
    feature: str, repository: Path
) -> None:
    spec = spec_of(repository, feature)
    assert spec["_activations_"] is True
    columns = columns_of(spec)
    assert spec["_score_"]["column"] in columns
    assert spec["_score_"]["adversarial"] in ("high", "low")
    for values in columns.values():
        assert values.shape == (10,)
        assert values.dtype == np.float64
        assert np.isfinite(values).all()


@pytest.mark.parametrize("feature", ["lid", "mahalanobis"])
@pytest.mark.parametrize("layers", [[], ["features.4"], ["logits"]])
def test_the_score_exists_whatever_layers_are_named(
    feature: str, layers: list[str], repository: Path
) -> None:
    spec = spec_of(repository, feature, layers=layers)
    assert spec["_score_"]["column"] in columns_of(spec)


@pytest.mark.parametrize(
    ("feature", "changes"),
    [
        ("energy", {"temperature": 0}),
        ("feature_squeezing", {"bits": 0}),
        ("feature_squeezing", {"bits": 9}),
        ("feature_squeezing", {"median": 1}),
        ("kd", {"bandwidth": 0}),
        ("kd", {"max_per_class": 1}),
        ("lid", {"neighbours": 1}),
        ("lid", {"reference": 1}),
        ("lid", {"layers": "penultimate"}),
        ("mahalanobis", {"layers": "penultimate"}),
        ("nearest_neighbour", {"neighbours": 0}),
        ("nearest_neighbour", {"normalize": "l2"}),
        ("nearest_neighbour", {"max_reference": 0}),
    ],
)
def test_impossible_values_are_refused(
    feature: str, changes: dict[str, Any], repository: Path
) -> None:
    with pytest.raises(AdvdetectError, match=next(iter(changes))):
        spec_of(repository, feature, **changes)


@pytest.mark.parametrize("feature", [*ACTIVATION_FEATURES, "feature_squeezing"])
def test_every_parameter_has_a_constraint(feature: str, repository: Path) -> None:
    path = repository / "config" / "feature" / f"{feature}.yaml"
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(options.parameters(spec)) == set(spec["_schema_"])
