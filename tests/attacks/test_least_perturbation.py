import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml
from attack_models import COUNT, make_linear_model
from attack_reference import cross_entropy_gradient, reference_bim
from torch import Tensor, nn
from torch.nn import functional

from advdetect.attacks.bim import bim
from advdetect.attacks.fgm import fgm_direction
from advdetect.attacks.fgsm import fgsm_direction
from advdetect.attacks.least_perturbation import least_perturbation
from advdetect.attacks.one_step import OneStep
from advdetect.attacks.ossa import ossa_direction
from advdetect.attacks.otcm import otcm, otcm_direction
from advdetect.attacks.passes import counted_passes
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator
from advdetect.steps.options import bind_target

FOLDER = Path(__file__).parents[2] / "config" / "attack"
DIRECTIONS: dict[str, tuple[Callable[..., OneStep], float]] = {
    "fgm": (fgm_direction, 2.0),
    "fgsm": (fgsm_direction, 0.3),
    "otcm": (otcm_direction, 2.0),
    "ossa": (ossa_direction, 2.0),
}
every_direction = pytest.mark.parametrize("name", DIRECTIONS)


def brighten(
    model: nn.Module, images: Tensor, labels: Tensor, *, generator: SampleGenerator, by: float = 1.0
) -> OneStep:
    """A user's own direction: all pixels at once."""
    return OneStep(torch.full_like(images, by))


class Bands(nn.Module):
    """Class 1 where the mean of the pixels is in (0.2, 0.3) or beyond 0.6, else class 0."""

    def forward(self, images: Tensor) -> Tensor:
        value = images.flatten(1).mean(dim=1)
        inside = 0.05 - (value - 0.25).abs()
        beyond = value - 0.6
        return torch.stack([torch.zeros_like(value), torch.maximum(inside, beyond)], dim=1)


class Constant(nn.Module):
    """Always class 2, and no gradient anywhere."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :5] * 0 + torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0])


def explicit_direction(name: str, model: nn.Module, image: Tensor, label: int) -> Tensor:
    """Return the direction of one float64 image from its definition."""
    if name == "ossa":
        logits = model(image[None])[0].detach()
        jacobian = torch.autograd.functional.jacobian(lambda x: model(x[None])[0], image)
        jacobian, p = jacobian.flatten(1), logits.softmax(dim=0)
        fisher = jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
        return torch.linalg.eigh(fisher).eigenvectors[:, -1].view_as(image)
    gradient = cross_entropy_gradient(model, image, label)
    return gradient.sign() if name == "fgsm" else gradient / gradient.norm()


def first_fooling(
    name: str, model: nn.Module, image: Tensor, label: int, direction: Tensor, grid: Tensor
) -> Tensor | None:
    """Try every ε of a grid and return the first image that fools."""
    shift = grid.view(-1, 1, 1, 1) * direction
    candidates = (image + shift).clamp(0, 1)
    if name == "ossa":
        mirrored = (image - shift).clamp(0, 1)
        labels = torch.full((len(grid),), label)
        plus, minus = (
            functional.cross_entropy(model(x), labels, reduction="none")
            for x in (candidates, mirrored)
        )
        candidates = torch.where((minus > plus).view(-1, 1, 1, 1), mirrored, candidates)
    fools = (model(candidates).argmax(dim=1) != label).nonzero()
    return candidates[fools[0, 0]] if len(fools) else None


def norms(difference: Tensor) -> Tensor:
    return torch.linalg.vector_norm(difference.double().flatten(1), dim=1)


@pytest.mark.parametrize("direction", [fgm_direction, ossa_direction])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_linear_model_has_the_distance_to_the_boundary(
    direction: Callable[..., OneStep], dtype: torch.dtype
) -> None:
    model, _, image = make_linear_model()
    result = least_perturbation(
        model.to(dtype),
        image.to(dtype),
        torch.tensor([0]),
        generator=SampleGenerator(0, [0]),
        direction=direction,
        epsilon_max=5.0,
    )
    assert result.success.all()
    assert result.adversarial.dtype == dtype
    distance = float(norms(result.adversarial - image))
    assert 0.3 * (1 - 1e-5) <= distance <= 0.3 + 5.0 / 100 * 2**-10 + 1e-5


def test_linear_model_has_the_linf_distance_along_the_sign() -> None:
    model, difference, image = make_linear_model()
    result = least_perturbation(
        model,
        image,
        torch.tensor([0]),
        generator=SampleGenerator(0, [0]),
        direction=fgsm_direction,
        epsilon_max=0.5,
    )
    expected = 0.3 * difference.norm() / difference.abs().sum()
    torch.testing.assert_close(
        (result.adversarial - image).abs().amax(), expected, rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("name", ["fgm", "ossa", pytest.param("fgsm", marks=pytest.mark.long)])
def test_matches_a_scan_of_every_epsilon(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    direction, epsilon_max = DIRECTIONS[name]
    model, images = model.double(), images.double()
    result = least_perturbation(
        model, images, labels, generator=generator, direction=direction, epsilon_max=epsilon_max
    )
    grid = torch.linspace(0, epsilon_max, 8001, dtype=torch.float64)
    outcomes = []
    with torch.no_grad():
        for row in range(0, COUNT, 3):
            label = int(labels[row])
            with torch.enable_grad():
                along = explicit_direction(name, model, images[row], label)
            expected = first_fooling(name, model, images[row], label, along, grid)
            outcomes.append(expected is not None)
            assert result.success[row] == outcomes[-1]
            wanted = images[row] if expected is None else expected
            # One point of the grid and the width of the last interval, at a direction of length 1.
            allowed = epsilon_max * (1 / 8000 + 1 / 100 * 2**-10)
            assert (result.adversarial[row] - wanted).abs().max() <= allowed
    assert any(outcomes)
    assert not all(outcomes)


@pytest.mark.parametrize(("scan_points", "expected"), [(100, 0.2), (7, 0.2), (1, 0.6)])
def test_the_scan_finds_the_first_of_several_intervals(scan_points: int, expected: float) -> None:
    images = torch.zeros(1, 1, 3, 3)
    result = least_perturbation(
        Bands(),
        images,
        torch.tensor([0]),
        generator=SampleGenerator(0, [0]),
        direction=brighten,
        epsilon_max=1.0,
        scan_points=scan_points,
        halvings=14,
    )
    assert result.success.all()
    assert float(result.adversarial.mean()) == pytest.approx(expected, abs=1e-3)


@every_direction
def test_a_success_fools_and_a_failure_is_unchanged(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    direction, epsilon_max = DIRECTIONS[name]
    images_before, labels_before = images.clone(), labels.clone()
    result = least_perturbation(
        model, images, labels, generator=generator, direction=direction, epsilon_max=epsilon_max
    )
    assert torch.equal(images, images_before)
    assert torch.equal(labels, labels_before)
    with torch.no_grad():
        wrong = model(result.adversarial).argmax(dim=1) != labels
        wrong_from_the_start = model(images).argmax(dim=1) != labels
    assert 0 < int(result.success.sum()) < COUNT, "the test needs successes and failures"
    assert wrong[result.success].all()
    unchanged = ~result.success | wrong_from_the_start
    assert torch.equal(result.adversarial[unchanged], images[unchanged])
    assert result.success[wrong_from_the_start].all()
    assert result.adversarial.min() >= 0
    assert result.adversarial.max() <= 1


@every_direction
def test_least_perturbations_do_not_depend_on_the_batch(
    name: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    direction, epsilon_max = DIRECTIONS[name]

    count = 14
    images, labels = images[:count], labels[:count]

    def in_batches(size: int) -> tuple[Tensor, Tensor]:
        generator = SampleGenerator(7, range(count))
        parts = [
            least_perturbation(
                model,
                images[start : start + size],
                labels[start : start + size],
                generator=generator[start : start + size],
                direction=direction,
                epsilon_max=epsilon_max,
            )
            for start in range(0, count, size)
        ]
        return torch.cat([p.adversarial for p in parts]), torch.cat([p.success for p in parts])

    whole, success = in_batches(count)
    for size in (1, 7):
        part, part_success = in_batches(size)
        assert torch.equal(part_success, success)
        torch.testing.assert_close(part, whole, rtol=0, atol=1e-4)
    with torch.no_grad():  # at the boundary, where rounding could undo a success
        alone = torch.stack([model(image[None])[0] for image in whole]).argmax(dim=1)
    assert (alone != labels)[success].all()


def test_where_the_gradient_is_not_a_number_nothing_is_found(
    images: Tensor, generator: SampleGenerator
) -> None:
    class Root(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images.flatten(1)[:, :5] * 0).sqrt() + torch.tensor([0.0, 0.0, 3.0, 0.0, 0.0])

    result = least_perturbation(
        Root(),
        images,
        torch.full((COUNT,), 2),
        generator=generator,
        direction=fgm_direction,
        epsilon_max=2.0,
    )
    assert not result.success.any()
    assert torch.equal(result.adversarial, images)


@every_direction
def test_without_a_gradient_nothing_is_found(
    name: str, images: Tensor, generator: SampleGenerator
) -> None:
    labels = torch.full((COUNT,), 2)
    with torch.no_grad():
        result = least_perturbation(
            Constant().eval(),
            images,
            labels,
            generator=generator,
            direction=DIRECTIONS[name][0],
            epsilon_max=9.0,
        )
    assert not result.success.any()
    assert torch.equal(result.adversarial, images)


def test_targets_and_costs_are_recorded(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    run = partial(least_perturbation, model, images, labels, epsilon_max=2.0)
    random = run(generator=SampleGenerator(7, range(COUNT)), direction=otcm_direction)
    drawn = otcm(model, images, labels, generator=SampleGenerator(7, range(COUNT)), epsilon=1.0)
    assert random.target is not None
    assert drawn.target is not None
    assert torch.equal(random.target, drawn.target)
    with counted_passes(model) as passes:
        spectral = run(generator=SampleGenerator(7, range(COUNT)), direction=ossa_direction)
    assert spectral.target is None
    assert passes.backward == 4 * COUNT  # the search itself needs no gradient
    with torch.no_grad():
        right = model(images).argmax(dim=1) == labels
    assert torch.equal(spectral.iterations, right.to(torch.int64))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon_max": 0.0}, "greater than 0"),
        ({"epsilon_max": math.inf}, "finite"),
        ({"scan_points": 0}, "at least 1"),
        ({"halvings": -1}, "at least 0"),
        ({"direction": lambda model, images, labels, generator: images}, "return a OneStep"),
        (
            {"direction": lambda model, images, labels, generator: OneStep(images[:1])},
            "shape of the images",
        ),
    ],
)
def test_impossible_searches_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        least_perturbation(
            model,
            images,
            labels,
            generator=SampleGenerator(7, range(COUNT)),
            **{"direction": brighten, "epsilon_max": 1.0, **parameters},
        )


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*_least.yaml")))
def test_the_files_of_least_perturbations(
    name: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    spec = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    schemas = spec.pop("_schema_")
    assert spec["_minimal_norm_"] is True
    parameters = {key: value for key, value in spec.items() if not key.startswith("_")}
    assert set(parameters) == set(schemas)
    for key, value in parameters.items():
        jsonschema.Draft202012Validator.check_schema(schemas[key])
        jsonschema.validate(value, schemas[key])
    attack = bind_target(spec, "_target_", positional=3, given=["generator"])
    result = attack(model, images, labels, generator=generator)
    assert result.success.any()


def test_a_direction_of_ones_own_is_named_by_its_import_path() -> None:
    target = "advdetect.attacks.least_perturbation.least_perturbation"
    direction = {"_target_": f"{__name__}.brighten", "by": 0.5}
    spec = {"_target_": target, "direction": direction, "epsilon_max": 1.0}
    bound = bind_target(spec, "_target_", positional=3, given=["generator"])
    images, generator = torch.zeros(1, 1, 3, 3), SampleGenerator(0, [0])
    found = bound(Bands(), images, torch.tensor([0]), generator=generator)
    assert float(found.adversarial.mean()) == pytest.approx(0.2, abs=1e-3)
    assert spec["direction"] == direction
    with pytest.raises(AdvdetectError, match=r"brighten: got an unexpected .* 'far'"):
        bind_target(
            spec | {"direction": direction | {"far": 1}}, "_target_", 3, given=["generator"]
        )


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_bim_stops_at_its_first_success(
    norm: str, model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    model, images = model.double(), images.double()
    epsilon, steps = {"l2": (1.0, 8), "linf": (0.15, 12)}[norm]
    with counted_passes(model) as passes:
        result = bim(
            model,
            images,
            labels,
            generator=generator,
            epsilon=epsilon,
            norm=norm,  # type: ignore[arg-type]
            steps=steps,
            stop_at_success=True,
        )
    assert passes.backward == int(result.iterations.sum()), "what has succeeded costs no more"
    for row in range(0, COUNT, 3):
        label = int(labels[row])
        path = [images[row]] + [
            reference_bim(model, images[row], label, epsilon, norm, count, epsilon / steps)
            for count in range(1, steps + 1)
        ]
        with torch.no_grad():
            fools = model(torch.stack(path)).argmax(dim=1) != label
        taken = int(fools.nonzero()[0]) if fools.any() else steps
        expected = path[taken] if fools.any() else images[row]
        assert result.success[row] == fools.any()
        assert result.iterations[row] == taken
        torch.testing.assert_close(result.adversarial[row], expected, rtol=0, atol=1e-10)
    assert 0 < int(result.success.sum()) < COUNT, "the test needs successes and failures"
    assert len(set(result.iterations.tolist())) > 3
