"""Checking values against the JSON Schemas that stand in YAML files; nothing is fetched for it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema
from referencing import Registry
from referencing.exceptions import Unresolvable

from advdetect.errors import AdvdetectError, one_line


@dataclass(frozen=True)
class Problem:
    """What is wrong with a value.

    Attributes:
        path: Where in it, keys and positions from the outside in.
        message: What is wrong there, without a full stop.
    """

    path: tuple[str | int, ...]
    message: str


def problem(value: Any, schema: Any) -> Problem | None:
    """Return what keeps a value from being as a schema wants it; None where nothing does.

    A number that is not finite is never right, whatever the schema: no comparison with a bound
    holds or fails for it as one expects.

    Args:
        value: Of the types of JSON.
        schema: JSON Schema, draft 2020-12. It may refer (``$ref``) to its own parts only.

    Raises:
        AdvdetectError: The schema itself is at fault.
    """
    for path, number in _numbers(value, ()):
        if not math.isfinite(number):
            return Problem(path, f"{number} is not a finite number")
    try:
        validator = jsonschema.Draft202012Validator(schema, registry=Registry())
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except Unresolvable as unresolved:
        raise AdvdetectError(
            f"A schema refers to {unresolved.ref}, which is not in it; nothing is fetched."
        ) from unresolved
    except Exception as fault:  # unknown types, patterns and bounds that are none
        raise AdvdetectError(f"{schema!r} is no JSON Schema ({one_line(fault)}).") from fault
    return Problem(tuple(error.absolute_path), error.message) if error else None


def _numbers(
    value: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], float]]:
    if isinstance(value, float):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, (*path, key))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _numbers(inner, (*path, position))
