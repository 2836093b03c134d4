"""Command-line options that several steps share."""

import argparse
import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from advdetect.errors import AdvdetectError, one_line
from advdetect.imports import locate
from advdetect.yaml_text import read_yaml, read_yaml_file

PRIVATE = "_"
AUTO = "auto"


def add_spec(parser: argparse.ArgumentParser, example: str) -> None:
    """Add ``--spec``, ``--set`` and ``--code``."""
    parser.add_argument(
        "--spec",
        required=True,
        metavar="YAML|JSON",
        help=f"the method: a YAML file such as {example}, or JSON text",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change one parameter of the specification; may be given several times",
    )
    parser.add_argument(
        "--code", default="", help="fingerprint of the source code, kept in the provenance"
    )


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add ``--seed``."""
    parser.add_argument("--seed", type=int, default=0, help="seed of the run (default 0)")


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, ``--threads``, ``--batch-size`` and ``--memory``."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default auto)"
    )
    parser.add_argument(
        "--threads", type=positive_integer, default=1, help="CPU threads (default 1)"
    )
    parser.add_argument(
        "--batch-size",
        type=lambda text: text if text == AUTO else positive_integer(text),
        default=AUTO,
        metavar="NUMBER|auto",
        help="images at a time (default auto: up to 256, as --memory allows)",
    )
    parser.add_argument(
        "--memory",
        type=positive_number,
        default=2.0,
        help="GB (10^9 bytes) that the images of a batch may take (default 2)",
    )


def add_bootstrap(parser: argparse.ArgumentParser) -> None:
    """Add ``--replicates`` and ``--bootstrap-seed``."""
    parser.add_argument("--replicates", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--bootstrap-seed", type=int, default=0, help="seed of the bootstrap")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add ``--runs``."""
    parser.add_argument(
        "--runs",
        type=_mapping,
        default={},
        metavar="JSON",
        help="the label of each run by the identifier in its files; left out where there is one",
    )


def add_titles(parser: argparse.ArgumentParser) -> None:
    """Add ``--titles``."""
    parser.add_argument(
        "--titles",
        type=_mapping,
        default={},
        metavar="JSON",
        help="what readers see of a method by its name, and of a run by @ and its name; without "
        "one, the name itself",
    )


def add_activations(parser: argparse.ArgumentParser) -> None:
    """Add ``--activations``: what of the hidden layers the features get that ask for them."""
    parser.add_argument(
        "--activations",
        type=_mapping,
        metavar="JSON",
        help="for features that say _activations_: layers and max_width, as in config/config.yaml",
    )


def activation_settings(
    spec: Mapping[str, Any], arguments: argparse.Namespace
) -> dict[str, Any] | None:
    """Return what to collect of the hidden layers for a feature; None where it asks for nothing.

    Raises:
        AdvdetectError: ``--activations`` has an unknown name, or the feature does not ask for any.
    """
    given = arguments.activations
    if not spec.get("_activations_"):
        if given is not None:
            raise AdvdetectError(
                "--activations: leave it out, as the feature does not say _activations_: true."
            )
        return None
    check_names(given or {}, ("layers", "max_width"), option="--activations")
    return given or {}


def keyed_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a feature's key holds of the hidden layers: nothing where it asks for nothing."""
    return {} if settings is None else {"activations": dict(settings)}


def add_fitted(parser: argparse.ArgumentParser) -> None:
    """Add ``--fitted``: the auxiliary model of a feature that has one.

    A rule passes what the feature has, so the option may come without a value.
    """
    parser.add_argument("--fitted", nargs="?", help="auxiliary model, from fit-feature")


def fitted_path(spec: Mapping[str, Any], arguments: argparse.Namespace) -> str | None:
    """Return the file of the auxiliary model that a feature uses, its own or another's, if any.

    Raises:
        AdvdetectError: The feature uses one, and ``--fitted`` does not say which.
    """
    if not {"_fit_", "_fitted_by_"} & spec.keys():
        return None
    if not arguments.fitted:
        raise AdvdetectError(f"The feature {arguments.name} needs --fitted (see fit-feature).")
    return arguments.fitted


def read_spec(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the specification that ``--spec`` and ``--set`` give, without its words.

    Raises:
        AdvdetectError: The file is missing, the text is not a mapping, or a value is impossible.
    """
    spec = read_mapping(arguments.spec, "--spec")
    changes = [change.partition("=") for change in arguments.set]
    changed = {name: read_yaml(value, f"--set {name}") for name, _, value in changes}
    known = parameters(spec)
    unknown = sorted(set(changed) - set(known))
    if unknown:
        raise AdvdetectError(
            f"--set: unknown {', '.join(unknown)}; the specification has {', '.join(known)}."
        )
    spec |= changed
    # For tables and the workflow, not for jobs.
    for words in ("_title_", "_sizes_", "_columns_", "_reported_as_"):
        spec.pop(words, None)
    _check_values(spec, spec.pop("_schema_", {}))
    return spec


def read_mapping(text: str, option: str) -> dict[str, Any]:
    """Return the mapping that an option gives, as JSON text or as the path of a YAML file."""
    if text.lstrip().startswith("{"):
        try:
            value = json.loads(text)
        except ValueError as error:
            raise AdvdetectError(f"{option} is no valid JSON ({one_line(error)}).") from error
    else:
        value = read_yaml_file(Path(text))
    if not isinstance(value, dict):
        raise AdvdetectError(f"{option} must hold a mapping of names to values.")
    return value


def _check_values(spec: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    for name, constraint in schema.items():
        if name in spec:
            # Imported here: the workflow checks its values before any job and passes no schema.
            from advdetect.schemas import problem

            if found := problem(spec[name], constraint):
                raise AdvdetectError(f"{'.'.join(map(str, (name, *found.path)))}: {found.message}.")


def check_names(
    spec: Mapping[str, Any],
    known: Sequence[str],
    all_needed: bool = False,
    option: str = "--spec",
) -> None:
    """Check the names in a specification that belongs to the step itself.

    Raises:
        AdvdetectError: A name is unknown or, where all are needed, missing.
    """
    wrong = set(spec) ^ set(known) if all_needed else set(spec) - set(known)
    if wrong:
        raise AdvdetectError(
            f"{option}: {', '.join(sorted(wrong))} is unknown or missing; the names are "
            f"{', '.join(known)}."
        )


def parameters(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the method's own parameters: what has no leading underscore."""
    return {name: value for name, value in spec.items() if not name.startswith(PRIVATE)}


def bind_target(
    spec: Mapping[str, Any], key: str, positional: int = 0, given: Iterable[str] = ()
) -> Callable[..., Any]:
    """Return the function that the specification names, with the specification's parameters.

    A parameter that is itself a specification with a ``_target_`` is bound in the same way: it is a
    function that the method calls with what it is called with.

    Args:
        spec: The specification.
        key: ``_target_`` or ``_fit_``.
        positional: How many positional arguments the step will pass.
        given: Names of the keyword arguments that the step will pass.

    Raises:
        AdvdetectError: There is no such key or function, or it does not take these parameters.
    """
    if key not in spec:
        raise AdvdetectError(f"The specification has no {key}.")
    function = locate(spec[key])
    values = {
        name: bind_target(value, "_target_", positional, given)
        if isinstance(value, Mapping) and "_target_" in value
        else value
        for name, value in parameters(spec).items()
    }
    try:
        inspect.signature(function).bind(*[None] * positional, **values, **dict.fromkeys(given))
    except TypeError as error:
        raise AdvdetectError(f"{spec[key]}: {error}; correct the YAML file or --set.") from error
    return partial(function, **values)


def json_value(text: str) -> Any:
    """Read JSON from the command line."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is no JSON ({one_line(error)})") from error


def positive_number(text: str) -> float:
    """Read a number above 0 from the command line."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def positive_integer(text: str) -> int:
    """Read an integer of at least 1 from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _mapping(text: str) -> dict[str, Any]:
    """Read a JSON object from the command line."""
    value = json_value(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text} is no JSON object")
    return value
