"""The attacks of a sweep by their names, such as ``ead,kappa=10,rule=l1``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advdetect.naming import split_name

_FIRST = "kappa"  # the parameter to be drawn over, where several are swept


@dataclass(frozen=True)
class Sweep:
    """Attacks that differ in one number only.

    Attributes:
        name: What they have in common, such as ``ead,rule=l1``.
        parameter: The parameter whose value differs, such as ``kappa``.
        attacks: The attacks' names by its values, which ascend; at least two.
    """

    name: str
    parameter: str
    attacks: Mapping[float, str]


def without(attack: str, parameter: str) -> str:
    """Return the name of an attack less the value of a parameter."""
    base, values = split_name(attack)
    rest = (f",{name}={value}" for name, value in values.items() if name != parameter)
    return f"{base}{''.join(rest)}"


def number_of(attack: str, parameter: str) -> float | None:
    """Return the number that a parameter has in the name of an attack, if it is there."""
    try:
        return float(split_name(attack)[1].get(parameter, ""))
    except ValueError:
        return None


def number_sweeps(attacks: Iterable[str]) -> list[Sweep]:
    """Find the sweeps of a number among attacks.

    Where several numbers are swept it is κ, or else the first one that the name has; each value of
    the others is a sweep of its own.

    Args:
        attacks: The attacks' names.

    Returns:
        The sweeps in the order in which the attacks name them.
    """
    methods: dict[str, list[str]] = {}
    for attack in dict.fromkeys(attacks):
        methods.setdefault(split_name(attack)[0], []).append(attack)
    sweeps = []
    for instances in methods.values():
        parameter = _swept_number(instances)
        if parameter is None:
            continue
        families: dict[str, dict[float, str]] = {}
        for attack in instances:
            value = number_of(attack, parameter)
            if value is not None:
                families.setdefault(without(attack, parameter), {})[value] = attack
        sweeps += [
            Sweep(name, parameter, dict(sorted(values.items())))
            for name, values in families.items()
            if len(values) > 1
        ]
    return sweeps


def _swept_number(instances: Iterable[str]) -> str | None:
    """Return the parameter that has at least two numbers in the names of a method's instances."""
    numbers: dict[str, set[float]] = {}
    for attack in instances:
        for parameter in split_name(attack)[1]:
            value = number_of(attack, parameter)
            if value is not None:
                numbers.setdefault(parameter, set()).add(value)
    swept = [parameter for parameter, values in numbers.items() if len(values) > 1]
    return _FIRST if _FIRST in swept else next(iter(swept), None)
