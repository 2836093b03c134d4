from functools import partial

import pytest
import torch
from attack_models import COUNT, make_linear_model
from penalty_cases import (
    clear_margin,
    constant_at,
    hinge_of,
    linear_classes,
    margin_of,
    margins,
    norms,
    run,
    shown_to,
)
from torch import Tensor, nn

from advdetect.attacks.ead import ead, ead_sweep
from advdetect.attacks.result import AttackResult
from advdetect.errors import AdvdetectError
from advdetect.randomness import SampleGenerator

quick = partial(ead, iterations=60, search_steps=5, learning_rate=0.02)
BOTH = [{"rule": "en", "kappa": 0.0}, {"rule": "l1", "kappa": 0.0}]


def l1_norms(result: AttackResult, images: Tensor) -> Tensor:
    return (result.adversarial - images).flatten(1).abs().sum(dim=1)


def changed(result: AttackResult, images: Tensor) -> Tensor:
    return (result.adversarial != images).flatten(1).sum(dim=1)


@pytest.mark.parametrize("target", [None, "next"])
@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_two_linear_classes_to_half_a_percent(kappa: float, target: str | None) -> None:
    model, difference, image = make_linear_model()
    attack = partial(ead, beta=1e-4, kappa=kappa, target=target, iterations=200)
    result = run(attack, model, image, torch.tensor([0]))
    least = 0.3 + kappa / difference.norm().item()
    assert result.success.all()
    assert least * (1 - 1e-5) <= norms(result, image).item() <= least * 1.005


@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_many_linear_classes_to_half_a_percent(kappa: float) -> None:
    model, images, labels, least = linear_classes()
    result = run(partial(ead, beta=1e-4, kappa=kappa, iterations=200), model, images, labels)
    assert result.success.all()
    ratio = norms(result, images) / least(kappa)
    assert ratio.min() >= 1 - 1e-9
    assert ratio.max() <= 1.005


def test_a_larger_beta_changes_fewer_pixels() -> None:
    model, images, labels, _ = linear_classes()
    small, large = (
        run(partial(ead, beta=beta, iterations=200), model, images, labels) for beta in (1e-4, 0.2)
    )
    assert small.success.all()
    assert large.success.all()
    assert (changed(small, images) >= 30).all()
    assert changed(large, images).sum() < 0.8 * changed(small, images).sum()
    assert l1_norms(large, images).mean() < 0.9 * l1_norms(small, images).mean()


def test_first_run_is_that_of_the_paper(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Algorithm 1 as it is written, in float64: both the look-ahead points and the iterates."""
    model, image, label = model.double(), images[1:2].double(), int(labels[1])
    beta, total = 0.002, 200
    with shown_to(model) as shown:
        attack = partial(ead, beta=beta, kappa=1.0, search_steps=1, iterations=total)
        run(attack, model, image, labels[1:2])
    # Two searches of a ranking and 30 steps towards the classes, then a look at the best success.
    start, shown = shown[62], shown[63:]
    assert clear_margin(model, start, label, 1.0)
    constant = 1.5 * constant_at(
        lambda point: margin_of(model(point), label), image, start, l1_weight=beta / 0.01
    )
    iterate = lead = start
    for k in range(20):
        torch.testing.assert_close(shown[2 * k], lead, rtol=0, atol=1e-9)
        variable = lead.clone().requires_grad_()
        smooth = constant * hinge_of(model(variable), label, 1.0)
        smooth = smooth + (variable - image).square().sum()
        (gradient,) = torch.autograd.grad(smooth, variable)
        moved = lead - 0.01 * (1 - k / total) ** 0.5 * gradient
        previous, iterate = iterate, image.clone()
        more, less = moved - image > beta, moved - image < -beta
        iterate[more] = (moved[more] - beta).clamp_max(1)
        iterate[less] = (moved[less] + beta).clamp_min(0)
        torch.testing.assert_close(shown[2 * k + 1], iterate, rtol=0, atol=1e-9)
        lead = iterate + k / (k + 3) * (iterate - previous)
    assert (iterate != image).any()
    assert (iterate == image).any()


def test_success_is_judged_at_the_iterates_and_the_nearest_is_returned_by_each_rule(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    only_ahead = differ = 0
    for row in range(9, 16):
        image, label = images[row : row + 1], labels[row : row + 1]
        with shown_to(model) as shown:
            results = ead_sweep(
                model,
                image,
                label,
                generator=SampleGenerator(7, [0]),
                variants=BOTH,
                beta=0.003,
                search_steps=4,
                iterations=48,  # too few to stall, so both runs are of known length
                learning_rate=0.02,
            )
        # Two searches; then twice a look at where the run starts, and its 48 iterations.
        assert len(shown) == 62 + 2 * (1 + 2 * 48)
        ahead = shown[63:159:2] + shown[160::2]
        iterates = shown[64:160:2] + shown[161::2]
        reached = [clear_margin(model, point, int(label), 0) for point in iterates]
        only_ahead += sum(
            clear_margin(model, point, int(label), 0) and not success
            for point, success in zip(ahead, reached, strict=True)
        )
        successes = [point for point, success in zip(iterates, reached, strict=True) if success]
        assert [result.success.item() for result in results] == [bool(successes)] * 2
        if not successes:
            continue

        def l1(point: Tensor, image: Tensor = image) -> float:
            return float((point - image).abs().sum())

        def elastic_net(point: Tensor, image: Tensor = image) -> float:
            return float((point - image).square().sum() + 0.003 * (point - image).abs().sum())

        for norm, result in zip((elastic_net, l1), results, strict=True):
            assert result.success.all()
            assert any(torch.equal(result.adversarial, point) for point in successes)
            assert norm(result.adversarial) == pytest.approx(min(map(norm, successes)), rel=1e-5)
        differ += not torch.equal(results[0].adversarial, results[1].adversarial)
    assert only_ahead > 0, (
        "the test needs look-ahead points that succeed while the iterate does not"
    )
    assert differ > 0, "the test needs rules that differ"


@pytest.mark.parametrize("target", [None, "random"])
@pytest.mark.parametrize("rule", ["en", "l1"])
def test_every_success_has_the_margin_asked_for(
    rule: str, target: str | None, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    kappa = 4.0 if target else 7.0  # some images cannot have it
    attack = partial(quick, kappa=kappa, rule=rule, target=target)
    result = run(attack, model, images, labels)
    assert 3 <= int(result.success.sum()) < COUNT, "the test needs successes and failures"
    if result.target is None:
        reached = -margins(model, result.adversarial, labels)
    else:
        reached = margins(model, result.adversarial, result.target)
    assert (reached[result.success] >= kappa).all()
    assert (reached[~result.success] < kappa).all()
    assert torch.equal(result.adversarial[~result.success], images[~result.success])


@pytest.mark.parametrize("target", ["random", pytest.param(None, marks=pytest.mark.long)])
def test_sweep_is_single_calls_in_any_order(
    target: str | None, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    model, images, labels = model.double(), images[:24].double(), labels[:24]
    # In longer runs the shrinkage lets rounding grow far beyond 1e-9.
    common = {"target": target, "beta": 0.02, "iterations": 24, "search_steps": 3}
    variants = [{"rule": rule, "kappa": kappa} for kappa in (3.0, 0.0) for rule in ("l1", "en")]
    for order in ([0, 1, 2, 3], [2, 1, 3]):
        results = ead_sweep(
            model,
            images,
            labels,
            generator=SampleGenerator(7, range(24)),
            variants=[variants[number] for number in order],
            **common,  # type: ignore[arg-type]
        )
        for number, together in zip(order, results, strict=True):
            alone = run(partial(ead, **variants[number], **common), model, images, labels)
            torch.testing.assert_close(together.adversarial, alone.adversarial, rtol=0, atol=1e-9)
            for field in ("success", "iterations"):
                assert torch.equal(getattr(together, field), getattr(alone, field))
            if target is not None:
                assert torch.equal(together.target, alone.target)  # type: ignore[arg-type]
            assert together.success.any()


def test_each_rule_is_best_by_its_own_norm(
    model: nn.Module, images: Tensor, labels: Tensor, generator: SampleGenerator
) -> None:
    """The two rules come from the same iterates."""
    elastic, sparse = ead_sweep(
        model,
        images,
        labels,
        generator=generator,
        variants=BOTH,
        beta=0.02,
        iterations=60,
        search_steps=4,
    )
    assert torch.equal(elastic.success, sparse.success)
    both = elastic.success
    assert (l1_norms(sparse, images) <= l1_norms(elastic, images) + 1e-6)[both].all()
    by_elastic_net = [
        norms(result, images) ** 2 + 0.02 * l1_norms(result, images) for result in (elastic, sparse)
    ]
    assert (by_elastic_net[0] <= by_elastic_net[1] + 1e-6)[both].all()
    assert (elastic.adversarial != sparse.adversarial).any()


def test_result_in_float32_depends_on_the_batch_by_rounding_only(
    model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    # A coarse shrinkage lets rounding grow until other minima are found.
    attack = partial(quick, beta=0.003, iterations=40, search_steps=3)
    whole = run(attack, model, images, labels)
    assert int(whole.success.sum()) > 0
    for size, count in ((1, 2), (7, 14)):
        for start in range(0, count, size):
            rows = slice(start, start + size)
            part = run(attack, model, images[rows], labels[rows])
            assert torch.equal(part.success, whole.success[rows])
            torch.testing.assert_close(part.adversarial, whole.adversarial[rows], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rule": "l2"}, "rule of ead must be en or l1, not l2"),
        ({"beta": -0.1}, "beta of ead must be at least 0, not -0.1"),
        ({"kappa": -1.0}, "kappa of an attack must be at least 0, not -1.0"),
        ({"learning_rate": 0.0}, "learning_rate of an attack must be greater than 0, not 0.0"),
        ({"iterations": 0}, "must be at least 1, not 9 and 0"),
    ],
)
def test_impossible_parameters_are_refused(
    parameters: dict, message: str, model: nn.Module, images: Tensor, labels: Tensor
) -> None:
    with pytest.raises(AdvdetectError, match=message):
        run(partial(ead, **parameters), model, images, labels)
