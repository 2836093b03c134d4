"""Least perturbations of linear models within the box, by linear and quadratic programs."""

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn


def least_to_gap(norm: str, gradient: Tensor, gap: float, image: Tensor) -> float:
    """Return the least norm of d with ⟨gradient, d⟩ ≥ gap and image + d in the box, or infinity."""
    slope, start = gradient.double().flatten().numpy(), image.double().flatten().numpy()
    count = len(start)
    low, high = -start, 1 - start
    if norm == "l2":
        found = optimize.minimize(
            lambda d: (d @ d, 2 * d),
            np.zeros(count),
            jac=True,
            method="SLSQP",
            bounds=list(zip(low, high, strict=True)),
            constraints={"type": "ineq", "fun": lambda d: slope @ d - gap, "jac": lambda _: slope},
            options={"ftol": 1e-13, "maxiter": 500},
        )
        return float(found.fun**0.5) if found.success else np.inf
    if norm == "l1":  # d = up − down
        cost, rows, limits = np.ones(2 * count), -np.r_[slope, -slope][None], np.array([-gap])
        bounds = np.c_[np.zeros(2 * count), np.r_[high, -low]]
    else:  # −size ≤ d ≤ size
        unit, minus = np.eye(count), -np.ones((count, 1))
        cost = np.r_[np.zeros(count), 1]
        rows = np.block([[unit, minus], [-unit, minus], [-slope[None], np.zeros((1, 1))]])
        limits = np.r_[np.zeros(2 * count), -gap]
        bounds = np.c_[np.r_[low, 0], np.r_[high, 1]]
    found = optimize.linprog(cost, A_ub=rows, b_ub=limits, bounds=bounds)
    return float(found.fun) if found.success else np.inf


@torch.no_grad()
def least_of_classes(norm: str, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Return the least norms at which a linear model gives another class than the labels."""
    weight, logits = model[1].weight, model(images)  # type: ignore[index]
    return torch.tensor(
        [
            min(
                least_to_gap(norm, row - weight[label], (scores[label] - score).item(), image)
                for row, score in zip(weight, scores, strict=True)
                if score < scores[label]
            )
            for image, scores, label in zip(images, logits, labels.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )
