"""Attacks of other libraries: the same contract as ours, whatever the library does."""

import copy
import importlib
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from attack_models import CLASSES, COUNT
from torch import Tensor, nn

from advdetect.attacks.bim import bim
from advdetect.attacks.gradient import loss_gradient, normalize
from advdetect.attacks.libraries.shared import FrozenCopy, run_attack
from advdetect.attacks.passes import counted_passes
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.imports import locate
from advdetect.randomness import SampleGenerator
from counting_model import CountingModel

FOLDER = Path(__file__).parents[2] / "config" / "attack"
Attack = Callable[..., AttackResult]

# adapter: the package that it needs, and the extra that installs it
LIBRARIES = {
    "foolbox": ("foolbox", "foolbox"),
    "torchattacks": ("torchattacks", "torchattacks"),
    "adversarial_library": ("adv_lib", "adversarial-library"),
    "art": ("art", "art"),
}
# Parameters with which some images succeed and some fail.
MINIMAL: dict[str, dict[str, Any]] = {
    "foolbox": {
        "method": "DDNAttack",
        "arguments": {"steps": 3, "init_epsilon": 0.5},
        "epsilon": None,
    },
    "torchattacks": {"method": "DeepFool", "arguments": {"steps": 1}, "minimal_norm": True},
    "adversarial_library": {
        "method": "df",
        "arguments": {"steps": 1, "return_unsuccessful": True},
    },
    "art": {
        "method": "DeepFool",
        "arguments": {"max_iter": 1, "epsilon": 0.001, "batch_size": 64},
        "minimal_norm": True,
    },
}
STEPS = 5


def within(radius: float) -> dict[str, dict[str, Any]]:
    """Return parameters of an attack in an L∞ ball with a random start, per library."""
    return {
        "foolbox": {
            "method": "LinfPGD",
            "arguments": {"rel_stepsize": 1 / 3, "steps": STEPS},
            "epsilon": radius,
        },
        "torchattacks": {
            "method": "PGD",
            "arguments": {"eps": radius, "alpha": radius / 3, "steps": STEPS, "random_start": True},
            "minimal_norm": False,
        },
        "adversarial_library": {
            "method": "pgd_linf",
            "arguments": {"ε": radius, "steps": STEPS, "relative_step_size": 1 / 3},
        },
        "art": {
            "method": "ProjectedGradientDescentNumpy",
            "arguments": {
                "eps": radius,
                "eps_step": radius / 3,
                "max_iter": STEPS,
                "num_random_init": 1,
                "batch_size": 64,
            },
            "minimal_norm": False,
        },
    }


RADIUS = 0.1
FIXED = within(RADIUS)
each_library = pytest.mark.parametrize("library", LIBRARIES)


def adapted(library: str, parameters: dict[str, dict[str, Any]]) -> Attack:
    """Return an attack through the adapter; skip where the library is not installed."""
    package, extra = LIBRARIES[library]
    pytest.importorskip(package, reason=f"needs pip install -e '.[{extra}]'")
    module = importlib.import_module(f"advdetect.attacks.libraries.{library}")
    return partial(module.attack, **parameters[library])


def run(attack: Attack, model: nn.Module, images: Tensor, labels: Tensor) -> AttackResult:
    return attack(model, images, labels, generator=SampleGenerator(7, range(len(images))))


def numpy_state() -> list[int]:
    return np.random.get_state()[1].tolist()  # noqa: NPY002


def classes_of(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([model(image[None]).argmax(dim=1) for image in images])


@each_library
def test_a_minimal_norm_attack_finds_or_leaves_alone(
    library: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = run(adapted(library, MINIMAL), model, images, labels)
    assert 0 < int(result.success.sum()) < COUNT, "the test needs successes and failures"
    wrong = classes_of(model, result.adversarial) != labels
    assert torch.equal(result.success, wrong)
    assert torch.equal(result.adversarial[~result.success], images[~result.success])
    already = classes_of(model, images) != labels
    assert already.any()
    assert torch.equal(result.adversarial[already], images[already])
    assert result.adversarial.dtype == torch.float32
    assert result.target is None


@each_library
def test_an_attack_within_a_radius_keeps_its_perturbation(
    library: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    result = run(adapted(library, FIXED), model, images, labels)
    assert 0 < int(result.success.sum()) < COUNT, "the test needs successes and failures"
    assert torch.equal(result.success, classes_of(model, result.adversarial) != labels)
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1
    moved = (result.adversarial - images).flatten(1).abs().amax(dim=1)
    assert moved.max() <= RADIUS * (1 + 1e-5)
    if library == "adversarial_library":  # which returns nothing else
        assert moved[~result.success].max() == 0
    else:
        assert moved[~result.success].min() > 0.01


@each_library
def test_a_target_is_aimed_at_and_verified(
    library: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    attack = adapted(library, within(0.4))
    result = run(partial(attack, target="next"), model, images, labels)
    assert torch.equal(result.target, (labels + 1) % CLASSES)
    reached = classes_of(model, result.adversarial) == result.target
    assert 0 < int(reached.sum()) < COUNT, "the test needs successes and failures"
    assert torch.equal(result.success, reached)
    untargeted = run(attack, model, images, labels)
    hit = classes_of(model, untargeted.adversarial) == result.target
    assert reached.sum() > 2 * hit.sum(), "to aim reaches the target more often than to flee"


@each_library
def test_everything_of_the_caller_is_left_as_it_was(
    library: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    capfd: pytest.CaptureFixture[str],
) -> None:
    attack = adapted(library, FIXED)
    before = images.clone(), labels.clone(), copy.deepcopy(model.state_dict())
    states = torch.get_rng_state(), numpy_state(), random.getstate()
    capfd.readouterr()
    with torch.no_grad():
        run(attack, model, images, labels)
        assert not torch.is_grad_enabled()
    assert capfd.readouterr() == ("", "")
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])
    assert not images.requires_grad
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[2][key])
    for parameter in model.parameters():
        assert parameter.grad is None
        assert parameter.requires_grad
    for module in model.modules():
        assert not module.training
        assert not module._forward_hooks
        assert not module._backward_hooks
    assert torch.equal(torch.get_rng_state(), states[0])
    assert numpy_state() == states[1]
    assert random.getstate() == states[2]


@each_library
def test_random_numbers_are_those_of_the_generator(
    library: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    attack = adapted(library, FIXED)
    first = run(attack, model, images, labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1234)
        again = run(attack, model, images, labels)
    other = attack(model, images, labels, generator=SampleGenerator(8, range(COUNT)))
    assert torch.equal(again.adversarial, first.adversarial)
    assert not torch.equal(other.adversarial, first.adversarial)


@each_library
def test_passes_are_counted(library: str, model: nn.Module, images: Tensor, labels: Tensor) -> None:
    attack, counting = adapted(library, FIXED), CountingModel(model)
    run(attack, counting, images, labels)
    with counted_passes(model) as passes:
        result = run(attack, model, images, labels)
    assert passes.forward == counting.tally.forward
    assert passes.backward == counting.tally.backward == STEPS * COUNT
    # Beside them the adapter looks at the images before and after.
    assert result.iterations.tolist() == [round(passes.forward / COUNT) - 2] * COUNT


def test_foolbox_by_itself_finds_the_same(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    foolbox = pytest.importorskip("foolbox")
    attack = adapted("foolbox", MINIMAL)
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    expected, _, success = foolbox.attacks.DDNAttack(steps=3, init_epsilon=0.5)(
        bounded, images, labels, epsilons=None
    )
    result = run(attack, model, images, labels)
    found = success & (classes_of(model, images) == labels)
    torch.testing.assert_close(result.adversarial[found], expected[found])


def test_adversarial_library_by_itself_finds_the_same(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    library = pytest.importorskip("adv_lib.attacks")
    parameters = {"method": "ddn", "arguments": {"steps": 3, "init_norm": 0.5}}
    attack = adapted("adversarial_library", {"adversarial_library": parameters})
    result = run(attack, model, images, labels)
    expected = library.ddn(model, images.clone(), labels, steps=3, init_norm=0.5)
    found = result.success & (classes_of(model, images) == labels)
    torch.testing.assert_close(result.adversarial[found], expected[found].detach())


def test_foolbox_shortens_a_minimal_perturbation_to_a_radius(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    attack = adapted("foolbox", MINIMAL)
    whole = run(attack, model, images, labels).adversarial - images
    part = run(partial(attack, epsilon=0.3), model, images, labels)
    length = whole.flatten(1).norm(dim=1)
    longer = length > 0.31
    expected = whole[longer] * (0.3 / length[longer]).view(-1, 1, 1, 1)
    torch.testing.assert_close(part.adversarial[longer] - images[longer], expected)
    assert longer.any()
    assert not part.success[longer].all(), "the test needs a failure that keeps its perturbation"


def test_arts_jsma_always_aims(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    parameters = {
        "method": "SaliencyMapMethod",
        "arguments": {"theta": 1.0, "gamma": 0.3, "batch_size": 64},
        "minimal_norm": True,
        "target": "next",
    }
    result = run(adapted("art", {"art": parameters}), model, images, labels)
    reached = classes_of(model, result.adversarial) == result.target
    assert torch.equal(result.success, reached)
    assert reached.any()


def test_arts_basic_iterative_method_is_ours(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    parameters = {
        "method": "BasicIterativeMethod",
        "arguments": {"eps": 0.3, "eps_step": 0.1, "max_iter": 4, "batch_size": 64},
        "minimal_norm": False,
    }
    result = run(adapted("art", {"art": parameters}), model, images, labels)
    ours = partial(bim, epsilon=0.3, norm="linf", step_size=0.1, steps=4)
    expected = run(ours, model, images, labels)
    torch.testing.assert_close(result.adversarial, expected.adversarial)
    assert torch.equal(result.success, expected.success)


def reference_newtonfool(
    model: nn.Module, image: Tensor, label: Tensor, steps: int, eta: float
) -> Tensor:
    """Algorithm 1 of Jang et al. 2017, on one (C, H, W) image."""
    current, length = image, image.norm()
    for _ in range(steps):
        variable = current.clone().requires_grad_()
        probability = model(variable[None]).softmax(dim=1)[0, label]
        (gradient,) = torch.autograd.grad(probability, variable)
        drop = min(eta * length * gradient.norm(), probability.detach() - 1 / CLASSES)
        current = current - drop * gradient / gradient.norm() ** 2
    return current.clamp(0, 1)


def test_arts_newtonfool_gets_the_probabilities_that_it_needs(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    parameters = {
        "method": "NewtonFool",
        "arguments": {"max_iter": 8, "eta": 0.05, "batch_size": 64},
        "minimal_norm": False,
        "output": "probabilities",
    }
    result = run(adapted("art", {"art": parameters}), model, images, labels)
    predicted = classes_of(model, images)
    for row in range(0, COUNT, 5):
        expected = reference_newtonfool(model, images[row], predicted[row], 8, 0.05)
        torch.testing.assert_close(result.adversarial[row], expected, rtol=0, atol=1e-4)


@each_library
def test_a_library_that_is_not_installed(
    library: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package, extra = LIBRARIES[library]
    loaded = [name for name in sys.modules if name.startswith(f"{package}.")]
    for name in (package, *loaded):
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an ImportError now
    module = importlib.import_module(f"advdetect.attacks.libraries.{library}")
    with pytest.raises(AdvdetectError, match=rf"pip install -e '\.\[{extra}\]'") as error:
        run(partial(module.attack, **FIXED[library]), model, images, labels)
    assert "\n" not in str(error.value)


@each_library
def test_an_unknown_attack(library: str, model: nn.Module, images: Tensor, labels: Tensor) -> None:
    attack = partial(adapted(library, FIXED), method="Wrong")
    with pytest.raises(AdvdetectError, match="has no attack named Wrong") as error:
        run(attack, model, images, labels)
    assert FIXED[library]["method"] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("foolbox", "Attack"),  # the abstract base class
        ("torchattacks", "attack"),  # a module
        ("adversarial_library", "fast_minimum_norm"),  # a module
        ("art", "importlib"),
    ],
)
def test_what_is_in_the_library_but_no_attack(
    library: str, name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=f"has no attack named {name}"):
        run(partial(adapted(library, FIXED), method=name), model, images, labels)


@each_library
def test_an_unknown_argument(
    library: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    arguments = FIXED[library]["arguments"] | {"stepz": 3}
    attack = partial(adapted(library, FIXED), arguments=arguments)
    with pytest.raises(AdvdetectError, match=r"stepz.*its arguments are:.*(steps|max_iter)"):
        run(attack, model, images, labels)


@each_library
def test_an_unknown_target(library: str, model: nn.Module, images: Tensor, labels: Tensor) -> None:
    attack = partial(adapted(library, FIXED), target="best")
    with pytest.raises(AdvdetectError, match="must be one of random, next, least_likely"):
        run(attack, model, images, labels)


@pytest.mark.parametrize(
    ("library", "parameters", "message"),
    [
        ("foolbox", {"method": "LinfPGD", "arguments": {}, "epsilon": None}, "epsilons"),
        (
            "foolbox",
            {"method": "SparseL1DescentAttack", "arguments": {"quantile": 2}, "epsilon": 1.0},
            "SparseL1DescentAttack",
        ),
        (
            "torchattacks",
            {"method": "DeepFool", "arguments": {}, "minimal_norm": True, "target": "next"},
            "Targeted",
        ),
        (
            "adversarial_library",
            {"method": "pgd_linf", "arguments": {"ε": 0.1, "targeted": True}},
            "leave targeted out",
        ),
        (
            "art",
            {"method": "DeepFool", "arguments": {}, "minimal_norm": True, "target": "next"},
            "cannot aim",
        ),
        (
            "art",
            {"method": "SaliencyMapMethod", "arguments": {}, "minimal_norm": True},
            "always aims",
        ),
        (
            "art",
            {"method": "DeepFool", "arguments": {"max_iter": -1}, "minimal_norm": True},
            "number of iterations",
        ),
        (
            "art",
            {"method": "DeepFool", "arguments": {}, "minimal_norm": True, "output": "both"},
            "logits or probabilities",
        ),
    ],
)
def test_what_a_library_does_not_accept(
    library: str,
    parameters: dict[str, Any],
    message: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
) -> None:
    with pytest.raises(AdvdetectError, match=message) as error:
        run(adapted(library, {library: parameters}), model, images, labels)
    assert "\n" not in str(error.value)


def run_foreign(
    foreign: Callable[[FrozenCopy, Tensor, Tensor], Tensor],
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    **options: Any,
) -> AttackResult:
    options = {"target": None, "minimal_norm": True} | options
    generator = SampleGenerator(7, range(len(images)))
    return run_attack(foreign, "foreign", model, images, labels, generator=generator, **options)


@pytest.mark.parametrize("minimal_norm", [True, False])
def test_a_result_that_is_no_image_is_a_failure(
    minimal_norm: bool, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def foreign(_model: nn.Module, given: Tensor, _classes: Tensor) -> Tensor:
        given[3, 0, 0, 0] = torch.nan
        given[4] = torch.inf
        return given

    right = classes_of(model, images) == labels
    assert right[3]
    assert right[4]
    result = run_foreign(foreign, model, images, labels, minimal_norm=minimal_norm)
    assert torch.equal(result.adversarial, images)
    assert not result.success[3]
    assert not result.success[4]


def test_pixels_outside_the_box_are_clipped_before_success_is_judged(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def foreign(_model: nn.Module, given: Tensor, _classes: Tensor) -> Tensor:
        return given.sub_(0.5).mul_(3).add_(0.5)

    result = run_foreign(foreign, model, images, labels, minimal_norm=False)
    expected = ((images - 0.5) * 3 + 0.5).clamp(0, 1)
    torch.testing.assert_close(result.adversarial, expected)
    assert torch.equal(result.success, classes_of(model, result.adversarial) != labels)
    assert images.min() >= 0, "the caller's images are not those that were changed in place"


def test_a_library_may_change_its_model_only(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def foreign(counted: nn.Module, given: Tensor, classes: Tensor) -> Tensor:
        assert not any(module.training for module in counted.modules())
        counted.train()
        for parameter in counted.parameters():
            parameter.zero_()
        counted(given)
        classes.zero_()
        return given

    state, before = copy.deepcopy(model.state_dict()), labels.clone()
    with torch.no_grad():
        run_foreign(foreign, model, images, labels)
    assert not model.training
    assert torch.equal(labels, before)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])


def test_iterations_are_passes_of_which_those_over_parts_of_the_batch_count_in_parts(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def foreign(counted: nn.Module, given: Tensor, _classes: Tensor) -> Tensor:
        with torch.no_grad():
            counted(given)
        for part in (given, given[: COUNT // 2], given[COUNT // 2 :]):
            variable = part.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(counted(variable).sum(), variable)
            assert gradient.any()
        return given

    result = run_foreign(foreign, model, images, labels)
    assert set(result.iterations.tolist()) == {3}


def test_an_image_that_is_there_already_needs_no_attack(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def mend(counted: nn.Module, given: Tensor, classes: Tensor) -> Tensor:
        for _ in range(20):
            given -= 0.3 * normalize(loss_gradient(counted, given, classes), order=2)
        return given

    already = classes_of(model, images) != labels
    result = run_foreign(mend, model, images, labels)
    assert torch.equal(result.success, already)
    assert torch.equal(result.adversarial, images)
    kept = run_foreign(mend, model, images, labels, minimal_norm=False)
    assert kept.success[already].float().mean() < 0.5, "the attack does mend them"


def test_all_global_generators_are_seeded_and_put_back(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def draw() -> list[float]:
        return [torch.rand(1).item(), np.random.rand(), random.random()]  # noqa: NPY002

    drawn = []

    def foreign(_model: nn.Module, given: Tensor, _classes: Tensor) -> Tensor:
        drawn.append(draw())
        return given

    states = torch.get_rng_state(), numpy_state(), random.getstate()
    run_foreign(foreign, model, images, labels)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert numpy_state() == states[1]
    assert random.getstate() == states[2]
    with torch.random.fork_rng(devices=[]):
        draw()
        run_foreign(foreign, model, images, labels)
    np.random.set_state(("MT19937", np.array(states[1]), 624))  # noqa: NPY002
    random.setstate(states[2])
    assert drawn[0] == drawn[1]


def test_a_library_may_go_over_to_float64(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    def foreign(counted: nn.Module, given: Tensor, _classes: Tensor) -> Tensor:
        variable = given.double().requires_grad_()
        (gradient,) = torch.autograd.grad(counted(variable).sum(), variable)
        return variable + gradient.sign() * 0.1

    result = run_foreign(foreign, model, images, labels, minimal_norm=False)
    assert result.adversarial.dtype == images.dtype
    assert result.success.any()


def test_what_an_attack_itself_cannot_import(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    def foreign(_model: nn.Module, _images: Tensor, _classes: Tensor) -> Tensor:
        return importlib.import_module("no_such_package_anywhere").attack

    with pytest.raises(AdvdetectError, match="foreign stops with: No module named 'no_such"):
        run_foreign(foreign, model, images, labels)


def test_a_result_of_another_shape(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(AdvdetectError, match="does not return an image for each image"):
        run_foreign(lambda _model, given, _classes: given[:3], model, images, labels)


def adapter_files() -> list[str]:
    files = (path for path in FOLDER.glob("*.yaml") if ".libraries." in path.read_text())
    return sorted(path.stem for path in files)


def test_each_library_has_an_example() -> None:
    texts = [(FOLDER / f"{name}.yaml").read_text() for name in adapter_files()]
    for library in LIBRARIES:
        assert any(f"libraries.{library}.attack" in text for text in texts)


@pytest.mark.parametrize("name", adapter_files())
def test_an_example_runs_and_its_schema_allows_it(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    schemas, target = content.pop("_schema_"), content.pop("_target_")
    assert content.pop("_packages_"), "the versions of the library are to be recorded"
    content = {key: value for key, value in content.items() if not key.startswith("_")}
    assert set(schemas) == set(content)
    for key, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(content[key], schema)
    adapted(target.split(".")[-2], {target.split(".")[-2]: {}})
    few = slice(0, 8)
    result = run(partial(locate(target), **content), model, images[few], labels[few])
    assert result.success.float().mean() > 0.5
