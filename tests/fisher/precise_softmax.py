"""Softmax quantities in decimal arithmetic with 1400 digits, for logits far apart."""

from collections.abc import Sequence
from decimal import Decimal, getcontext
from itertools import pairwise

# Cubes of e^-1000 beside 1 need 1303 digits.
getcontext().prec = 1400


def softmax(logits: Sequence[float]) -> list[Decimal]:
    weights = [(Decimal(z) - Decimal(max(logits))).exp() for z in logits]
    return [w / sum(weights) for w in weights]


def linear_layer_forms(logits: Sequence[float], squared_input: float) -> list[float]:
    """Return log10 of (4), (5), (8) for one linear layer with bias, where ∇_θ z_c·∇_θ z_d = A δ_cd.

    A = ‖a‖² + 1, ∇ log p_c = A^½ (e_c − p).
    """
    p = softmax(logits)
    area = Decimal(squared_input) + 1
    rows = [[(c == d) - p[d] for d in range(len(p))] for c in range(len(p))]
    v = rows[max(range(len(p)), key=lambda c: p[c])]
    trace = area * sum(p[c] * sum(e * e for e in rows[c]) for c in range(len(p)))
    products = [sum(a * b for a, b in zip(v, row, strict=True)) for row in rows]
    form = area**2 * sum(p[c] * products[c] ** 2 for c in range(len(p)))
    length = area * sum(e * e for e in v)
    return [float(x.log10()) for x in (trace, form, form / length)]


def softmax_covariance_eigenvalues(logits: Sequence[float]) -> list[float]:
    """Return log10 of the non-zero eigenvalues of diag(p) − ppᵀ, descending, for distinct logits.

    They solve Σ_c p_c² / (p_c − λ) = 1, one in each interval between neighbouring p_c.
    """
    p = sorted(softmax(logits), reverse=True)
    found = []
    for high, low in pairwise(p):
        for _ in range(50):
            middle = (low * high).sqrt()
            if sum(x * x / (x - middle) for x in p) > 1:
                high = middle
            else:
                low = middle
        found.append(float(low.log10()))
    return found
