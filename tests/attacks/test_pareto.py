import pytest
import torch
from torch import Tensor

from advdetect.attacks import pareto
from advdetect.attacks.pareto import best_pair


def brute_force(a: Tensor, b: Tensor, domain: Tensor) -> tuple[int, int] | None:
    """Return the first pair of the largest score in one lane, by a loop over all pairs."""
    best, largest = None, 0.0
    chosen = domain.nonzero().flatten().tolist()
    x, y = a.tolist(), b.tolist()
    for p in chosen:
        for q in chosen:
            if p < q:
                sum_a, sum_b = x[p] + x[q], y[p] + y[q]
                if sum_a > 0 and sum_b > 0 and sum_a * sum_b > largest:
                    best, largest = (p, q), sum_a * sum_b
    return best


def check(a: Tensor, b: Tensor, domain: Tensor) -> int:
    """Compare all lanes with the brute force; return in how many there is a pair."""
    p, q, found = best_pair(a, b, domain)
    for lane in range(len(a)):
        pair = (int(p[lane]), int(q[lane])) if found[lane] else None
        assert pair == brute_force(a[lane], b[lane], domain[lane])
    return int(found.sum())


def random(*shape: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("elements", [2, 3, 10, 60])
@pytest.mark.parametrize("correlation", [-1.0, -0.99, 0.0, 0.9, 1.0])
def test_is_the_pair_that_a_loop_over_all_pairs_finds(elements: int, correlation: float) -> None:
    lanes = 40
    a, noise = random(2, lanes, elements, seed=elements)
    b = correlation * a + (1 - correlation**2) ** 0.5 * noise
    domain = random(lanes, elements, seed=1) > -1
    found = check(a + random(lanes, 1, seed=2), b + random(lanes, 1, seed=3), domain)
    assert found > 0


@pytest.mark.parametrize("values", [2, 3, 8])
def test_of_equal_pairs_the_first_is_taken(values: int) -> None:
    """Sums and products of small integers are exact, so that ties are ties."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        a, b = torch.randint(-values, values + 1, (2, 50, 14), generator=generator).double()
        domain = torch.rand(50, 14, generator=generator) > 0.2
        found = check(a, b, domain)
        assert found > 10


def test_all_elements_equal_gives_the_first_two_of_the_domain() -> None:
    ones = torch.ones(1, 6)
    domain = torch.tensor([[False, True, False, True, True, True]])
    p, q, found = best_pair(ones, ones, domain)
    assert (p.item(), q.item(), found.item()) == (1, 3, True)


@pytest.mark.parametrize(
    ("a", "b", "domain"),
    [
        ([0.0, 0, 0], [0.0, 0, 0], [True] * 3),
        ([1.0, 2, 3], [-1.0, -2, -3], [True] * 3),
        ([-1.0, -2, -3], [-1.0, -2, -3], [True] * 3),
        ([1.0, 2, 3], [1.0, 2, 3], [False, True, False]),
        ([1.0, 2, 3], [1.0, 2, 3], [False] * 3),
        ([float("nan")] * 3, [1.0, 2, 3], [True] * 3),
    ],
)
def test_there_may_be_no_pair(a: list, b: list, domain: list) -> None:
    _, _, found = best_pair(torch.tensor([a]), torch.tensor([b]), torch.tensor([domain]))
    assert not found.item()


def test_scores_of_tiny_float32_numbers_do_not_underflow() -> None:
    a = torch.tensor([[1e-30, 2e-30, 3e-30]])
    p, q, found = best_pair(a, a, torch.ones(1, 3, dtype=torch.bool))
    assert (p.item(), q.item(), found.item()) == (1, 2, True)


def test_few_candidates_are_left_of_many_elements() -> None:
    a, b = random(2, 4, 20_000, seed=7)
    beaten_once = pareto._beaten_at_most_once(a, b)
    assert beaten_once.sum(dim=1).max() < 100


def test_a_bound_on_the_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    a = torch.arange(60).double().repeat(5, 1) - torch.arange(5)[:, None]
    b = 70 - a  # all elements are on the Pareto front, and many pairs are equal
    domain = torch.ones(5, 60, dtype=torch.bool)
    whole = best_pair(a, b, domain)
    sizes = []

    def spy(tensor: Tensor, diagonal: int) -> Tensor:
        sizes.append(tensor.numel())
        return triu(tensor, diagonal)

    triu = Tensor.triu_
    monkeypatch.setattr(pareto, "_PAIRS_AT_ONCE", 400)
    monkeypatch.setattr(Tensor, "triu_", spy)
    for part, expected in zip(best_pair(a, b, domain), whole, strict=True):
        assert torch.equal(part, expected)
    assert check(a, b, domain) == 5
    assert len(sizes) > 1
    assert max(sizes) <= 400
