"""The probability that the model leaves to all other classes: the baseline of every detector."""

import math

import numpy as np

from advdetect.features.activations import LOGITS, Activations
from advdetect.features.numerics import log_sum_exp


def max_probability(activations: Activations) -> dict[str, np.ndarray]:
    """Return log10(1 − p_y), y the predicted class (Hendrycks and Gimpel 2017, section 2).

    Computed in float64 as logsumexp_{c≠y} z_c − logsumexp_c z_c, so it neither cancels nor
    overflows where p_y rounds to one. The trace of the weight Fisher matrix ranks images almost as
    this number does, so it must stand beside it.

    Args:
        activations: The (N, classes) logits, of two classes or more.

    Returns:
        Column ``log10_one_minus_max_probability``: (N,) float64, at most 0.
    """
    logits = activations[LOGITS].astype(np.float64)
    others = logits.copy()
    np.put_along_axis(others, logits.argmax(axis=1, keepdims=True), -np.inf, axis=1)
    log_rest = log_sum_exp(others) - log_sum_exp(logits)
    return {"log10_one_minus_max_probability": log_rest / math.log(10)}
