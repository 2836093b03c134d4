"""The methods that an experiment chooses: sweeps expanded, each valid by its own schema."""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from advdetect.errors import AdvdetectError
from advdetect.schemas import Problem, problem
from experiment import ConfigurationError, Spec
from sweeps import SWEEP, is_whole

GROUPS = {
    "attack": "attacks",
    "feature": "features",
    "detector": "detectors",
    "defense": "defenses",
}
#: The kinds of figure, all of which are known to every experiment.
FIGURE = "figure"
#: How a model is trained: what a model holds of it, and one of config/training/.
TRAINING = "training"
#: In a model: the file of its weights, where they are given.
WEIGHTS = "weights"
SCHEMA = "_schema_"
TITLE = "_title_"
#: In a data set: what says how many images it has.
SIZES = "_sizes_"
#: In a data set: what papers' values call it, where that is another name than its own.
REPORTED_AS = "_reported_as_"
#: In a data set: whether the files below its root are a part of what it is, or those in which
#: folders.
TRACKED = "_track_root_"
#: In a feature: its columns, or what says them (`advdetect.requirements.columns`).
COLUMNS = "_columns_"
#: In a method: what says whether it can run (`advdetect.requirements`).
REQUIRES = "_requires_"
#: In an attack that is called ``fgsm@lenet5``: the model that its images are crafted on.
CRAFTED_ON = "_crafted_on_"
#: In an attack that is the nearest of its ``attacks`` by its ``norm``.
BEST_OF = "_best_of_"
#: In an attack whose images another tool has made: their file.
FILE = "_file_"
_LONGEST = 150  # bytes of a sweep's values; a file's name has at most 255


def choose(group: str, names: list[Any], specs: Mapping[str, Spec]) -> dict[str, Spec]:
    """Return the chosen methods of a group by name.

    Args:
        group: ``attack``, ``feature``, …
        names: Names of its YAML files; of an attack perhaps with a model, as in ``fgsm@lenet5``.
        specs: All that there are.

    Raises:
        ConfigurationError: A name is unknown, or a value is impossible.
    """
    if wrong := [name for name in names if not isinstance(name, str)]:
        raise ConfigurationError(
            f"{GROUPS[group]}: {wrong[0]!r} is no name, as YAML reads it: put a name like that in "
            f"quotes, or give its file another."
        )
    at = {name: name.partition("@") for name in names} if group == "attack" else {}
    methods = {name: at[name][0] if at else name for name in names}
    if missing := [method for method in methods.values() if method not in specs]:
        raise ConfigurationError(unknown(group, missing, specs))
    instances: dict[str, Spec] = {}
    for name, method in methods.items():
        if not isinstance(specs[method], dict):
            raise ConfigurationError(f"{group}.{method} must be a mapping of names to values.")
        for suffix, spec in _expand(f"{group}.{method}", specs[method]):
            instance = checked(f"{group}.{method}", spec)
            if at and at[name][1]:
                instance[CRAFTED_ON] = at[name][2]
            instances[f"{name}{suffix}"] = instance
    return instances


def _expand(where: str, spec: Spec) -> Iterable[tuple[str, Spec]]:
    """Expand a sweep: a list where the schema wants a single value gives one instance per value.

    Raises:
        ConfigurationError: A list has no value, one twice, or one that is no part of a file's name.
    """
    properties = spec.get(SCHEMA, {})
    swept = [
        key
        for key, value in spec.items()
        if isinstance(value, list)
        and key in properties
        and _problem(_dotted(where, key), value, properties[key])
    ]
    for key in swept:
        if not spec[key]:
            raise ConfigurationError(f"{_dotted(where, key)} is a list without a value.")
        if len({hydra_value(value) for value in spec[key]}) < len(spec[key]):
            raise ConfigurationError(f"{_dotted(where, key)} has a value twice.")
    for values in itertools.product(*(spec[key] for key in swept)):
        pairs = dict(zip(swept, values, strict=True))
        suffix = "".join(f",{key}={hydra_value(value)}" for key, value in pairs.items())
        if "/" in suffix or not suffix.isprintable() or len(suffix.encode()) > _LONGEST:
            raise ConfigurationError(
                f"{_dotted(where, swept[0])}: the values of a sweep are a part of files' names, "
                f"which have no / and are not that long: {suffix[1:_LONGEST]!r}; set one value, "
                "which is no part of a name."
            )
        yield suffix, spec | pairs


def checked(where: str, spec: Spec) -> Spec:
    """Return the specification without its schema and words, after validating it."""
    validate(where, {k: v for k, v in spec.items() if not k.startswith("_")}, spec.get(SCHEMA))
    if SWEEP in spec and not is_whole(spec[SWEEP], spec):
        raise ConfigurationError(
            f"{where}._sweep_ must have a _target_ and, as over, a list of parameters of {where}."
        )
    return without_words(spec)


def without_words(spec: Spec) -> Spec:
    """Return the specification without its schema and what else of it changes no result."""
    words = (SCHEMA, TITLE, SIZES, COLUMNS, REPORTED_AS)
    return {key: value for key, value in spec.items() if key not in words}


def validate(where: str, values: Spec, properties: Spec | None) -> None:
    """Check values against the JSON Schema of each; without one nothing is known about them.

    Raises:
        ConfigurationError: A value is missing, unknown or impossible.
    """
    if properties is None:
        return
    missing = [key for key, value in values.items() if value == "???"]
    if missing:
        raise ConfigurationError(f"{_dotted(where, missing[0])} must be set: it has no default.")
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    found = _problem(where, values, schema)
    if found is None:
        return
    unknown_settings = sorted(set(values) - set(properties))
    if unknown_settings:
        raise ConfigurationError(
            f"Unknown setting {_dotted(where, unknown_settings[0])}; "
            f"{where or 'the configuration'} has: {', '.join(sorted(properties))}."
        )
    raise ConfigurationError(f"{_dotted(where, *map(str, found.path))}: {found.message}.")


def _problem(where: str, value: Any, schema: Any) -> Problem | None:
    try:
        return problem(value, schema)
    except AdvdetectError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def unknown(group: str, names: Iterable[str], known: Iterable[str]) -> str:
    """Say that names are no files of a group."""
    return f"Unknown {group}: {', '.join(names)}. config/{group}/ has: {', '.join(known)}."


def hydra_value(value: object) -> str:
    """Return a value as it is written in an override of Hydra."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(hydra_value(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{hydra_value(item)}' for key, item in value.items())}}}"
    text = str(value)
    if re.fullmatch(r"[\w./:+@%*?-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _dotted(*parts: str) -> str:
    return ".".join(part for part in parts if part)
