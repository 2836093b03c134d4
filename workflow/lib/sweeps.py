"""Sweeps: the values of an attack's parameters whose images are computed in the same batches."""

import itertools
from collections.abc import Mapping
from typing import Any

Spec = dict[str, Any]
SWEEP = "_sweep_"


def is_whole(sweep: Any, spec: Spec) -> bool:
    """Return whether the ``_sweep_`` of a specification has what it needs and nothing else."""
    if not isinstance(sweep, dict) or sweep.keys() != {"_target_", "over"}:
        return False
    over = sweep["over"]
    return isinstance(over, list) and bool(over) and all(name in spec for name in map(str, over))


def sweep_values(name: str, attacks: Mapping[str, Spec]) -> dict[str, Spec]:
    """Return what differs between an attack and those that it can share its work with.

    Args:
        name: Name of the attack.
        attacks: Specification by name; a sweep's instances are named as in ``cw_l2,kappa=10``.

    Returns:
        By name, the values of the parameters that ``_sweep_`` lists, for all attacks of the same
        family that have everything else in common; empty where there is no other.
    """
    if SWEEP not in attacks[name]:
        return {}
    over = attacks[name][SWEEP]["over"]
    values = {
        other: {key: spec[key] for key in over}
        for other, spec in attacks.items()
        if _family(other) == _family(name) and _rest(spec, over) == _rest(attacks[name], over)
    }
    return values if len(values) > 1 else {}


def has_number_sweep(attacks: Mapping[str, Spec]) -> bool:
    """Return whether two attacks of the same family differ in one number only."""
    return any(
        _family(first) == _family(second) and _differ_in_a_number(attacks[first], attacks[second])
        for first, second in itertools.combinations(attacks, 2)
    )


def _differ_in_a_number(first: Spec, second: Spec) -> bool:
    differing = [
        (first.get(key), second.get(key)) for key in first if first[key] != second.get(key)
    ]
    return len(differing) == 1 and all(type(value) in (int, float) for value in differing[0])


def _family(name: str) -> str:
    return name.partition(",")[0]


def _rest(spec: Spec, over: list[str]) -> Spec:
    return {key: value for key, value in spec.items() if key not in over}
