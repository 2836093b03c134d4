"""What features say of their columns before any job is what they return."""

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advdetect.randomness import SampleGenerator
from advdetect.requirements.subsets import Images
from advdetect.steps import options
from columns import columns_of
from methods import COLUMNS, without_words
from yaml_files import load, names_in

CONFIG = Path(__file__).resolve().parents[2] / "config"
FILES = {name: load([CONFIG], "feature", name) for name in names_in([CONFIG], "feature")}
STATING = [name for name, spec in FILES.items() if COLUMNS in spec]
ONE = [{"kind": "denoising", "structure": [3], "epochs": 1}]
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in STATING),
    ("fisher_input", {"top_k": 2}),
    ("fisher_weights_spectrum", {"top_k": 1}),
    ("fisher_weights", {"classes": "two", "block": "tensor"}),
    ("feature_squeezing", {"median": None}),
    ("feature_squeezing", {"bits": None}),
    ("magnet", {"autoencoders": ONE, "norms": [1], "temperatures": []}),
    ("magnet", {"autoencoders": 3 * ONE, "norms": [1, 2, 1], "temperatures": [2.5, 10]}),
]
CLASSES = 4
SMALL = {"autoencoders": 2 * ONE}  # epochs, for the test's sake
COUNT = 80


@pytest.fixture(scope="module")
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        hidden = [nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Dropout(0.5)]
        return nn.Sequential(*hidden, nn.Linear(6, CLASSES)).eval()


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (COUNT, 1, 8, 8), generator=generator, dtype=torch.uint8)


def of_a_file(name: str, **changes: Any) -> dict[str, Any]:
    """Read what the workflow reads, as a step does, with some values changed."""
    sets = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    return options.read_spec(Namespace(spec=json.dumps(FILES[name]), set=sets))


def activations(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        hidden = model[:-1](images)
        return {"penultimate": hidden, "logits": model[-1](hidden)}


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_columns_are_those_that_are_said(name, changes, model, images):
    spec = of_a_file(name, **changes)
    trained = spec.get("_fitted_by_", name)
    owner = spec if changes else of_a_file(trained, **(SMALL if trained == "magnet" else {}))
    float_images = images.float() / 255
    given: dict[str, Any] = {"generator": SampleGenerator(0, range(10))}
    rows = (model, float_images[:10])
    if spec.get("_activations_"):
        given["activations"] = activations(*rows)
    if "_fit_" in owner:
        labels = torch.arange(COUNT) % CLASSES
        if spec.get("_activations_"):
            fit = options.bind_target(owner, "_fit_", positional=2)
            given["fitted"] = fit(activations(model, float_images), labels)
        else:
            fit = options.bind_target(owner, "_fit_", positional=3, given=("batch_size", "seed"))
            given["fitted"] = fit(model, images, labels, batch_size=64, seed=0)
    produced = options.bind_target(spec, "_target_", positional=2, given=given)(*rows, **given)

    own = without_words(FILES[name] | changes)
    said = columns_of({name: own}, {}, FILES, Images(classes=CLASSES))
    assert said == {name: list(produced)}
    assert own["_score_"]["column"] in produced


@pytest.mark.parametrize("name", ["fisher_input", "fisher_weights_spectrum"])
def test_of_unknown_classes_no_eigenvalues_are_said(name):
    assert columns_of({name: without_words(FILES[name])}, {}, FILES, Images()) == {}
