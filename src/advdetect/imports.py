"""Finding what a configuration names by its import path (``_target_``), and optional libraries."""

import importlib
from types import ModuleType
from typing import Any

from advdetect.errors import AdvdetectError, explain_failure, one_line


def locate(target: str) -> Any:
    """Import ``package.module.name``.

    Raises:
        AdvdetectError: The path has no dot, the module cannot be imported or lacks the name.
    """
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise AdvdetectError(
            f"_target_: {target} is not an import path; write package.module.name."
        )
    with explain_failure(f"_target_: importing {module_name}"):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise AdvdetectError(
                f"_target_: {target} cannot be imported ({error}); install the package or put the "
                f"module where Python finds it."
            ) from error
    if not hasattr(module, name):
        raise AdvdetectError(f"_target_: the module {module_name} has no '{name}'.")
    return getattr(module, name)


def load_library(module: str, extra: str) -> ModuleType:
    """Import a module of a library that only some methods need.

    Args:
        module: Import path.
        extra: Name of this project's extra that installs it.

    Raises:
        AdvdetectError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise AdvdetectError(
            f"{module} cannot be imported ({one_line(error)}): install the library with "
            f"pip install -e '.[{extra}]'."
        ) from error
