"""The YAML file of each attack names an attack and describes all of its parameters."""

import inspect
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from advdetect.imports import locate
from advdetect.randomness import SampleGenerator
from advdetect.steps.options import bind_target

FOLDER = Path(__file__).parents[2] / "config" / "attack"
NAMES = [
    "fgsm", "fgm", "otcm", "otcm_least_likely", "bim_l2", "bim_linf", "mi_fgsm", "ossa",
    "ossa_iterated", "deepfool", "jsma", "lbfgs", "cw_l2", "ead", "opt", "fgsm_least", "fgm_least",
    "otcm_least", "ossa_least", "bim_l2_least", "bim_linf_least", "ossa_iterated_least",
    "smoothed_bim_l2",
    "fgsm_probabilities",
    "gaussian_noise",
    "alma", "ddn", "nearest_classes_l1", "nearest_classes_l2", "nearest_classes_linf",
    "fab_l2", "fab_linf",
    "pgd_l2", "pgd_linf", "apgd_l2", "apgd_linf",
    "square_l2", "square_linf", "hopskipjump_l2", "hopskipjump_linf",
    "autoattack_l2", "autoattack_linf",
]  # fmt: skip
each_file = pytest.mark.parametrize("name", NAMES)
FOR_ALL = {"model", "images", "labels", "generator"}


def load(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the parameters of a file, and its keys that are none."""
    content = OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))
    assert isinstance(content, dict)
    special = {str(key): content.pop(key) for key in list(content) if str(key).startswith("_")}
    return {str(key): value for key, value in content.items()}, special


def parameters_of(target: str) -> dict[str, inspect.Parameter]:
    signature = inspect.signature(locate(target))
    return {name: value for name, value in signature.parameters.items() if name not in FOR_ALL}


def test_every_attack_of_our_own_is_listed() -> None:
    targets = {path.stem: load(path.stem)[1].get("_target_") for path in FOLDER.glob("*.yaml")}
    assert [name for name, target in targets.items() if not target] == ["best_of"]  # from files
    ours = {n for n, target in targets.items() if target and "attacks.libraries." not in target}
    assert ours == set(NAMES)


@each_file
def test_every_parameter_has_a_schema_and_a_possible_default(name: str) -> None:
    parameters, special = load(name)
    schemas = special["_schema_"]
    assert set(parameters) == set(schemas)
    for key, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(parameters[key], schema)


@each_file
def test_parameters_are_those_of_the_function(name: str) -> None:
    parameters, special = load(name)
    assert set(parameters) == set(parameters_of(special["_target_"]))


@pytest.mark.parametrize(
    "name",
    ["alma", "cw_l2", "ddn", "ead", "opt", "lbfgs", "jsma", "deepfool", "nearest_classes_l2"],
)
def test_defaults_of_the_file_are_those_of_the_function(name: str) -> None:
    parameters, special = load(name)
    for key, parameter in parameters_of(special["_target_"]).items():
        assert parameters[key] == parameter.default


@pytest.mark.parametrize("name", ["cw_l2", "ead"])
def test_a_sweep_takes_the_same_parameters_in_variants(name: str) -> None:
    parameters, special = load(name)
    sweep = special["_sweep_"]
    assert set(sweep["over"]) <= set(parameters)
    swept = parameters_of(sweep["_target_"])
    assert set(swept) == set(parameters) - set(sweep["over"]) | {"variants"}
    for key in set(swept) - {"variants"}:
        assert swept[key].default == parameters[key]


@each_file
def test_an_attack_says_whether_it_returns_failures_unchanged(
    name: str, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    class Stubborn(nn.Module):
        """Answers with the labels, whatever it is shown, with gradients of its own."""

        def forward(self, shown: Tensor) -> Tensor:
            weights = torch.linspace(-1, 1, 5 * 72).view(72, 5).to(shown)
            return 10 * (torch.arange(5) == 2) + 0.01 * (shown.flatten(1) @ weights).tanh()

    attack, special = quick_attack(name)
    result = attack(Stubborn().eval(), images[:8], labels[:8] * 0 + 2, generator=generator[:8])
    assert not result.success.any()
    unchanged = torch.equal(result.adversarial, images[:8])
    assert unchanged == special.get("_minimal_norm_", False)


@each_file
def test_defaults_run(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    attack, _ = quick_attack(name)
    result = attack(model, images, labels, generator=generator)
    assert torch.isfinite(result.adversarial).all()
    assert result.success.any()


def quick_attack(name: str) -> tuple[Any, dict[str, Any]]:
    """Return the attack of a file, if it is long with fewer iterations, and the special keys."""
    parameters, special = load(name)
    if "search_steps" in parameters:
        parameters |= {"search_steps": 3, "iterations": 20}
    if "steps" in parameters:
        parameters["steps"] = min(parameters["steps"], 20)
    if "squares" in parameters:
        parameters |= {"steps": 3, "squares": 5}
    if "tries" in parameters:
        parameters |= {"steps": 2, "evaluations": 10}
    target = special["_target_"]
    return bind_target({"_target_": target, **parameters}, "_target_", 3, ["generator"]), special
