"""Reading YAML: values as Hydra reads them, and a sentence where there is none."""

import re
from pathlib import Path
from typing import Any

import yaml

from advdetect.errors import AdvdetectError, one_line

_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLOAT = "tag:yaml.org,2002:float"
_DATE = "tag:yaml.org,2002:timestamp"


class _Loader(_Safe):
    """Knows 1e-3 as a number, no dates, and no name twice, as OmegaConf does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := [name for name in names if name != "<<" and names.count(name) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"{twice[0]} stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _DATE]
    for first, resolvers in _Safe.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+\Z"),
    list("-+.0123456789"),
)


def read_yaml(text: str, where: str) -> Any:
    """Return what YAML text says.

    Args:
        text: The text.
        where: What holds it, as the error begins.

    Raises:
        AdvdetectError: It is no YAML, or gives a name twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AdvdetectError(f"{where} is no valid YAML ({_said(error)}).") from error


def read_yaml_file(path: Path) -> Any:
    """Return what a YAML file says.

    Raises:
        AdvdetectError: It cannot be read, is no UTF-8 or no YAML.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise AdvdetectError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise AdvdetectError(
            f"{path} is no UTF-8 text (byte {error.start + 1}): save it as UTF-8."
        ) from error
    if text.startswith("\ufeff"):
        raise AdvdetectError(f"{path} begins with a byte-order mark: save it as UTF-8 without.")
    return read_yaml(text, str(path))


def _said(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or one_line(error)
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said
