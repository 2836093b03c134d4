"""Attacks that take the nearest success of each image from others: which ones they name."""

from collections.abc import Mapping, Sequence

from advdetect.naming import family
from experiment import ConfigurationError, Spec
from methods import BEST_OF, CRAFTED_ON

#: The setting of such an attack that names the others.
ATTACKS = "attacks"


def with_parts(attacks: Mapping[str, Spec]) -> dict[str, Spec]:
    """Return the attacks of a run, in which those that are nearest of others name these.

    A name stands for one attack or, where it is swept, for all its values; without names it is
    nearest of all that are crafted.

    Args:
        attacks: Specification by name, of one run.

    Raises:
        ConfigurationError: A name is unknown, or an attack would be made from itself.
    """
    crafted = [name for name, spec in attacks.items() if BEST_OF not in spec]
    found = {
        name: spec | {ATTACKS: _parts(name, spec, attacks, crafted)} if BEST_OF in spec else spec
        for name, spec in attacks.items()
    }
    for name in found:
        _check_made(name, found, ())
    return found


def _parts(name: str, spec: Spec, attacks: Mapping[str, Spec], crafted: Sequence[str]) -> list[str]:
    where = f"attack.{family(name)}"
    if CRAFTED_ON in spec:
        model = spec[CRAFTED_ON]
        raise ConfigurationError(
            f"{where}: it crafts nothing, so leave out @{model}; its attacks may be crafted there, "
            f"as in attacks: [fgsm@{model}]."
        )
    if not {ATTACKS, "norm"} <= spec.keys():
        raise ConfigurationError(
            f"{where}: {BEST_OF} needs attacks and norm: start from the file that has them, by "
            "defaults: [best_of, _self_]."
        )
    parts: list[str] = []
    for given in crafted if spec[ATTACKS] is None else spec[ATTACKS]:
        meant = [given] if given in attacks else [o for o in attacks if family(o) == given]
        if not meant:
            there = ", ".join(other for other in attacks if other != name)
            raise ConfigurationError(
                f"{where}.attacks: {given} is not among the attacks of this experiment "
                f"({there or 'no other'}): choose it, or leave it out."
            )
        parts += meant
    if not parts:
        raise ConfigurationError(f"{where}: no other attack is chosen: choose some.")
    return list(dict.fromkeys(parts))


def _check_made(name: str, attacks: Mapping[str, Spec], made: tuple[str, ...]) -> None:
    if name in made:
        chain = " from ".join((*made[made.index(name) :], name))
        raise ConfigurationError(
            f"attack.{family(name)}.attacks: it would be made from itself: {chain}."
        )
    if BEST_OF in attacks[name]:
        for part in attacks[name][ATTACKS]:
            _check_made(part, attacks, (*made, name))
