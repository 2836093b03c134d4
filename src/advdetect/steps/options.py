"""Command-line options that several steps share."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from advdetect.errors import AdvdetectError
from advdetect.imports import locate

PRIVATE = "_"


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


def add_runtime(parser: argparse.ArgumentParser, batch_size: bool = True) -> None:
    """Add ``--device``, ``--threads`` and, where images are processed, ``--batch-size``."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="(default auto)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    if batch_size:
        parser.add_argument(
            "--batch-size", type=int, default=256, help="images at a time (default 256)"
        )


def read_spec(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the specification that ``--spec`` and ``--set`` give, without its ``_schema_``.

    Raises:
        AdvdetectError: The file is missing, or the text is not a mapping.
    """
    text = arguments.spec
    try:
        if text.lstrip().startswith("{"):
            spec = json.loads(text)  # not read as YAML, for which 1e-09 is a string
        else:
            spec = yaml.safe_load(Path(text).read_text(encoding="utf-8"))
        changes = [change.partition("=") for change in arguments.set]
        changed = {name: yaml.safe_load(value) for name, _, value in changes}
    except OSError as error:
        raise AdvdetectError(f"--spec: {text} cannot be read ({error.strerror}).") from error
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise AdvdetectError(f"--spec or --set is not valid ({reason}).") from error
    if not isinstance(spec, dict):
        raise AdvdetectError("--spec must hold a mapping of names to values.")
    spec.pop("_schema_", None)
    unknown = sorted(set(changed) - set(spec))
    if unknown:
        raise AdvdetectError(
            f"--set: unknown {', '.join(unknown)}; the specification has {', '.join(spec)}."
        )
    return spec | changed


def parameters(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the method's own parameters: what has no leading underscore."""
    return {name: value for name, value in spec.items() if not name.startswith(PRIVATE)}


def find_target(spec: Mapping[str, Any], key: str = "_target_") -> Any:
    """Return the function that the specification names.

    Raises:
        AdvdetectError: The specification has no such key, or the function cannot be imported.
    """
    if key not in spec:
        raise AdvdetectError(f"The specification has no {key}.")
    return locate(spec[key])
