"""Names of methods: ``cw_l2,kappa=10`` is ``cw_l2`` with one value of a sweep."""

import re


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """Return the method and, as text, the values of its swept parameters.

    Args:
        name: A name of the configuration, for example ``ead,rule=l1,kappa=10``.
    """
    method, *pairs = re.split(r",(?=\w+=)", name)  # a value may hold commas of its own
    return method, {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def family(name: str) -> str:
    """Return the method alone: the values of its sweep have their random numbers in common."""
    return split_name(name)[0]
