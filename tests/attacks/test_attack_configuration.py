"""The YAML file of each attack names an attack and describes all of its parameters."""

import inspect
from importlib import import_module
from pathlib import Path

import jsonschema
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from advdetect.randomness import SampleGenerator

FOLDER = Path(__file__).parents[2] / "config" / "attack"
NAMES = [
    "fgsm", "fgm", "otcm", "otcm_least_likely", "bim_l2", "bim_linf", "mi_fgsm", "ossa",
    "ossa_iterated",
]  # fmt: skip
each_file = pytest.mark.parametrize("name", NAMES)


def load(name: str) -> tuple[dict, dict, str]:
    """Return the parameters, their schemas and the target of a file."""
    content = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    assert isinstance(content, dict)
    schemas, target = content.pop("_schema_"), content.pop("_target_")
    return content, schemas, target


@each_file
def test_every_parameter_has_a_schema_and_a_possible_default(name: str) -> None:
    parameters, schemas, _ = load(name)
    assert set(parameters) == set(schemas)
    for key, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(parameters[key], schema)


@each_file
def test_parameters_are_those_of_the_function(name: str) -> None:
    parameters, _, target = load(name)
    module, function = target.rsplit(".", 1)
    signature = inspect.signature(getattr(import_module(module), function))
    assert set(parameters) == set(signature.parameters) - {"model", "images", "labels", "generator"}


@each_file
def test_defaults_run(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    parameters, _, target = load(name)
    module, function = target.rsplit(".", 1)
    attack = getattr(import_module(module), function)
    result = attack(model, images, labels, generator=generator, **parameters)
    assert torch.isfinite(result.adversarial).all()
    assert result.success.any()
