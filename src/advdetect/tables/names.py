"""Display names: words of metrics, columns and the protocol, and the titles of methods and runs.

A method's title is a line in its YAML file, a run's stands beside its name; who publishes is given
them and uses them with `titled`. A name without a title stands for itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from advdetect.naming import split_name

NO_VALUE = "\N{EN DASH}"
REPORTED = "_reported"  # behind the name of a defence: what papers report of it

_WORDS = {
    # what a detector was trained on, if no attack
    "others": "All others",
    "clean": "Clean images only",
    "unchanged": "Control: unchanged images",
    # metrics
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "tpr_at_fpr_0.01": "TPR at 1 % FPR",
    "tpr_at_fpr_0.05": "TPR at 5 % FPR",
    # protocol
    "float32": "float32 images",
    "8bit": "images rounded to 8 bits",
    "successful": "successful adversarials only",
    "all": "all adversarials, failed ones included",
    # columns of the attack summary
    "n": "Images",
    "success_rate": "Success (%)",
    "success_rate_8bit": "Success, 8 bits (%)",
    "mean_l2": "Mean L2",
    "mean_linf": "Mean L∞",
    "mean_iterations": "Iterations",
    "mean_forward_passes": "Forward passes",
    "mean_backward_passes": "Backward passes",
    # swept parameters of attacks
    "epsilon": "ε",
    "kappa": "κ",
    "gamma": "Υ",
    "temperature": "T",
    # columns of the substitutes
    "queries": "Labels asked for",
    "agreement": "Agreement (%)",
    # columns of the least perturbations
    "least_l2": "Mean least L2",
    "fooling_rate": "Fooling rate (%)",
    # columns of certified accuracy
    "base_accuracy": "Base classifier",
    "smoothed_accuracy": "Smoothed",
    "abstained": "Abstained",
    "certified": "Certified",
    "attacked": "Under attack",
    "broken": "Broken",
    # columns and rows of reproduced tables
    "reported": "Reported",
    "reproduced": "Reproduced",
    "difference": "Difference",
    "cells": "Cells",
    "within": "Within",
    "above": "Above",
    "below": "Below",
    "mean_absolute_difference": "Mean absolute difference",
    "norm_at_rate": "L2 norm",
    "train_error": "Training error (%)",
    "test_error": "Test error (%)",
    "distortion": "Distortion (% of the pixels' range)",
}
_TITLES: ContextVar[Mapping[str, str]] = ContextVar("titles", default={})  # noqa: B039


@contextmanager
def titled(titles: Mapping[str, str]) -> Iterator[None]:
    """Give methods and runs these titles while the block runs.

    Args:
        titles: By the name of a method, and by ``@`` and the name of a run or of a model that
            images are crafted on: a run may be called like a method.
    """
    token = _TITLES.set(titles)
    try:
        yield
    finally:
        _TITLES.reset(token)


def display_name(name: str) -> str:
    """Return the name that readers see.

    Args:
        name: A name of the configuration, perhaps with values of a sweep as in ``cw_l2,kappa=10``,
            and of an attack perhaps with what it is crafted on as in ``fgsm@robust,epsilon=0.3``.

    Returns:
        The word or title, values of a sweep in brackets: ``C&W L2 (kappa=10)``, ``FGSM
        (epsilon=0.3) on a robust network``; an unknown name unchanged.
    """
    known = {**_TITLES.get(), **_WORDS}
    if name in known:
        return known[name]
    if name.endswith(REPORTED):
        return f"{display_name(name.removesuffix(REPORTED))}, reported"
    method, values = split_name(name)
    own, at, other = method.partition("@")
    if at and own in known:
        return f"{display_name(own + name.removeprefix(method))} on {run_name(other)}"
    if values and method in known:
        shown = ", ".join(f"{parameter}={value}" for parameter, value in values.items())
        return f"{known[method]} ({shown})"
    return name


def run_name(name: str) -> str:
    """Return the name that readers see of a run, or of a model that images are crafted on."""
    return _TITLES.get().get(f"@{name}", name)
